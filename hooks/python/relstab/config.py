"""What a run is measured on and judged by: `relstab.toml` and the probe images in its directory."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from .export import opened_atomically, write_atomically

Rule = Mapping[str, str | float | bool]

_log = logging.getLogger("relstab")

_CONFIG = "relstab.toml"
_MARK = "# Written by relstab.Monitor; remove this line to keep your own."
#: Not a name that somebody would give to images of their own: what bears it is replaced.
_PROBE = "relstab-probe"


def images_of(example: object, probe: object) -> object:
    """The images to trace a network with: `example`, else those of `probe`."""
    return example if example is not None else (probe[0] if isinstance(probe, tuple) else probe)


def prepare(
    run_dir: str | os.PathLike[str],
    *,
    probe: object = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    law: str | None = None,
    stop: Rule | Sequence[Rule] = (),
) -> None:
    """Makes the run's directory and writes `relstab.toml` and the probe images there, as [`Monitor`] is told; a
    `relstab.toml` that somebody else wrote stays, and nothing is written beside it. What fails is a warning."""
    folder = Path(run_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rules = [stop] if isinstance(stop, Mapping) else list(stop)
        preprocess = {name: list(value) for name, value in (("mean", mean), ("std", std)) if value is not None}
        if probe is not None or preprocess or law is not None or rules:
            _write_config(folder, probe, preprocess, law, rules)
    except Exception as error:  # noqa: BLE001 - settings are whatever a training has
        _log.warning("%s cannot be prepared: %r", folder, error)


def _write_config(
    run_dir: Path, probe: object, preprocess: Mapping[str, list[float]], law: str | None, rules: Sequence[Rule]
) -> None:
    config = run_dir / _CONFIG
    if config.exists() and not config.read_bytes().startswith(_MARK.encode()):
        _log.warning("%s is kept as it is; the settings given here do not count", config)
        return
    lines = [] if law is None else [f"law = {_toml(law)}"]
    if preprocess:
        lines += ["[preprocess]", *(f"{name} = {_toml(value)}" for name, value in preprocess.items())]
    for rule in rules:
        lines += ["[[stop]]", *(f"{name} = {_toml(value)}" for name, value in rule.items())]
    # After everything else that may fail.
    if probe is not None:
        lines.insert(0, f"probe = {_toml(_save_probe(run_dir, probe))}")
    write_atomically(config, "\n".join([_MARK, *lines, ""]).encode())


def _toml(value: object) -> str:
    """A value as TOML has it; NumPy's numbers, and tensors of one, are numbers too."""
    return json.dumps(value, default=lambda number: number.item())


def _save_probe(run_dir: Path, probe: object) -> str:
    from .measure import save_probe

    if isinstance(probe, (str, os.PathLike)):
        source = Path(probe)
        labels = next((file for file in map(source.with_name, _labels_names(source.name)) if file.is_file()), None)
        if labels is None:
            name = _PROBE + "".join(source.suffixes)
        else:
            # A name that tells that of the labels, too.
            name = source.name if source.name.startswith(_PROBE) else f"{_PROBE}-{source.name}"
            _copy(labels, run_dir / _labels_names(name)[0])
        _copy(source, run_dir / name)
        return name
    images, labels = probe if isinstance(probe, tuple) else (probe, None)
    path = run_dir / f"{_PROBE}.npz"
    with opened_atomically(path) as file:
        save_probe(file, images, labels)
    return path.name


def _labels_names(name: str) -> list[str]:
    """Where the command looks for the labels of an IDX file, in its order: `t10k-labels-idx1-ubyte` for
    `t10k-images-idx3-ubyte`, zipped or not."""
    labels = name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    plain = labels.removesuffix(".gz")
    return [] if labels == name else [labels, f"{plain}.gz", plain]


def _copy(source: Path, path: Path) -> None:
    if not path.exists() or not path.samefile(source):
        with source.open("rb") as given, opened_atomically(path) as file:
            shutil.copyfileobj(given, file)
