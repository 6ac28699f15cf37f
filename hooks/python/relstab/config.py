"""What a run is measured on and judged by: `relstab.toml` and the probe images in its directory."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._command import Numbers, RelstabError, flat, run
from .files import write_atomically
from .images import pair, put_probe, saved

Rule = Mapping[str, str | float | bool]

_log = logging.getLogger("relstab")

_CONFIG = "relstab.toml"
_MARK = "# Written by relstab.Monitor; remove this line to keep your own."
#: Settings of a rule that mean something for one quantity only: the daemon wants that to be named.
_OF_MONITOR = {"mode", "baseline", "divergence_threshold", "confidence"}
#: Exit codes of the command for a setting, a probe set and a law that it refuses, and for a file that it cannot read.
_REFUSED = (2, 3, 9, 10)


def prepare(
    run_dir: str | os.PathLike[str],
    *,
    probe: object = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    law: str | None = None,
    stop: Rule | Sequence[Rule] = (),
    tells_error: bool | None = False,
) -> None:
    """Makes the run's directory and writes `relstab.toml` and the probe images there, as [`Monitor`] is told; a
    `relstab.toml` that somebody else wrote stays, and nothing is written beside it.

    A rule that names no monitor goes by the error that the training tells (`tells_error`), else by that on labelled probe
    images, else by the predicted one. Where it is not known beforehand what will be told (`None`), the daemon chooses so.

    Raises `ValueError` or `TypeError` for settings that are wrong, before anything is written. A directory that cannot be
    written is a warning.
    """
    lines = [] if law is None else [_line("law", law)]
    preprocess = [_line(name, flat(value)) for name, value in (("mean", mean), ("std", std)) if value is not None]
    lines += ["[preprocess]", *preprocess] if preprocess else []
    monitor = "val_error" if tells_error else "probe_error" if pair(probe)[1] is not None else "predicted_error"
    goes_by = set()
    for rule in [stop] if isinstance(stop, Mapping) else stop if isinstance(stop, (list, tuple)) else [None]:
        if not isinstance(rule, Mapping):
            raise TypeError(
                f'stop: expected a rule such as {{"monitor": "val_error", "patience": 5}}, or several, found {stop!r}'
            )
        is_left = tells_error is None and not _OF_MONITOR & rule.keys()
        if "monitor" not in rule:
            goes_by.add("the best that is known" if is_left else monitor)
        rule = dict(rule) if is_left else {"monitor": monitor, **rule}
        lines += ["[[stop]]", *(_line(name, value) for name, value in rule.items())]
    folder = Path(run_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if lines or probe is not None:
            _write_config(folder, lines, probe)
        for evidence in sorted(goes_by):
            _log.info("%s: the rule that names no monitor goes by %s", folder, evidence)
    except OSError as error:
        _log.warning("%s cannot be prepared: %s", folder, error)


def rehearse(run_dir: str | os.PathLike[str], arguments: Sequence[str]) -> None:
    """Raises `ValueError` for settings and flags of a run that its daemon would refuse."""
    try:
        run(["watch", os.fspath(run_dir), "--dry-run", *arguments])
    except RelstabError as error:
        if error.code in _REFUSED:
            raise ValueError(str(error)) from error


def _write_config(run_dir: Path, lines: Sequence[str], probe: object) -> None:
    config = run_dir / _CONFIG
    if config.exists() and not config.read_bytes().startswith(_MARK.encode()):
        _log.warning("%s is kept as it is; the settings given here do not count", config)
        return

    def text(named: str | Path) -> str:
        return "\n".join([_MARK, *([] if probe is None else [_line("probe", str(named))]), *lines, ""])

    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        draft, images = Path(folder) / _CONFIG, Path(folder)
        if probe is not None:
            images = saved(*pair(probe), images).absolute()
        draft.write_text(text(images))
        try:
            rehearse(run_dir, [f"--config={draft}"])
        except ValueError as error:
            raise ValueError(str(error).replace(f"{folder}/", "")) from None
        write_atomically(config, text(put_probe(run_dir, images) if probe is not None else "").encode())


def _line(name: str, value: object) -> str:
    """A setting as TOML has it; NumPy's numbers, and tensors of one, are numbers too."""

    def number(value: Any) -> object:
        if not hasattr(value, "item"):
            raise TypeError(f"{name}: expected numbers or words as settings, found {value!r}")
        return value.item()

    # TOML has nothing like None.
    if value is None:
        number(value)
    try:
        return f"{name} = {json.dumps(value, default=number, allow_nan=False)}"
    except ValueError:
        raise ValueError(f"{name}: expected finite numbers, found {value!r}") from None
