"""Writes small valid files of each format, and liars by hand, into FOLDER/<target>: the fuzzer begins with them.

Needs numpy, pillow and pyarrow.
"""

import gzip
import io
import json
import pickle
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image

ROOT = Path(__file__).parent.parent
FOLDER = Path(sys.argv[1])
IMAGES = (numpy.arange(3 * 3 * 4 * 5) % 251).astype(numpy.uint8).reshape(3, 3, 4, 5)


def put(target: str, name: str, data: bytes) -> None:
    folder = FOLDER / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def npy(array: numpy.ndarray) -> bytes:
    file = io.BytesIO()
    numpy.save(file, array)
    return file.getvalue()


def npy_header(text: str, version: int = 2) -> bytes:
    length = struct.pack("<I" if version > 1 else "<H", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode()


def idx(sizes: list[int], values: bytes) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + b"".join(struct.pack(">I", size) for size in sizes) + values


def encoded(kind: str, size: tuple[int, int] = (5, 4)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(numpy.resize(IMAGES, (size[1], size[0], 3))).save(file, kind)
    return file.getvalue()


def zipped(entries: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(entries: dict[str, bytes], layout: int = tarfile.USTAR_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=layout, bufsize=512) as archive:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    # Two empty blocks end an archive; more of them fill up a tape's record.
    data = file.getvalue().rstrip(b"\0")
    return data + bytes(-len(data) % 512 + 1024)


def table(**settings: object) -> bytes:
    kinds = ["PNG", "JPEG", "BMP"]
    images = [{"bytes": encoded(kind), "path": f"{kind}.x"} for kind in kinds]
    columns = pyarrow.table({"image": images, "label": pyarrow.array([0, 1, 2], pyarrow.int64())})
    file = io.BytesIO()
    pyarrow.parquet.write_table(columns, file, **settings)
    return file.getvalue()


def varint(number: int) -> bytes:
    number = number << 1 if number >= 0 else (-number << 1) - 1
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def thrift(fields: dict[int, object]) -> bytes:
    """A structure in the compact protocol, of numbers, texts, structures (dictionaries) and lists of those."""

    def kind(value: object) -> int:
        return {int: 5, bytes: 8, list: 9, dict: 12}[type(value)]

    def encoded(value: object) -> bytes:
        if isinstance(value, int):
            return varint(value)
        if isinstance(value, bytes):
            return bytes([len(value)]) + value
        if isinstance(value, list):
            assert len(value) < 15
            return bytes([len(value) << 4 | kind(value[0])]) + b"".join(map(encoded, value))
        return thrift(value)

    last, data = 0, b""
    for number, value in fields.items():
        data += bytes([(number - last) << 4 | kind(value)]) + encoded(value)
        last = number
    return data + b"\0"


def footed(body: bytes, footer: bytes) -> bytes:
    return b"PAR1" + body + footer + struct.pack("<I", len(footer)) + b"PAR1"


def parquet_liar(
    page: dict[int, object], rows: int = 1, codec: int = 1, chunk: int | None = None, children: int = 1
) -> bytes:
    """A table of one column of images, whose first page has this header and ten bytes."""
    # Of delta-encoded lengths, these are the header: 128 to a block, 4 mini-blocks, 2**35 - 1 values.
    body = thrift(page) + bytes.fromhex("8001 04 ffffffff7f 00 00")
    length = len(body) if chunk is None else chunk
    column = {1: 6, 2: [0], 3: [b"image"], 4: codec, 5: rows, 6: length, 7: length, 9: 4}
    group = {1: [{2: 4, 3: column}], 2: length, 3: rows}
    schema = [{4: b"root", 5: children}, {1: 6, 3: 0, 4: b"image"}]
    footer = thrift({1: 1, 2: schema, 3: rows, 4: [group]})
    return footed(body, footer)


def arrays() -> None:
    put("npy", "bytes", npy(IMAGES))
    put("npy", "floats", npy(IMAGES.astype("<f4")))
    put("npy", "doubles", npy(IMAGES.transpose(0, 2, 3, 1).astype("<f8")))
    put("npy", "gray", npy(IMAGES[:, 0]))
    put("npy", "record", npy_header("{'descr': [('a', '<f4', (2,))], 'fortran_order': False, 'shape': (1,)}\n"))
    put("npy", "huge_shape", npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 1, 4, 5)}\n"))
    put("npy", "overflow", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693952, 2)}\n"))
    put("npy", "long_header", b"\x93NUMPY\x02\x00\xff\xff\xff\xffx")
    put("npy", "nested", npy_header("(" * 9_000))
    labels = npy(numpy.array([0, 1, 2]))
    put("npz", "deflated", zipped({"images.npy": npy(IMAGES), "labels.npy": labels}, zipfile.ZIP_DEFLATED))
    put("npz", "stored", zipped({"x.npy": npy(IMAGES.astype("<f4"))}, zipfile.ZIP_STORED))
    bomb = npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (4194304, 1, 2, 2)}\n") + bytes(1 << 24)
    put("npz", "bomb", zipped({"images.npy": bomb}, zipfile.ZIP_DEFLATED))
    put("npz", "bomb_bzip2", zipped({"images.npy": bomb}, zipfile.ZIP_BZIP2))
    put("npz", "nested", zipped({"x.npy": npy_header("[" * 9_000)}, zipfile.ZIP_DEFLATED))
    put("idx", "plain", idx([3, 4, 5], IMAGES[:, 0].tobytes()))
    put("idx", "gzipped", gzip.compress(idx([3, 4, 5], IMAGES[:, 0].tobytes()), mtime=0))
    put("idx", "labels", idx([3], b"\0\1\2"))
    put("idx", "rank_0", idx([], b"\1"))
    put("idx", "huge", idx([2**32 - 1] * 2, b"123"))
    put("idx", "bomb", gzip.compress(idx([1 << 22, 2, 2], bytes(1 << 24)), mtime=0))


def cifar() -> None:
    image = numpy.resize(IMAGES, 3072).astype(numpy.uint8)
    batch = {b"data": image.reshape(1, 3072), b"labels": [3], b"filenames": [b"a.png"]}
    put("cifar", "binary", b"\0" + b"\7" + image.tobytes())
    put("cifar", "binary_100", b"\0" + b"\7\x55" + image.tobytes())
    for protocol in (2, 4):
        put("cifar", f"pickle_{protocol}", b"\1" + pickle.dumps(batch, protocol))
    depth = 15_000
    put("cifar", "nested", b"\1\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    shared = b"]q\0K\1a"
    for level in range(1, 40):
        shared += b"]q" + bytes([level]) + (b"h" + bytes([level - 1]) + b"a") * 2
    put("cifar", "shared", b"\1\x80\x02" + shared + b".")
    put("cifar", "long_bytes", b"\1\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".")


def encoded_images() -> None:
    for codec in ("snappy", "gzip", "zstd", "lz4", "brotli", "none"):
        put("parquet", codec, table(compression=codec))
    put("parquet", "plain_v2", table(use_dictionary=False, data_page_version="2.0", row_group_size=2))
    put("parquet", "indexed", table(write_page_index=True, write_statistics=True))
    huge = 2**31 - 1
    data = {1: 1, 2: 0, 3: 3, 4: 3}
    put("parquet", "liar_size", parquet_liar({1: 0, 2: huge, 3: 10, 5: data}))
    put("parquet", "liar_stored", parquet_liar({1: 0, 2: 10, 3: huge, 5: data}, chunk=huge))
    put("parquet", "liar_dictionary", parquet_liar({1: 2, 2: 10, 3: 10, 7: {1: huge, 2: 0}}, codec=0))
    put("parquet", "liar_delta", parquet_liar({1: 0, 2: 10, 3: 10, 5: {1: huge, 2: 6, 3: 3, 4: 3}}, codec=0))
    put("parquet", "liar_no_dictionary", parquet_liar({1: 0, 2: 10, 3: 10, 5: {1: 1, 2: 8, 3: 3, 4: 3}}, codec=0))
    put("parquet", "liar_rows", parquet_liar({1: 0, 2: 10, 3: 10, 5: data}, rows=huge))
    put("parquet", "liar_children", parquet_liar({}, children=huge))
    groups = b"\x35\0\x18\x01a\x15\x02\0" * 4_000
    put("parquet", "nested", footed(b"", b"\x15\x02\x19\xfc\xa0\x1f" + groups + b"\x16\0\x19\x0c\0"))
    samples = {"0.png": encoded("PNG"), "0.cls": b"1", "a/1.jpg": encoded("JPEG"), "a/1.cls": b"0"}
    put("webdataset", "ustar", tarred(samples))
    long = {"x" * 150 + ".bmp": encoded("BMP", (2, 2)), "y.webp": encoded("WEBP")}
    put("webdataset", "gnu", tarred(long, tarfile.GNU_FORMAT))
    put("webdataset", "pax", tarred(long, tarfile.PAX_FORMAT))


def texts() -> None:
    put("config", "bundled", (ROOT / "models/fashion-mnist-cnn/relstab.toml").read_bytes())
    law = "name='own'\na=0.2\nb=0.5\nclasses=10\ncutoff=3\ndelta=1.0\ninterpolation='bilinear'\nside=28\nsource='x'\n"
    put("config", "law", f"[law]\nestimator='coordinate_median'\n{law}[preprocess]\nresize='8x9'\ncrop=4\n".encode())
    put("config", "nested", b"law = " + b"[" * 6_000)
    put("config", "dotted", b"a." * 3_000 + b"b = 1")
    requests = [
        {"type": "subscribe", "runs": ["a", "b"], "since": 3},
        {"type": "annotate", "run": "a", "path": "b.onnx", "step": 7, "val_error": 0.5},
        {"type": "status"},
        {"type": "retry", "run": "é"},
    ]
    for number, request in enumerate(requests):
        put("request", f"request_{number}", json.dumps(request).encode())
    put("request", "nested", b'{"type":' + b"[" * 6_000)
    hugging = {"image_processor_type": "ViT", "do_resize": True, "size": {"height": 8, "width": 8}, "resample": 2}
    hugging |= {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_center_crop": True}
    put("preprocess", "hugging_face", json.dumps(hugging).encode())
    timm = {"input_size": [3, 8, 8], "crop_pct": 0.9, "interpolation": "bicubic", "mean": [0.1], "std": [1]}
    put("preprocess", "timm", json.dumps({"pretrained_cfg": timm}).encode())
    put("preprocess", "nested", b'{"a":' + b"[" * 6_000)


def plans_and_replies() -> None:
    bundled = (ROOT / "models/fashion-mnist-cnn/relstab.toml").read_bytes()
    timm = {"pretrained_cfg": {"input_size": [1, 8, 8], "crop_pct": 0.9, "mean": [0.1], "std": [1]}}
    own = b"probe='probe.npz'\npreprocess={preset='preset.json', std=[0.5]}\nrefit=false\n[[stop]]\nmonitor='d_f'\nbaseline=0.5\n"
    put("plan", "bundled", bundled)
    put("plan", "preset", own + b"\0" + json.dumps(timm).encode())
    put(
        "plan",
        "perturbed",
        b"probe='probe.npz'\n[perturbation]\ntemperature=1e-3\nprecision=0.1\nseed=9223372036854775807\n",
    )
    put("plan", "not_finite", b"probe='probe.npz'\n[[stop]]\nmin_delta=nan\n[perturbation]\ndelta=inf\n")
    rest = {"secs": 0, "nanos": 5}
    replies = {
        "taken": {"type": "taken"},
        "known": {"type": "known", "content": "c0", "settings": "s0"},
        "failed": {"type": "failed", "content": ["c0", "s0"], "reason": "no network\n", "is_finite": False},
        "unplanned": {"type": "unplanned", "reason": "x", "code": "Usage", "file": [102, 255]},
        "drawn": {"type": "drawn", "width": 2, "height": 3, "png": "iVBORw0KGgo="},
    }
    for name, reply in replies.items():
        put("reply", name, json.dumps({"reply": reply, "rest": rest}).encode())
    put("reply", "nested", b'{"reply":{"type":"measured","measurement":' + b"[" * 6_000)
    put("reply", "long_rest", b'{"reply":{"type":"changed"},"rest":{"secs":18446744073709551615,"nanos":999999999}}')


def parts() -> None:
    normalised = {"mean": [0.286], "std": [0.353]}
    law = {"name": "own", "a": 0.2, "b": 0.5, "classes": 10, "cutoff": 3, "delta": 1.0, "interpolation": "bilinear"}
    law |= {"estimator": "coordinate_median", "side": 28, "source": "x"}
    subject = {
        "backend": {"name": "tract", "version": "0.23.9", "provider": "cpu", "provider_requested": "auto"},
        "model": {"path": "a.onnx", "sha256": "00", "input": "x", "output": "y", "outputs": 10, "bytes": 9},
        "reading": {"outputs": 10, "are_classes": True, "has_answer": False, "is_independent": False},
        "metadata": {"step": 6000, "val_error": 0.08, "seed": "0"} | normalised,
        "settings": {"cutoff": 3, "delta": 1.0, "temperature": 0.0015, "interpolation": "bilinear", "draws": 1}
        | {"seed": 0, "noise": "squares", "estimator": "coordinate_median"},
        "probe": {"source": "a.npz", "images": 4, "shape": [1, 28, 28], "sha256": "00"} | normalised,
        "images": {"channels": [{"min": 0.0, "max": 1.0, "mean": 0.2}], "are_bytes": True, "in_steps": False}
        | {"scaling": None, "compared": 4, "copies": 0}
        | normalised,
        "notices": [],
    }
    text = {
        "schema": "relstab.part/2",
        "version": "0.1.0",
        "shard": "1/1",
        "batch": 1,
        "subject": subject,
        "law": {"law": law, "explicit": False, "force": True},
        "notes": [],
        "note": None,
        "has_labels": True,
        "beside": {
            "look": {"again": [1.5] * 40, "seen": {"Ok": {"count": 1, "images": 4, "file": "x"}}},
            "tried": {"name": "divided by 255", "wrong": [True, False, False, True]},
        },
        "timing": {"total_s": 0.1, "perturb_s": 0.01, "inference_s": 0.04, "findings_s": 0.03, "passes": 12}
        | {"perturbed_on_provider": 0, "batch": 1},
    }
    values = b"\0" + b"\1\0\0"
    put("part", "whole", json.dumps(text).encode() + values)
    huge = text | {"subject": subject | {"probe": subject["probe"] | {"images": 2**32 - 1}}}
    put("part", "huge", json.dumps(huge).encode() + values)
    put("part", "long_batch", json.dumps(huge | {"batch": 2**64 - 1}).encode() + values)
    put("part", "second", json.dumps(text | {"shard": "2/4", "beside": None}).encode() + values)
    put("part", "infinite", json.dumps(text).encode() + b"\0\xff\x7f")
    put("part", "nested", b'{"subject":' + b"[" * 6_000)


def networks() -> None:
    dims = bytes.fromhex("0a020801 0a020803 0a020804 0a020804".replace(" ", ""))

    def field(number: int, data: bytes) -> bytes:
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data

    def value(name: bytes) -> bytes:
        return field(1, name) + field(2, field(1, b"\x08\x01" + field(2, dims)))

    node = field(1, b"x") + field(2, b"y") + field(4, b"Softmax")
    weights = field(8, b"w") + field(13, field(1, b"location") + field(2, b"data"))
    graph = field(1, node) + field(5, weights) + field(11, value(b"x")) + field(12, value(b"y"))
    model = b"\x08\x08" + field(14, field(1, b"relstab.step") + field(2, b"12"))
    put("onnx", "small", model + b"\x3a" + bytes([len(graph) & 127 | 128, len(graph) >> 7]) + graph)
    put("onnx", "empty_nodes", b"\x08\x08\x3a\xd0\x0f" + b"\x0a\0" * 1000)
    put("onnx", "nested", b"\x08\x08" + b"".join(b"\x3a\xff\xff\xff\x07" for _ in range(3)))


if __name__ == "__main__":
    for part in (arrays, cifar, encoded_images, texts, plans_and_replies, parts, networks):
        part()
