"""Proves that no page of another origin makes a browser use a server that asks for no key."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.servers import RunningServer, running_server

EVIL = "https://evil.example"
ACTS = [
    ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ("POST", "/v1/models/load", {"model": "a", "engine": "simulated"}),
    ("POST", "/v1/devices/switch", {"device": "cpu"}),
    ("POST", "/api/v1/generate", {"prompt": "a"}),
    ("DELETE", "/v1/streams/a", None),
]


@pytest.fixture(scope="module")
def page_server() -> Iterator[RunningServer]:
    with running_server("--engine=simulated", "--cors-origins=https://friend.example") as server:
        yield server


def send(
    server: RunningServer, act: tuple[str, str, object], origin: str, **headers: str
) -> httpx.Response:
    method, path, body = act
    # As a form of a page could: its body is no JSON for the browser, and needs no preflight.
    headers |= {"origin": origin, "content-type": "text/plain"}
    return httpx.request(method, f"{server.url}{path}", json=body, headers=headers, timeout=20)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: str(act[1]))
def test_a_page_of_another_origin_is_refused(
    simulated_server: RunningServer, act: tuple[str, str, object]
) -> None:
    refused = send(simulated_server, act, EVIL)

    assert refused.status_code == 403
    error = refused.json()["error"]
    assert error["code"].lower() in ("origin_not_allowed", "permission_denied")
    assert "cors_origins" in error["message"]


def test_a_name_that_a_page_gave_the_server_proves_nothing(simulated_server: RunningServer) -> None:
    port = urlsplit(simulated_server.url).port
    rebound = f"evil.example:{port}"

    assert send(simulated_server, ACTS[0], f"http://{rebound}", host=rebound).status_code == 403
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(
            f"ws://{rebound}/v1/chat/completions",
            sock=socket.create_connection(("127.0.0.1", port), timeout=20),
            origin=Origin(f"http://{rebound}"),
        ),
    ):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:5173"])
def test_pages_of_this_machine_may_call(simulated_server: RunningServer, origin: str) -> None:
    assert send(simulated_server, ACTS[0], origin).status_code == 200


def test_pages_that_the_settings_name_may_call(page_server: RunningServer) -> None:
    assert send(page_server, ACTS[0], "https://friend.example").status_code == 200
    assert send(page_server, ACTS[0], EVIL).status_code == 403


def test_what_is_no_browser_names_no_origin(simulated_server: RunningServer) -> None:
    method, path, body = ACTS[0]
    assert httpx.request(method, f"{simulated_server.url}{path}", json=body).status_code == 200
