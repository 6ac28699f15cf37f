"""Layers and phase space of the final networks, as `relstab layers` and `relstab sweep` tell them."""

from __future__ import annotations

from collections.abc import Iterator

import table
from tool import Setup, Values

DRAWS = ("--draws", "2")
SWEPT = ("--cutoffs", "3,5,15", "--deltas", "0.5,1,2")


def layers(setup: Setup) -> Iterator[Values]:
    """Each layer of each network before and after its training, in all readings."""
    for data_set, architecture, last in setup.final():
        for file in (min(last.parent.glob("*.onnx")), last):
            about = {"data_set": data_set, "architecture": architecture, "step": int(file.stem.partition("=")[2])}
            for layer in table.layers([setup.relstab], file, "--probe", str(setup.probe(data_set)), *DRAWS):
                yield {**about, **layer}
        print(f"layers of {data_set} {architecture}", flush=True)


def phase(setup: Setup) -> Iterator[Values]:
    """R_f, D_f and G_f of each final network over cutoffs and deltas."""
    for data_set, architecture, file in setup.final():
        for point in setup.ask("sweep", file, data_set, *DRAWS, *SWEPT)["points"]:
            record = point["measurement"]
            yield {
                "data_set": data_set,
                "architecture": architecture,
                "cutoff": point["cutoff"],
                "delta": point["delta"],
                "natural": int(point["in_natural_range"]),
                "folded_share": record["folded_share"],
                **{name: (record[name] or {}).get("value", "") for name in ("r_f", "d_f", "g_f")},
            }
        print(f"phase space of {data_set} {architecture}", flush=True)
