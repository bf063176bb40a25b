"""Proves that only who has a key comes in, by each of the ways, and reads only what is his."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server
from tests.survival.counts import answers, nothing_left
from tests.survival.frames import CHAT, RawSocket

KEY, OTHER = "sk-first-0123456789", "sk-second-9876543210"
WRONG = "sk-wrong-5555555555"
BODY = {"messages": [{"role": "user", "content": "Count"}], "max_tokens": 5, "ignore_eos": True}


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[RunningServer]:
    """A server with two keys, which logs what it is asked; no key and no token is in the log."""
    flags = ["--engine=simulated", "--websocket-auth-seconds=1", "--repeat-seconds=1"]
    flags += [f"--api-keys={KEY}", f"--api-keys={OTHER}"]
    with running_server(*flags) as server:
        yield server
    for secret in (KEY, OTHER, WRONG, "eyJ", "token=", "bearer", "Traceback", "ERROR"):
        assert secret not in server.log
    assert f"WebSocket {CHAT}" in server.log and "GET /v1/streams/" in server.log


@pytest.fixture(autouse=True)
def goes_on(guarded_server: RunningServer) -> Iterator[None]:
    """Whatever a test sends: the server answers, and nothing is left."""
    with nothing_left(guarded_server, **bearer(KEY)):
        yield
        answers(guarded_server, **bearer(KEY))


def bearer(credential: str) -> dict[str, str]:
    """The header that carries a credential."""
    return {"Authorization": f"Bearer {credential}"}


def token_of(server: RunningServer, key: str, seconds: int = 60) -> str:
    """A short-lived token."""
    answer = httpx.post(
        f"{server.url}/v1/tokens", json={"seconds": seconds}, headers=bearer(key)
    ).raise_for_status()
    token: str = answer.json()["token"]
    return token


def forged(secret: bytes, **claims: Any) -> str:
    """A token that somebody else has made."""
    header = {"alg": "HS256" if secret else "none", "typ": "JWT"}
    claims = {"sub": "x", "aud": "inferneo-browser", "exp": int(time.time()) + 60} | claims
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (header, claims)
    ]
    text = b".".join(parts)
    signature = hmac.digest(secret, text, "sha256") if secret else b""
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def by_header(server: RunningServer, credential: str) -> RawSocket:
    return RawSocket(server, CHAT, f"Authorization: Bearer {credential}")


def by_subprotocol(server: RunningServer, credential: str) -> RawSocket:
    return RawSocket(server, CHAT, f"Sec-WebSocket-Protocol: inferneo, bearer.{credential}")


def by_url(server: RunningServer, credential: str) -> RawSocket:
    return RawSocket(server, f"{CHAT}?token={credential}")


HANDSHAKES = {"header": by_header, "subprotocol": by_subprotocol, "url": by_url}
each_way = pytest.mark.parametrize("connect", HANDSHAKES.values(), ids=HANDSHAKES)


def serves(session: RawSocket) -> bool:
    """Whether a request is answered."""
    session.send(BODY)
    return bool(session.read()["usage"]["completion_tokens"] == 5)


@pytest.mark.parametrize("connect", [by_header, by_subprotocol])
@pytest.mark.parametrize("key", [KEY, OTHER])
def test_a_key_opens_a_socket(guarded_server: RunningServer, connect: Any, key: str) -> None:
    with connect(guarded_server, key) as session:
        assert session.status == 101
        if connect is by_subprotocol:
            assert session.headers["sec-websocket-protocol"] == "inferneo"
        assert serves(session)


@each_way
def test_a_token_opens_a_socket(guarded_server: RunningServer, connect: Any) -> None:
    with connect(guarded_server, token_of(guarded_server, KEY)) as session:
        assert session.status == 101
        assert serves(session)


@each_way
@pytest.mark.parametrize(
    "credential",
    [WRONG, KEY[:-1], KEY + "x", KEY.upper(), "a.b.c", forged(b""), forged(b"secret")],
    ids=["wrong", "short", "long", "large", "no token", "unsigned", "signed by another"],
)
def test_wrong_credentials_open_no_socket(
    guarded_server: RunningServer, connect: Any, credential: str
) -> None:
    with connect(guarded_server, credential) as session:
        assert session.status == 401
        assert session.headers["www-authenticate"] == "bearer"
        assert json.loads(session.body)["error"]["code"] == "invalid_api_key"


def test_a_key_in_a_url_opens_nothing(guarded_server: RunningServer) -> None:
    with by_url(guarded_server, KEY) as session:
        assert session.status == 401
    for path in ("/v1/models", f"/v1/streams/x?token={KEY}", f"/v1/models?api_key={KEY}"):
        assert httpx.get(f"{guarded_server.url}{path}").status_code == 401


def test_a_token_in_a_url_opens_streams_alone(guarded_server: RunningServer) -> None:
    token = token_of(guarded_server, KEY)
    with by_header(guarded_server, KEY) as session:
        session.send({**BODY, "stream": True, "resume_for": 5})
        name = session.read()["id"]
    assert httpx.get(f"{guarded_server.url}/v1/streams/{name}?token={token}").status_code == 200
    assert httpx.get(f"{guarded_server.url}/v1/models?token={token}").status_code == 401
    assert httpx.post(f"{guarded_server.url}{CHAT}?token={token}", json=BODY).status_code == 401


def test_a_token_opens_nothing_once_its_time_is_over(guarded_server: RunningServer) -> None:
    token = token_of(guarded_server, KEY, seconds=1)

    def refused() -> bool:
        with by_url(guarded_server, token) as session:
            return session.status == 401

    wait_until(refused)
    answer = httpx.get(f"{guarded_server.url}/v1/models", headers=bearer(token))
    assert answer.status_code == 401


def test_a_token_makes_no_other(guarded_server: RunningServer) -> None:
    headers = bearer(token_of(guarded_server, KEY))
    assert httpx.get(f"{guarded_server.url}/v1/models", headers=headers).status_code == 200
    answer = httpx.post(f"{guarded_server.url}/v1/tokens", json={}, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize("seconds", [0, -1, 3601, 1.5, "60", None])
def test_a_token_lives_for_an_hour_at_most(guarded_server: RunningServer, seconds: Any) -> None:
    answer = httpx.post(
        f"{guarded_server.url}/v1/tokens", json={"seconds": seconds}, headers=bearer(KEY)
    )
    assert answer.status_code == 400


def test_the_first_frame_can_carry_a_key_or_a_token(guarded_server: RunningServer) -> None:
    for credentials in ({"api_key": KEY}, {"token": token_of(guarded_server, OTHER)}):
        with RawSocket(guarded_server) as session:
            session.send({"type": "auth", **credentials})
            assert session.read() == {"type": "authenticated"}
            assert serves(session)


FIRST_FRAMES: dict[str, Any] = {
    "a wrong key": {"type": "auth", "api_key": WRONG},
    "a wrong token": {"type": "auth", "token": forged(b"secret")},
    "nothing": {"type": "auth"},
    "a key that is no text": {"type": "auth", "api_key": 1},
    "a request": BODY,
    "a resume": {"type": "resume", "id": "x"},
    "a ping": {"type": "ping"},
    "no object": [],
}


@pytest.mark.parametrize("first", FIRST_FRAMES.values(), ids=FIRST_FRAMES)
def test_any_other_first_frame_closes_the_socket(guarded_server: RunningServer, first: Any) -> None:
    with RawSocket(guarded_server) as session:
        # Whatever comes behind it is not served.
        session.send(first, BODY, {"type": "ping"})
        refused = session.read()
        assert (refused["status"], refused["error"]["code"]) == (401, "invalid_api_key")
        assert session.closed().code == 1008


def test_a_socket_that_does_not_say_who_it_is_is_closed(guarded_server: RunningServer) -> None:
    with RawSocket(guarded_server) as session:
        assert session.read()["status"] == 401
        assert session.closed().code == 1008


def test_a_page_from_elsewhere_opens_no_socket_with_a_key_either(
    guarded_server: RunningServer,
) -> None:
    headers = (f"Authorization: Bearer {KEY}", "Origin: https://elsewhere.example")
    with RawSocket(guarded_server, CHAT, *headers) as session:
        assert session.status == 403
        assert json.loads(session.body)["error"]["code"] == "origin_not_allowed"


@pytest.mark.parametrize("other", ["key", "token"])
def test_what_one_key_has_made_is_not_there_for_another(
    guarded_server: RunningServer, other: str
) -> None:
    headers = bearer(OTHER if other == "key" else token_of(guarded_server, OTHER))
    with (
        by_header(guarded_server, KEY) as session,
        RawSocket(guarded_server, CHAT, f"Authorization: {headers['Authorization']}") as stranger,
    ):
        session.send({**BODY, "stream": True, "resume_for": 5, "request_id": 1})
        done = session.read_until(object="chat.completion.done")
        url = f"{guarded_server.url}/v1/streams/{done['id']}"
        stranger.send({"type": "resume", "id": done["id"]})
        refused = stranger.read()
        assert (refused["status"], refused["error"]["code"]) == (404, "stream_not_found")
        # In the very words that tell of what never was.
        answer = httpx.get(url, headers=headers)
        never = httpx.get(url[:-1] + "!", headers=headers)
        assert answer.status_code == never.status_code == 404
        assert answer.text.replace(done["id"], "") == never.text.replace(done["id"][:-1] + "!", "")
        assert httpx.delete(url, headers=headers).status_code == 404
        assert httpx.get(url, headers=bearer(KEY)).status_code == 200


def test_keys_do_not_share_idempotency_keys(guarded_server: RunningServer) -> None:
    def ask(key: str, **fields: Any) -> httpx.Response:
        headers = {**bearer(key), "Idempotency-Key": "shared"}
        return httpx.post(f"{guarded_server.url}{CHAT}", json=BODY | fields, headers=headers)

    first, again = ask(KEY).json(), ask(KEY)
    assert again.json()["id"] == first["id"] and again.headers["inferneo-replayed"] == "true"
    # Another body, and yet no conflict.
    second = ask(OTHER, temperature=0.5)
    assert second.status_code == 200 and second.json()["id"] != first["id"]
    assert "inferneo-replayed" not in second.headers
