"""What docs/deploy holds: valid for those who read it, and for the command that it starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubernetes_validate import ValidationError, validate
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
            for command, rest in re.findall(r"relstab (\w+)(.*?)(?=\n|$)", line):
                ran += 1
                told = subprocess.run(
                    [sys.executable, "-m", "relstab", command, "--help"], capture_output=True, text=True, check=True
                ).stdout
                for flag in re.findall(r"--[a-z-]+", rest):
                    assert re.search(rf"{flag}\b", told), f"{command} {flag}"
                mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
                for path in re.findall(r"[ =\"](/[a-z]+)/?", rest):
                    assert path in mounts, f"{path} is not mounted"
    assert ran


def test_the_unit_is_valid(tmp_path: Path) -> None:
    (tmp_path / ".cargo/bin").mkdir(parents=True)
    (tmp_path / ".cargo/bin/relstab").symlink_to(str(shutil.which("relstab")))
    unit = tmp_path / "relstab@data-run.service"
    shutil.copy(DEPLOY / "relstab@.service", unit)
    Path(os.environ["XDG_RUNTIME_DIR"], "systemd").mkdir()
    environment = os.environ | {"HOME": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"}
    command = ["systemd-analyze", "verify", "--user", str(unit)]
    checked = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (checked.returncode, checked.stderr) == (0, ""), checked
