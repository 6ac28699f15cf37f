"""How figures look: Okabe and Ito's colours, one for each family, on white; files that come out the same each time."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from families import family
from stored import Floats, Row

FAMILIES = {
    "fc": ("#000000", "s", "fully connected"),
    "lenet": ("#e69f00", "v", "LeNet"),
    "alexnet": ("#d55e00", "^", "AlexNet"),
    "vgg": ("#56b4e9", "o", "VGG"),
    "vgg_bn": ("#0072b2", "D", "VGG, batch norm"),
    "resnet": ("#009e73", "P", "ResNet"),
    "efficientnet": ("#cc79a7", "X", "EfficientNet-B0"),
}
INK, GREY, BLUE, ORANGE, GREEN = "#222222", "#999999", "#0072b2", "#d55e00", "#009e73"
STYLE = {
    "svg.hashsalt": "relstab",
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "lines.linewidth": 1.2,
    "lines.markersize": 5,
    "path.simplify": True,
}
plt.rcParams.update(STYLE)


def look(row: Row) -> dict[str, Any]:
    colour, marker, label = FAMILIES[family(row)]
    return {"color": colour, "marker": marker, "label": label}


def logarithmic(axes: Axes, which: str, *, percent: bool = False) -> None:
    """A logarithmic axis with a few round ticks, written as plain numbers; to be called after all is drawn."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    getattr(axes, f"set_{which}scale")("log")
    low, high = getattr(axes, f"get_{which}lim")()
    steps: tuple[float, ...] = (1, 1.5, 2, 3, 4, 5, 7) if high / low < 4 else (1, 2, 5) if high / low < 100 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}" if percent else f"{value:,.6g}"))


def fitted_line(axes: Axes, x: Floats, y: Floats) -> None:
    """The least-squares line through the logarithms."""
    slope, height = np.polyfit(np.log(x), np.log(y), 1)
    ends = np.array([x.min(), x.max()])
    axes.plot(ends, np.exp(height) * ends**slope, color=GREY, linewidth=1)


def grid(rows: int, columns: int, width: float = 2.6, height: float = 2.1, **options: Any) -> tuple[Figure, Any]:
    return plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained", **options
    )


def legend(figure: Figure, axes: Axes, columns: int = 7) -> None:
    """Each label once, families in their order, below everything."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [label for _, _, label in FAMILIES.values()]
    labels = sorted(handles, key=lambda label: order.index(label) if label in order else -1)
    figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=columns)


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # Half the bytes: hundredths of a point, no indentation.
    text = re.sub(r"\d+\.\d{4,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), path.read_text())
    path.write_text("".join(f"{line.strip()}\n" for line in text.splitlines()))
