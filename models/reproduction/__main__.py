"""The paper's claims held against the zoo's networks: docs/reproduction.md and its appendix, their tables and figures.

    pip install -r models/reproduction/requirements.txt
    python models/reproduction report             # every table and figure, from the stored results
    python models/reproduction report --check     # whether the pages' tables are those of the stored results
    python models/reproduction measure --relstab target/release/relstab --cifar10 FOLDER     # the results, in hours

`measure` makes each file in results/ that is not there, and trains the networks for it that `models/zoo --small --only 16000` and
`models/zoo --long` train.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "zoo"))

import claims
import depth
import page
import peers
import regime
import stopping
import stored

DOCS = HERE.parents[1] / "docs"
# Results of the long trainings; the others are of those of 16,000 images.
OF_LONG = {"unseen.csv", "stops.json"}
PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "reproduction.md": regime.FRAGMENTS,
    "reproduction-small.md": {**claims.FRAGMENTS, **depth.FRAGMENTS, **peers.FRAGMENTS, **stopping.FRAGMENTS},
}


def report(is_check: bool) -> None:
    """The pages with their tables, and the figures; or says which page is out of date."""
    for name, tables in PAGES.items():
        path = DOCS / name
        old = path.read_text()
        new = page.filled(old, {table: make() for table, make in tables.items()})
        if is_check and new != old:
            raise SystemExit(f"{path} is out of date: python models/reproduction report")
        if new != old:
            path.write_text(new)
    if is_check:
        return
    import figures
    import regime_figures
    import style

    for name, draw in {**figures.FIGURES, **regime_figures.FIGURES}.items():
        style.save(draw(), DOCS / "figures" / f"{name}.svg")


def measure(arguments: argparse.Namespace) -> None:
    """Trains and measures what is missing."""
    import initial
    import inside
    import rules
    import tool

    setup = tool.Setup(arguments.relstab, arguments.networks, arguments.cifar10, arguments.fashion_mnist)
    makers: dict[str, Callable[[Path], None]] = {
        "networks.csv": lambda path: tool.write(path, tool.networks(setup)),
        "unseen.csv": lambda path: tool.write(path, tool.unseen(setup)),
        "layers.csv": lambda path: tool.write(path, inside.layers(setup)),
        "phase.csv": lambda path: tool.write(path, inside.phase(setup)),
        "initial.csv": lambda path: tool.write(path, initial.measured(setup)),
        "stops.json": lambda path: rules.write(
            path,
            rules.judge_all(rules.Rules(setup.relstab, setup.networks, setup.networks / "rules", dict(os.environ))),
        ),
    }
    missing = [name for name in makers if not (stored.RESULTS / name).exists()]
    if not arguments.trained:
        train(arguments, of_long=not OF_LONG.isdisjoint(missing), of_small=not OF_LONG.issuperset(missing))
    for name in missing:
        makers[name](stored.RESULTS / name)


def train(arguments: argparse.Namespace, of_long: bool, of_small: bool) -> None:
    """Trains the networks that the missing results are of."""
    places = ["--out", arguments.networks, "--cifar10", arguments.cifar10, "--relstab", arguments.relstab]
    places += ["--fashion-mnist", arguments.fashion_mnist]
    flags = [["--small", "--only", "16000", "--results", arguments.networks / "again.csv"]] if of_small else []
    if of_long:
        table = stored.ZOO / "long.csv"
        if table.exists() and not any((arguments.networks / "long").glob("*/*.onnx")):
            raise SystemExit(f"{table}: its networks are gone; remove it, so that they are trained and measured anew")
        flags.append(["--long"])
    for these in flags:
        done = subprocess.run([sys.executable, HERE.parent / "zoo", *these, *places], check=False)
        if done.returncode:
            raise SystemExit(done.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    reporting = commands.add_parser("report", help="tables and figures from the stored results")
    reporting.add_argument("--check", action="store_true", help="write nothing; fail if a table is out of date")
    measuring = commands.add_parser("measure", help="the results that are not there")
    measuring.add_argument("--relstab", default="relstab", help="the command")
    measuring.add_argument("--networks", type=Path, default=HERE.parent / "build" / "zoo", help="folder for networks")
    measuring.add_argument("--cifar10", type=Path, default=Path("cifar10"), help="folder of its Parquet or batch files")
    measuring.add_argument(
        "--fashion-mnist", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of its IDX files"
    )
    measuring.add_argument("--trained", action="store_true", help="the networks are there: train none")
    arguments = parser.parse_args()
    if arguments.command == "report":
        report(arguments.check)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
