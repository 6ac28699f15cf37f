"""What a run is measured on and judged by: `relstab.toml` and the probe images in its directory."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from .export import write_atomically

Rule = Mapping[str, str | float | bool]

_log = logging.getLogger("relstab")

_CONFIG = "relstab.toml"
_MARK = "# Written by relstab.Monitor; remove this line to keep your own."


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
    `relstab.toml` that somebody else wrote stays. What fails is a warning."""
    folder = Path(run_dir)
    rules = [stop] if isinstance(stop, Mapping) else list(stop)
    preprocess = {name: list(value) for name, value in (("mean", mean), ("std", std)) if value is not None}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if probe is not None or preprocess or law is not None or rules:
            _write_config(folder, probe, preprocess, law, rules)
    except OSError as error:
        _log.warning("%s cannot be prepared: %s", folder, error)


def _write_config(
    run_dir: Path, probe: object, preprocess: Mapping[str, list[float]], law: str | None, rules: Sequence[Rule]
) -> None:
    lines = [_MARK]
    if probe is not None:
        lines.append(f"probe = {json.dumps(_save_probe(run_dir, probe))}")
    if law is not None:
        lines.append(f"law = {json.dumps(law)}")
    if preprocess:
        lines += ["[preprocess]", *(f"{name} = {json.dumps(value)}" for name, value in preprocess.items())]
    for rule in rules:
        lines += ["[[stop]]", *(f"{name} = {json.dumps(value)}" for name, value in rule.items())]
    config = run_dir / _CONFIG
    if config.exists() and not config.read_text().startswith(_MARK):
        _log.warning("%s is kept as it is; the settings given here do not count", config)
        return
    write_atomically(config, "\n".join(lines).encode() + b"\n")


def _save_probe(run_dir: Path, probe: object) -> str:
    from .measure import save_probe

    if isinstance(probe, (str, os.PathLike)):
        source = Path(probe)
        name = "probe" + "".join(source.suffixes)
        if not (run_dir / name).exists() or not os.path.samefile(source, run_dir / name):
            shutil.copyfile(source, run_dir / f".{name}.tmp")
            os.replace(run_dir / f".{name}.tmp", run_dir / name)
        return name
    images, labels = probe if isinstance(probe, tuple) else (probe, None)
    save_probe(run_dir / ".probe.tmp", images, labels)
    os.replace(run_dir / ".probe.tmp", run_dir / "probe.npz")
    return "probe.npz"
