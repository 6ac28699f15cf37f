"""The figures of the paper's claims on networks in the paper's regime, from models/zoo/paper.csv."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import regime
from figures import over_layers
from stored import LAWS, column
from style import GREY, fitted_line, grid, legend, logarithmic, look

# Where the untrained network stands on an axis of epochs, so that it can be seen.
UNTRAINED = 0.25


def training() -> Figure:
    """The error, R_f and 1 - EI over each training with augmentation, on JPEG images at c = 3."""
    figure, panels = grid(1, 3, width=2.8, height=2.8, sharex=True)
    runs = regime.trainings(regime.rows())
    for axes, what in zip(panels[0], ("error", "R_f", "1 - EI"), strict=True):
        for run in runs:
            values = column(run, "error") if what == "error" else regime.SCORES[what](run)
            axes.plot(np.maximum(column(run, "epoch"), UNTRAINED), values, markersize=3, linewidth=0.9, **look(run[0]))
        logarithmic(axes, "y", percent=what == "error")
        axes.set_xscale("log")
        axes.set_xticks([UNTRAINED, 1, 3, 10, 30], ["init", "1", "3", "10", "30"], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("epoch")
        axes.set_title("test error" if what == "error" else what)
    panels[0][1].axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    legend(figure, panels[0][0], 4)
    return figure


def error() -> Figure:
    """The least error of each training against R_f, with the paper's law, and against 1 - EI."""
    figure, panels = grid(2, 2, width=3.4, height=2.4, sharey=True, sharex="col")
    for line, (probe, title) in zip(panels, regime.PROBES.items(), strict=True):
        networks = regime.finals(regime.rows(probe))
        for axes, what in zip(line, ("R_f", "1 - EI"), strict=True):
            values, errors = regime.SCORES[what](networks), column(networks, "error")
            for network, value in zip(networks, values, strict=True):
                axes.plot(value, float(network["error"]), linestyle="none", **look(network))
            fitted_line(axes, values, errors)
            axes.set_title(f"{title}, n = {len(networks)}")
        a, b = LAWS["cifar10"]
        ends = np.array([0.2, 7])
        line[0].plot(ends, a * ends**b, color=GREY, linewidth=1, linestyle="--")
        for axes in line:
            logarithmic(axes, "x")
            logarithmic(axes, "y", percent=True)
        line[0].set_ylabel("least test error")
    for axes, what in zip(panels[1], ("R_f", "1 - EI"), strict=True):
        axes.set_xlabel(what)
    legend(figure, panels[0][0], 4)
    return figure


def layers() -> Figure:
    """R_f after each layer, read by means, before training and after it."""
    figure, panels = grid(1, 2, width=3.9, height=2.6, sharey=True)
    for axes, (is_trained, when) in zip(panels[0], enumerate(("before training", "after training")), strict=True):
        over_layers(axes, [network[bool(is_trained)] for network in regime.of_layers().values()])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("layer")
        axes.set_title(f"R_f, {when}")
    legend(figure, panels[0][0], 4)
    return figure


FIGURES = {"regime-training": training, "regime-error": error, "regime-layers": layers}
