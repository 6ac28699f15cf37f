"""moto's S3 server, and a proxy before it that counts, delays, fails and lets tests act in the middle of a request."""

from __future__ import annotations

import http.client
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from moto.server import ThreadedMotoServer

BUCKET = "runs"
# Given to daemons, and looked for where it must not be.
SECRET = "nobody-may-read-this"
PART = 5 << 20
# Who asks; nobody checks the signature, but an object is not for strangers.
SIGNED = "AWS4-HMAC-SHA256 Credential=tester/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none"


class Bucket:
    """A bucket of a real server."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.host = "{}:{}".format(*self._server.get_host_and_port())
        # All servers of a process share their buckets.
        urllib.request.urlopen(f"http://{self.host}/moto-api/reset", b"", timeout=30).close()
        self.ask("PUT", "")

    def stop(self) -> None:
        self._server.stop()

    def ask(self, method: str, key: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes, str]:
        """Status, body and ETag of what the server answers."""
        # By itself urllib calls data a form, which the server would read.
        named = {"Content-Type": "application/octet-stream", "Authorization": SIGNED}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://{self.host}/{BUCKET}/{key}", data, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read(), answer.headers.get("ETag", "")
        except urllib.error.HTTPError as error:
            return error.code, error.read(), ""

    def put(self, key: str, data: bytes) -> None:
        status, body, _ = self.ask("PUT", key, data)
        assert status == 200, body

    def delete(self, key: str) -> None:
        assert self.ask("DELETE", key)[0] == 204

    def put_in_parts(self, key: str, data: bytes, between: Callable[[], None]) -> None:
        """An upload of several parts; `between` is called before the last one."""
        found = re.search(rb"<UploadId>(.*?)</UploadId>", self.ask("POST", f"{key}?uploads")[1])
        assert found is not None
        upload = found[1].decode()
        parts = [data[at : at + PART] for at in range(0, len(data), PART)]
        named = []
        for number, part in enumerate(parts, 1):
            if number == len(parts):
                between()
            tag = self.ask("PUT", f"{key}?partNumber={number}&uploadId={upload}", part)[2]
            named.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        whole = f"<CompleteMultipartUpload>{''.join(named)}</CompleteMultipartUpload>"
        status, body, _ = self.ask("POST", f"{key}?uploadId={upload}", whole.encode())
        assert status == 200, body


class Server(Protocol):
    """What a proxy stands before."""

    host: str


class Quiet(ThreadingHTTPServer):
    """Says nothing of connections that end early: tests kill who asks, and stop who answers.

    To print an error, Python parses source. Before 3.11.8 that breaks what another thread parses meanwhile (python/cpython#106905).
    """

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (OSError, http.client.HTTPException)):
            super().handle_error(request, client_address)


class Proxy:
    """Passes requests on to a server, after `before` had its say: a status to answer in its place, or None."""

    def __init__(self, bucket: Server) -> None:
        self.before: Callable[[str, str], int | None] = lambda _method, _path: None
        # Over so many seconds an object comes.
        self.trickles = 0.0
        # Of each request: when it came, when it was answered, its method and its path with the query.
        self.requests: list[tuple[float, float, str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                came = time.time()
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = unquote(urlsplit(self.path).path)
                refused = proxy.before(self.command, path.removeprefix(f"/{BUCKET}").lstrip("/"))
                if refused is None:
                    self.pass_on(body)
                else:
                    self.send_response(refused)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                proxy.requests.append((came, time.time(), self.command, self.path))

            def pass_on(self, body: bytes) -> None:
                server = http.client.HTTPConnection(bucket.host, timeout=30)
                server.request(self.command, self.path, body, dict(self.headers))
                answer = server.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(data)))
                self.end_headers()
                steps = 100 if proxy.trickles and self.path.endswith(".onnx") else 1
                for at in range(steps):
                    self.wfile.write(data[len(data) * at // steps : len(data) * (at + 1) // steps])
                    time.sleep(proxy.trickles / steps)
                server.close()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """What a daemon reads of the store's place and of who it is."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.host}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
