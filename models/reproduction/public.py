"""The figure of public networks, from models/public/networks.csv: their error against R_f and against 1 - EI."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import stored
from style import BLUE, GREEN, GREY, INK, ORANGE, fitted_line, grid, logarithmic

KINDS = {
    "standard": (BLUE, "o"),
    "adversarial": (ORANGE, "^"),
    "certified": (GREEN, "s"),
    "quantised": (INK, "X"),
}
DATA_SETS = {"cifar10": "CIFAR-10", "mnist": "MNIST"}


def error() -> Figure:
    """The known error against R_f, with the paper's law, and against 1 - EI, with a line through all networks of the data set."""
    networks = [row for row in stored.read(stored.HERE.parent / "public" / "networks.csv") if row["r_f"]]
    figure, panels = grid(2, 2, width=3.4, height=2.5, sharey="row")
    for (left, right), (data_set, title) in zip(panels, DATA_SETS.items(), strict=True):
        mine = [row for row in networks if row["data_set"] == data_set]
        for kind, (colour, marker) in KINDS.items():
            rows = [row for row in mine if row["kind"] == kind]
            errors = stored.column(rows, "error")
            look = {"color": colour, "marker": marker, "linestyle": "none"}
            left.plot(stored.column(rows, "r_f"), errors, label=kind, **look)
            right.plot(1 - stored.column(rows, "invariance_deformed"), errors, label=kind, **look)
        changes, errors = 1 - stored.column(mine, "invariance_deformed"), stored.column(mine, "error")
        fitted_line(right, changes, errors)
        if data_set == "cifar10":
            ends = np.array([0.07, 3.5])
            left.plot(ends, 0.2 * ends**0.5, color=GREY, linewidth=1, linestyle="--")
            left.annotate("0.2 R_f$^{0.5}$", (1.2, 0.2), va="top", color="#555555")
        for axes in (left, right):
            logarithmic(axes, "x")
            logarithmic(axes, "y", percent=True)
        left.set_ylabel(f"test error, {title}")
    panels[1][0].set_xlabel("R_f")
    panels[1][1].set_xlabel("1 - EI")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
