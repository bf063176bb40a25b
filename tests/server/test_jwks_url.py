"""Proves that an issuer's keys are fetched when they are needed, and not more often than that."""

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from inferneo_core.errors import AuthenticationFailed
from inferneo_server.access import jwks_url
from inferneo_server.access.jwks_url import JwksUrl
from inferneo_server.access.jwt import JwtCheck
from inferneo_server.access.keys import Keys
from inferneo_server.access.settings import JwtSettings

FIRST, SECOND = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
BOUND_SECONDS = 20.0


class Issuer:
    """Publishes keys at a URL.

    Attributes:
        asked: how often it was.
        answer: status, headers and body of the next answers.
        gate: set when it may answer.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.gate = threading.Event()
        self.gate.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                issuer.gate.wait(BOUND_SECONDS)
                status, headers, body = issuer.answer
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def publish(self, **keys: ec.EllipticCurvePrivateKey) -> None:
        jwks = [
            {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": kid}
            for kid, key in keys.items()
        ]
        self.answer = (200, {}, json.dumps({"keys": jwks}).encode())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer with one key."""
    issuer = Issuer()
    issuer.publish(first=FIRST)
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()


class Clock:
    """A clock that stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def token(key: ec.EllipticCurvePrivateKey, kid: str) -> str:
    claims = {"sub": "ann", "exp": int(time.time()) + 60}
    return jwt.encode(claims, key, "ES256", headers={"kid": kid})


def keys_of(issuer: Issuer, clock: Clock) -> tuple[Keys, JwksUrl]:
    check = JwtCheck(JwtSettings.model_validate({"jwks_url": issuer.url}))
    check.url = JwksUrl(issuer.url, fresh_seconds=600, clock=clock)
    return Keys(issuer=check), check.url


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            await work

    asyncio.run(bounded())


def test_keys_are_fetched_for_the_first_token_and_kept(issuer: Issuer) -> None:
    async def work() -> None:
        keys, _ = keys_of(issuer, Clock())
        for _ in range(5):
            assert (await keys.identify(token(FIRST, "first"))).owner == "jwt:ann"

    run(work())
    assert issuer.asked == 1


def test_many_at_once_wait_for_one_fetch(issuer: Issuer) -> None:
    async def work() -> None:
        keys, _ = keys_of(issuer, Clock())
        issuer.gate.clear()
        waiting = [asyncio.create_task(keys.identify(token(FIRST, "first"))) for _ in range(50)]
        leaving = waiting.pop()
        await asyncio.sleep(0)
        leaving.cancel()
        issuer.gate.set()
        assert {identity.owner for identity in await asyncio.gather(*waiting)} == {"jwt:ann"}

    run(work())
    assert issuer.asked == 1


def test_a_new_key_is_fetched_and_an_unknown_one_asked_for_but_now_and_then(
    issuer: Issuer,
) -> None:
    async def work() -> None:
        clock = Clock()
        keys, _ = keys_of(issuer, clock)
        await keys.identify(token(FIRST, "first"))
        issuer.publish(first=FIRST, second=SECOND)
        for number in range(20):
            with pytest.raises(AuthenticationFailed):
                await keys.identify(token(SECOND, f"unknown-{number}"))
        assert issuer.asked == 1
        clock.now += jwks_url.PAUSE_SECONDS
        assert (await keys.identify(token(SECOND, "second"))).owner == "jwt:ann"
        assert issuer.asked == 2

    run(work())


def test_old_keys_are_fetched_anew_and_those_taken_back_end(issuer: Issuer) -> None:
    async def work() -> None:
        clock = Clock()
        keys, url = keys_of(issuer, clock)
        await keys.identify(token(FIRST, "first"))
        issuer.publish(second=SECOND)
        clock.now += 601
        assert await keys.identify(token(FIRST, "first"))  # nobody waits for it
        await url.refresh()
        with pytest.raises(AuthenticationFailed):
            await keys.identify(token(FIRST, "first"))
        assert await keys.identify(token(SECOND, "second"))
        assert issuer.asked == 2

    run(work())


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b""),
        (200, {}, b"words"),
        (200, {}, b'{"keys": []}'),
        (200, {}, b"[]"),
        (200, {}, b" " * (jwks_url.MAX_BYTES + 1)),
        (200, {"content-length": "100"}, b"{}"),
        (302, {"location": "file:///etc/passwd"}, b""),
        (302, {"location": "/elsewhere"}, b""),
    ],
    ids=range(8),
)
def test_where_the_url_fails_the_keys_that_are_known_go_on(
    issuer: Issuer, answer: tuple[int, dict[str, str], bytes]
) -> None:
    async def work() -> None:
        clock = Clock()
        keys, url = keys_of(issuer, clock)
        await keys.identify(token(FIRST, "first"))
        issuer.answer = answer
        clock.now += 601
        await url.refresh()
        assert await keys.identify(token(FIRST, "first"))
        with pytest.raises(AuthenticationFailed):
            await keys.identify(token(SECOND, "second"))
        # It comes back.
        issuer.publish(second=SECOND)
        clock.now += jwks_url.PAUSE_SECONDS
        assert await keys.identify(token(SECOND, "second"))

    run(work())


def test_an_issuer_that_does_not_answer_is_given_up(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_url, "FETCH_SECONDS", 0.1)

    async def work() -> None:
        keys, _ = keys_of(issuer, Clock())
        issuer.gate.clear()
        with pytest.raises(AuthenticationFailed):
            await keys.identify(token(FIRST, "first"))
        issuer.gate.set()

    run(work())
    assert issuer.asked == 1
