"""A bucket of a real S3 server is watched as a directory is: one outcome for each content, whatever fails or dies meanwhile.

`RELSTAB_KEYS=10000 python -m pytest hooks/tests/test_store.py` puts as many other keys beside the checkpoints.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from buckets import BUCKET, PART, SECRET, Bucket, Proxy
from prefixes import ask, history, local_values, states, values, watching
from serving import BUNDLED, CHECKPOINTS, eventually

RUN = f"s3://{BUCKET}/today"
KEYS = int(os.environ.get("RELSTAB_KEYS", "0"))


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    for name in ("relstab.toml", "probe.npz"):
        bucket.put(f"today/{name}", (BUNDLED / name).read_bytes())
    yield bucket
    bucket.stop()


@pytest.fixture
def proxy(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(bucket)
    for name, value in proxy.environment().items():
        monkeypatch.setenv(name, value)
    yield proxy
    proxy.stop()


def large(checkpoint: Path, to: Path) -> bytes:
    """The same network, of more than one part."""
    model = onnx.load(checkpoint)
    model.metadata_props.add(key="padding", value="x" * PART)
    onnx.save(model, to)
    return to.read_bytes()


def test_the_server_honours_if_match_and_if_none_match(bucket: Bucket) -> None:
    tag = bucket.ask("GET", "today/relstab.toml")[2]
    assert bucket.ask("GET", "today/relstab.toml", If_Match=tag)[0] == 200
    assert bucket.ask("GET", "today/relstab.toml", If_Match='"another"')[0] == 412
    assert bucket.ask("GET", "today/relstab.toml", If_None_Match=tag)[0] == 304
    assert bucket.ask("PUT", "today/relstab.toml", b"", If_None_Match="*")[0] == 412


def test_nothing_is_lost_and_nothing_measured_twice(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(KEYS):
        bucket.put(f"today/notes/{number}.txt", b"x")
    contents = {checkpoint.name: checkpoint.read_bytes() for checkpoint in CHECKPOINTS}
    names = list(contents)
    overwritten, deleted, uploaded = names[2], names[5], names[7]
    contents[uploaded] = large(CHECKPOINTS[7], tmp_path / "large.onnx")
    # Its first content is another's, and is gone before it can be read.
    first_content = contents[names[0]]
    done: set[str] = set()
    lists = 0

    def before(method: str, path: str) -> int | None:
        nonlocal lists
        if not path:
            lists += 1
            if lists % 4 == 2:
                return 503
            if lists % 5 == 3:
                time.sleep(0.5)
        name = path.rsplit("/", 1)[-1]
        if method == "GET" and name not in done and name in (overwritten, deleted):
            done.add(name)
            if name == overwritten:
                bucket.put(path, contents[name])
            else:
                bucket.delete(path)
        return None

    proxy.before = before
    with watching(RUN, tmp_path):
        bucket.put(f"today/{overwritten}", first_content)
        bucket.put(f"today/{deleted}", contents[deleted])
        eventually(lambda: done == {overwritten, deleted}, (tmp_path / "log").read_text)
    waiting = [name for name in names if name not in (overwritten, deleted)]
    for at in range(0, len(waiting), 3):
        with watching(RUN, tmp_path):
            for name in waiting[at : at + 3]:
                if name == uploaded:
                    bucket.put_in_parts(f"today/{name}", contents[name], lambda: time.sleep(0.5))
                else:
                    bucket.put(f"today/{name}", contents[name])
            time.sleep(chance.uniform(0.2, 2.0))
    with watching(RUN, tmp_path):
        expected = {name: "skipped" if name == deleted else "measured" for name in names}
        eventually(
            lambda: states(RUN, tmp_path) == expected,
            lambda: f"{states(RUN, tmp_path)}\n{(tmp_path / 'log').read_text()}",
        )
    entries = [entry for entry in history(RUN, tmp_path) if entry["state"] == "measured"]
    counts = Counter(entry["path"] for entry in entries)
    assert set(counts.values()) == {1}, counts
    assert all(
        entry["path"] == entry["measurement"]["model"]["path"] == f"{RUN}/{Path(entry['path']).name}"
        for entry in entries
    )
    del contents[deleted]
    assert values(RUN, tmp_path) == pytest.approx(local_values(tmp_path, contents), rel=1e-6)

    # Who reads the bucket is told to nobody.
    written = [*tmp_path.rglob("*.sqlite*"), tmp_path / "log"]
    assert len(written) > 1
    for file in written:
        assert SECRET.encode() not in file.read_bytes(), file
    ask(RUN, tmp_path, "best", "--link", str(tmp_path / "best.onnx"))
    assert (tmp_path / "best.onnx").read_bytes() in contents.values()
    mine = tmp_path / "best.onnx.files" / "mine"
    mine.mkdir()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        ask(RUN, tmp_path, "best", "--link", str(tmp_path / "best.onnx"))
    assert "holds copies only" in refused.value.stderr and mine.exists()
    assert ask(RUN, tmp_path, "report") and ask(RUN, tmp_path, "best").startswith(RUN)


def test_an_outage_is_said_once_and_outlived(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    with watching(RUN, tmp_path):
        bucket.put("today/step_1.onnx", CHECKPOINTS[3].read_bytes())
        eventually(
            lambda: [entry["state"] for entry in history(RUN, tmp_path)] == ["measured"], (tmp_path / "log").read_text
        )
        proxy.before = lambda _method, _path: 403
        eventually(lambda: "could not list it" in (tmp_path / "log").read_text(), (tmp_path / "log").read_text)
        time.sleep(2)
        bucket.put("today/step_2.onnx", CHECKPOINTS[4].read_bytes())
        proxy.before = lambda _method, _path: None
        eventually(lambda: len(history(RUN, tmp_path)) == 2, (tmp_path / "log").read_text)
        eventually(
            lambda: {entry["state"] for entry in history(RUN, tmp_path)} == {"measured"}, (tmp_path / "log").read_text
        )
    log = (tmp_path / "log").read_text()
    assert log.count("could not list it") == 1 and log.count("is listed again") == 1, log


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_object_that_cannot_be_fetched_keeps_no_other_waiting(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, status: int
) -> None:
    """A worker without the right, one that asks another store, a store that fails."""
    names = ["step_1.onnx", "step_2.onnx", "step_3.onnx"]
    proxy.before = lambda method, path: status if method == "GET" and path.endswith(names[0]) else None
    for name, checkpoint in zip(names, CHECKPOINTS, strict=False):
        bucket.put(f"today/{name}", checkpoint.read_bytes())
    log = (tmp_path / "log").read_text
    with watching(RUN, tmp_path, "--give-up", "1s"):
        others = dict.fromkeys(names[1:], "measured")
        eventually(lambda: states(RUN, tmp_path) == {names[0]: "pending"} | others, log)
        eventually(lambda: "to be fetched again" in ask(RUN, tmp_path, "history", "--format", "json"), log)
        eventually(lambda: "to be fetched again" in ask(RUN, tmp_path, "status"), log)
        proxy.before = lambda _method, _path: None
        eventually(lambda: states(RUN, tmp_path) == dict.fromkeys(names, "measured"), log)
    assert log().count("could not fetch it") == 1 and "nothing of this run" not in log(), log()


def test_a_download_may_take_longer_than_a_store_may_be_silent(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_READ_TIMEOUT", "2 seconds")
    proxy.trickles = 33.0  # the library ends a request after 30 s if nobody says otherwise
    bucket.put("today/step_1.onnx", CHECKPOINTS[3].read_bytes())
    with watching(RUN, tmp_path):
        eventually(lambda: states(RUN, tmp_path) == {"step_1.onnx": "measured"}, (tmp_path / "log").read_text)
    assert "could not fetch" not in (tmp_path / "log").read_text()


def test_a_store_that_does_not_answer_at_the_start_is_outlived(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    proxy.before = lambda method, path: 503 if method == "HEAD" and path.endswith("relstab.toml") else None
    log = (tmp_path / "log").read_text
    with watching(RUN, tmp_path):
        eventually(lambda: "trying again once there is a checkpoint" in log(), log)
        proxy.before = lambda _method, _path: None
        bucket.put("today/step_1.onnx", CHECKPOINTS[3].read_bytes())
        eventually(lambda: states(RUN, tmp_path) == {"step_1.onnx": "measured"}, log)
