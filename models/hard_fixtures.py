"""Makes the networks in tests/fixtures/hard: one small network, exported in every way that makes it hard to measure.

pip install -r models/requirements.txt
python models/hard_fixtures.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent.parent / "tests" / "fixtures" / "hard"
FLOAT, DOUBLE, UINT8, INT8, INT32, BOOL = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.BOOL,
)
Dims = list[int | str | None]
IMAGE: Dims = ["n", 3, 32, 32]
LOGITS: Dims = ["n", 10]
Nodes = list[onnx.NodeProto]


def tensor(name: str, value: Any, kind: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, kind), name)


def drawn(name: str, *shape: int, spread: float = 0.2) -> np.ndarray:
    return np.random.default_rng(len(name)).normal(0, spread, shape).astype(np.float32)


KERNEL, MATRIX = drawn("kernel", 4, 3, 4, 4), drawn("matrix!", 64, 10)
WEIGHTS = [tensor("kernel", KERNEL), tensor("matrix", MATRIX)]


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def body(image: str = "x") -> Nodes:
    return [
        node("Conv", f"{image} kernel", "conv", strides=[4, 4]),
        node("Relu", "conv", "relu"),
        node("MaxPool", "relu", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "pool", "features"),
    ]


HEAD = node("MatMul", "features matrix", "logits")


def plain(image: str = "x") -> Nodes:
    return [*body(image), HEAD]


def save(
    name: str,
    nodes: Nodes,
    outputs: dict[str, Dims | None],
    constants: list[TensorProto] | None = None,
    *,
    dims: Dims | None = IMAGE,
    kind: int = FLOAT,
    output_kind: int = FLOAT,
    functions: list[onnx.FunctionProto] | None = None,
    domains: dict[str, int] | None = None,
    opset: int = 17,
    ir: int = 8,
    more_inputs: list[onnx.ValueInfoProto] | None = None,
) -> None:
    """A graph that takes `x`."""
    inputs = [helper.make_tensor_value_info("x", kind, dims), *(more_inputs or [])]
    values = [helper.make_tensor_value_info(key, output_kind, shape) for key, shape in outputs.items()]
    graph = helper.make_graph(nodes, name, inputs, values, [*WEIGHTS, *(constants or [])])
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(*each) for each in (domains or {}).items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=functions or [])
    onnx.save(model, FOLDER / f"{name}.onnx")


def ends() -> None:
    """A softmax wherever it hides, and other ends."""
    probs = {"probs": LOGITS}
    soft = node("Softmax", "logits", "soft", axis=-1)
    steps = [tensor("step", 1 / 255), tensor("zero", 0, np.uint8)]
    save("base", plain(), {"logits": LOGITS})
    half = [node("Cast", "soft", "half", to=TensorProto.FLOAT16), node("Cast", "half", "probs", to=FLOAT)]
    save("softmax_cast", [*plain(), soft, *half], probs)
    qdq = [node("QuantizeLinear", "soft step zero", "q"), node("DequantizeLinear", "q step zero", "probs")]
    save("softmax_qdq", [*plain(), soft, *qdq], probs, steps)
    save(
        "softmax_bytes",
        [*plain(), soft, node("QuantizeLinear", "soft step zero", "probs")],
        probs,
        steps,
        output_kind=UINT8,
    )
    shapes = [
        node("Transpose", "logits", "turned", perm=[1, 0]),
        node("Unsqueeze", "turned first", "wide"),
        node("Softmax", "wide", "soft", axis=1),
        node("Squeeze", "soft first", "flat"),
        node("Transpose", "flat", "back", perm=[1, 0]),
        node("Reshape", "back rows", "probs"),
    ]
    places = [tensor("first", [0], np.int64), tensor("rows", [-1, 10], np.int64)]
    save("softmax_shapes", [*plain(), *shapes], probs, places)
    save(
        "softmax_clip",
        [*plain(), soft, node("Clip", "soft low high", "probs")],
        probs,
        [tensor("low", 1e-6), tensor("high", 1)],
    )
    spelled = [
        node("ReduceMax", "logits", "most", axes=[1]),
        node("Sub", "logits most", "less"),
        node("Exp", "less", "e"),
        node("ReduceSum", "e one", "sum"),
        node("Div", "e sum", "probs"),
    ]
    save("softmax_spelled_out", [*plain(), *spelled], probs, [tensor("one", [1], np.int64)])
    save("softmax_double", [*plain(), soft, node("Cast", "soft", "probs", to=DOUBLE)], probs, output_kind=DOUBLE)
    save("softmax_twice", [*plain(), soft, node("Softmax", "soft", "probs", axis=-1)], probs)
    parts = [
        *(node("Exp", "logits", "e"), node("ReduceSum", "e one", "sum")),
        *(node("Reciprocal", "sum", "part"), node("Mul", "e part", "shares")),
        *(node("Max", "shares least", "floored"), node("Gather", "floored order", "probs", axis=1)),
    ]
    order = tensor("order", list(range(9, -1, -1)), np.int64)
    save("softmax_reciprocal", [*plain(), *parts], probs, [tensor("one", [1], np.int64), tensor("least", 1e-7), order])
    inner = [node("Softmax", "in", "share", axis=-1), node("Identity", "share", "out")]
    own = helper.make_function("own", "Finish", ["in"], ["out"], inner, [helper.make_opsetid("", 17)])
    again = [node("Dropout", "in", "kept"), node("Finish", "kept", "out", domain="own")]
    outer = helper.make_function(
        "own", "Head", ["in"], ["out"], again, [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )
    save(
        "softmax_function",
        [*plain(), node("Head", "logits", "probs", domain="own")],
        probs,
        functions=[own, outer],
        domains={"own": 1},
    )
    value = helper.make_tensor_value_info
    direct = helper.make_graph([node("Softmax", "logits", "a", axis=-1)], "then", [], [value("a", FLOAT, LOGITS)])
    longer = [node("Softmax", "logits", "b", axis=-1), node("Identity", "b", "c")]
    indirect = helper.make_graph(longer, "else", [], [value("c", FLOAT, LOGITS)])
    asked = [
        node("Shape", "x", "sizes"),
        node("ReduceMax", "sizes", "largest", keepdims=0),
        node("Greater", "largest none", "go"),
    ]
    none = tensor("none", 0, np.int64)
    branch = helper.make_node("If", ["go"], ["probs"], then_branch=direct, else_branch=indirect)
    save("softmax_if", [*plain(), *asked, branch], probs, [none])
    squeezed = helper.make_graph([node("Squeeze", "wide axis", "s")], "then", [], [value("s", FLOAT, LOGITS)])
    kept = helper.make_graph([node("Identity", "wide", "k")], "else", [], [value("k", FLOAT, None)])
    branch = helper.make_node("If", ["go"], ["probs"], then_branch=squeezed, else_branch=kept)
    widened = [*plain(), *asked, soft, node("Unsqueeze", "soft axis", "wide"), branch]
    save("softmax_if_squeeze", widened, probs, [none, tensor("axis", [2], np.int64)])
    as_is = helper.make_graph([node("Identity", "logits", "d")], "else", [], [value("d", FLOAT, LOGITS)])
    branch = helper.make_node("If", ["go"], ["probs"], then_branch=direct, else_branch=as_is)
    save("softmax_if_one", [*plain(), *asked, branch], probs, [none])
    in_both = helper.make_graph([node("Mul", "soft half", "s")], "then", [], [value("s", FLOAT, LOGITS)])
    as_it_is = helper.make_graph([node("Softmax", "logits", "k", axis=-1)], "else", [], [value("k", FLOAT, LOGITS)])
    branch = helper.make_node("If", ["go"], ["probs"], then_branch=in_both, else_branch=as_it_is)
    save("softmax_if_scaled", [*plain(), *asked, soft, branch], probs, [none, tensor("half", 0.5)])
    within = helper.make_node("If", ["go"], ["inner"], then_branch=direct, else_branch=indirect)
    nested = helper.make_graph([within, node("Identity", "inner", "n")], "nested", [], [value("n", FLOAT, LOGITS)])
    called = helper.make_graph([node("Head", "logits", "h", domain="own")], "called", [], [value("h", FLOAT, LOGITS)])
    branch = helper.make_node("If", ["go"], ["probs"], then_branch=nested, else_branch=called)
    save(
        "softmax_if_nested",
        [*plain(), *asked, branch],
        probs,
        [none],
        functions=[own, outer],
        domains={"own": 1},
    )
    swapped = [node("Split", "soft parts", "a b", axis=1), node("Concat", "b a", "probs", axis=1)]
    save("softmax_split", [*plain(), soft, *swapped], probs, [tensor("parts", [4, 6], np.int64)])
    powers = [
        *(node("Exp", "logits", "e"), node("ReduceSum", "e one", "sum")),
        *(node("Pow", "sum minus", "part"), node("Mul", "part e", "probs")),
    ]
    save("softmax_power", [*plain(), *powers], probs, [tensor("one", [1], np.int64), tensor("minus", -1)])
    sharpened = [
        *(node("Sqrt", "soft", "root"), node("ReduceSum", "root one", "sum")),
        *(node("Add", "sum least", "divisor"), node("Div", "root divisor", "probs")),
    ]
    save(
        "softmax_sharpened", [*plain(), soft, *sharpened], probs, [tensor("one", [1], np.int64), tensor("least", 1e-9)]
    )
    one = [tensor("axis", [1], np.int64), tensor("one", 1), tensor("least", 1e-4), tensor("most", 1 - 1e-4)]
    kept = [node("Clip", "soft least most", "p"), node("Sub", "one p", "q")]
    save("softmax_odds", [*plain(), soft, *kept, node("Div", "p q", "odds"), node("Log", "odds", "probs")], probs, one)
    logs = [node("Log", "p", "log_p"), node("Log", "q", "log_q"), node("Sub", "log_p log_q", "probs")]
    save("softmax_log_odds", [*plain(), soft, *kept, *logs], probs, one)
    largest = [node("ReduceMax", "soft", "largest", axes=[1]), node("Div", "soft largest", "probs")]
    save("softmax_of_largest", [*plain(), soft, *largest], probs)
    centred = [node("ReduceMean", "log", "mean", axes=[1]), node("Sub", "log mean", "probs")]
    save("softmax_centred", [*plain(), soft, node("Log", "soft", "log"), *centred], probs)
    rounded = [node("Mul", "soft hundred", "m"), node("Round", "m", "r"), node("Div", "r hundred", "probs")]
    save("softmax_rounded", [*plain(), soft, *rounded], probs, [tensor("hundred", 100)])
    shares = [node("ReduceMax", "logits", "most", axes=[1]), node("Sub", "logits most", "less")]
    save("softmax_unsummed", [*plain(), *shares, node("Exp", "less", "probs")], probs)
    floored = [node("Less", "soft least", "small"), node("Where", "small nothing soft", "probs")]
    save("softmax_where", [*plain(), soft, *floored], probs, [tensor("least", 1e-3), tensor("nothing", 0)])
    priors = tensor("priors", np.linspace(0.1, 3, 10))
    save("softmax_weighted", [*plain(), soft, node("Mul", "soft priors", "probs")], probs, [priors])
    masked = [node("Where", "kept logits endless", "m"), node("Softmax", "m", "probs", axis=-1)]
    kept = [tensor("kept", np.ones((1, 10)), bool), tensor("endless", -np.inf)]
    save("softmax_masked", [*plain(), *masked], probs, kept)
    capped = [node("Relu", "logits", "r"), node("QuantizeLinear", "r step zero", "scores")]
    save("relu_bytes", [*plain(), *capped], {"scores": LOGITS}, [tensor("step", 0.02), steps[1]], output_kind=UINT8)
    save("sigmoid", [*plain(), node("Sigmoid", "logits", "probs")], probs)
    halves = [
        *(node("Mul", "logits half", "halved"), node("Tanh", "halved", "t")),
        *(node("Mul", "t half", "u"), node("Add", "u half", "probs")),
    ]
    save("sigmoid_tanh", [*plain(), *halves], probs, [tensor("half", 0.5)])
    reciprocal = [
        *(node("Neg", "logits", "minus"), node("Exp", "minus", "e")),
        *(node("Add", "e one", "sum"), node("Reciprocal", "sum", "probs")),
    ]
    save("sigmoid_reciprocal", [*plain(), *reciprocal], probs, [tensor("one", 1)])
    save("relu_end", [*plain(), node("Relu", "logits", "scores")], {"scores": LOGITS})
    capped = [node("Clip", "logits low high", "cut"), node("Identity", "cut", "scores")]
    save("clip_end", [*plain(), *capped], {"scores": LOGITS}, [tensor("low", -0.5), tensor("high", 0.5)])
    mean = [
        soft,
        *(node("Neg", "logits", "other"), node("Softmax", "other", "soft2", axis=-1)),
        *(node("Add", "soft soft2", "both"), node("Mul", "both half", "probs")),
    ]
    save("ensemble", [*plain(), *mean], probs, [tensor("half", 0.5)])
    aux = [node("MatMul", "features matrix2", "aux"), HEAD]
    save(
        "aux_first", [*body(), *aux], {"aux": LOGITS, "logits": LOGITS}, [tensor("matrix2", drawn("auxiliary", 64, 10))]
    )


def training() -> None:
    """Exports that still train, draw, or look at the whole batch."""
    logits = {"logits": LOGITS}
    norms = [tensor(key, np.full(4, value)) for key, value in (("s", 1), ("b", 0.1), ("m", 0), ("v", 1))]

    def normed(image: str, made: str) -> onnx.NodeProto:
        return node("BatchNormalization", f"{image} s b m v", f"{made} mean_{made} var_{made}", training_mode=1)

    conv, *rest = body()
    after = node("Relu", "normed", "relu")
    save("bn_train", [conv, normed("conv", "normed"), after, *rest[1:], HEAD], logits, norms)
    old = node("BatchNormalization", "conv s b m v", "normed new_m new_v old_m old_v")
    save("bn_train_9", [conv, old, after, *rest[1:], HEAD], logits, norms, opset=9, ir=4)
    oldest = node("BatchNormalization", "conv s b m v", "normed")
    save("bn_train_6", [conv, oldest, after, *rest[1:], HEAD], logits, norms, opset=6, ir=4)
    side = [normed("conv", "side"), node("GlobalAveragePool", "side", "aux")]
    save("bn_train_aside", [*plain(), *side], {**logits, "aux": ["n", 4, 1, 1]}, norms)
    drop = [node("Dropout", "features ratio trains", "kept"), node("MatMul", "kept matrix", "logits")]
    save("dropout_train", [*body(), *drop], logits, [tensor("ratio", 0.5), tensor("trains", True, bool)])
    noise = [node("RandomNormalLike", "features", "noise"), node("Add", "features noise", "noisy")]
    save("random", [*body(), *noise, node("MatMul", "noisy matrix", "logits")], logits)
    unused = [node("RandomNormalLike", "logits", "noise"), node("Add", "logits noise", "sampled")]
    save("random_aside", [*plain(), *unused], {**logits, "sampled": ["n", 10, 1]})
    centred = [
        node("ReduceMean", "features", "mean", axes=[0]),
        node("Mul", "mean half", "part"),
        node("Sub", "features part", "centred"),
        node("MatMul", "centred matrix", "logits"),
    ]
    save("batch_mean", [*body(), *centred], logits, [tensor("half", 0.5)])
    for name, rows in (("baked_1", 1), ("baked_4", 4)):
        flat = [*body()[:3], node("Reshape", "pool sizes", "features"), HEAD]
        save(name, flat, logits, [tensor("sizes", [rows, 64], np.int64)])

    spread = [
        *(helper.make_node("Constant", [], ["sizes"], value_ints=[3, 10]), node("Expand", "in sizes", "zeros")),
        node("Add", "in zeros", "out"),
    ]
    function = helper.make_function("own", "Spread", ["in"], ["out"], spread, [helper.make_opsetid("", 17)])
    added = [*body(), node("MatMul", "features matrix", "raw"), node("Spread", "raw", "twice", domain="own")]
    half = [node("Mul", "twice half", "logits")]
    save("baked_function", [*added, *half], logits, [tensor("half", 0.5)], functions=[function], domains={"own": 1})
    beside = [*body(), node("MatMul", "features matrix", "raw"), node("Add", "raw zeros", "logits")]
    passed = node("Identity", "kept", "zeros")
    save("baked_identity", [*beside[:-1], passed, beside[-1]], logits, [tensor("kept", np.zeros((5, 10)))])
    row = [*(node("Unsqueeze", "rows axis", "row"), node("Concat", "row row_of", "sizes", axis=0)), *body()[:3]]
    joined = [*row, node("Reshape", "pool sizes", "features"), HEAD]
    numbers = {"rows": 3, "axis": [0], "row_of": [64]}
    save("baked_joined", joined, logits, [tensor(key, value, np.int64) for key, value in numbers.items()])
    chosen = [*body(), node("MatMul", "features matrix", "raw"), node("Gather", "raw rows", "logits", axis=0)]
    save("baked_gather", chosen, logits, [tensor("rows", range(4), np.int64)])
    save("baked_constant", beside, logits, [tensor("zeros", np.zeros((5, 10)))])


def inputs() -> None:
    """Bytes, flat images, sizes that nobody declares, further inputs."""
    logits = {"logits": LOGITS}
    unit = tensor("unit", 1 / 255)
    save(
        "uint8_input",
        [node("Cast", "x", "xf", to=FLOAT), node("Mul", "xf unit", "xn"), *plain("xn")],
        logits,
        [unit],
        kind=UINT8,
    )
    zero = tensor("zero", -128, np.int8)
    turned = [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("DequantizeLinear", "t unit zero", "xn")]
    save("int8_input", [*turned, *plain("xn")], logits, [unit, zero], kind=INT8, dims=["n", 32, 32, 3])
    computed = [
        node("Cast", "x", "wide", to=INT32),
        node("Add", "wide none", "sum"),
        node("Cast", "sum", "xf", to=FLOAT),
        node("Mul", "xf unit", "xn"),
    ]
    save("uint8_computed", [*computed, *plain("xn")], logits, [unit, tensor("none", 0, np.int32)], kind=UINT8)
    unsigned, ends = tensor("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64), [[1, 1], [33, 33], [2, 3]]
    cut = [tensor(key, value, np.int64) for key, value in zip(("start", "end", "axes"), ends, strict=True)]
    moved = [
        *(node("Split", "x", "r g b", axis=1), node("Concat", "r g b", "rgb", axis=1)),
        *(node("Pad", "rgb pads", "padded"), node("Slice", "padded start end axes", "cut")),
        *(node("CastLike", "cut unit", "xf"), node("Mul", "xf unit", "xn")),
    ]
    save("uint8_moved", [*moved, *plain("xn")], logits, [unit, unsigned, *cut], kind=UINT8)
    op17 = [helper.make_opsetid("", 17)]
    steps = [
        *(node("Transpose", "in", "first", perm=[0, 3, 1, 2]), node("Cast", "first", "f", to=FLOAT)),
        node("Mul", "f by", "out"),
    ]
    prepare = helper.make_function("own", "Prepare", ["in", "by"], ["out"], steps, op17)
    called = [node("Prepare", "x unit", "xn", domain="own"), *plain("xn")]
    anywhere: Dims = ["n", "a", "b", "c"]
    save("uint8_function", called, logits, [unit], kind=UINT8, dims=anywhere, functions=[prepare], domains={"own": 1})
    value = helper.make_tensor_value_info
    asked = [
        node("Shape", "x", "shape"),
        node("ReduceMax", "shape", "most", keepdims=0),
        node("Greater", "most nil", "go"),
    ]
    nil = tensor("nil", 0, np.int64)
    cast = helper.make_graph([node("Cast", "x", "a", to=FLOAT)], "then", [], [value("a", FLOAT, IMAGE)])
    wide = [node("Cast", "x", "w", to=INT32), node("Add", "w none", "s"), node("Cast", "s", "b", to=FLOAT)]
    widened = helper.make_graph(wide, "else", [], [value("b", FLOAT, IMAGE)], [tensor("none", 0, np.int32)])
    branch = helper.make_node("If", ["go"], ["xf"], then_branch=cast, else_branch=widened)
    save("uint8_if", [*asked, branch, node("Mul", "xf unit", "xn"), *plain("xn")], logits, [unit, nil], kind=UINT8)
    as_is = helper.make_graph([node("Identity", "x", "i")], "then", [], [value("i", UINT8, IMAGE)])
    there_and_back = [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("Transpose", "t", "u", perm=[0, 1, 3, 2])]
    turned_twice = helper.make_graph(there_and_back, "else", [], [value("u", UINT8, IMAGE)])
    branch = helper.make_node("If", ["go"], ["image"], then_branch=as_is, else_branch=turned_twice)
    passed = [*asked, branch, node("Cast", "image", "xf", to=FLOAT), node("Mul", "xf unit", "xn"), *plain("xn")]
    save("uint8_if_passed", passed, logits, [unit, nil], kind=UINT8)
    inner = helper.make_graph([node("Prepare", "x unit", "p", domain="own")], "then", [], [value("p", FLOAT, IMAGE)])
    scaled = [
        node("Transpose", "x", "v", perm=[0, 3, 1, 2]),
        node("Cast", "v", "f", to=FLOAT),
        node("Mul", "f unit", "q"),
    ]
    outer = helper.make_graph(scaled, "else", [], [value("q", FLOAT, IMAGE)])
    branch = helper.make_node("If", ["go"], ["xn"], then_branch=inner, else_branch=outer)
    called = [*asked, branch, *plain("xn")]
    more: dict[str, Any] = {"functions": [prepare], "domains": {"own": 1}}
    save("uint8_if_function", called, logits, [unit, nil], kind=UINT8, dims=["n", 32, 32, 3], **more)
    table = tensor("table", np.arange(256) / 255)
    looked_up = [node("Cast", "x", "places", to=INT32), node("Gather", "table places", "xn")]
    save("uint8_looked_up", [*looked_up, *plain("xn")], logits, [table], kind=UINT8)
    fold = [node("Reshape", "x sizes", "image"), *plain("image")]
    sizes = tensor("sizes", [-1, 3, 32, 32], np.int64)
    save("column", fold, logits, [sizes], dims=["n", 3072, 1])
    save(
        "no_batch",
        [node("Unsqueeze", "x first", "image"), *plain("image"), node("Squeeze", "logits first", "out")],
        {"out": [10]},
        [tensor("first", [0], np.int64)],
        dims=[3, 32, 32],
    )
    last = [node("Transpose", "x", "image", perm=[0, 3, 1, 2]), *plain("image")]
    save("symbolic_last", last, logits, dims=["n", "h", "w", "c"])
    save("undeclared", plain(), logits, dims=None)
    around = [tensor(key, value, np.int64) for key, value in (("start", [1, 1]), ("end", [33, 33]), ("axes", [1, 2]))]
    pads = tensor("pads", [0, 1, 1, 0, 0, 1, 1, 0], np.int64)
    padded = [
        *(node("Pad", "x pads", "padded"), node("Slice", "padded start end axes", "cut")),
        *(node("Transpose", "cut", "image", perm=[0, 3, 1, 2]), *plain("image")),
    ]
    save("padded_last", padded, logits, [pads, *around], dims=anywhere)
    ambiguous = [node("Flatten", "x", "flat"), node("Reshape", "flat sizes", "image"), *plain("image")]
    save("ambiguous", ambiguous, logits, [sizes], dims=["n", "a", "b", "c"])
    default = helper.make_tensor_value_info("scale", FLOAT, [])
    scaled = [node("Mul", "x scale", "image"), *plain("image")]
    save("default_input", scaled, logits, [tensor("scale", 1)], more_inputs=[default])


def special() -> None:
    """What engines do not know, 8 bits, weights elsewhere."""
    logits, out = {"logits": LOGITS}, {"y": LOGITS}
    save("custom_op", [*plain(), node("MyOp", "logits", "y", domain="acme")], out, domains={"acme": 1})
    save("custom_relu", [*plain(), node("Relu", "logits", "y", domain="acme")], out, domains={"acme": 1})
    quant = node("Quant", "logits unit none bits", "y", domain="onnx.brevitas")
    save("qonnx", [*plain(), quant], out, [tensor("unit", 1), tensor("none", 0), tensor("bits", 4)])
    blocked = node("Conv", "x kernel", "conv", domain="com.microsoft.nchwc", strides=[4, 4])
    save("for_one_machine", [blocked, *plain()[1:]], logits, domains={"com.microsoft.nchwc": 1})
    save("unknown_op", [*plain(), node("NoSuchOperator", "logits", "y")], out)
    save("tflite_op", [*plain(), node("TFL_READ_VARIABLE", "logits", "y")], out)
    save("too_new_ir", plain(), logits, ir=99)
    save("too_new_opset", plain(), logits, opset=99)
    cells = [tensor("cells", drawn("cells of it", 1, 40, 10)), tensor("back", drawn("back", 1, 40, 10))]
    recurs = [
        *(
            node("Unsqueeze", "raw first", "row"),
            helper.make_node("LSTM", ["row", "cells", "back"], ["", "h"], hidden_size=10),
        ),
        node("Squeeze", "h first", "logits"),
    ]
    raw = node("MatMul", "features matrix", "raw")
    save("recurrent", [*body(), raw, *recurs], logits, [*cells, tensor("first", [0], np.int64)])
    int8(np.abs(KERNEL).max() / 127, np.abs(MATRIX).max() / 127)
    outside = node("Constant", "", "matrix", value=tensor("held", MATRIX))
    data = outside.attribute[0].t
    raw = data.raw_data
    data.ClearField("raw_data")
    data.data_location = TensorProto.EXTERNAL
    for key, text in (("location", "outside.bin"), ("offset", "0"), ("length", str(len(raw)))):
        data.external_data.add(key=key, value=text)
    (FOLDER / "outside.bin").write_bytes(raw)
    WEIGHTS.pop()
    save("outside", [outside, *plain()], logits)


def int8(kernel: float, matrix: float) -> None:
    """Everything in 8 bits, as TFLite's converter writes it: weights of full range, bytes in and probabilities in bytes out."""
    constants = [
        tensor("k8", np.round(KERNEL / kernel), np.int8),
        tensor("m8", np.round(MATRIX / matrix), np.int8),
        *(tensor("ks", kernel), tensor("ms", matrix), tensor("zero", 0, np.int8), tensor("low", -128, np.int8)),
        *(tensor("pixel", 1 / 255), tensor("a", 0.02), tensor("l", 0.05), tensor("p", 1 / 256)),
    ]

    def rounded(name: str, scale: str, zero: str) -> Nodes:
        return [
            node("QuantizeLinear", f"{name} {scale} {zero}", f"{name}_q"),
            node("DequantizeLinear", f"{name}_q {scale} {zero}", f"{name}_d"),
        ]

    middle = [
        node("DequantizeLinear", "k8 ks zero", "kernel_d"),
        node("DequantizeLinear", "m8 ms zero", "matrix_d"),
        node("Conv", "x_d kernel_d", "conv", strides=[4, 4]),
        node("Relu", "conv", "relu"),
        *rounded("relu", "a", "low"),
        node("MaxPool", "relu_d", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        *rounded("pool", "a", "low"),
        node("Flatten", "pool_d", "features"),
        node("MatMul", "features matrix_d", "logits"),
        *rounded("logits", "l", "zero"),
        node("Softmax", "logits_d", "probs", axis=-1),
    ]
    # The weights of the plain network are not this one's.
    kept = WEIGHTS[:]
    WEIGHTS.clear()
    save(
        "int8_float_io",
        [*rounded("x", "pixel", "low"), *middle, *rounded("probs", "p", "low")],
        {"probs_d": LOGITS},
        constants,
    )
    first, end = node("DequantizeLinear", "x pixel low", "x_d"), node("QuantizeLinear", "probs p low", "probs_q")
    save("int8", [first, *middle, end], {"probs_q": LOGITS}, constants, kind=INT8, output_kind=INT8)
    # As a TFLite file whose weights alone are of 8 bits is converted: steps of the activations are those of each batch.
    dynamic = [
        *middle[:2],
        node("Conv", "x kernel_d", "conv", strides=[4, 4]),
        *body()[1:],
        node("DynamicQuantizeLinear", "features", "features_q features_s features_z"),
        node("DequantizeLinear", "features_q features_s features_z", "features_d"),
        node("MatMul", "features_d matrix_d", "logits"),
        node("Softmax", "logits", "probs", axis=-1),
    ]
    save("dynamic_range", dynamic, {"probs": LOGITS}, constants)
    WEIGHTS.extend(kept)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    ends()
    training()
    inputs()
    special()
