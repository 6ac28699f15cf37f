"""What layers and the phase space of cutoff and delta tell: tables from results/layers.csv and results/phase.csv."""

from __future__ import annotations

import numpy as np

import stored
from correlate import rank, spearman
from page import Lines, table
from stored import DATA_SETS, Row, column, grouped

READINGS = {"mean": "mean", "median": "median", "coordinate_median": "coordinate median"}


Network = dict[bool, list[Row]]


def of_networks(data_set: str) -> dict[str, Network]:
    """Layers of each architecture of the small zoo in order of depth, before training and after."""
    rows = [row for row in stored.read(stored.RESULTS / "layers.csv") if row["data_set"] == data_set]
    return before_and_after(grouped(rows, lambda row: row["architecture"]))


def before_and_after(networks: dict[str, list[Row]]) -> dict[str, Network]:
    return {
        name: {trained: [row for row in mine if (row["step"] != "0") == trained] for trained in (False, True)}
        for name, mine in networks.items()
    }


def trends(title: str, networks: dict[str, Network]) -> Lines:
    """A line for each reading: whether R_f falls with depth, before training and after."""
    for reading, name in READINGS.items():
        key = f"r_f_{reading}"
        cells: list[object] = [title, name, len(networks)]
        for is_trained in (False, True):
            inside, ratios = [], []
            for network in networks.values():
                r_f = column([row for row in network[is_trained] if row[key]], key)
                inside.append(float(spearman(np.arange(len(r_f)), r_f)))
                ratios.append(r_f[-1] / r_f[0])
            falling = sum(trend < 0 for trend in inside)
            cells += [f"{np.median(inside):.1f}", f"{falling} of {len(inside)}", f"{np.median(ratios):.2f}"]
        yield cells


TRENDS = " | ".join(f"{when}: median trend | falls | last / first" for when in ("before", "after"))


@table(f"data set | reading | n | {TRENDS}")
def layers() -> Lines:
    for data_set, title in DATA_SETS.items():
        yield from trends(title, of_networks(data_set))


@table("data set | c | delta | natural range | fields that fold | n | R_f | rank correlation with c = 3, delta = 1")
def phase() -> Lines:
    """R_f of final networks over cutoffs and deltas, and whether their order is that at cutoff 3 and delta 1."""
    rows = stored.read(stored.RESULTS / "phase.csv")
    for data_set, title in DATA_SETS.items():
        mine = [row for row in rows if row["data_set"] == data_set]
        reference = column([row for row in mine if (row["cutoff"], float(row["delta"])) == ("3", 1.0)], "r_f")
        for place, at in grouped(mine, lambda row: f"{row['cutoff']} {float(row['delta']):g}").items():
            cutoff, delta = place.split()
            r_f = column(at, "r_f")
            folded = np.median(column(at, "folded_share"))
            span = f"{np.median(r_f):.2f} ({r_f.min():.2f} to {r_f.max():.2f})"
            same = 1 if place == "3 1" else rank(reference, r_f, stored.families(at))
            inside = "within" if at[0]["natural"] == "1" else "outside"
            yield [title, cutoff, delta, inside, f"{folded:.0%}", len(at), span, same]


FRAGMENTS = {"layers": layers, "phase": phase}
