"""What docs/deploy holds: valid for those who read it, and for the command that it starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import assert_silent, output
from kubernetes_validate import ValidationError, validate
from serving import BUNDLED, CHECKPOINTS
from yaml import safe_load_all

DEPLOY = Path(__file__).parents[2] / "docs/deploy"
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a pod, or of what makes pods."""
    spec = manifest.get("spec", {})
    pod = spec.get("template", {}).get("spec", spec)
    return [*pod.get("containers", []), *pod.get("initContainers", [])]


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_manifests_are_valid(file: Path) -> None:
    manifests = list(safe_load_all(file.read_text()))
    for manifest in manifests:
        validate(manifest, "1.37", strict=True)
    # What is misspelt is found.
    manifests[-1]["spec"]["templatee"] = {}
    with pytest.raises(ValidationError):
        validate(manifests[-1], "1.37", strict=True)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_the_command_knows_the_flags_of_manifests(file: Path) -> None:
    """Also those of the shell scripts in them; what they mount is where their commands look."""
    ran = 0
    for manifest in safe_load_all(file.read_text()):
        for container in containers(manifest):
            line = " ".join([*container.get("command", []), *container.get("args", [])])
            if "relstab watch" in line:
                assert "--memory-limit" in line, "a large network would end the daemon with the container"
            before_the_end = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
            line = "\n".join([line, " ".join(before_the_end)])
            for command, rest in re.findall(r"relstab (\w+)(.*?)(?=\n|$)", line):
                ran += 1
                told = output(sys.executable, "-m", "relstab", command, "--help")
                for flag in re.findall(r"--[a-z-]+", rest):
                    assert re.search(rf"{flag}\b", told), f"{command} {flag}"
                mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
                for path in re.findall(r"[ =\"](/[a-z]+)/?", rest):
                    assert path in mounts, f"{path} is not mounted"
    assert ran


def test_shards_of_a_job_are_merged_without_those_of_an_earlier_one(tmp_path: Path) -> None:
    job = next(safe_load_all((DEPLOY / "shards.yaml").read_text()))
    container = containers(job)[0]
    # An image each; the built-in engine takes one at a time.
    small = {"/data": str(tmp_path), "--images 50000": "--images 8 --draws 1 --backend tract"}
    script = container["args"][0]
    for large, less in small.items():
        assert large in script
        script = script.replace(large, less)
    assert [variable["name"] for variable in container["env"]] == ["JOB"]
    shutil.copy(BUNDLED / "probe.npz", tmp_path)

    def measured(job: str, index: int) -> str:
        environment = os.environ | {"JOB": job, "JOB_COMPLETION_INDEX": str(index)}
        return output(*container["command"], script, env=environment)

    hashes = []
    for name, checkpoint in (("first", CHECKPOINTS[3]), ("second", CHECKPOINTS[4])):
        shutil.copy(checkpoint, tmp_path / "model.onnx")
        # The first pod comes last: it waits for the others.
        printed = [measured(name, index) for index in reversed(range(job["spec"]["completions"]))]
        assert not any(printed[:-1])
        record = json.loads(printed[-1])
        assert record["probe"]["images"] == 8
        hashes.append(record["model"]["sha256"])
        # One that begins again measures nothing, and merges again.
        assert json.loads(measured(name, 0))["r_f"] == record["r_f"]
    assert len(set(hashes)) == 2


def test_the_unit_is_valid(tmp_path: Path) -> None:
    (tmp_path / ".cargo/bin").mkdir(parents=True)
    (tmp_path / ".cargo/bin/relstab").symlink_to(str(shutil.which("relstab")))
    unit = tmp_path / "relstab@data-run.service"
    shutil.copy(DEPLOY / "relstab@.service", unit)
    Path(os.environ["XDG_RUNTIME_DIR"], "systemd").mkdir()
    environment = os.environ | {"HOME": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"}
    assert_silent("systemd-analyze", "verify", "--user", unit, env=environment)
