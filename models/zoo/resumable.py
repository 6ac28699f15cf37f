"""One training that may be killed at any time: it goes on from its last whole epoch and ends as if it had not been."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export import Exporter
from tensors import Crops, Tensors, error

BATCH = 128
EXPORTS = 9  # log-spaced from half an epoch on; the untrained network and the best are added
CALIBRATION_BATCHES = 16
# A network errs so often, or more, in so many epochs in a row: it has not left chance, or fell back.
CHANCE, PATIENCE = 0.88, 3


@dataclass(frozen=True)
class Plan:
    """How a network is trained."""

    make: Callable[[], nn.Module]
    epochs: int
    is_augmented: bool
    seed: int
    # The first learning rate, and those that are tried where a network stays at chance.
    rates: tuple[float, ...]
    # SGD with momentum, weight decay and a cosine; else Adam at one rate.
    is_sgd: bool
    # What exported files say of the training.
    properties: dict[str, object]
    # How often an epoch sees each image.
    passes: int = 1

    def optimiser(self, network: nn.Module, rate: float) -> torch.optim.Optimizer:
        if self.is_sgd:
            return torch.optim.SGD(network.parameters(), rate, momentum=0.9, weight_decay=5e-4, fused=True)
        return torch.optim.Adam(network.parameters(), rate, fused=True)

    def rate(self, first: float, done: float) -> float:
        """The learning rate when a share of the training is done."""
        return first * (1 + math.cos(math.pi * done)) / 2 if self.is_sgd else first


class Run:
    """A plan's network in training; its folder holds the state, the exported networks and, at the end, `done.json`."""

    def __init__(self, plan: Plan, tensors: Tensors, folder: Path) -> None:
        self.plan, self.tensors, self.folder = plan, tensors, folder
        self.crops = Crops(tensors.train[0]) if plan.is_augmented else None
        self.seen = plan.passes * len(tensors.train[1])
        self.per_epoch = math.ceil(self.seen / BATCH)
        self.total = plan.epochs * self.per_epoch
        spaced = np.geomspace(max(1, self.per_epoch // 2), self.total, EXPORTS)
        self.exports = {int(step) for step in spaced.round()}
        self.exporter: Exporter | None = None
        self.start(0)

    def start(self, attempt: int) -> None:
        """The network before training, with one of the plan's rates."""
        torch.manual_seed(1_000 * self.plan.seed)
        self.attempt, self.epoch = attempt, 0
        self.network = self.plan.make().to(memory_format=torch.channels_last)
        self.optimiser = self.plan.optimiser(self.network, self.first_rate)
        self.best: dict[str, Any] = {"error": math.inf}
        self.history: list[dict[str, float]] = []

    @property
    def first_rate(self) -> float:
        return self.plan.rates[self.attempt]

    def save(self) -> None:
        state = {key: getattr(self, key) for key in ("attempt", "epoch", "best", "history")}
        state.update(network=self.network.state_dict(), optimiser=self.optimiser.state_dict())
        temporary = self.folder / "state.tmp"
        torch.save(state, temporary)
        temporary.rename(self.folder / "state.pt")

    def resume(self) -> None:
        """Takes up what was saved, if anything was."""
        if not (self.folder / "state.pt").exists():
            return
        state = torch.load(self.folder / "state.pt")
        self.start(state["attempt"])
        self.epoch, self.best, self.history = state["epoch"], state["best"], state["history"]
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def finish(self) -> None:
        """Trains to the end."""
        self.resume()
        while self.epoch < self.plan.epochs:
            if self.epoch == 0:
                for old in self.folder.glob("*.onnx"):
                    old.unlink()
                self.export(self.calibrated(), 0)
            self.train_epoch()
            if self.is_stuck() and self.attempt + 1 < len(self.plan.rates):
                self.start(self.attempt + 1)
            self.save()
        best = copy.deepcopy(self.network)
        best.load_state_dict(self.best["network"])
        self.export(best, self.best["epoch"] * self.per_epoch)
        summary = {
            "best_step": self.best["epoch"] * self.per_epoch,
            "last_step": self.total,
            "rate": self.first_rate,
            "rates_left_at_chance": self.plan.rates[: self.attempt],
            "history": self.history,
        }
        temporary = self.folder / "done.tmp"
        temporary.write_text(json.dumps(summary, indent=1))
        temporary.rename(self.folder / "done.json")
        (self.folder / "graph.tmp").unlink(missing_ok=True)

    def is_stuck(self) -> bool:
        """Whether the network stays at chance. Weights that are no numbers stay so."""
        recent = [epoch["test_error"] for epoch in self.history[-PATIENCE:]]
        stays = len(recent) == PATIENCE and min(recent) >= CHANCE
        return stays or math.isnan(self.history[-1]["train_loss"])

    def train_epoch(self) -> None:
        """An epoch whose order, crops, flips and dropout follow from seed and epoch alone."""
        started = time.time()
        torch.manual_seed(1_000 * self.plan.seed + self.epoch + 1)
        images, labels = self.tensors.train
        loss_sum, wrong = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        step = self.epoch * self.per_epoch
        order = torch.cat([torch.randperm(len(labels)) for _ in range(self.plan.passes)])
        for chosen in torch.split(order, BATCH):
            for group in self.optimiser.param_groups:
                group["lr"] = self.plan.rate(self.first_rate, step / self.total)
            batch = self.crops(chosen) if self.crops else images[chosen]
            batch = self.tensors.normalised(batch).contiguous(memory_format=torch.channels_last)
            logits = self.network(batch)
            loss = nn.functional.cross_entropy(logits, labels[chosen])
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            loss_sum += loss.detach() * len(chosen)
            wrong += (logits.detach().argmax(1) != labels[chosen]).sum()
            step += 1
            if step in self.exports:
                self.export(self.network, step)
        self.epoch += 1
        found = error(self.network, self.tensors, len(self.tensors.test[1]))
        known = {"train_loss": loss_sum.item() / self.seen, "train_error": wrong.item() / self.seen}
        self.history.append({"epoch": self.epoch, **known, "test_error": found})
        if found < self.best["error"]:
            weights = copy.deepcopy(self.network.state_dict())
            self.best = {"error": found, "epoch": self.epoch, "network": weights}
        told = ", ".join(f"{key} {value:.4f}" for key, value in self.history[-1].items() if key != "epoch")
        at = f"epoch {self.epoch} of {self.plan.epochs} at {self.first_rate}"
        print(f"{self.folder.name}: {at}: {told}, {time.time() - started:.0f} s", flush=True)

    def calibrated(self) -> nn.Module:
        """The untrained network, its batch norm with the statistics of training images."""
        torch.manual_seed(1_000 * self.plan.seed)
        network = copy.deepcopy(self.network).eval()
        norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the average over all batches
            norm.train()
        images = self.tensors.train[0]
        with torch.no_grad():
            for chosen in torch.split(torch.randperm(len(images)), BATCH)[: CALIBRATION_BATCHES if norms else 0]:
                network(self.tensors.normalised(self.crops(chosen) if self.crops else images[chosen]))
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum  # stands in the exported graph
        return network

    def export(self, network: nn.Module, step: int) -> None:
        """Writes `step=N.onnx`."""
        file = self.folder / f"step={step:06}.onnx"
        properties = {
            **self.plan.properties,
            "step": step,
            "epoch": round(step / self.per_epoch, 3),
            "val_error": error(network, self.tensors, len(self.tensors.test[1])),
            "train_size": len(self.tensors.train[1]),
            "mean": ",".join(map(str, self.tensors.data.mean)),
            "std": ",".join(map(str, self.tensors.data.std)),
            "parameters": sum(p.numel() for p in network.parameters()),
        }
        if self.exporter is None:
            with torch.random.fork_rng(devices=[]):  # a resumed training traces at another step
                self.exporter = Exporter(network, self.tensors.normalised(self.tensors.test[0][:4]), self.folder)
        self.exporter.write(network, file, properties)
