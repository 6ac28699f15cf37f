"""Measures a folder of networks on both engines and says how far apart their R_f are.

    python models/public/engines.py FOLDER --relstab target/release/relstab [--images 500 --draws 4] [NETWORK...]

FOLDER is as `measure.py` takes it: `networks.csv`, `NAME/model.onnx` for each of its rows, a probe set for each data set.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from measure import PROBES, measured, read

ENGINES = ("onnxruntime", "tract")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--relstab", default="relstab", help="the command")
    parser.add_argument("--images", default="500")
    parser.add_argument("--draws", default="4")
    arguments = parser.parse_intermixed_args()
    worst = {"floats": 0.0, "8 bits": 0.0}
    count = dict.fromkeys(worst, 0)
    for about in read(arguments.folder / "networks.csv"):
        name = about["name"]
        if arguments.networks and name not in arguments.networks:
            continue
        model, probe = arguments.folder / name / "model.onnx", arguments.folder / PROBES[about["data_set"]]
        flags, size = shlex.split(about["options"]), (arguments.images, arguments.draws)
        found = [measured(arguments.relstab, model, probe, [*flags, "--backend", engine], *size) for engine in ENGINES]
        refused = [str(each["refused"]) for each in found if each.get("refused")]
        if refused:
            print(f"{name}: {'; '.join(refused)}", flush=True)
            continue
        first, second = (float(str(each["r_f"])) for each in found)
        apart = abs(first / second - 1)
        kind = "8 bits" if "int8" in about["architecture"] else "floats"
        worst[kind], count[kind] = max(worst[kind], apart), count[kind] + 1
        errors = " ".join(str(each["probe_error"]) for each in found)
        print(f"{name}: {first:.6g} {second:.6g} {apart:.1e} ({errors})", flush=True)
    for kind, apart in worst.items():
        print(f"{count[kind]} networks of {kind}: R_f of the two engines at most {apart:.2e} apart, relatively")


if __name__ == "__main__":
    main()
