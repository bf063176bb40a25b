"""Proves who may pass the check of the key, and which addresses only this machine can reach."""

import asyncio
import base64
from typing import Any, cast

import pytest
from litestar.types import Receive, Scope, Send

from inferneo_core.errors import AuthenticationFailed
from inferneo_server.access.check import KeyCheck, is_loopback
from inferneo_server.access.keys import Keys

KEY = "sk-right"
PAGES = ["/docs", "/docs/openapi.json", "/openapi.json"]
PRIVATE = ["/v1/models", "/v1/chat/completions", "/metrics", "/healthz", "/nowhere"]
PUBLIC = ["/", "/health", "/ready", "/docs/assets/swagger-ui.css"]
PUBLIC += ["/playground", "/playground/", "/playground/any.js"]


def passes(*headers: tuple[bytes, bytes], path: str = "/v1/models", key: str | None = KEY) -> bool:
    """Whether a request reaches the application behind the check."""
    reached = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])

    scope = cast(
        "Scope",
        {"type": "http", "path": path, "headers": list(headers), "query_string": b"", "state": {}},
    )
    unused: Any = None
    try:
        asyncio.run(KeyCheck(application, keys=Keys([key] if key else []))(scope, unused, unused))
    except AuthenticationFailed as error:
        scheme = "Basic realm=" if path in [*PAGES, "/docs/assets"] else "Bearer"
        assert error.headers["www-authenticate"].startswith(scheme)
        assert reached == []
        return False
    return reached == [path]


def passes_with(authorization: str) -> bool:
    return passes((b"authorization", authorization.encode()))


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer sk-right",
        "bearer sk-right",
        "BEARER sk-right",
        "Bearer  sk-right",
        "Bearer sk-right ",
    ],
)
def test_the_right_key_passes(authorization: str) -> None:
    assert passes_with(authorization)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer   ",
        "sk-right",
        "Basic sk-right",
        "Bearersk-right",
        "Token sk-right",
        "Bearer sk-wrong",
        "Bearer SK-RIGHT",
        "Bearer sk-righ",
        "Bearer sk-rightt",
        "Bearer sk-right sk-right",
        'Bearer "sk-right"',
        "Bearer ключ",
        "Bearer Bearer sk-right",
    ],
)
def test_everything_else_is_refused(authorization: str) -> None:
    assert not passes_with(authorization)


@pytest.mark.parametrize("path", PRIVATE)
def test_a_request_without_a_key_is_refused_wherever_it_goes(path: str) -> None:
    assert not passes(path=path)
    assert not passes((b"x-api-key", KEY.encode()), (b"accept", b"*/*"), path=path)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_messages_take_a_key_in_anthropics_header(path: str) -> None:
    assert passes((b"x-api-key", KEY.encode()), path=path)
    assert not passes((b"x-api-key", b"sk-wrong"), path=path)
    assert not passes((b"x-api-key", b""), path=path)


@pytest.mark.parametrize("path", PAGES)
def test_pages_take_a_key_as_the_password_that_a_browser_asks_for(path: str) -> None:
    def passes_as(user: str, *, scheme: str = "Basic") -> bool:
        credentials = base64.b64encode(user.encode()).decode()
        return passes((b"authorization", f"{scheme} {credentials}".encode()), path=path)

    assert (
        passes_as(f"anyone:{KEY}")
        and passes_as(f":{KEY}")
        and passes_as(f"a:{KEY}", scheme="basic")
    )
    for wrong in (KEY, f"{KEY}:", "a:sk-wrong", "a:", ":", "", f"a:{KEY}:"):
        assert not passes_as(wrong)
    assert not passes((b"authorization", b"Basic ?"), path=path)
    assert not passes(path=path)
    assert passes((b"authorization", f"Bearer {KEY}".encode()), path=path)


@pytest.mark.parametrize("path", PUBLIC)
def test_public_paths_ask_for_no_key(path: str) -> None:
    assert passes(path=path)
    assert passes((b"authorization", b"Bearer sk-wrong"), path=path)


@pytest.mark.parametrize(
    "path", ["/health/x", "/HEALTH", "/docs/assets", "/x/docs/assets/a", "health"]
)
def test_what_only_looks_like_a_public_path_asks_for_the_key(path: str) -> None:
    assert not passes(path=path)
    assert passes((b"authorization", b"Bearer sk-right"), path=path)


def test_the_first_of_two_headers_counts() -> None:
    right, wrong = (b"authorization", b"Bearer sk-right"), (b"authorization", b"Bearer sk-wrong")

    assert passes(right, wrong)
    assert not passes(wrong, right)


def test_a_key_need_not_be_ascii() -> None:
    assert passes((b"authorization", "Bearer ключ".encode()), key="ключ")


@pytest.mark.parametrize("path", [*PRIVATE, *PUBLIC])
def test_a_server_without_a_key_lets_everyone_in(path: str) -> None:
    assert passes(path=path, key=None)
    assert passes((b"authorization", b"Basic whatever"), path=path, key=None)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.255.255.255", "::1", "localhost"])
def test_addresses_that_only_this_machine_can_reach_are_told(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "192.168.1.1", "128.0.0.1", "fe80::1", "2001:db8::1"]
    + ["example.org", "localhost.example.org", "127.0.0.1.example.org", "127.1", "*"],
)
def test_addresses_that_others_may_reach_are_told(host: str) -> None:
    assert not is_loopback(host)
