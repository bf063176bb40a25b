"""Proves that metrics and docs can have a port of their own, at which there is nothing else."""

import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from tests.servers import RunningServer, running_server

KEY = "sk-metrics-port"
ASSET = "/docs/assets/swagger-ui.css"
OPERATORS = ["/metrics", "/health", "/ready", "/docs", "/openapi.json", ASSET]


class Ports(NamedTuple):
    """A server, and the URL of its second port."""

    server: RunningServer
    url: str


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    """A server that asks for a key at its first port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--engine=simulated", f"--api-key={KEY}", f"--metrics-port={port}"]
    with running_server(*flags) as server:
        yield Ports(server, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("path", OPERATORS)
def test_an_operators_paths_ask_for_no_key_there(ports: Ports, path: str) -> None:
    assert httpx.get(ports.url + path).status_code == 200


def test_at_the_first_port_they_do(ports: Ports) -> None:
    for path in ("/metrics", "/docs", "/openapi.json"):
        answer = httpx.get(ports.server.url + path, headers={"host": ports.url[7:]})
        assert answer.status_code == 401


def test_nothing_else_is_there_whoever_asks(ports: Ports) -> None:
    headers = {"authorization": f"Bearer {KEY}", "host": ports.server.url[7:]}
    for path in ("/", "/v1/models", "/playground", "/v1/usage/all", "/nowhere", "/metrics/x"):
        assert httpx.get(ports.url + path, headers=headers).status_code == 404
    assert httpx.post(f"{ports.url}/v1/chat/completions", headers=headers).status_code == 404
    handshake = {
        **{"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"},
        **{"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==", **headers},
    }
    answer = httpx.get(f"{ports.url}/v1/chat/completions", headers=handshake)
    assert answer.status_code == 404


def test_a_port_that_is_taken_ends_the_server_with_a_line(ports: Ports) -> None:
    port = ports.url.rpartition(":")[2]
    server = RunningServer("--engine=simulated", f"--metrics-port={port}")
    assert server.process.wait(60) != 0
    server.stop()
    last = server.log.splitlines()[-1]
    assert re.match(r"inferneo-server: cannot listen on .*\(metrics_port\): .*in use", last), last
    assert "Traceback" not in server.log
