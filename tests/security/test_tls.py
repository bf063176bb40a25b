"""Proves that a server with a certificate speaks TLS alone, and takes a new one while it serves."""

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trustme
import websockets.sync.client

from inferneo_client import Inferneo
from tests.integration.sockets import request
from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Count"}],
    "max_tokens": 3,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificates."""
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """What a client trusts."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> tuple[Path, Path]:
    """Where the certificate and its key lie."""
    paths = (tmp_path / "cert.pem", tmp_path / "key.pem")
    write(authority, paths)
    return paths


def write(authority: trustme.CA, files: tuple[Path, Path]) -> None:
    """Put a new certificate there."""
    made = authority.issue_cert("127.0.0.1", "localhost")
    files[0].write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    files[1].write_bytes(made.private_key_pem.bytes())


@contextmanager
def serving(files: tuple[Path, Path], *flags: str) -> Iterator[RunningServer]:
    """A server with a certificate, which complains of nothing that a test does not expect."""
    names = (f"--tls-cert={files[0]}", f"--tls-key={files[1]}")
    with running_server("--engine=simulated", *names, *flags) as server:
        yield server
    assert "Traceback" not in server.log, server.log


@contextmanager
def connected(server: RunningServer, trust: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """A connection that is encrypted."""
    address = urlsplit(server.url)
    plain = socket.create_connection((address.hostname, address.port), timeout=10)
    with plain, trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        yield connection


def serial(server: RunningServer, trust: ssl.SSLContext) -> str:
    """Which certificate the server shows now."""
    with connected(server, trust) as connection:
        shown = connection.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def test_all_ways_to_a_server_go_over_tls(
    files: tuple[Path, Path],
    authority: trustme.CA,
    trust: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with serving(files) as server:
        assert server.url.startswith("https://") and f"at {server.url}/v1" in server.log
        with Inferneo(base_url=f"{server.url}/v1") as client:
            whole = client.chat.completions.create(**ASKED)
            assert whole.usage.completion_tokens == 3
            with client.chat.completions.create(**ASKED, stream=True) as stream:
                assert sum(bool(chunk.choices) for chunk in stream) >= 3
            with client.connect() as session:
                over_socket = session.chat.completions.create(**ASKED)
                assert over_socket.usage.completion_tokens == 3
        url = server.url.replace("https", "wss") + CHAT
        with websockets.sync.client.connect(url, ssl=trust) as socket_:
            socket_.send(json.dumps(ASKED))
            assert json.loads(socket_.recv(10))["usage"]["completion_tokens"] == 3
        with connected(server, trust) as connection:
            assert connection.version() in ("TLSv1.2", "TLSv1.3")


def test_what_is_no_tls_and_what_is_too_old_gets_no_answer(
    files: tuple[Path, Path], trust: ssl.SSLContext
) -> None:
    with serving(files) as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as plain:
            plain.sendall(request("GET", "/health"))
            assert b"HTTP/1.1" not in plain.recv(65536)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError), connected(server, old):
            pass
        assert httpx.get(f"{server.url}/health", verify=trust).status_code == 200


def test_bad_http_over_tls_is_refused_as_without(
    files: tuple[Path, Path], trust: ssl.SSLContext
) -> None:
    with serving(files, "--header-seconds=1") as server:
        for data, status in (
            (b"GET /health HTTP/1.1\r\n\r\n", 400),
            (b"GET /health HTTP/1.1\r\nX: " + b"a" * 100_000, 431),
            (b"GET /health HTTP/1.1\r\n", 408),
        ):
            with connected(server, trust) as connection:
                connection.sendall(data)
                assert connection.recv(65536).startswith(b"HTTP/1.1 %d " % status)


def test_a_new_certificate_is_taken_and_no_connection_breaks(
    files: tuple[Path, Path], authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    with serving(files, "--engine-args=token_seconds=0.05", "--idle-seconds=60") as server:
        before = serial(server, trust)
        with connected(server, trust) as idle, httpx.Client(verify=trust) as client:
            asked = ASKED | {"stream": True, "max_tokens": 120}
            with client.stream("POST", f"{server.url}{CHAT}", json=asked) as stream:
                lines = stream.iter_lines()
                next(lines)
                write(authority, files)
                wait_until(lambda: serial(server, trust) != before)
                assert sum(line.startswith("data: {") for line in lines) >= 120
            idle.sendall(request("GET", "/health"))
            assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert "Took a new certificate" in server.log


def test_files_that_do_not_fit_change_nothing_until_they_do(
    files: tuple[Path, Path], authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    with serving(files) as server:
        before = serial(server, trust)
        files[1].write_bytes(trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes())
        wait_until(
            lambda: bool(serial(server, trust) and "The old certificate stays" in server.log)
        )
        assert serial(server, trust) == before
        files[0].unlink()
        wait_until(lambda: bool(serial(server, trust) and "cannot be read" in server.log))
        write(authority, files)
        wait_until(lambda: serial(server, trust) != before)
        assert server.log.count("The old certificate stays") == 2


WRONG: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "another key": (lambda cert, key: write_other(key), "key values mismatch"),
    "no certificate": (lambda cert, key: cert.write_text("nothing"), "do not fit"),
    "no file": (lambda cert, key: key.unlink(), "No such file"),
    "a key with a password": (lambda cert, key: key.write_text(LOCKED), "do not fit"),
}
LOCKED = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgAAAAAAAAAAAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAAAAAAAAAAAAAAAAAAAAAAEQAAA
-----END ENCRYPTED PRIVATE KEY-----
"""


def write_other(key: Path) -> None:
    key.write_bytes(trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes())


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_pair_at_the_start_is_one_line_and_no_server(
    files: tuple[Path, Path], wrong: str
) -> None:
    spoil, said = WRONG[wrong]
    spoil(*files)
    ended = start(f"--tls-cert={files[0]}", f"--tls-key={files[1]}")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("inferneo-server: the TLS files ") and said in line


def test_a_key_without_a_certificate_is_an_error(files: tuple[Path, Path]) -> None:
    ended = start(f"--tls-key={files[1]}")
    assert ended.returncode == 1 and "tls_cert" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def start(*flags: str) -> "subprocess.CompletedProcess[str]":
    """Start a server that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "inferneo_server", "--engine=simulated", "--port=0", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
