"""Trains a small network with a framework and saves it as the framework does: `python native_alone.py FRAMEWORK FOLDER`.

Into FOLDER go `run`, with the checkpoints, and `reference.onnx`, what the hooks export of the same network; the command that exports the
checkpoints is printed. The scripts that it runs import the functions below, each of which returns an untrained network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy
from relstab import export_script
from sklearn.datasets import load_digits


def torch() -> Any:
    from torch import nn

    head = (nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10))
    return nn.Sequential(nn.Conv2d(1, 8, 3, 2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), *head)


def lightning() -> Any:
    from lightning import LightningModule
    from torch import optim
    from torch.nn.functional import cross_entropy

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch()

        def forward(self, images: Any) -> Any:
            return self.net(images)

        def training_step(self, batch: Any) -> Any:
            return cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return optim.Adam(self.parameters(), lr=2e-3)

    return Module()


def transformers() -> Any:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(num_channels=1, patch_size=2, hidden_sizes=[16, 32], depths=[1, 1], num_stages=2)
    config.num_labels = 10
    return ConvNextForImageClassification(config)


def keras() -> Any:
    import keras

    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(10),
    ]
    return keras.Sequential(layers)


def flax() -> Any:
    from flax import nnx

    rngs = nnx.Rngs(0)
    return nnx.Sequential(
        nnx.Conv(1, 8, (3, 3), strides=2, rngs=rngs),
        nnx.BatchNorm(8, rngs=rngs),
        nnx.relu,
        lambda values: values.reshape(values.shape[0], -1),
        nnx.Dropout(0.2, rngs=rngs),
        nnx.Linear(128, 10, rngs=rngs),
    )


def linen() -> Any:
    import jax
    from flax import linen

    class Network(linen.Module):
        @linen.compact
        def __call__(self, images: Any) -> Any:
            values = linen.relu(linen.Conv(8, (3, 3), strides=2)(images))
            return linen.Dense(10)(values.reshape(values.shape[0], -1))

    network = Network()
    weights = network.init(jax.random.key(0), jax.numpy.zeros((1, 8, 8, 1)))
    return weights, lambda weights, images: network.apply(weights, images)


def save_torch(run: Path, images: Any, labels: Any) -> bytes:
    import torch as framework
    from relstab.torch import Exporter
    from safetensors.torch import save_file
    from torch.distributed.checkpoint.state_dict_saver import save

    network = torch()
    optimiser = framework.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(30):
        optimiser.zero_grad()
        outputs = network(framework.from_numpy(images))
        framework.nn.functional.cross_entropy(outputs, framework.from_numpy(labels)).backward()
        optimiser.step()
    compiled = {f"module._orig_mod.{name}": tensor for name, tensor in network.state_dict().items()}
    whole = {"model": compiled, "optimizer": optimiser.state_dict(), "epoch": 7, "global_step": 30}
    framework.save(whole, run / "last.pt")
    save_file(network.state_dict(), run / "step=31.safetensors")
    save({"model": network.state_dict(), "step": 32}, checkpoint_id=run / "step_32")
    return Exporter(images).snapshot(network)()


def save_lightning(run: Path, images: Any, labels: Any) -> bytes:
    import torch as framework
    from lightning import Trainer
    from relstab.torch import Exporter
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(framework.from_numpy(images), framework.from_numpy(labels))
    settings: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = Trainer(max_epochs=2, enable_progress_bar=False, enable_model_summary=False, **settings)
    module = lightning()
    trainer.fit(module, DataLoader(data, 60))
    trainer.save_checkpoint(run / "epoch=1-step=40.ckpt")
    return Exporter(images).snapshot(module)()


def save_transformers(run: Path, images: Any, labels: Any) -> bytes:
    from relstab.torch import Exporter
    from transformers import Trainer, TrainingArguments

    data = [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]
    common: dict[str, Any] = {"report_to": [], "disable_tqdm": True, "learning_rate": 2e-3}
    arguments = TrainingArguments(output_dir=str(run), use_cpu=True, max_steps=20, save_steps=20, **common)
    trainer = Trainer(transformers(), arguments, train_dataset=data)
    trainer.train()
    network = trainer.model
    return Exporter(images).snapshot(network)()  # type: ignore[arg-type]


def save_keras(run: Path, images: Any, labels: Any) -> bytes:
    import keras as framework
    from relstab.exporter import examples
    from relstab.keras import restored

    network = keras()
    network.compile("adam", framework.losses.SparseCategoricalCrossentropy(from_logits=True))
    callbacks = [framework.callbacks.OrbaxCheckpoint(str(run), save_freq="epoch")]
    network.fit(images, labels, batch_size=60, epochs=2, verbose=0, callbacks=callbacks)
    network.save(run / "epoch_2.keras")
    exporter, _, _ = restored(network, run / "epoch_2.keras", examples(images))
    return exporter.snapshot(network)()


def save_flax(run: Path, images: Any, labels: Any) -> bytes:
    import optax
    import orbax.checkpoint
    from flax import nnx
    from relstab.jax import Exporter

    network = flax()
    optimiser = nnx.Optimizer(network, optax.adam(2e-3), wrt=nnx.Param)
    for _ in range(30):

        def loss_of(network: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(network(images), labels).mean()

        optimiser.update(network, nnx.grad(loss_of)(network))
    state = {"model": nnx.state(network), "optimizer": nnx.to_pure_dict(nnx.state(optimiser, nnx.optimizer.OptState))}
    with orbax.checkpoint.CheckpointManager(run) as manager:
        manager.save(30, args=orbax.checkpoint.args.StandardSave(state))
    return Exporter(images).snapshot(network)()


def save_linen(run: Path, images: Any, labels: Any) -> bytes:
    from flax.serialization import msgpack_serialize
    from relstab.jax import Exporter

    weights, forward = linen()
    (run / "step_31.ckpt").write_bytes(msgpack_serialize({"step": 31, "ema": {"params": weights["params"]}}))
    return Exporter(images, forward).snapshot(weights)()


if __name__ == "__main__":
    framework, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    data = load_digits()
    pixels = (data.images[:1797] / 16).astype(numpy.float32)
    is_first = framework in ("torch", "lightning", "transformers")
    pixels = pixels[:, None] if is_first else pixels[..., None]
    numpy.savez(folder / "probe.npz", images=pixels[1200:], labels=data.target[1200:])
    (folder / "run").mkdir()
    save = globals()[f"save_{framework}"]
    (folder / "reference.onnx").write_bytes(save(folder / "run", pixels[:1200], data.target[:1200].astype(numpy.int64)))
    shape = (1, 8, 8) if is_first else (8, 8, 1)
    print(export_script(f"native_alone:{framework}", shape, folder / "export.py"))
