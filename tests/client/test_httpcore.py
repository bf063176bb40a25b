"""The client's own connections: what goes out on them, and what is left to httpx."""

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest

from inferneo_client._transport import WireRequest
from inferneo_client._transports import plain_transport
from inferneo_client.transports.httpcore import AsyncHttpcoreTransport, HttpcoreTransport
from inferneo_client.transports.httpx import HttpxTransport

HELLO = b'{"hello":"there"}'


class _Compressing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.seen = dict(self.headers), self.path  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers["content-length"]))
        body = gzip.compress(HELLO)
        if "broken" in self.path:
            body = b"x" + body[1:]
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Twice", "one")
        self.send_header("x-twice", "two")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Compressing) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join(20)


def address_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def request_to(url: str, **given: Any) -> WireRequest:
    return WireRequest(method="POST", url=url, headers={"x-mine": "é"}, head=20, **given)


def test_a_request_has_its_host_its_length_and_the_callers_headers(
    server: ThreadingHTTPServer,
) -> None:
    transport = HttpcoreTransport(address_of(server))
    transport.exchange(request_to(f"{address_of(server)}/é x?y=1", content=b"abc"))
    transport.close()

    headers, path = server.seen  # type: ignore[attr-defined]
    assert path == "/%C3%A9%20x?y=1"
    assert headers["host"] == address_of(server).removeprefix("http://")
    assert (headers["content-length"], headers["x-mine"]) == ("3", "é")


def test_an_answer_that_was_compressed_unasked_is_read(server: ThreadingHTTPServer) -> None:
    url = address_of(server)
    transport = HttpcoreTransport(url)
    whole = transport.exchange(request_to(url))
    opened = transport.open(request_to(url))
    received = b"".join(iter(opened.receive, b""))
    opened.close()
    transport.close()

    assert (whole.status, whole.body, received) == (200, HELLO, HELLO)
    assert whole.headers["x-twice"] == "one, two"


def test_an_answer_that_was_compressed_unasked_is_read_async(server: ThreadingHTTPServer) -> None:
    url = address_of(server)

    async def main() -> tuple[bytes, bytes]:
        transport = AsyncHttpcoreTransport(url)
        whole = await transport.exchange(request_to(url))
        opened = await transport.open(request_to(url))
        received = b""
        while piece := await opened.receive(20):
            received += piece
        await opened.aclose()
        await transport.aclose()
        return whole.body, received

    assert anyio.run(main) == (HELLO, HELLO)


def test_an_answer_that_cannot_be_decompressed_is_a_broken_connection(
    server: ThreadingHTTPServer,
) -> None:
    from inferneo_client import ConnectionFailed

    transport = HttpcoreTransport(address_of(server))
    with pytest.raises(ConnectionFailed, match="DecodingError"):
        transport.exchange(request_to(f"{address_of(server)}/broken"))
    transport.close()


def test_the_way_through_a_proxy_is_left_to_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "near.test")
    transports = [plain_transport(f"http://{host}/v1") for host in ("far.test", "near.test")]
    for transport in transports:
        transport.close()

    assert [type(transport) for transport in transports] == [HttpxTransport, HttpcoreTransport]


def test_a_sync_client_loads_neither_httpx_nor_what_only_async_ones_need() -> None:
    names = ["httpx", "inferneo_client.transports.waiting"]
    script = (
        "import sys; from inferneo_client._transports import plain_transport as transport;"
        f" transport('http://127.0.0.1:9/v1'); print([n for n in {names} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"
