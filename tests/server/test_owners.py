"""Proves whose a request or a socket is, wherever it carries its credentials."""

import asyncio
import json
from typing import Any, cast

import pytest
from litestar.types import Receive, Scope, Send

from inferneo_core.errors import AuthenticationFailed
from inferneo_server.access.check import KeyCheck, owner_of
from inferneo_server.access.keys import Keys

ANN, BOB = "sk-ann", "sk-bob"
KEYS = Keys([ANN, BOB])
STREAM = "/v1/streams/cmpl-1"
CHAT = "/v1/chat/completions"


class Refused(Exception):
    """What a socket was refused by: the status and the body."""


def owner(
    kind: str = "http",
    *,
    path: str = CHAT,
    bearer: str = "",
    query: str = "",
    subprotocols: tuple[str, ...] = (),
    keys: Keys = KEYS,
) -> str | None:
    """Whose a request is, as the application behind the check learns it; None where nobody's.

    Raises:
        AuthenticationFailed: a request was refused.
        Refused: a socket was.
    """
    found: list[str | None] = []
    sent: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            found.append(owner_of(scope))
        except AuthenticationFailed:
            found.append(None)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "path": path,
        "headers": [(b"authorization", f"Bearer {bearer}".encode())] if bearer else [],
        "query_string": query.encode(),
        "subprotocols": list(subprotocols),
        "state": {},
    }
    unused: Any = None
    asyncio.run(KeyCheck(application, keys=keys)(cast("Scope", scope), unused, cast("Send", send)))
    if sent:
        assert found == []
        start, body = sent
        assert start["type"] == "websocket.http.response.start"
        assert body["type"] == "websocket.http.response.body"
        assert (b"content-type", b"application/json") in start["headers"]
        assert (b"www-authenticate", b"Bearer") in start["headers"]
        raise Refused(start["status"], json.loads(body["body"])["error"]["code"])
    return found[0]


def token(key: str = ANN, *, seconds: int = 60) -> str:
    return KEYS.mint(KEYS.identity(key), seconds)[0]


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_key_or_its_token_in_the_header_tells_the_owner(kind: str) -> None:
    for key in (ANN, BOB):
        assert owner(kind, bearer=key) == owner(kind, bearer=token(key)) == KEYS.identity(key).owner


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_without_keys_everyone_is_the_same_nobody(kind: str) -> None:
    nobody = Keys([])

    assert owner(kind, keys=nobody) == owner(kind, bearer="whatever", keys=nobody) == ""


def test_a_token_may_stand_in_the_url_of_a_stream() -> None:
    assert owner(path=STREAM, query=f"token={token()}") == KEYS.identity(ANN).owner
    assert owner(path=STREAM, query=f"after=3&token={token(BOB)}&x=") == KEYS.identity(BOB).owner


@pytest.mark.parametrize("path", [CHAT, "/v1/tokens", "/v1/models", "/v1/streams", "/v1/streamsx"])
def test_a_token_in_any_other_url_counts_for_nothing(path: str) -> None:
    with pytest.raises(AuthenticationFailed):
        owner(path=path, query=f"token={token()}")


@pytest.mark.parametrize(
    "query", [f"token={ANN}", "token=", "token", f"api_key={ANN}", "token=a.b.c"]
)
def test_a_key_never_counts_in_a_url(query: str) -> None:
    with pytest.raises(AuthenticationFailed):
        owner(path=STREAM, query=query)
    if query.startswith("token=") and query != "token=":
        with pytest.raises(Refused, match="401.*invalid_api_key"):
            owner("websocket", query=query)


def test_a_wrong_header_is_not_made_good_by_the_url() -> None:
    with pytest.raises(AuthenticationFailed):
        owner(path=STREAM, bearer="sk-wrong", query=f"token={token()}")
    with pytest.raises(Refused):
        owner("websocket", bearer="sk-wrong", query=f"token={token()}")


def test_a_token_whose_time_is_over_is_refused_wherever_it_stands() -> None:
    old = token(seconds=0)
    of_request: list[dict[str, Any]] = [
        {"bearer": old},
        {"path": STREAM, "query": f"token={old}"},
    ]
    for where in of_request:
        with pytest.raises(AuthenticationFailed, match="time is over"):
            owner(**where)
    of_socket: list[dict[str, Any]] = [
        {"bearer": old},
        {"query": f"token={old}"},
        {"subprotocols": (f"bearer.{old}",)},
    ]
    for where in of_socket:
        with pytest.raises(Refused, match="401.*invalid_api_key"):
            owner("websocket", **where)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_socket_may_carry_its_credentials_in_its_url_or_its_subprotocol(path: str) -> None:
    assert owner("websocket", path=path, query=f"token={token()}") == KEYS.identity(ANN).owner
    for credential in (BOB, token(BOB)):
        found = owner(
            "websocket", path=path, subprotocols=("inferneo", "other", f"bearer.{credential}")
        )
        assert found == KEYS.identity(BOB).owner


def test_a_socket_without_credentials_is_let_in_as_nobody_to_be_asked() -> None:
    assert owner("websocket") is None
    assert owner("websocket", subprotocols=("inferneo", "bearer")) is None


@pytest.mark.parametrize(
    "given",
    [
        {"bearer": "sk-wrong"},
        {"subprotocols": ("inferneo", "bearer.sk-wrong")},
        {"subprotocols": ("bearer.",)},
        {"query": "token=x"},
        {"query": "token=x.y.z"},
    ],
    ids=json.dumps,
)
def test_a_socket_with_wrong_credentials_is_refused_in_the_handshake(given: Any) -> None:
    with pytest.raises(Refused, match="401.*invalid_api_key"):
        owner("websocket", **given)
