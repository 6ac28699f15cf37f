"""How much faster `relstab measure` is than the public way: one image deformed at a time, batches forward in PyTorch.

    python models/public_way.py NETWORK... [--relstab target/release/relstab] [--rounds 3]

NETWORK is a name of `bench_networks.py` (resnet20_32, resnet18_224). Both sides run in turns, the command with its start; a ratio is
the median over rounds. First both measure 500 images with 4 draws; then the command measures what its interval needs instead
(`--as IMAGESxDRAWS`, from `models/public/passes.csv`).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import bench_networks

sys.path.insert(0, str(Path(__file__).parent.parent / "benches" / "gpu"))
import public

IMAGES, DRAWS, BATCH = 500, 4, 64


def smooth(count: int, side: int) -> public.Images:
    """Images with structure, so that deformations move them."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(count, 3, 8, 8)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, side, mode="bicubic").numpy()


def seconds(work: object, *arguments: object) -> float:
    started = time.perf_counter()
    assert callable(work)
    work(*arguments)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NETWORK")
    parser.add_argument("--relstab", default="relstab")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--as", dest="instead", default="780x1", help="[default: %(default)s]")
    args = parser.parse_args()
    images, draws = (int(part) for part in args.instead.split("x"))
    splits = [(args.images, DRAWS), (images * args.images // IMAGES, draws)]
    for name in args.networks:
        file = bench_networks.export(name, half=False)
        network = bench_networks.made(name)
        held = smooth(max(count for count, _ in splits), bench_networks.NETWORKS[name][1])
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / "probe.npy"
            np.save(probe, held)

            def command(count: int, draws: int, file: Path = file, probe: Path = probe) -> None:
                flags = ["--images", str(count), "--draws", str(draws), "--law", "none", "--format", "json"]
                words = [args.relstab, "measure", str(file), "--probe", str(probe), *flags]
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

            ratios: list[list[float]] = [[], []]
            for _ in range(args.rounds):
                slow = seconds(public.r_f, network, held[: args.images], DRAWS, BATCH, "cpu")
                for ratio, split in zip(ratios, splits, strict=True):
                    ratio.append(slow / seconds(command, *split))
        told = (
            f"{count} x {draws}: {statistics.median(ratio):.2f}"
            for (count, draws), ratio in zip(splits, ratios, strict=True)
        )
        print(f"{name}: public way at {args.images} x {DRAWS} over the command at {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
