"""Twelve trainings of small networks on scikit-learn's digits, pruned across runs: by Optuna's median pruner on the validation error, and by
relstab's median rule on several monitors.

python hooks/benches/prune.py            # some CPU minutes

Each training is done once, to its end, and its checkpoints are kept. A pruner then sees them as a study would: trial after trial, epoch after
epoch, until it prunes. So all pruners judge the same trainings.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
import optuna
import relstab
import relstab.optuna
import relstab.torch
import torch
from optuna.trial import FrozenTrial, TrialState
from sklearn.datasets import load_digits
from torch import Tensor, nn

TRAINED, CHECKED = slice(0, 1000), slice(1000, 1300)
UNSEEN = slice(1300, None)
#: Before so many trials came as far, and so many epochs, nobody is pruned; both pruners have it.
RUNS, GRACE = 3, 3
MONITORS = ("val_error", "invariance")

RunOf = Callable[[FrozenTrial], Path]


@dataclass(frozen=True)
class Training:
    """What there is after each epoch: the network, its error on the validation images and on unseen ones."""

    settings: dict[str, float]
    networks: list[nn.Module]
    checked: list[float]
    unseen: list[float]


def train(images: Tensor, labels: Tensor, settings: dict[str, float], epochs: int) -> Training:
    torch.manual_seed(int(settings["seed"]))
    width = int(settings["width"])
    model = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(settings["dropout"]),
        nn.Linear(2 * width * 16, 10),
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=settings["rate"])
    training = Training(settings, [], [], [])
    for _ in range(epochs):
        model.train()
        for batch in torch.randperm(1000).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[TRAINED][batch]), labels[TRAINED][batch]).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            wrong = model(images).argmax(1) != labels
        training.networks.append(copy.deepcopy(model))
        training.checked.append(wrong[CHECKED].float().mean().item())
        training.unseen.append(wrong[UNSEEN].float().mean().item())
    return training


def study(
    trainings: list[Training], pruner: optuna.pruners.BasePruner, tell: Callable[[FrozenTrial, int], None]
) -> tuple[int, int, float]:
    """Epochs trained, trials pruned, and the unseen error of the network with the least validation error of all that were seen."""
    seen: list[tuple[float, float]] = []

    def objective(trial: optuna.Trial) -> float:
        training = trainings[trial.number]
        for epoch, error in enumerate(training.checked):
            seen.append((error, training.unseen[epoch]))
            tell(trial, epoch)  # type: ignore[arg-type] # it has a number
            trial.report(error, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return min(training.checked)

    made = optuna.create_study(pruner=pruner)
    made.optimize(objective, n_trials=len(trainings))
    pruned = sum(trial.state == TrialState.PRUNED for trial in made.trials)
    return len(seen), pruned, min(seen, key=lambda each: each[0])[1]


def by_relstab(trainings: list[Training], images: Tensor, labels: Tensor, monitor: str) -> tuple[int, int, float]:
    rule = {"kind": "median", "monitor": monitor, "least_runs": RUNS, "start_from": GRACE}
    with tempfile.TemporaryDirectory() as name, _daemon(Path(name)) as daemon:
        parent, client = Path(name), daemon.client
        assert client is not None
        monitors: dict[int, relstab.torch.Monitor] = {}

        def run_of(trial: FrozenTrial) -> Path:
            return parent / f"trial{trial.number:02}"

        def tell(trial: FrozenTrial, epoch: int) -> None:
            if trial.number not in monitors:
                monitors[trial.number] = relstab.torch.Monitor(
                    run_of(trial), probe=images[CHECKED], stop=rule, address=client.address
                )
            training = trainings[trial.number]
            monitors[trial.number].checkpoint(
                training.networks[epoch], step=epoch + 1, val_error=training.checked[epoch]
            )
            # Epochs of this example are shorter than a measurement; those of a real training need no waiting.
            if not monitors[trial.number].wait(120):
                raise TimeoutError(f"{run_of(trial)} was not measured")

        found = study(trainings, relstab.optuna.Pruner(run_of, lambda _: client), tell)
        for each in monitors.values():
            each.close()
    return found


def _daemon(parent: Path) -> relstab.Daemon:
    return relstab.start(parent, recursive=True, images=60, draws=1, delta=0.5, backend="tract")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--monitors", nargs="*", default=MONITORS)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    digits = load_digits()
    images, labels = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target)
    chance = numpy.random.default_rng(asked.seed)
    drawn = [
        {
            "seed": seed,
            "width": chance.choice([2, 4, 8]),
            "rate": 10 ** chance.uniform(-4, -1),
            "dropout": chance.uniform(0, 0.5),
        }
        for seed in range(asked.trials)
    ]
    trainings = [train(images, labels, settings, asked.epochs) for settings in drawn]
    for training in trainings:
        told = ", ".join(f"{name} {value:.3g}" for name, value in training.settings.items())
        print(f"{told}: validation error {min(training.checked):.3f}, unseen {training.unseen[-1]:.3f}")
    median = optuna.pruners.MedianPruner(n_startup_trials=RUNS, n_warmup_steps=GRACE - 1)
    results = {"nobody": study(trainings, optuna.pruners.NopPruner(), lambda *_: None)}
    results["Optuna's median, val_error"] = study(trainings, median, lambda *_: None)
    for monitor in asked.monitors:
        results[f"relstab's median, {monitor}"] = by_relstab(trainings, images, labels, monitor)
    whole = results["nobody"][0]
    print("| pruner | epochs trained | saved | trials pruned | error of the network kept |\n|---|---|---|---|---|")
    for name, (epochs, pruned, error) in results.items():
        print(f"| {name} | {epochs} | {1 - epochs / whole:.0%} | {pruned} | {error:.1%} |", flush=True)


if __name__ == "__main__":
    main()
