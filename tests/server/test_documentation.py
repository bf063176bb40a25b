"""Proves that `/docs` tells of every route what it does, and has a body to try each with."""

from typing import Any

import httpx
import pytest

from tests.servers import RunningServer, running_server

# It would start a real engine, for tens of seconds.
LEFT_OUT = "/v1/models/load"


@pytest.fixture(scope="module")
def server() -> Any:
    with running_server("--engine", "simulated") as started:
        yield started


@pytest.fixture(scope="module")
def operations(server: RunningServer) -> dict[tuple[str, str], dict[str, Any]]:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    return {
        (method, path): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_each_route_is_described_by_a_sentence(
    operations: dict[tuple[str, str], dict[str, Any]],
) -> None:
    short = [name for name, told in operations.items() if len(told["summary"].split()) < 3]

    assert not short
    told = operations["post", "/v1/chat/completions"]["summary"]
    assert told.startswith("Answer a conversation, whole or as server-sent events")


def test_each_group_of_routes_is_described(
    server: RunningServer, operations: dict[tuple[str, str], dict[str, Any]]
) -> None:
    told = {tag["name"] for tag in httpx.get(f"{server.url}/openapi.json").json()["tags"]}

    assert {tag for operation in operations.values() for tag in operation["tags"]} == told


def test_each_example_gets_an_answer(
    server: RunningServer, operations: dict[tuple[str, str], dict[str, Any]]
) -> None:
    bodies = {
        path: operation["requestBody"]["content"]["application/json"]["example"]
        for (_, path), operation in operations.items()
        if "requestBody" in operation
    }

    statuses = {
        path: httpx.post(server.url + path, json=body).status_code
        for path, body in bodies.items()
        if path != LEFT_OUT
    }

    assert len(statuses) > 15
    assert set(statuses.values()) == {200}, statuses
