"""What a training says of its run: how it is written and refused, which process acts, and what a rule goes by that names none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import relstab
import torch
from daemons import DAEMON
from relstab.callback import Settings
from relstab.config import prepare
from training import Digits

IMAGES = numpy.random.default_rng(0).random((4, 1, 8, 8), numpy.float32)
LABELLED = (IMAGES, numpy.arange(4))


def acts(run: Path) -> bool:
    """Whether this process prepares a run; it starts a daemon for it where it does, and only there."""
    Settings(run, mean=[0.5])
    with relstab.start(run, **DAEMON) as daemon:
        assert (daemon.client is not None) == run.exists()
    return run.exists()


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "NODE_RANK"])
def test_only_the_first_rank_prepares_a_run(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in ("1", "0"):
        monkeypatch.setenv(variable, rank)
        assert acts(tmp_path / rank) == (rank == "0")


@pytest.mark.parametrize(
    ("environment", "has_lightning", "all_act"),
    [
        pytest.param({}, False, True, id="trainings of their own"),
        pytest.param({"MASTER_ADDR": "node1"}, False, False, id="a place to meet"),
        pytest.param({"MASTER_ADDR": "node1", "SLURM_NTASKS": "1"}, False, True, id="one task"),
        pytest.param({"MASTER_ADDR": "node1", "RANK": "0"}, False, True, id="the launcher knows better"),
        pytest.param({}, True, False, id="Lightning"),
        pytest.param({"SLURM_JOB_NAME": "bash"}, True, True, id="Lightning in a shell"),
    ],
)
def test_tasks_of_slurm_are_ranks_where_they_train_one_network(
    environment: dict[str, str], has_lightning: bool, all_act: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_lightning:
        monkeypatch.setitem(sys.modules, "lightning", sys)
    else:
        monkeypatch.delitem(sys.modules, "lightning", raising=False)
    for task in ("0", "3"):
        for name, value in {"SLURM_NTASKS": "4", "SLURM_PROCID": task, **environment}.items():
            monkeypatch.setenv(name, value)
        assert acts(tmp_path / task) == (all_act or task == "0")


@pytest.mark.parametrize(
    ("settings", "monitor"),
    [
        ({"val_error": "val_error", "probe": LABELLED}, "val_error"),
        ({"probe": LABELLED}, "probe_error"),
        ({"probe": IMAGES}, "predicted_error"),
        ({}, "predicted_error"),
        ({"val_error": "val_error", "stop": {"monitor": "g_f"}}, "g_f"),
    ],
)
def test_a_rule_goes_by_a_known_error_where_there_is_one(
    settings: dict[str, Any], monitor: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "relstab")
    Settings(tmp_path, **{"stop": {"patience": 1}, **settings})
    assert f'[[stop]]\nmonitor = "{monitor}"\n' in (tmp_path / "relstab.toml").read_text()
    assert (f"goes by {monitor}" in caplog.text) == (monitor != "g_f")


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        ({"patience": 1}, "[[stop]]\npatience = 1\n"),
        ({"patience": 1, "baseline": 0.3}, '[[stop]]\nmonitor = "predicted_error"\npatience = 1\nbaseline = 0.3\n'),
        ({"monitor": "g_f"}, '[[stop]]\nmonitor = "g_f"\n'),
    ],
)
def test_a_rule_of_a_loop_goes_by_what_the_loop_will_tell(rule: dict[str, Any], written: str, tmp_path: Path) -> None:
    relstab.Monitor(tmp_path, stop=rule).close()
    assert (tmp_path / "relstab.toml").read_text().endswith(written)


def test_settings_leave_what_others_wrote(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images, given = numpy.zeros((4, 1, 8, 8), numpy.float32), tmp_path / "given.npz"
    numpy.savez(given, images=images + 1)
    theirs = {name: name.encode() for name in ("probe.npz", "relstab-probe.npz")}
    for probe in (images, given):
        # Settings of their own, in whatever encoding: nothing changes.
        run = tmp_path / f"theirs_{type(probe).__name__}"
        run.mkdir()
        files = theirs | {"relstab.toml": b'probe = "probe.npz" # \xff'}
        for name, content in files.items():
            (run / name).write_bytes(content)
        caplog.clear()
        prepare(run, probe=probe, mean=[0.5])
        assert {path.name: path.read_bytes() for path in run.iterdir()} == files
        assert "kept as it is" in caplog.text
        # Images of their own and no settings: those given here count, and no file is lost.
        (run / "relstab.toml").unlink()
        (run / "relstab-probe.npz").unlink()
        caplog.clear()
        prepare(run, probe=probe)
        assert (run / "probe.npz").read_bytes() == theirs["probe.npz"]
        assert 'probe = "relstab-probe.npz"' in (run / "relstab.toml").read_text()
        assert numpy.load(run / "relstab-probe.npz")["images"].mean() == (0 if probe is images else 1)
        # Later settings replace those written here before, and the images.
        prepare(run, probe=images + 2)
        assert numpy.load(run / "relstab-probe.npz")["images"].mean() == 2
        assert {path.name for path in run.iterdir()} == {*theirs, "relstab.toml"}
        assert not caplog.records


def test_numbers_of_arrays_and_tensors_are_numbers(tmp_path: Path) -> None:
    rules: Any = [{"patience": numpy.int64(5), "min_delta": numpy.float32(0.5)}, {}]
    mean: Any = torch.tensor([0.5, 0.25])
    prepare(tmp_path, mean=mean, std=numpy.full((2, 1, 1), 0.5, numpy.float32), stop=rules)  # type: ignore[arg-type]
    lines = (tmp_path / "relstab.toml").read_text().splitlines()[1:]
    expected = ["[preprocess]", "mean = [0.5, 0.25]", "std = [0.5, 0.5]"]
    rule = ["[[stop]]", 'monitor = "predicted_error"']
    assert lines == [*expected, *rule, "patience = 5", "min_delta = 0.5", *rule]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"mean": "half"}, "half"),
        ({"std": [object()]}, "numbers or words"),
        ({"stop": 5}, "found 5"),
        ({"stop": "r_f"}, "found 'r_f'"),
        ({"stop": {"patince": 5}}, "patince.*patience"),
        ({"stop": {"monitor": "rf"}}, "rf.*r_f"),
        ({"stop": [{"patience": 0}]}, "patience"),
        ({"stop": {"monitor": None}}, "monitor: .*None"),
        ({"stop": {"min_delta": float("nan")}}, "min_delta: .*nan"),
        ({"law": b"cifar10"}, "cifar10"),
        ({"law": "cifr10"}, "cifr10.*cifar10"),
        ({"probe": [[1, 2], [3]]}, "shape"),
        ({"probe": numpy.zeros((4, 8))}, "expected"),
        ({"probe": (1, 2, 3)}, "tuple of 3"),
        ({"probe": "/no/such/file"}, "/no/such/file"),
        ({"probe": "/tmp"}, "a folder"),
        ({"probe": numpy.zeros((4, 1, 8, 8)), "mean": [0.1, 0.2]}, "mean"),
        ({"men": 0.5}, "men"),
    ],
)
def test_settings_that_are_wrong_raise_before_the_training(
    settings: dict[str, Any], found: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for make in (relstab.Monitor, Settings):
        with pytest.raises((ValueError, TypeError), match=found) as raised:
            make(tmp_path / "run", **settings)
        assert "/relstab-" not in str(raised.value), "not a file of ours"
    assert not caplog.records
    # Not even a part of them counts.
    assert not list(tmp_path.glob("run/*"))


def test_one_number_is_a_mean(tmp_path: Path, digits: Digits) -> None:
    for mean in (0.5, numpy.float32(0.5), numpy.array(0.5), torch.tensor(0.5), (0.5,)):
        prepare(tmp_path, probe=digits.probe, mean=mean, std=1)  # type: ignore[arg-type]
        assert (tmp_path / "relstab.toml").read_text().splitlines()[-2:] == ["mean = [0.5]", "std = [1]"]
    scalar: Any = numpy.float32(0.5)
    with relstab.start(tmp_path, mean=scalar, **DAEMON) as daemon:
        assert daemon.is_running
