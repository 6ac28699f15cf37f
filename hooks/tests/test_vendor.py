"""What others wrote and pages carry is what they published: compared with the npm package."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from commands import output
from serving import ROOT

VENDOR = ROOT / "src" / "report" / "page" / "vendor"
#: | `file` | from npm `package`, `path` | version | licence | `hash` |
ROW = re.compile(
    r"^\| `(?P<file>[^`]+)` \| npm `(?P<package>[^`]+)`, `(?P<path>[^`]+)` \| (?P<version>\S+) \|.*`(?P<hash>\w{64})`"
)


def test_every_file_is_the_published_one(tmp_path: Path) -> None:
    rows = [found for line in (VENDOR / "README.md").read_text().splitlines() if (found := ROW.match(line))]
    assert {row["file"] for row in rows} == {path.name for path in VENDOR.iterdir()} - {"README.md"}
    packages = {f"{row['package']}@{row['version']}" for row in rows}
    command = ["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", tmp_path]
    output(*command, *packages)
    for row in rows:
        ours = (VENDOR / row["file"]).read_bytes()
        assert hashlib.sha256(ours).hexdigest() == row["hash"], row["file"]
        assert ours == (tmp_path / "node_modules" / row["package"] / row["path"]).read_bytes(), row["file"]
