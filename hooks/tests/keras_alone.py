"""The Keras callback with the backend that KERAS_BACKEND names; test_alone.py runs this."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy
import pytest
import relstab
from daemons import DAEMON, SETTINGS, Unlucky, assert_measured, history
from relstab.keras import Callback
from test_exporters import channels_last
from test_measure import Array
from training import TRAINED, Arrays, Digits


def network() -> Any:
    """Layers with states and random numbers, and those that JAX's exporter writes on its own as no engine takes them."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.RandomTranslation(0.1, 0.1),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.MaxPooling2D(3, strides=2, padding="same"),
            layers.Conv2D(16, 3, padding="same", activation="gelu"),
            layers.MaxPooling2D(2),
            layers.LayerNormalization(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(10),
        ]
    )


class Losses(keras.callbacks.Callback):  # type: ignore[misc] # Keras is untyped
    """Every loss to the last bit; `after_epoch(model, epoch)` may wait, or kill."""

    def __init__(self, after_epoch: Callable[[Any, int], None] = lambda *_: None) -> None:
        super().__init__()
        self.losses: list[str] = []
        self._after_epoch = after_epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.losses.append(float((logs or {})["loss"]).hex())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._after_epoch(self.model, epoch + 1)


def fit(data: Arrays, callbacks: list[Any], epochs: int = 6) -> Any:
    keras.utils.set_random_seed(0)
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    trained = data.images[:TRAINED], data.labels[:TRAINED]
    return model.fit(*trained, batch_size=60, epochs=epochs, validation_data=data.probe, callbacks=callbacks, verbose=0)


def passes(model: Any) -> Callable[[Array], Array]:
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return lambda images: numpy.asarray(keras.ops.convert_to_numpy(copied(channels_last(images), training=False)))


def test_every_checkpoint_is_measured_and_a_rule_stops(digits: Digits, data: Arrays, tmp_path: Path) -> None:
    run, kept, table = tmp_path / "run", dict[int, Any](), tmp_path / "log.csv"
    rule = {"monitor": "r_f", "patience": 1, "min_delta": 1000.0}
    error = lambda metrics: 1 - metrics["val_accuracy"]
    callback = Callback(run, probe=data.probe, val_error=error, stop=rule)

    def keep(model: Any, epoch: int) -> None:
        kept[20 * epoch] = passes(model)
        assert callback.monitor is not None
        assert callback.monitor.wait(60)

    with relstab.start(run, **DAEMON):
        fitted = fit(data, [callback, keras.callbacks.CSVLogger(str(table)), Losses(keep)]).history
    # Told with the second checkpoint or soon after.
    assert 2 <= len(kept) < 6
    assert_measured(run, kept, relstab.perturb(*digits.probe, **SETTINGS))
    measured = [entry["measurement"] for entry in history(run)]
    for epoch, measurement in enumerate(measured):
        metadata = measurement["metadata"]
        assert metadata["val_error"] == pytest.approx(1 - fitted["val_accuracy"][epoch])
        assert metadata["epoch"] == epoch + 1
    # An epoch's logs have what was known at its end: what the one before was measured to be.
    assert fitted["relstab/step"][1:] == list(kept)[:-1]
    assert fitted["relstab/r_f"][1:] == [measurement["r_f"]["value"] for measurement in measured[:-1]]
    invariances = [measurement["scores"]["invariance"]["deformed"]["value"] for measurement in measured[:-1]]
    assert fitted["relstab/invariance"][1:] == invariances
    with table.open() as file:
        assert [float(row["relstab/step"]) for row in csv.DictReader(file)][1:] == list(kept)[:-1]


def test_the_last_checkpoint_is_heard_before_the_training_ends(data: Arrays, tmp_path: Path) -> None:
    run, rule = tmp_path / "run", {"monitor": "r_f", "patience": 1, "min_delta": 1000.0}
    callback = Callback(run, probe=data.probe, stop=rule)
    with relstab.start(run, **DAEMON):
        fit(data, [callback], epochs=2)
        assert callback.monitor is not None
        # Only the second checkpoint says so, and no epoch follows that could ask.
        assert callback.monitor.should_stop()
        assert callback.monitor.latest is not None
        assert callback.monitor.latest.step == 40


def test_killing_the_daemon_changes_no_loss(data: Arrays, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "relstab")
    undisturbed = Losses()
    fit(data, [undisturbed])
    run = tmp_path / "run"
    callback, unlucky = Callback(run, probe=data.probe), Unlucky(run)

    def kill(model: Any, epoch: int) -> None:
        unlucky.checkpoint(epoch)
        if epoch == 6:
            assert callback.monitor is not None
            assert callback.monitor.wait(60), "the last daemon measures what the others left"

    disturbed = Losses(kill)
    fit(data, [callback, disturbed])
    unlucky.stop()
    assert disturbed.losses == undisturbed.losses
    assert [entry["state"] for entry in history(run)] == ["measured"] * 6
    assert not [record.message for record in caplog.records if "export" in record.message]


def test_what_fails_is_one_warning(data: Arrays, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "relstab")
    fit(data, [Callback(tmp_path / "run", val_error="no_such_metric")], epochs=2)
    messages = [record.message for record in caplog.records if "no export" in record.message]
    assert len(messages) == 1
    assert "expected example images" in messages[0]
