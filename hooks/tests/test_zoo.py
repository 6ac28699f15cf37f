"""The zoo in the paper's regime: a training that was killed ends as if it had not been, and what is done stays; its networks before
training, and those that are kept."""

from __future__ import annotations

import csv
import multiprocessing
import runpy
import shutil
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import relstab

BUNDLED_RUN = Path(__file__).parents[2] / "models" / "fashion-mnist-cnn"
ZOO = Path(__file__).parents[2] / "models" / "zoo"
# Imports PyTorch once, for all processes.
SERVER = multiprocessing.get_context("forkserver")


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few images of noise; no class of the test images is among those to learn, so that networks stay at chance."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        records = rng.integers(0, 256, (60, 3073), dtype=np.uint8)
        records[:, 0] = records[:, 0] % 5 + 5 * (name == "test_batch")
        records.tofile(folder / f"{name}.bin")
    monkeypatch.syspath_prepend(str(ZOO))
    SERVER.set_forkserver_preload(["torch", "onnx", "onnxruntime"])
    return folder


def zoo(log: Path, *arguments: object) -> None:
    """What `python models/zoo` does with these arguments; what it prints goes to a file."""
    sys.argv = ["zoo", *map(str, arguments)]
    with log.open("w", buffering=1) as file, redirect_stdout(file):
        runpy.run_path(str(ZOO), run_name="__main__")


def test_a_killed_training_ends_with_the_same_rows(cifar10: Path, tmp_path: Path) -> None:
    def start(name: str, *more: object) -> tuple[multiprocessing.process.BaseProcess, Path, Path]:
        log, table = tmp_path / f"{name}.log", tmp_path / f"{name.split('-')[0]}.csv"
        where = ("--cifar10", cifar10, "--out", tmp_path / table.stem, "--results", table)
        what = ("--paper", "--epoch-share", 0.03, "--only", "lenet-3-epochs-seed-0")
        process = SERVER.Process(target=zoo, args=(log, *what, *where, *more))
        process.start()
        return process, log, table

    def run(name: str) -> tuple[str, Path]:
        process, log, table = start(name)
        process.join()
        assert process.exitcode == 0, log.read_text()
        return log.read_text(), table

    straight, expected = run("straight")

    process, log, _ = start("killed", "--train-only")
    while process.is_alive() and "epoch 2 of 3 at 0.03" not in (log.read_text() if log.exists() else ""):
        time.sleep(0.005)
    process.kill()
    process.join()
    folder = tmp_path / "killed" / "lenet-3-epochs-seed-0"
    assert (folder / "state.pt").exists() and not (folder / "done.json").exists()

    resumed, found = run("killed-resumed")
    assert "epoch 1 of 3 at 0.1:" in straight and "epoch 1 of 3 at 0.1:" not in resumed
    assert found.read_text() == expected.read_text()
    inside, expected_inside = (path.with_stem(f"{path.stem}-layers") for path in (found, expected))
    assert inside.read_text() == expected_inside.read_text()
    assert {line.split(",")[4] for line in inside.read_text().splitlines()[1:]} > {"0"}
    header, *lines = (line.split(",") for line in found.read_text().splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert {(row["rate"], row["rates_left_at_chance"], row["epochs"]) for row in rows} == {("0.01", "0.1 0.03", "3")}
    assert {row["cutoff"] for row in rows if row["is_last"] == "1"} == {"3", "5"}
    assert {row["step"] for row in rows} >= {"0", "1", "9"}

    def files() -> dict[Path, tuple[bytes, int]]:
        kept = [found, *folder.glob("*.onnx"), folder / "done.json"]
        return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in kept}

    before = files()
    again, _ = run("killed-again")
    assert (again, files()) == ("", before)

    shutil.rmtree(folder)
    again, _ = run("killed-lost")
    assert (again, found.read_text()) == ("", expected.read_text())


def test_trainings_on_few_images_take_as_many_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ZOO))
    paper, resumable, tensors, data = map(import_module, ("paper", "resumable", "tensors", "data"))
    torch: Any = import_module("torch")
    jobs = list(paper.trainings(0.5, [], is_sized=True))
    assert len({job.name for job in jobs}) == len(jobs) == len(paper.SIZED) * len(paper.SIZES)
    for job in jobs:
        assert job.plan.passes * job.images == 50_000
        whole = {key: str(job.plan.properties[key]) for key in paper.TRAINING}
        assert job.owns({**whole, "train_size": str(job.images)})
        assert not job.owns({**whole, "train_size": "50000"})

    # Each image has another value throughout.
    images = np.broadcast_to(np.arange(250, dtype=np.uint8)[:, None, None, None], (250, 3, 32, 32)).copy()
    part = (images, np.arange(250) % 10)
    some = tensors.Tensors(data.DataSet("greys", part, part, (0.0,) * 3, (1 / 255,) * 3), "cpu").first(100)
    seen: list[int] = []

    def make() -> Any:
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
        note = lambda _, inputs: seen.extend(inputs[0][:, 0].round().int().tolist())
        network[1].register_forward_pre_hook(note)
        return network

    run = resumable.Run(resumable.Plan(make, 1, False, 0, (0.1,), True, {}, passes=4), some, tmp_path)
    run.exports.clear()
    run.train_epoch()
    assert run.total == 4 and Counter(seen[:400]) == dict.fromkeys(range(100), 4)


@pytest.mark.parametrize("architecture", ["fc4", "lenet", "vgg11", "vgg11_bn", "resnet18", "efficientnet_b0"])
def test_nothing_is_predicted_for_a_network_before_training(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ZOO))
    networks: Any = import_module("networks")
    torch: Any = import_module("torch")
    torch.manual_seed(0)
    network = networks.make(architecture, 1, 28, 1 / 8).eval()
    images = np.load(BUNDLED_RUN / "probe.npz")["images"][:200, None]
    settings: dict[str, Any] = {"mean": [0.286], "std": [0.353], "draws": 1, "law": "fashionmnist-invariance"}
    measured = relstab.measure(network, images, **settings)
    assert measured.prediction is None
    assert "untrained" in [finding.code for finding in measured.findings]


@pytest.mark.parametrize("kept", sorted((ZOO / "kept").glob("*.onnx")), ids=lambda kept: kept.stem)
def test_a_kept_network_is_measured_alike_on_both_engines(kept: Path) -> None:
    # Colours that change as slowly as those of photographs.
    blocks = np.random.default_rng(0).integers(0, 256, (40, 5, 5, 3)).repeat(8, 1).repeat(8, 2)
    smooth = np.mean([np.roll(blocks, (y, x), (1, 2)) for y in range(8) for x in range(8)], axis=0)
    images = smooth[:, 8:, 8:].astype(np.uint8)
    tract, onnxruntime = (relstab.measure(kept, images, draws=1, backend=name) for name in ("tract", "onnxruntime"))
    assert tract.r_f and onnxruntime.r_f
    assert tract.r_f.value == pytest.approx(onnxruntime.r_f.value, rel=1e-3)
    architecture, *plain = kept.stem.split("-")
    with (ZOO / "paper.csv").open() as table:
        mine = [row for row in csv.DictReader(table) if (row["architecture"], row["is_best"]) == (architecture, "1")]
    assert tract.val_error in {float(row["error"]) for row in mine if (row["augmentation"] == "none") == bool(plain)}
