"""Proves that the log is read by programs where that is asked for."""

import json
import logging
import sys

import httpx

from inferneo_server.log_lines import JsonLines
from inferneo_server.telemetry import ACCESS_FIELDS, access_logger
from tests.servers import running_server


def test_each_line_of_a_run_is_an_object_from_its_key_to_its_end() -> None:
    # Reachable from other machines, so that it makes itself a key and tells it.
    with running_server("--engine=simulated", "--log-format=json", "--host=0.0.0.0") as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        httpx.get(f"{url}/v1/models?token=x", headers={"x-request-id": "mine"})
    lines = [json.loads(line) for line in server.log.splitlines()]

    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert any("requests must carry it: sk-" in line["message"] for line in lines)
    assert any(line["message"].startswith("Draining") for line in lines)
    (asked,) = [line for line in lines if line["logger"] == access_logger.name]
    assert asked["request_id"] == "mine"
    assert [asked[name] for name in ("method", "path", "status", "client", "who")] == [
        *("GET", "/v1/models", 401, "127.0.0.1", "-")
    ]
    assert set(ACCESS_FIELDS) < asked.keys()


def test_a_failure_has_its_traceback_and_stays_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "", 1, "no %s", ("é",), sys.exc_info())

    line = JsonLines().format(record)

    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["message"]) == ("error", "no é")
    assert told["exception"].startswith("Traceback") and "two\nlines" in told["exception"]
    assert told["time"].endswith("+00:00")
