"""Checkpoints in frameworks' own formats: a script that makes ONNX files of them for `relstab watch --export`, and what it does."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .exporter import TRIED
from .files import metadata_props, write_atomically

#: Packages that networks come from, in the order in which a network's classes are asked, and this package's module for each.
_FRAMEWORKS = {"keras": "keras", "transformers": "transformers", "torch": "torch", "flax": "jax"}
#: Where checkpoints keep the weights, of several places that they may be in.
_USUAL = ("state_dict", "model_state_dict", "model", "module", "params", "state")
#: What checkpoints call the steps taken.
_STEPS = ("global_step", "step", "iteration")

_SCRIPT = '''"""Makes an ONNX file of a checkpoint of {build}. Written by relstab.export_script.

python {name} CHECKPOINT ONNX
"""

import os
import sys

# The GPU is the training's.
os.environ.update({environment!r})
sys.path.insert(0, {root!r})

from relstab.native import main

main({build!r}, {shape!r})
'''


def export_script(
    build: str | Callable[[], Any],
    shape: Sequence[int],
    path: str | os.PathLike[str] = "relstab_export.py",
) -> str:
    """Writes a script that makes ONNX files of a training's own checkpoints, and gives the command for `relstab watch --export`.

    `build`: a function that returns the network, with any weights: itself, or its place, `"module:function"`. The script imports its
    module, so that must not train when it is imported. Of JAX a function returns a `flax.nnx.Module`, or a pair: weights, and
    `forward(weights, images)`. `shape`: that of one image, as the network takes it.
    """
    module, function, root = _place(build)
    environment = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    keras = sys.modules.get("keras")
    if backend := keras.backend.backend() if keras else os.environ.get("KERAS_BACKEND"):
        environment["KERAS_BACKEND"] = backend
    script = Path(path).absolute()
    text = _SCRIPT.format(
        build=f"{module}:{function}", name=script.name, environment=environment, root=str(root), shape=tuple(shape)
    )
    write_atomically(script, text.encode())
    return shlex.join([sys.executable, str(script)]) + " {checkpoint} {onnx}"


def _place(build: str | Callable[[], Any]) -> tuple[str, str, Path]:
    """Module and name of a function, and the folder that the module is imported from."""
    if isinstance(build, str):
        module, _, function = build.partition(":")
    else:
        module, function = build.__module__, build.__qualname__
    if not function.isidentifier():
        raise ValueError(f"build: expected a function at the top of a module, or 'module:function', found {build!r}")
    if module == "__main__":
        main = sys.modules[module]
        if main.__spec__ is None:
            if (file := getattr(main, "__file__", None)) is None:
                raise ValueError(
                    f"build: expected a function in a file, found {function} of this session: put it into a module"
                )
            return Path(file).stem, function, Path(file).absolute().parent
        module = main.__spec__.name
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"build: expected a module that can be imported, found {module!r}")
    origin = Path(spec.origin).absolute()
    return module, function, origin.parents[module.count(".") + (origin.stem == "__init__")]


def main(build: str, shape: Sequence[int], arguments: Sequence[str] | None = None) -> None:
    """Makes the ONNX file of a checkpoint; `arguments`: the checkpoint and the file, by default those of the program."""
    import numpy

    checkpoint, file = map(Path, sys.argv[1:] if arguments is None else arguments)
    module, _, function = build.partition(":")
    network = getattr(import_module(module), function)()
    images = numpy.random.default_rng(0).random((TRIED, *shape), numpy.float32)
    exporter, network, place = _framework_of(network).restored(network, checkpoint, images)
    file.write_bytes(exporter.snapshot(network)() + metadata_props(place))


def _framework_of(network: Any) -> Any:
    packages = [kind.__module__.partition(".")[0] for kind in type(network).__mro__]
    names = [name for package, name in _FRAMEWORKS.items() if package in packages]
    if not names and isinstance(network, tuple):
        names = ["jax"]
    if not names:
        raise TypeError(f"expected build() to return a network of {', '.join(_FRAMEWORKS)}, found {type(network)}")
    return import_module(f".{names[0]}", __package__)


def matched(wanted: Mapping[str, Sequence[int]], tree: object, checkpoint: Path) -> dict[str, Any]:
    """The weights of a network in what a checkpoint holds: nested mappings of arrays, their names perhaps joined by dots.

    `wanted`: the shapes of the network's weights by name. They are looked for in one place in the tree, and nothing else may be there:
    another place of the same names is an optimiser's, or an average. Raises `ValueError` where they are not there.
    """
    leaves = {_plain(path): leaf for path, leaf in _leaves(tree) if hasattr(leaf, "shape")}
    paths = {name: _plain(_parts(name)) for name in wanted}
    first = next(iter(paths.values()))
    places = {path[: len(path) - len(first)] for path in leaves if path[len(path) - len(first) :] == first}
    missing = {place: [name for name, path in paths.items() if place + path not in leaves] for place in places}
    whole = [place for place, names in missing.items() if not names]
    if not whole:
        nearest = min(missing.values(), key=len, default=list(paths))
        raise ValueError(f"{checkpoint}: expected weights {_some(nearest)}, found {_some(map('.'.join, leaves))}")

    def order(place: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
        usual = _USUAL.index(place[0]) if place and place[0] in _USUAL else len(_USUAL)
        return len(place), usual, place

    place = min(whole, key=order)
    known = {place + path for path in paths.values()}
    others = [path for path in leaves if path[: len(place)] == place and path not in known]
    if more := [".".join(path) for path in others if "float" in str(leaves[path].dtype)]:
        raise ValueError(
            f"{checkpoint}: expected the network that build() returns, found weights {_some(more)} besides"
        )
    found = {name: leaves[place + path] for name, path in paths.items()}
    for name, shape in wanted.items():
        if tuple(found[name].shape) != tuple(shape):
            raise ValueError(f"{checkpoint}: expected {name} of shape {tuple(shape)}, found {tuple(found[name].shape)}")
    return found


def _leaves(tree: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for name, branch in tree.items():
            yield from _leaves(branch, path + _parts(str(name)))
    elif isinstance(tree, (list, tuple)):
        for index, branch in enumerate(tree):
            yield from _leaves(branch, (*path, str(index)))
    else:
        yield path, tree


def _parts(name: str) -> tuple[str, ...]:
    """Without what `torch.compile` puts in between."""
    return tuple(part for part in name.split(".") if part != "_orig_mod")


def _plain(path: tuple[str, ...]) -> tuple[str, ...]:
    """Without what Flax's variables put behind their names."""
    return path[:-1] if path[-1:] == ("value",) else path


def _some(names: Iterable[str]) -> str:
    first, *rest = sorted(names) or ["none"]
    return first + (f" and {len(rest)} more" if rest else "")


def place_of(tree: object) -> dict[str, object]:
    """The step and the epoch that a checkpoint says it is of."""
    if not isinstance(tree, Mapping):
        return {}
    steps = [tree[name] for name in _STEPS if isinstance(tree.get(name), int)]
    place: dict[str, object] = {"step": steps[0]} if steps else {}
    if isinstance(epoch := tree.get("epoch"), (int, float)):
        place["epoch"] = epoch
    return place


def place_in(folder: Path) -> dict[str, object]:
    """As [`place_of`], of a folder that Transformers' trainer has written."""
    state = folder / "trainer_state.json"
    return place_of(json.loads(state.read_text())) if state.is_file() else {}


def file_in(folder: Path, names: Sequence[str]) -> Path:
    """The file of weights in a folder: the first of these names, else the only file with one of their endings."""
    endings = {Path(name).suffix for name in names}
    files = sorted(file for file in folder.iterdir() if file.suffix in endings)
    usual = [folder / name for name in names if (folder / name).is_file()]
    if not usual and len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise ValueError(f"{folder}: expected one file of weights, such as {names[0]}, found {found}")
    return (usual or files)[0]


def orbax_tree(folder: Path) -> dict[str, Any]:
    """What Orbax has written into a folder, as NumPy arrays: of each item by its name, or of the folder itself."""
    import jax
    import numpy
    import orbax.checkpoint

    folder = folder.absolute()

    def item(path: Path) -> Any:
        with orbax.checkpoint.PyTreeCheckpointer() as reader:
            kinds: Any = reader.metadata(path)
            kinds = getattr(kinds, "item_metadata", kinds)
            # Not placed on devices: those of the training may not be here.
            as_arrays = jax.tree.map(
                lambda _: orbax.checkpoint.RestoreArgs(restore_type=numpy.ndarray), getattr(kinds, "tree", kinds)
            )
            return reader.restore(path, restore_args=as_arrays)

    if (folder / "_METADATA").is_file():
        return {"": item(folder)}
    items = [path.parent for path in folder.glob("*/_METADATA") if not (path.parent / "_strings.json").exists()]
    if not items:
        raise ValueError(f"{folder}: expected a folder that Orbax has written, found no _METADATA in it")
    return {path.name: item(path) for path in items}
