"""What the measurement costs on a GPU: beside bare inference, the public way, a training. `benches/gpu.sh` runs it."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import public
import torch

from bench_networks import NETWORKS, export, made

RELSTAB = os.environ["RELSTAB"]
PLACES = ("cpu", "provider")
HERE = Path(__file__).parent


def relstab(*arguments: str | Path) -> str:
    done = subprocess.run([RELSTAB, *arguments], capture_output=True, text=True, check=False, timeout=400)
    if done.returncode != 0:
        raise SystemExit(f"relstab {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def row(what: str, measured: str, wanted: str = "") -> None:
    print(f"| {what} | {measured} | {wanted} |", flush=True)


class Bench:
    """Settings of the run, and the folder of its files."""

    def __init__(self, provider: str, quick: bool, folder: Path) -> None:
        self.provider, self.folder = provider, folder
        self.device = "cuda" if provider == "cuda" else "cpu"
        self.images, self.draws = (16, 1) if quick else (500, 4)
        self.networks = ["cifar_resnet18"] if quick else ["cifar_resnet18", "resnet50_224"]
        self.public_network = "cifar_resnet18" if quick else "resnet50_224"
        self.seconds, self.batch = (12.0, 8) if quick else (40.0, 128)

    def probe(self, side: int) -> Path:
        path = self.folder / f"probe_{side}.npy"
        if not path.exists():
            numpy.save(path, numpy.random.default_rng(0).random((self.images, 3, side, side), numpy.float32))
        return path

    def measure(self, network: Path, side: int, *more: str) -> dict[str, Any]:
        flags = [f"--images={self.images}", f"--draws={self.draws}", "--backend=onnxruntime", "--format=json"]
        record: dict[str, Any] = json.loads(relstab("measure", network, "--probe", self.probe(side), *flags, *more))
        return record

    def checks(self) -> None:
        findings = json.loads(relstab("doctor", "--format=json"))
        tried = {entry["provider"]: entry for entry in findings["onnxruntime"]["providers"]}
        if self.provider not in tried:
            raise SystemExit(f"{self.provider} cannot be used: {'; '.join(findings['cuda_missing'])}")
        if tried[self.provider]["failure"]:
            raise SystemExit(f"{self.provider}: {tried[self.provider]['failure']}")
        row(
            f"a small network on {self.provider} and on tract: difference",
            f"{tried[self.provider]['difference']:.0e}",
            "< 1e-3",
        )
        for half in (False, True):
            network = export("cifar_resnet18", half)
            on_cpu = self.measure(network, 32, "--provider=cpu", "--perturb-on=cpu")
            for place in PLACES:
                record = self.measure(network, 32, f"--provider={self.provider}", f"--perturb-on={place}")
                assert record["backend"]["provider"] == self.provider, record["backend"]
                what = f"R_f on {self.provider}, perturbed on {place}, over R_f on the CPU, less 1, {network.stem}"
                row(what, f"{record['r_f']['value'] / on_cpu['r_f']['value'] - 1:.0e}", "")

    def against_bare_inference(self) -> None:
        for name in self.networks:
            side = NETWORKS[name][1]
            for half in (False, True):
                network = export(name, half)
                record, used = with_memory(
                    lambda network=network, side=side: self.measure(network, side, f"--provider={self.provider}")
                )
                passes, rows = record["timing"]["passes"], record["timing"]["batch"]
                work = ["--bare", network, *map(str, (side, passes, rows)), f"--provider={self.provider}"]
                command = [sys.executable, HERE, *work]
                bare, bare_used = with_memory(lambda command=command: float(subprocess.check_output(command)))
                ratio = record["timing"]["total_s"] / bare
                row(
                    f"measure over bare inference, {network.stem}, {passes} passes by {rows} ({bare:.2f} s bare)",
                    f"{ratio:.3f}",
                    "<= 1.10",
                )
                for place in PLACES:
                    other = self.measure(network, side, f"--provider={self.provider}", f"--perturb-on={place}")
                    ratio = other["timing"]["total_s"] / bare
                    row(f"the same, all perturbed on {place}", f"{ratio:.3f}", "reported")
                share = record["timing"]["perturbed_on_provider"] / record["timing"]["passes"]
                row("share of its passes that it had perturbed on the provider", f"{share:.2f}", "reported")
                if used and bare_used:
                    row(f"GPU memory beyond bare inference, {network.stem}", f"{used - bare_used} MiB", "< 300 MB")

    def against_the_public_way(self) -> None:
        name = self.public_network
        side = NETWORKS[name][1]
        images = numpy.load(self.probe(side))
        network = export(name, half=False)
        started = time.perf_counter()
        record = self.measure(network, side, f"--provider={self.provider}")
        ours = time.perf_counter() - started
        started = time.perf_counter()
        value = public.r_f(made(name), images, self.draws, record["timing"]["batch"], self.device)
        seconds = time.perf_counter() - started
        what = f"the public way over relstab, the whole command, {name}, {self.images} images x {self.draws} draws"
        row(
            f"{what} (R_f {value:.3g} and {record['r_f']['value']:.3g})",
            f"{seconds / ours:.1f}",
            "reported; above 20 expected",
        )

    def beside_a_training(self) -> None:
        network = export("cifar_resnet18", half=False)
        alone = self.training(network, None, 1.0)[0]
        for duty in (1.0, 0.2):
            together, measured = self.training(network, self.folder / f"run_{duty}", duty)
            what = f"step of a training over its step alone ({1e3 * alone:.1f} ms), {measured} checkpoints measured, --duty {duty}"
            row(what, f"{together / alone:.3f}", "reported")

    def training(self, network: Path, run: Path | None, duty: float) -> tuple[float, int]:
        """Mean time of a step, in seconds, and how many checkpoints were measured meanwhile."""
        settings = [self.device, str(self.seconds), str(self.batch), network, run or ""]
        command = [sys.executable, HERE / "training.py", *settings]
        if run is None:
            return statistics.fmean(json.loads(subprocess.check_output(command))), 0
        run.mkdir()
        journal = ["--journal", self.folder / f"{run.name}.sqlite"]
        flags = [f"--provider={self.provider}", f"--duty={duty}", f"--images={self.images}", f"--draws={self.draws}"]
        daemon = [RELSTAB, "watch", run, "--probe", self.probe(32), "--backend=onnxruntime", *journal, *flags]
        with subprocess.Popen([*daemon, "--until-eof"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as watch:
            times = json.loads(subprocess.check_output(command))
            assert watch.stdin is not None
            watch.stdin.close()
        history = json.loads(relstab("history", run, *journal, "--format=json"))
        return statistics.fmean(times), sum("measurement" in entry for entry in history)


def with_memory(work: Any) -> tuple[Any, int | None]:
    """What `work` gives, and by how much the GPU's used memory rose at most, MiB; `None` without a GPU."""
    before, peak, done = gpu_memory(), [0], threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], gpu_memory() or 0)

    watcher = threading.Thread(target=look, daemon=True)
    if before is not None:
        watcher.start()
    try:
        result = work()
    finally:
        done.set()
    return result, None if before is None else peak[0] - before


def nvidia_smi(query: str) -> str | None:
    try:
        return subprocess.check_output(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"], text=True
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def gpu_memory() -> int | None:
    used = nvidia_smi("memory.used")
    return None if used is None else int(used.splitlines()[0])


def bare(network: Path, side: int, passes: int, rows: int, provider: str) -> float:
    """Seconds for so many images through ONNX Runtime in batches, input and output staying where it computes."""
    name, device = ("CUDAExecutionProvider", "cuda") if provider == "cuda" else ("CPUExecutionProvider", "cpu")
    if provider == "cuda":
        onnxruntime.preload_dlls()
    options = {"use_tf32": "0"} if provider == "cuda" else {}
    session = onnxruntime.InferenceSession(network, providers=[(name, options)])
    kind = numpy.float16 if "float16" in session.get_inputs()[0].type else numpy.float32
    binding = session.io_binding()
    binding.bind_ortvalue_input(
        "images", onnxruntime.OrtValue.ortvalue_from_numpy(numpy.zeros((rows, 3, side, side), kind), device)
    )
    binding.bind_output("logits", device)
    for _ in range(2):
        session.run_with_iobinding(binding)
    started = time.perf_counter()
    batches = -(-passes // rows)
    for _ in range(batches):
        session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    # The last batch is whole: its share beyond the passes is not counted.
    return (time.perf_counter() - started) * passes / (rows * batches)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--provider", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="few images, small networks")
    parser.add_argument("--bare", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        network, *numbers = arguments.bare
        print(bare(Path(network), *map(int, numbers), provider=arguments.provider))
        return
    started = time.perf_counter()
    versions = f"onnxruntime {onnxruntime.__version__}, PyTorch {torch.__version__}, {relstab('--version').strip()}"
    card = nvidia_smi("name,driver_version") or "no GPU"
    print(f"{datetime.date.today()}, provider {arguments.provider}, {card}, {versions}\n")
    print("| what | measured | wanted |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.provider, arguments.quick, Path(folder))
        bench.checks()
        bench.against_bare_inference()
        bench.against_the_public_way()
        bench.beside_a_training()
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
