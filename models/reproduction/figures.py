"""The figures of the paper's claims on the zoo's networks, from models/zoo/results.csv."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import depth
import peers
import public
import stopping
import stored
from correlate import Estimate
from stored import DATA_SETS, LARGEST, LAWS, QUANTITIES, Row, column, grouped
from style import BLUE, FAMILIES, GREEN, GREY, INK, ORANGE, grid, legend, logarithmic, look


def training() -> Figure:
    """R_f, D_f and G_f over the steps of each training of 16,000 images."""
    figure, panels = grid(2, 3, sharex=True, sharey="col")
    for (row, (data_set, title)), (place, (key, name)) in itertools.product(
        enumerate(DATA_SETS.items()), enumerate(QUANTITIES.items())
    ):
        axes = panels[row][place]
        for run in grouped(stored.of(stored.small(), data_set=data_set, train_size=LARGEST), stored.training).values():
            # Before training stands where step 30 would, so that it can be seen.
            axes.plot(
                np.maximum(column(run, "step"), 30), column(run, key), markersize=3, linewidth=0.9, **look(run[0])
            )
        logarithmic(axes, "y")
        axes.set_xscale("log")
        axes.set_xticks([30, 125, 300, 655, 1500], ["init", "125", "300", "655", "1,500"], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_title(f"{name}, {title}")
        if key == "r_f":
            axes.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    for axes in panels[-1]:
        axes.set_xlabel("step")
    legend(figure, panels[0][0], 4)
    return figure


def error() -> Figure:
    """The error of the final networks against R_f, D_f and G_f, with the law from elsewhere."""
    figure, panels = grid(2, 3, sharey="row", sharex="col")
    for (row, (data_set, title)), (place, (key, name)) in itertools.product(
        enumerate(DATA_SETS.items()), enumerate(QUANTITIES.items())
    ):
        axes = panels[row][place]
        networks = stored.of(stored.final(stored.small()), data_set=data_set)
        for network in networks:
            axes.plot(float(network[key]), float(network["error"]), linestyle="none", **look(network))
        if key == "r_f":
            a, b = LAWS[data_set]
            x = np.array([0.15, 3.5])
            axes.plot(x, a * x**b, color=GREY, linewidth=1, linestyle="--")
            axes.annotate(f"{a} R_f$^{{{b}}}$", (1.2, a), va="top", color="#555555")
        logarithmic(axes, "x")
        logarithmic(axes, "y", percent=True)
        axes.set_title(f"{title}, n = {len(networks)}")
        if row == 1:
            axes.set_xlabel(name)
    for axes in panels[:, 0]:
        axes.set_ylabel("test error")
    legend(figure, panels[0][1], 4)
    return figure


def cutoffs() -> Figure:
    """R_f of the final networks at other cutoffs against c = 3."""
    figure, panels = grid(1, 4, sharey=True, width=2.1)
    places = itertools.product(DATA_SETS.items(), ("5", "15"))
    for axes, ((data_set, title), cutoff) in zip(panels[0], places, strict=True):
        at_3 = {row["architecture"]: row for row in stored.of(stored.final(stored.small()), data_set=data_set)}
        rows = stored.of(stored.final(stored.small(cutoff)), data_set=data_set)
        diagonal(axes, at_3, rows, "r_f")
        axes.set_title(f"c = {cutoff}, {title}")
        axes.set_xlabel("R_f, c = 3")
    panels[0][0].set_ylabel("R_f")
    legend(figure, panels[0][0], 4)
    return figure


def interpolation() -> Figure:
    """R_f of the final networks, trained again, with the gaussian interpolation against the bilinear one."""
    figure, panels = grid(1, 2, sharey=True)
    for axes, (data_set, title) in zip(panels[0], DATA_SETS.items(), strict=True):
        rows = peers.networks(data_set)
        diagonal(axes, {row["architecture"]: row for row in rows}, rows, "r_f_gaussian")
        axes.set_title(title)
        axes.set_xlabel("R_f, bilinear")
    panels[0][0].set_ylabel("R_f, gaussian")
    legend(figure, panels[0][0], 3)
    return figure


def diagonal(axes: Axes, reference: dict[str, Row], rows: list[Row], key: str) -> None:
    """`key` of each network against the reference's R_f."""
    for row in rows:
        axes.plot(float(reference[row["architecture"]]["r_f"]), float(row[key]), linestyle="none", **look(row))
    axes.plot([0.12, 4], [0.12, 4], color=GREY, linewidth=0.8, linestyle=":")
    logarithmic(axes, "x")
    logarithmic(axes, "y")


def standings() -> Figure:
    """Rank correlation with the error, and the error of predictions, of R_f and its peers."""
    figure, panels = grid(1, 3, width=2.9, height=3.6, sharey=True)
    heights = np.arange(len(peers.PEERS))[::-1]

    def dot(place: int, height: float, found: Estimate, colour: str, marker: str, label: str) -> None:
        axes = panels[0][place]
        axes.plot([found.low, found.high], [height, height], color=colour, linewidth=1)
        axes.plot(found.value, height, marker=marker, color=colour, linestyle="none", label=label)

    for shift, colour, marker, (data_set, title) in zip(
        (0.15, -0.15), (BLUE, ORANGE), ("o", "s"), DATA_SETS.items(), strict=True
    ):
        for height, peer in zip(heights, peers.PEERS, strict=True):
            found = peers.standing(peer, peers.networks(data_set))
            dot(0, height + shift, found.rank, colour, marker, title)
            if found.as_it_stands:
                dot(1, height + shift, found.as_it_stands, colour, marker, title)
            dot(2, height + shift, found.calibrated, colour, marker, title)
        panels[0][2].axvline(peers.alone(peers.networks(data_set)).value, color=colour, linewidth=0.8, linestyle=":")
    panels[0][0].axvline(0, color=GREY, linewidth=0.8)
    panels[0][0].set_xlim(-1, 1)
    panels[0][0].set_yticks(heights, [peer.name for peer in peers.PEERS])
    for axes, title in zip(
        panels[0],
        ("rank correlation with the error", "|log error|, as it stands", "|log error|, calibrated"),
        strict=True,
    ):
        axes.set_xlabel(title, color=INK)
    for axes in panels[0][1:]:
        axes.set_xlim(left=0)
    legend(figure, panels[0][0])
    return figure


def stops() -> Figure:
    """Unseen error and R_f of each long training, and where rules of patience 5 stop it."""
    marks = {"val_error": (GREEN, "v"), "r_f": (BLUE, "o"), "agreement_deformed": (ORANGE, "s")}
    names = {stopping.LABELS[key]: look for key, look in marks.items()}
    runs = stopping.runs()
    across = len(runs) // len(DATA_SETS)
    figure, panels = grid(2, across, width=1.55, height=1.9, sharex=True)
    for axes, run in zip(panels.flat, runs, strict=True):
        axes.plot(run.epochs, run.unseen, color=INK, label="test error")
        logarithmic(axes, "y", percent=True)
        beside = axes.twinx()
        beside.plot(run.epochs[1:], run.values("r_f")[1:], color=BLUE, linewidth=0.8, linestyle="--")
        logarithmic(beside, "y")
        beside.tick_params(axis="y", colors=BLUE, labelsize=7)
        axes.plot([], [], color=BLUE, linewidth=0.8, linestyle="--", label="R_f, axis on the right")
        for name, patience, stop, _ in stopping.stops(run):
            if name in names and patience == 5:
                colour, marker = names[name]
                last = len(run.rows) - 1 if stop is None else stop
                place = (run.epochs[last], run.unseen[last])
                axes.plot(*place, marker=marker, color=colour, linestyle="none", label=f"stop on {name}")
        axes.set_title(f"{run.architecture}\n{DATA_SETS[run.data_set]}")
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    legend(figure, panels[0][0], 2)
    return figure


def costs() -> Figure:
    """What each rule costs: error above the best of the run, and epochs saved."""
    figure, panels = grid(1, 1, width=8.0, height=3.4)
    axes = panels[0][0]
    found = stopping.costs(stopping.runs())
    for place, name in enumerate(dict.fromkeys(name for name, _ in found)):
        for patience, filled in ((3, "none"), (5, None)):
            mine = found[name, patience]
            regret, saved = (np.mean([getattr(each, key) for each in mine]) for key in ("at_stop", "saved"))
            colour = list(FAMILIES.values())[place % len(FAMILIES)][0]
            marker = "osD^vPX*<>hp"[place]
            label = name if filled is None else None
            face = colour if filled is None else "none"
            axes.plot(
                saved, 100 * regret, marker=marker, color=colour, markerfacecolor=face, linestyle="none", label=label
            )
    axes.set_xlabel("epochs saved, of 24 (hollow: patience 3, full: patience 5)")
    axes.set_ylabel("error at the stop above the best, points")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right center")
    return figure


def over_layers(axes: Axes, networks: list[list[Row]]) -> None:
    """R_f of each network's layers, read by means."""
    for layers in networks:
        axes.plot(column(layers, "depth"), column(layers, "r_f_mean"), markersize=3, linewidth=0.9, **look(layers[0]))
    logarithmic(axes, "y")
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle=":")


def layers() -> Figure:
    """R_f after each layer, read by means, before training and after it."""
    figure, panels = grid(2, 2, width=3.9, sharex=True, sharey="row")
    for (row, (data_set, title)), (place, when) in itertools.product(
        enumerate(DATA_SETS.items()), enumerate(("before training", "after training"))
    ):
        axes = panels[row][place]
        over_layers(axes, [network[place == 1] for network in depth.of_networks(data_set).values()])
        axes.set_title(f"R_f, {title}, {when}")
    for axes in panels[-1]:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("layer")
    legend(figure, panels[0][0], 4)
    return figure


FIGURES = {
    "public": public.error,
    "layers": layers,
    "training": training,
    "error": error,
    "cutoffs": cutoffs,
    "interpolation": interpolation,
    "peers": standings,
    "stops": stops,
    "costs": costs,
}
