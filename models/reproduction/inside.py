"""Layers and phase space of the final networks, as `relstab layers` and `relstab sweep` tell them."""

from __future__ import annotations

from collections.abc import Iterator

from tool import Setup, Values

READINGS = ("coordinate_median", "median", "mean")
DRAWS = ("--draws", "2")
SWEPT = ("--cutoffs", "3,5,15", "--deltas", "0.5,1,2")


def layers(setup: Setup) -> Iterator[Values]:
    """Each layer of each network before and after its training, in all readings."""
    for data_set, architecture, last in setup.final():
        for file in (min(last.parent.glob("*.onnx")), last):
            found = setup.ask("layers", file, data_set, *DRAWS)["layers"]
            for depth, layer in enumerate(found, 1):
                readings = {name: layer["estimators"][name] for name in READINGS}
                yield {
                    "data_set": data_set,
                    "architecture": architecture,
                    "step": int(file.stem.partition("=")[2]),
                    "depth": depth,
                    "layers": len(found),
                    "op": layer["op"],
                    "coordinates": layer["coordinates"],
                    **{
                        f"{value}_{name}": (reading[value] or {}).get("value", "")
                        for name, reading in readings.items()
                        for value in ("r_f", "d_f", "g_f")
                    },
                }
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
