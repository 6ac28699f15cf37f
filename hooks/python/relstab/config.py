"""What a run is measured on and judged by: `relstab.toml` and the probe images in its directory."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .files import write_atomically
from .images import put_probe

Rule = Mapping[str, str | float | bool]

_log = logging.getLogger("relstab")

_CONFIG = "relstab.toml"
_MARK = "# Written by relstab.Monitor; remove this line to keep your own."


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
        lines.insert(0, f"probe = {_toml(put_probe(run_dir, probe))}")
    write_atomically(config, "\n".join([_MARK, *lines, ""]).encode())


def _toml(value: object) -> str:
    """A value as TOML has it; NumPy's numbers, and tensors of one, are numbers too."""
    return json.dumps(value, default=lambda number: number.item())
