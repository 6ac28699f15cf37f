"""Checkpoints as frameworks save them, exported by the script of `relstab.export_script`, are measured as their networks are."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy
import pytest
import relstab
from commands import output, run
from daemons import DAEMON, history
from relstab.native import main, matched
from training import Digits, network

#: Of each framework the checkpoints that it saves, with their steps and epochs, None where neither name nor file tells.
SAVED: dict[str, dict[str, tuple[int | None, float | None]]] = {
    "torch": {"last.pt": (30, 7), "step=31.safetensors": (31, None), "step_32": (32, None)},
    "lightning": {"epoch=1-step=40.ckpt": (40, 2)},
    "transformers": {"checkpoint-20": (20, 20 / 150)},
    "keras": {"epoch_2.keras": (None, 2), "1": (1, None)},
    "flax": {"30": (30, None)},
    "linen": {"step_31.ckpt": (31, None)},
}


@pytest.mark.parametrize("framework", SAVED)
def test_checkpoints_are_measured_as_their_exports_are(framework: str, tmp_path: Path) -> None:
    """Each framework in a process of its own, and so its exports: some do not bear each other."""
    if framework in ("flax", "linen", "keras") and find_spec("jax2onnx") is None:
        pytest.skip("jax2onnx, and Keras with Orbax, need Python 3.11")
    environment = {**os.environ, "KERAS_BACKEND": "torch", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).with_name("native_alone.py")
    command = output(sys.executable, script, framework, tmp_path, env=environment).splitlines()[-1]
    reference = relstab.measure(tmp_path / "reference.onnx", tmp_path / "probe.npz", **DAEMON)
    assert reference.r_f is not None
    folder, expected = tmp_path / "run", SAVED[framework]
    with relstab.start(folder, export=command, probe=tmp_path / "probe.npz", **DAEMON):
        done = run("relstab", "wait", folder, "--timeout=10m", timeout=660)
    measured = {Path(entry["path"]).name: entry for entry in history(folder)}
    assert measured.keys() == expected.keys(), done.stderr
    for name, (step, epoch) in expected.items():
        assert measured[name]["state"] == "measured", (measured[name], done.stderr)
        record = measured[name]["measurement"]
        assert record["r_f"]["value"] == pytest.approx(reference.r_f.value, rel=1e-3)
        metadata = record["metadata"]
        assert (metadata.get("step"), metadata.get("epoch")) == (step, epoch if epoch is None else pytest.approx(epoch))


def test_weights_are_found_in_one_place_or_not_at_all() -> None:
    array = numpy.zeros((2, 3), numpy.float32)
    wanted = {"a.weight": (2, 3)}
    average, weights = array + 1, array + 2
    for tree, expected in [
        ({"a.weight": array}, array),
        ({"state_dict": {"net.a.weight": weights, "loss.scale": array}}, weights),
        ({"ema": {"a": {"weight": average}}, "model": {"a": {"weight": weights}}}, weights),
        ({"params": {"a": {"weight": {"value": weights}}}, "opt_state": [{"mu": {"a": {"weight": average}}}]}, weights),
    ]:
        assert matched(wanted, tree, Path("x"))["a.weight"] is expected
    for tree, words in [
        ({"b.weight": array}, "expected weights a.weight, found b.weight"),
        ({}, "found none"),
        ({"model": {"a.weight": array, "b.weight": array}}, "b.weight besides"),
        ({"a.weight": array[:1]}, "of shape"),
    ]:
        with pytest.raises(ValueError, match=words):
            matched(wanted, tree, Path("x"))


def test_the_function_is_one_that_a_script_can_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "a b.py"
    command = relstab.export_script(network, (1, 8, 8), script)
    assert command.endswith("a b.py' {checkpoint} {onnx}")
    assert "main('training:network', (1, 8, 8))" in script.read_text()
    for build in (lambda: None, "training", "no_such_module:network"):
        with pytest.raises(ValueError, match="build"):
            relstab.export_script(build, (1, 8, 8), script)
    with pytest.raises(TypeError, match="Digits"):
        main("training:Digits", (1, 8, 8), ["checkpoint", "onnx"])
    assert Digits.__name__ == "Digits"
