"""One way through the package: each module imports only those before it, and nothing from a circle."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python/relstab"
#: Modules of one line import nothing of each other. A framework's module is imported only by those of what is built on that
#: framework, and by the package's front door, which gives each kind of network its exporter.
ORDER = """files records _command loggers
images client relay
config measure trials
daemon exporter listener
monitor native gather
callback
torch jax
lightning transformers keras optuna tune
__init__
__main__"""
PLACES = {name: place for place, line in enumerate(ORDER.split("\n")) for name in line.split()}


def imported(file: Path, modules: set[str]) -> Iterator[str]:
    """Modules of the package that a file names in whatever import: at its top, within functions, for types only."""
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ["relstab" if node.level else "", node.module]))
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            name = ast.unparse(node.args[0]).strip("'")
            names = [f"relstab{name}" if name.startswith(".") else name]
        for parts in (name.split(".") for name in names):
            if parts[0] == "relstab":
                yield parts[1] if parts[1:] and parts[1] in modules else "__init__"


def faults(package: Path) -> set[str]:
    files = {file.stem: file for file in package.glob("*.py")}
    uphill = {
        f"{name} imports {other}"
        for name, file in files.items()
        for other in imported(file, set(files))
        if PLACES.get(other, -1) >= PLACES.get(name, 0)
    }
    return uphill | {f"{name} has no place in the order" for name in files.keys() - PLACES.keys()}


def test_each_module_imports_only_those_before_it() -> None:
    assert not faults(PACKAGE)


@pytest.mark.parametrize(
    "line",
    [
        "from .monitor import Monitor",
        "from . import files, monitor",
        "import relstab.monitor",
        "def late(): from relstab import monitor",
        "if TYPE_CHECKING: from .monitor import Monitor",
        "importlib.import_module('relstab.monitor')",
        "import_module('.monitor', 'relstab')",
    ],
)
def test_a_circle_is_found_however_it_is_written(line: str, tmp_path: Path) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / "relstab"))
    with (package / "config.py").open("a") as file:
        file.write(f"{line}\n")
    assert faults(package) == {"config imports monitor"}
    (package / "monitor.py").rename(package / "another.py")
    assert "another has no place in the order" in faults(package)
