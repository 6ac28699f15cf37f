"""Tries the law over data sets on parts of a data set left out (groups.py), and what such parts as groups of that law give.

    python models/public/grouped.py

What it gave is in docs/laws.md. The classes and sides of the law that ships are those on which its intervals held here.
"""

from __future__ import annotations

import numpy as np
from hierarchy import DEGREES, hierarchical
from points import HERE, Points, Row, is_half, quantile, read, whole

import fit
from fit import COLUMNS, Tried, without

KINDS = {
    "2 classes": lambda row: row["classes"] == "2",
    "4 to 6 classes": lambda row: row["classes"] != "2" and not is_half(row),
    "half the side": is_half,
}


def tried_on_parts(rows: list[Row], parts: list[Row]) -> None:
    """The law, fitted without a data set and its parts, on these parts."""
    tried: dict[str, list[Tried]] = {told: [] for told in KINDS}
    lines = []
    for name in sorted({whole(row) for row in parts}):
        line = hierarchical(without(name, Points(rows + parts)))
        for told, is_kind in KINDS.items():
            mine = Points([row for row in parts if whole(row) == name and is_kind(row)])
            found = Tried.of(line, mine)
            # The count of errors in a part is uncertain, too.
            counted = quantile(DEGREES) * np.sqrt(mine.counted)
            tried[told].append(Tried(found.off, np.hypot(found.half_width, counted)))
            lines.append(f"{told} | {name} | {tried[told][-1]}")
    lines += [f"{told} | all of them | {Tried.all(found)}" for told, found in tried.items()]
    fit.table("The law over data sets, on parts of one left out", f"parts | data set | {COLUMNS}", sorted(lines))


def tried_with_parts(rows: list[Row], parts: list[Row]) -> None:
    """The law on whole data sets left out, with and without parts of the others as groups."""
    lines = []
    for told, more in (("none", []), ("some classes", [row for row in parts if not is_half(row)]), ("all", parts)):
        tried = []
        for name in sorted({whole(row) for row in rows}):
            line = hierarchical(without(name, Points(rows + more)))
            mine = Points([row for row in rows if whole(row) == name])
            tried.append(Tried.of(line, mine))
            lines.append(f"{told} | {name} | {tried[-1]}")
            if len(mine) >= fit.FEWEST:
                for kind, (rest, _) in fit.calibrated(line, mine).items():
                    lines.append(f"{told} | {name}, {fit.KNOWN} known at random, those {kind} | {rest}")
        lines.append(f"{told} | all of them | {Tried.all(tried)}")
    fit.table("The law over data sets with parts of them as groups", f"groups | data set | {COLUMNS}", lines)


def main() -> None:
    rows, parts = read(HERE / "networks.csv"), read(HERE / "groups.csv")
    tried_on_parts(rows, parts)
    tried_with_parts(rows, parts)


if __name__ == "__main__":
    main()
