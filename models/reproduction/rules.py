"""Stop rules on the zoo's long trainings, judged by `relstab watch` itself."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import stored

sys.path.append(str(stored.HERE.parents[1] / "hooks" / "python"))
from relstab import Client

PATIENCES = (3, 5)
MONITORS = ("r_f", "d_f", "g_f", "probe_error", "val_error")
# A law from elsewhere, and forms of laws calibrated on the zoo's other architectures.
LAWS = {"cifar10": "cifar10", "fashionmnist": "fashionmnist-c3"}
FORMS = ("r_f", "d_f_and_g_f", "agreement_deformed")
SIDES = {"cifar10": "32", "fashionmnist": "28"}
# Columns of a table that `relstab calibrate` reads, and the zoo's names for them.
KNOWN = {
    **{name: name for name in ("r_f", "error", "step", "confidence_clean", "confidence_deformed")},
    **{name: name for name in ("agreement_deformed", "agreement_noisy")},
    **{name: f"{name}_coordinate_median" for name in ("d_f", "g_f")},
}


class Rules:
    """Where the networks and relstab's own files lie."""

    def __init__(self, relstab: str, networks: Path, work: Path, environment: dict[str, str]) -> None:
        self.relstab, self.networks, self.work = relstab, networks, work
        own = {"XDG_DATA_HOME": str(work / "data"), "XDG_STATE_HOME": str(work / "state"), "RELSTAB_LOG": "error"}
        self.environment = {**environment, **own}
        work.mkdir(parents=True, exist_ok=True)

    def runs(self, data_set: str) -> list[Path]:
        return sorted(path for path in (self.networks / "long").glob(f"{data_set}-*") if any(path.glob("*.onnx")))

    def calibrated(self, data_set: str, architecture: str, form: str) -> str:
        """A law of this form from the zoo's other architectures, trained networks at c = 3."""
        name = f"{data_set}-without-{architecture}-{form}".replace("_", "-")
        others = [row for row in stored.of(stored.small(), data_set=data_set) if row["architecture"] != architecture]
        # Those that relstab would predict, as in the zoo's presets; one that answers the same everywhere has no logarithm.
        rows = [row for row in others if row["near_initial"] == "0" and row["agreement_deformed"] != "1"]
        path = self.work / f"{name}.csv"
        with open(path, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow([*KNOWN, "run"])
            table.writerows([*(row[key] for key in KNOWN.values()), stored.training(row)] for row in rows)
        flags = ["--side", SIDES[data_set], "--classes", "10", "--cutoff", "3", "--delta", "1", "--form", form]
        self.run("calibrate", str(path), *flags, "--save", name)
        return name

    def run(self, *arguments: str) -> str:
        command = [self.relstab, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=self.environment)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def judged(self, data_set: str, laws: dict[str, str], monitors: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """What the daemon says of each run, by its directory, once all of it is measured and each rule was asked."""
        runs = self.runs(data_set)
        rules = list(itertools.product(monitors, PATIENCES))
        stops = "".join(f'[[stop]]\nmonitor = "{monitor}"\npatience = {patience}\n' for monitor, patience in rules)
        for run in runs:
            (run / "relstab.toml").write_text(f'law = "{laws[run.name]}"\nrefit = false\n{stops}')
        socket, journal = self.work / f"{data_set}.sock", self.work / f"{data_set}.sqlite"
        flags = ["--probe", str(self.networks / f"{data_set}.npz"), "--images", "500", "--draws", "2"]
        flags += ["--journal", str(journal), "--socket", str(socket), "--until-eof", "--format", "json"]
        command = [self.relstab, "watch", *map(str, runs), *flags]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self.environment
        ) as daemon:
            client = Client(socket)
            while not (
                self.is_done(client, runs, len(rules)) and all(self.has_law(run, journal, laws) for run in runs)
            ):
                if daemon.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)} ended with {daemon.returncode}")
                time.sleep(2)
            for run in runs:
                answer = client.decision(run)
                _, architecture, *_ = run.name.split("-")
                for (monitor, patience), verdict in zip(rules, answer["rules"], strict=True):
                    assert verdict["monitor"] == monitor
                    stop, best = verdict["stop"], verdict["best"]
                    yield {
                        "data_set": data_set,
                        "architecture": architecture,
                        "law": laws[run.name],
                        "monitor": monitor,
                        "patience": patience,
                        "stop_step": stop and stop["at"]["step"],
                        "best_step": best and best["step"],
                    }
            assert daemon.stdin is not None
            daemon.stdin.close()

    def has_law(self, run: Path, journal: Path, laws: dict[str, str]) -> bool:
        """Whether the run's predictions are those of its law."""
        history = json.loads(self.run("history", str(run), "--journal", str(journal), "--format", "json"))
        predictions = [entry["measurement"]["prediction"] for entry in history if "measurement" in entry]
        return all(found["law"]["name"] == laws[run.name] for found in predictions if found)

    @staticmethod
    def is_done(client: Client, runs: list[Path], rules: int) -> bool:
        """Whether every run is measured and its rules were asked."""
        try:
            about = {run["run"]: run for run in client.status()["runs"]}
        except OSError:
            return False
        mine = [about.get(str(run.resolve())) for run in runs]
        return all(
            run and run["measured"] and not run["pending"] and not run["measuring"] and len(run["rules"]) == rules
            for run in mine
        )


def judge_all(rules: Rules) -> list[dict[str, Any]]:
    """Every rule on every run: raw monitors, then predicted errors under laws from elsewhere and under calibrated ones."""
    found = []
    for data_set, preset in LAWS.items():
        names = [run.name for run in rules.runs(data_set)]
        found += rules.judged(data_set, dict.fromkeys(names, preset), (*MONITORS, "predicted_error"))
        for form in FORMS:
            laws = {name: rules.calibrated(data_set, name.split("-")[1], form) for name in names}
            found += [{**verdict, "law": form} for verdict in rules.judged(data_set, laws, ("predicted_error",))]
    return found


def write(path: Path, verdicts: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(verdict) for verdict in verdicts)
    path.write_text(f"[\n{lines}\n]\n")
