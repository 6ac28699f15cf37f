"""What a web page from elsewhere can do to a daemon on the reader's machine, in a real browser: nothing."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from daemons import history
from playwright.sync_api import Browser
from serving import CHECKPOINTS, bundled_run, serving

TOKEN = "a token that the page has learnt"
# Every way in which a page may send bytes of its own to an address that is not its own. Each gives what it heard.
WAYS = """
async ([address, body]) => {
  const heard = (sent) => sent.then((answer) => answer.text()).catch((error) => `failed: ${error}`);
  const url = `http://${address}/`;
  const plain = (mode) => heard(fetch(url, { method: "POST", mode, body }));
  const form = () => new Promise((done) => {
    const frame = document.body.appendChild(Object.assign(document.createElement("iframe"), { name: "sent" }));
    const form = Object.assign(document.createElement("form"), { method: "post", action: url, enctype: "text/plain", target: "sent" });
    form.append(Object.assign(document.createElement("textarea"), { name: body, value: body }));
    document.body.append(form);
    frame.onload = () => done("loaded");
    form.submit();
    setTimeout(() => done("failed: no answer"), 2000);
  });
  const socket = () => new Promise((done) => {
    const socket = new WebSocket(`ws://${address}/`);
    socket.onopen = () => socket.send(body);
    socket.onmessage = ({ data }) => done(data);
    socket.onerror = () => done("failed: closed");
  });
  return {
    posted: await plain("no-cors"),
    asked: await plain("cors"),
    beacon: String(navigator.sendBeacon(url, body)),
    form: await form(),
    socket: await socket(),
    read: await heard(fetch(`${url}api/overview`)),
    listened: await new Promise((done) => {
      const events = new EventSource(`${url}events`);
      events.onmessage = ({ data }) => done(data);
      events.onerror = () => done("failed: closed");
    }),
  };
}
"""


class Elsewhere(BaseHTTPRequestHandler):
    """A page of somebody else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><body>")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_page_from_elsewhere_commands_and_reads_nothing(chromium: Browser, tmp_path: Path, elsewhere: str) -> None:
    folder, token = bundled_run(tmp_path / "run"), tmp_path / "token"
    token.write_text(TOKEN)
    with serving(folder, "--images", "50", "--draws", "1", "--tcp", "127.0.0.1:0", "--tcp-token", str(token)) as daemon:
        daemon.land(*CHECKPOINTS[1:3])
        daemon.measured(2)
        [found] = re.findall(r"tcp=Some\((.*?)\)", daemon.log.read_text())
        run = {"run": str(folder.resolve())}
        lines = [{"type": "token", "token": TOKEN}, {"type": "annotate", **run, "step": 30, "val_error": 0.5}]
        body = "\n".join(["", *map(json.dumps, [*lines, {"type": "forget", **run}]), ""])
        page = chromium.new_page()
        failures: list[str] = []
        page.on("requestfailed", lambda request: failures.append(f"{request.url} {request.failure}"))
        page.goto(elsewhere)
        for address in (found, daemon.address):
            heard = page.evaluate(WAYS, [address, body])
            told = [word for word in heard.values() if "hello" in word or "measured" in word or "run" in word]
            assert not told, heard
            assert heard["read"].startswith("failed") and heard["listened"] == "failed: closed", heard
        # It did come as far as the daemon.
        assert failures and not any("REFUSED" in failure or "UNSAFE" in failure for failure in failures), failures
        daemon.land(CHECKPOINTS[3])
        daemon.measured(3)
        entries = history(folder)
        assert [entry["state"] for entry in entries] == ["measured"] * 3
        assert entries[0]["step"] == 30 and entries[0]["val_error"] != 0.5, entries[0]
