"""The compiled command: where it is, and how options become its flags."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

Numbers = float | Sequence[float]
Option = Union[str, int, float, bool, "os.PathLike[str]", Sequence[float], Sequence[str], None]


class RelstabError(RuntimeError):
    """What the command complained of; `code` is its exit code, listed by `relstab --help`."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[RelstabError], tuple[str, int]]:
        return type(self), (str(self), self.code)


# Once, while this is imported: two threads that ask `sysconfig` first find it half made.
_NAME = "relstab" + (sysconfig.get_config_var("EXE") or "")
_FOLDERS = [
    sysconfig.get_path("scripts"),
    sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")),
    # pip install --target
    str(Path(__file__).parent.parent / "bin"),
]


def find() -> str:
    """The command that this package was installed with, else the one on the search path."""
    for folder in _FOLDERS:
        path = Path(folder) / _NAME
        if path.is_file():
            return str(path)
    on_path = shutil.which(_NAME)
    if on_path is None:
        raise RelstabError(f"the relstab command is not in {', '.join(_FOLDERS)}, nor on the search path", 6)
    return on_path


def environment() -> dict[str, str]:
    """The environment for the command: ONNX Runtime is looked for beside the running Python."""
    return {**os.environ, "VIRTUAL_ENV": sys.prefix}


def is_first_rank() -> bool:
    """Whether this process is the only one of a training, or the first, as torchrun, Lightning and SLURM tell it."""
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    ranks = ["LOCAL_RANK", "NODE_RANK"]
    if _is_one_training_of_slurm():
        ranks.append("SLURM_PROCID")
    return all(os.environ.get(rank, "0") == "0" for rank in ranks)


def _is_one_training_of_slurm() -> bool:
    """Whether the tasks of `srun` train one network: then they have a place to meet, or Lightning, which makes one of the tasks
    that it finds, but for jobs of these names. Other tasks are trainings of their own, such as one for each seed."""
    if os.environ.get("SLURM_NTASKS", "1") == "1":
        return False
    is_lightning = "lightning" in sys.modules and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    return is_lightning or "MASTER_ADDR" in os.environ


def flat(values: Any) -> list[Any]:
    """One number, or all of an array, a tensor or a sequence, as Python has them."""
    values = values.tolist() if hasattr(values, "tolist") else values
    return [number for value in values for number in flat(value)] if isinstance(values, (list, tuple)) else [values]


def flags(options: Mapping[str, Option]) -> list[str]:
    """`force_law=True, mean=[0.5, 0.5], stop=["patience=2"]` as `--force-law --mean=0.5,0.5 --stop=patience=2`; words are given
    one after the other, `None` and `False` are left out."""
    arguments = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            arguments.append(flag)
        elif isinstance(value, (str, int, float, os.PathLike)):
            arguments.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
        elif isinstance(value, (list, tuple)) and value and all(isinstance(word, (str, os.PathLike)) for word in value):
            arguments += [f"{flag}={os.fspath(word)}" for word in value]
        else:
            arguments.append(f"{flag}={','.join(str(float(number)) for number in flat(value))}")
    return arguments


def run(arguments: Sequence[str], *, accept: Sequence[int] = (0,)) -> str:
    """What the command prints; its complaint as a `RelstabError` for exit codes other than those accepted."""
    done = subprocess.run(
        [find(), *arguments], env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode not in accept:
        complaint = done.stderr.strip().removeprefix("error: ") or f"relstab ended with code {done.returncode}"
        raise RelstabError(complaint, done.returncode)
    return done.stdout
