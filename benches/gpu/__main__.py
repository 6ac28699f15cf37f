"""What the measurement costs on a GPU: beside bare inference, the public way, a training. `benches/gpu.sh` runs it."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import torch

import public
from bench_networks import NETWORKS, export, made

RELSTAB = os.environ["RELSTAB"]
PLACES = ("cpu", "provider")
KINDS = ("float32", "float16")
HERE = Path(__file__).parent

Command = list[str | Path]


def output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}, {done.stderr[-400:]}")
    return done.stdout


def relstab(*arguments: str | Path) -> str:
    return output(RELSTAB, *arguments)


def row(what: str, measured: str, wanted: str = "") -> None:
    print(f"| {what} | {measured} | {wanted} |", flush=True)


class Bench:
    """Settings of the run, and the folder of its files."""

    def __init__(self, provider: str, quick: bool, folder: Path) -> None:
        self.provider, self.folder = provider, folder
        self.failed = False
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

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What fails is a row, and the others go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a GPU has in store
            self.failed = True
            row(what, f"failed: {' '.join(str(error).split())}")

    def measure(self, network: Path, side: int, *more: str, images: int | None = None) -> dict[str, Any]:
        size = [f"--images={images or self.images}", f"--draws={self.draws}"]
        flags = [*size, "--backend=onnxruntime", "--format=json", *more]
        record: dict[str, Any] = json.loads(relstab("measure", network, "--probe", self.probe(side), *flags))
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
            with self.attempt(f"R_f against the CPU, cifar_resnet18, {KINDS[half]}"):
                self.against_the_cpu(export("cifar_resnet18", half))

    def against_the_cpu(self, network: Path) -> None:
        # A CPU of few cores takes long.
        images = min(self.images, 100)
        on_cpu = self.measure(network, 32, "--provider=cpu", "--perturb-on=cpu", images=images)
        for place in PLACES:
            what = f"R_f on {self.provider}, perturbed on {place}, over R_f on the CPU, less 1, {network.stem}"
            with self.attempt(what):
                flags = [f"--provider={self.provider}", f"--perturb-on={place}"]
                record = self.measure(network, 32, *flags, images=images)
                assert record["backend"]["provider"] == self.provider, record["backend"]
                row(what, f"{record['r_f']['value'] / on_cpu['r_f']['value'] - 1:.0e}")

    def against_bare_inference(self) -> None:
        for name in self.networks:
            for half in (False, True):
                with self.attempt(f"measure over bare inference, {name}, {KINDS[half]}"):
                    self.one_against_bare_inference(export(name, half), NETWORKS[name][1], KINDS[half])

    def one_against_bare_inference(self, network: Path, side: int, kind: str) -> None:
        provider = f"--provider={self.provider}"
        timing = self.measure(network, side, provider)["timing"]
        passes, rows = timing["passes"], timing["batch"]
        numbers = map(str, (side, passes, rows))
        # A process of its own: PyTorch would bring other CUDA libraries, and take memory.
        command: Command = [sys.executable, HERE / "bare.py", network, kind, *numbers, self.provider]
        # ONNX Runtime says more before.
        bare = float(output(*command).splitlines()[-1])
        what = f"measure over bare inference, {network.stem}, {passes} passes by {rows} ({bare:.2f} s bare)"
        row(what, f"{timing['total_s'] / bare:.3f}", "<= 1.10")
        for place in PLACES:
            what = f"the same, all perturbed on {place}"
            with self.attempt(what):
                other = self.measure(network, side, provider, f"--perturb-on={place}")["timing"]
                row(what, f"{other['total_s'] / bare:.3f}", "reported")
        share = timing["perturbed_on_provider"] / passes
        row("share of its passes that it had perturbed on the provider", f"{share:.2f}", "reported")
        # Not in the runs that are timed: nvidia-smi takes time, too.
        used = [memory(lambda: self.measure(network, side, provider)), memory(lambda: output(*command))]
        if used[0] is not None and used[1] is not None:
            row(f"GPU memory beyond bare inference, {network.stem}", f"{used[0] - used[1]} MiB", "< 300 MB")

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
        alone = statistics.fmean(json.loads(output(*self.training(network, "alone"))))
        for duty in (1.0, 0.2):
            with self.attempt(f"step of a training over its step alone, --duty {duty}"):
                together, measured = self.watched_training(network, duty)
                what = f"step of a training over its step alone ({1e3 * alone:.1f} ms), {measured} checkpoints measured"
                row(f"{what}, --duty {duty}", f"{together / alone:.3f}", "reported")

    def training(self, network: Path, name: str) -> Command:
        """The command of a training, and the empty directory where its checkpoints will be, its last argument."""
        run = self.folder / f"run_{name}"
        run.mkdir()
        settings: Command = [self.device, str(self.seconds), str(self.batch), network, run]
        return [sys.executable, HERE / "training.py", *settings]

    def watched_training(self, network: Path, duty: float) -> tuple[float, int]:
        """Mean time of a step, in seconds, and how many checkpoints were measured meanwhile."""
        command = self.training(network, str(duty))
        run = command[-1]
        journal: Command = ["--journal", self.folder / f"{duty}.sqlite"]
        flags = [f"--provider={self.provider}", f"--duty={duty}", f"--images={self.images}", f"--draws={self.draws}"]
        daemon: Command = [RELSTAB, "watch", run, "--probe", self.probe(32), "--backend=onnxruntime", "--until-eof"]
        with subprocess.Popen([*daemon, *journal, *flags], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL):
            # Afterwards its input is closed, and it ends.
            times = json.loads(output(*command))
        history = json.loads(relstab("history", run, *journal, "--format=json"))
        measured = sum("measurement" in entry for entry in history)
        if not measured:
            raise RuntimeError("no checkpoint was measured")
        return statistics.fmean(times), measured


def memory(work: Callable[[], object]) -> int | None:
    """By how much the GPU's used memory rises at most while `work` runs, MiB; `None` where it is not known."""
    before = gpu_memory()
    if before is None:
        return None
    with ThreadPoolExecutor() as pool:
        working = pool.submit(work)
        used = [gpu_memory()]
        while wait([working], timeout=0.1).not_done:
            used.append(gpu_memory())
        working.result()
    known = [value for value in used if value is not None]
    return max(known) - before if known else None


def nvidia_smi(query: str) -> str | None:
    """What it says of the GPU that is used: the first of those shown."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    command = ["nvidia-smi", f"--id={gpu}", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.check_output(command, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def gpu_memory() -> int | None:
    used = nvidia_smi("memory.used")
    return int(used) if used and used.isdigit() else None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--provider", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="few images, small networks")
    arguments = parser.parse_args()
    started = time.perf_counter()
    versions = f"onnxruntime {onnxruntime.__version__}, PyTorch {torch.__version__}, {relstab('--version').strip()}"
    card = nvidia_smi("name,driver_version") or "no GPU"
    print(f"{datetime.date.today()}, provider {arguments.provider}, {card}, {versions}\n")
    print("| what | measured | wanted |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.provider, arguments.quick, Path(folder))
        bench.checks()
        bench.against_bare_inference()
        with bench.attempt("the public way over relstab"):
            bench.against_the_public_way()
        with bench.attempt("step of a training over its step alone"):
            bench.beside_a_training()
    print(f"\n{time.perf_counter() - started:.0f} s in all")
    return int(bench.failed)


if __name__ == "__main__":
    sys.exit(main())
