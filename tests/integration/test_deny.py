"""Walks all routes and methods of the application, and proves that each denies by default."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from litestar import Litestar
from litestar.routes import ASGIRoute, HTTPRoute, WebSocketRoute

from inferneo_server import make_app
from inferneo_server.access.check import PUBLIC_PATHS, is_public
from inferneo_server.app import make_service
from inferneo_server.settings import load_settings
from tests.servers import RunningServer, running_server
from tests.survival.frames import RawSocket

INFERENCE, ADMIN, NOTHING = "sk-inference-1", "sk-admin-22", "sk-nothing-333"
CONFIG = f"""
engine: simulated
api_keys:
  - {{key: {INFERENCE}, scopes: inference}}
  - {{key: {ADMIN}, scopes: [admin]}}
  - {{key: {NOTHING}, scopes: []}}
"""
# What this list does not name is not public, whatever a change of the code may say.
PUBLIC = {
    "/",
    "/health",
    "/api/v1/health",
    "/ready",
    "/playground",
    "/playground/x",
    "/docs/assets/x",
}


class Route(NamedTuple):
    """A method of a path, or a socket, and the scope that its handler asks for."""

    method: str
    path: str
    scope: str


def routes(state_dir: Path) -> list[Route]:
    """All that the application's own table of routes holds."""
    settings = load_settings(engine="simulated", state_dir=state_dir, limits_store="memory")
    app: Any = make_app(settings, make_service(settings))
    while not isinstance(app, Litestar):
        app = app._app
    found = []
    handlers: list[tuple[str, Any]]
    for route in app.routes:
        path = str(route.path_format)
        for parameter in route.path_parameters:
            path = path.replace(f"{{{parameter}}}", "x")
        if isinstance(route, HTTPRoute):
            handlers = [
                (str(method), each) for each in route.route_handlers for method in each.http_methods
            ]
        elif isinstance(route, WebSocketRoute):
            handlers = [("SOCKET", route.route_handler)]
        else:
            assert isinstance(route, ASGIRoute)
            handlers = [("GET", route.route_handler)]
        for method, handler in handlers:
            any_key = path.startswith("/docs") or path == "/openapi.json"
            scope = "any" if any_key else handler.opt.get("scope", "inference")
            found.append(Route(str(method), path, scope))
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """The routes of the server."""
    with warnings.catch_warnings():
        # Litestar's, of how path parameters are declared.
        warnings.simplefilter("ignore", DeprecationWarning)
        return routes(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with keys of each scope."""
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    config.write_text(CONFIG)
    with running_server("--config", str(config)) as server:
        yield server


def status(server: RunningServer, route: Route, key: str | None = None) -> int:
    """What a route answers to somebody with that key, and an empty request."""
    if route.method == "SOCKET":
        head = [f"Authorization: Bearer {key}"] if key else []
        with RawSocket(server, route.path, *head) as socket:
            if socket.status != 101 or key:
                return socket.status
            # Without credentials the first frame must hold them.
            socket.send({"messages": []})
            told: int = socket.read()["status"]
            assert socket.closed().code == 1008
            return told
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.stream(
        route.method, f"{server.url}{route.path}", headers=headers, timeout=30
    ) as answer:
        return answer.status_code


def test_the_walk_meets_all_kinds_of_routes(table: list[Route]) -> None:
    assert {
        Route("GET", "/v1/models", "inference"),
        Route("POST", "/v1/chat/completions", "inference"),
        Route("SOCKET", "/v1/chat/completions", "inference"),
        Route("SOCKET", "/v1/responses", "inference"),
        Route("GET", "/v1/streams/x", "inference"),
        Route("DELETE", "/v1/streams/x", "inference"),
        Route("OPTIONS", "/v1/embeddings", "inference"),
        Route("GET", "/metrics", "admin"),
        Route("GET", "/docs", "any"),
        Route("GET", "/openapi.json", "any"),
        Route("POST", "/v1/tokens", "any"),
        Route("GET", "/docs/assets/x", "any"),
    } <= {Route(each.method, each.path.rstrip("/") or "/", each.scope) for each in table}


def test_no_route_is_public_but_those_that_are_named_here(table: list[Route]) -> None:
    assert {route.path for route in table if is_public(route.path)} <= PUBLIC
    assert PUBLIC_PATHS <= PUBLIC


def test_without_credentials_each_route_says_401(server: RunningServer, table: list[Route]) -> None:
    closed = [route for route in table if not is_public(route.path)]

    assert {route: status(server, route) for route in closed} == dict.fromkeys(closed, 401)
    assert {status(server, route, "sk-wrong") for route in closed} == {401}


def test_a_key_without_the_scope_is_told_403(server: RunningServer, table: list[Route]) -> None:
    wrong = {"inference": ADMIN, "admin": INFERENCE}
    scoped = [route for route in table if not is_public(route.path) and route.scope in wrong]

    for key in (None, NOTHING):
        found = {route: status(server, route, key or wrong[route.scope]) for route in scoped}
        assert found == dict.fromkeys(scoped, 403)


def test_a_key_with_the_scope_is_told_neither(server: RunningServer, table: list[Route]) -> None:
    right = {"inference": INFERENCE, "admin": ADMIN, "any": NOTHING}
    found = {route: status(server, route, right[route.scope]) for route in table}

    assert {route: code for route, code in found.items() if code in (401, 403)} == {}


def test_what_is_public_asks_nobody(server: RunningServer, table: list[Route]) -> None:
    for route in table:
        if is_public(route.path) and route.method in ("GET", "HEAD"):
            assert status(server, route) in (200, 404), route
