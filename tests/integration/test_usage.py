"""Metering over real sockets: what is told of it, and what no death of the server can lose."""

import csv
import io
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server

MODEL = "inferneo-tiny"
FLAGS = ("--engine", "simulated", "--api-keys", "one", "--api-keys", "=two")
BODY: dict[str, Any] = {"prompt": "one two three", "max_tokens": 5}
WRITERS = 12
SPENT = {"requests", "prompt_tokens", "completion_tokens", "cached_tokens", "aborted"}


@pytest.fixture(scope="module")
def metered() -> Iterator[RunningServer]:
    with running_server(*FLAGS, "--engine-args", "token_seconds=0.01") as server:
        yield server


@pytest.fixture
def http(metered: RunningServer) -> Iterator[httpx.Client]:
    with caller(metered, "one") as client:
        yield client


def caller(server: RunningServer, key: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=30)


def total(http: httpx.Client) -> dict[str, int]:
    answer = http.get("/v1/usage")
    assert answer.status_code == 200
    found: dict[str, int] = answer.json()["total"]
    return found


def spent(http: httpx.Client, before: dict[str, int]) -> dict[str, int]:
    return {name: count - before[name] for name, count in total(http).items() if count}


def test_each_kind_of_request_is_metered_once(http: httpx.Client) -> None:
    before = total(http)
    texts = {"text_1": "a b", "text_2": ["a", "b c"]}
    http.post("/v1/completions", json=BODY)
    http.post("/v1/completions", json={**BODY, "stream": True})
    http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    http.post("/v1/embeddings", json={"input": ["a b", "c"]})
    http.post("/v1/score", json=texts)
    http.post("/v1/tokenize", json={"prompt": "a b c d"})
    http.post("/v1/completions", json={**BODY, "max_tokens": 0, "echo": True})
    http.post("/v1/completions", json={**BODY, "max_tokens": "many"})
    http.get("/v1/models")

    found = spent(http, before)
    assert found["requests"] == 7
    # The query is embedded once.
    assert found["prompt_tokens"] == 3 + 3 + 1 + 3 + 5 + 4 + 3
    # The prompt that is only echoed has no answer.
    assert found["completion_tokens"] == 5 + 5 + 32 + 0


def test_what_was_left_is_metered_as_aborted(http: httpx.Client) -> None:
    before = total(http)
    long = {**BODY, "max_tokens": 4000, "ignore_eos": True, "stream": True}
    with http.stream("POST", "/v1/completions", json=long) as answer:
        next(answer.iter_raw())

    wait_until(lambda: spent(http, before).get("requests") == 1)
    found = spent(http, before)
    assert (found["aborted"], found["prompt_tokens"]) == (1, 3)
    assert 0 < found["completion_tokens"] < 4000


def test_a_repeat_that_joins_is_metered_once(http: httpx.Client) -> None:
    before = total(http)
    for _ in range(3):
        http.post("/v1/completions", json=BODY, headers={"idempotency-key": "again"})

    assert spent(http, before)["requests"] == 1


def test_owners_see_their_own_usage_and_the_sum_of_all_tells_them_apart(
    metered: RunningServer,
) -> None:
    with caller(metered, "one") as one, caller(metered, "=two") as two:
        two.post("/v1/completions", json=BODY)
        mine = total(two)
        both = one.get("/v1/usage/all").json()
        owners = {row["owner"]: row for row in both["data"]}
        alone = one.get("/v1/usage/all", params={"owner": min(owners)}).json()

    assert (mine["requests"], mine["completion_tokens"]) == (1, 5)
    assert len(owners) == 2 and mine["requests"] in {row["requests"] for row in owners.values()}
    assert both["total"]["requests"] == sum(row["requests"] for row in both["data"])
    assert [row["owner"] for row in alone["data"]] == [min(owners)]


def test_usage_is_told_by_day_and_model_or_in_sum(http: httpx.Client) -> None:
    today = datetime.now(UTC).date()
    http.post("/v1/completions", json=BODY)
    each = http.get("/v1/usage").json()
    days = http.get("/v1/usage", params={"group_by": "day"}).json()
    none = http.get("/v1/usage", params={"group_by": ""}).json()
    past = {"start": "2024-02-01", "end": "2024-02-29"}
    before = http.get("/v1/usage", params=past).json()

    assert each["end"] == today.isoformat()
    assert each["start"] == (today - timedelta(days=29)).isoformat()
    assert {(row["day"], row["model"]) for row in each["data"]} == {(today.isoformat(), MODEL)}
    assert [set(row) for row in days["data"]] == [SPENT | {"day"}]
    assert [set(row) for row in none["data"]] == [SPENT]
    assert before["data"] == [] and before["total"]["requests"] == 0


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start": "yesterday"}, "start"),
        ({"end": "2026-02-30"}, "end"),
        ({"start": "2026-02-02", "end": "2026-02-01"}, "start"),
        ({"start": "2020-01-01", "end": "2026-02-01"}, "start"),
        ({"group_by": "owner"}, "group_by"),
        ({"format": "xml"}, "format"),
    ],
)
def test_a_question_that_does_not_fit_is_400(
    http: httpx.Client, query: dict[str, str], param: str
) -> None:
    answer = http.get("/v1/usage", params=query)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_spreadsheet_can_read_it(http: httpx.Client) -> None:
    http.post("/v1/completions", json=BODY)
    asked = http.get("/v1/usage", headers={"accept": "text/csv"})
    named = http.get("/v1/usage", params={"format": "csv"})

    assert asked.headers["content-type"].startswith("text/csv")
    assert asked.text == named.text
    head, row = csv.reader(io.StringIO(asked.text))
    assert head[:3] == ["day", "model", "requests"]
    assert row[1] == MODEL and int(row[2]) >= 1


def test_a_name_is_never_a_formula(tmp_path: Path) -> None:
    with (
        running_server(*FLAGS, "--served-model-name", "=1+1") as server,
        caller(server, "one") as http,
    ):
        http.post("/v1/completions", json=BODY)
        _, row = csv.reader(io.StringIO(http.get("/v1/usage?format=csv").text))

    assert row[1] == "'=1+1"


def test_a_kill_in_the_middle_of_load_loses_no_settled_request(tmp_path: Path) -> None:
    state = {"INFERNEO_STATE_DIR": str(tmp_path)}
    whole: list[int] = []
    begun: list[int] = []

    def ask(server: RunningServer, number: int) -> None:
        body = {**BODY, "stream": bool(number % 2)}
        with caller(server, "one") as http:
            while True:
                begun.append(1)
                try:
                    answer = http.post("/v1/completions", json=body)
                except httpx.HTTPError:
                    return
                # The end has arrived: it must have been written down before.
                assert answer.status_code == 200
                assert "[DONE]" in answer.text or not body["stream"]
                whole.append(1)

    with running_server(*FLAGS, environment=state) as server:
        writers = [threading.Thread(target=ask, args=(server, number)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        wait_until(lambda: len(whole) > 300)
        os.kill(server.process.pid, signal.SIGKILL)
        for writer in writers:
            writer.join(30)
    with running_server(*FLAGS, environment=state) as server, caller(server, "one") as http:
        found = total(http)

    assert len(whole) <= found["requests"] <= len(begun)
    assert found["completion_tokens"] == 5 * found["requests"] or found["aborted"]
    assert found["prompt_tokens"] == 3 * found["requests"]


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_usage_outlives_the_server(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    flags = [*FLAGS, "--api-keys", f"kept-{store}"]
    if store == "redis":
        flags += ["--limits-store", request.getfixturevalue("redis_url")]
    for expected in (1, 2):
        with (
            running_server(*flags, environment={"INFERNEO_STATE_DIR": str(tmp_path)}) as server,
            caller(server, f"kept-{store}") as http,
        ):
            http.post("/v1/completions", json=BODY)
            assert total(http)["requests"] == expected
            everybody = http.get("/v1/usage/all", params={"group_by": "owner"}).json()["data"]
            assert expected in {row["requests"] for row in everybody}


def test_a_state_folder_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    server = RunningServer(*FLAGS, environment={"INFERNEO_STATE_DIR": str(tmp_path / "file")})
    try:
        assert server.process.wait(30) == 1
    finally:
        server.stop()

    assert server.log.count("\n") == 1
    assert "limits.db cannot be used" in server.log
    assert server.log.endswith("; --state-dir names another folder\n")
