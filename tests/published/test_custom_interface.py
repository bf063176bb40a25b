"""The custom interface `/api/v1`, called as a client would that was written from its page."""

import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.integration.sockets import connect, request
from tests.published.conftest import Run
from tests.published.shapes import MODEL, SECONDS, USAGE, fits
from tests.servers import RunningServer, running_server

KEY = "sk-custom"
GENERATED = {"text": str, "usage": USAGE, "latency": float}
ERROR = {"error": {"code": str, "message": str, "details": str}}
STREAM = "/api/v1/generate/stream"
ASKED = {"prompt": "What is Inferneo?", "max_tokens": 24, "temperature": 0}


def post(server: RunningServer, path: str, body: Any, **headers: str) -> requests.Response:
    return requests.post(f"{server.url}/api/v1{path}", json=body, headers=headers, timeout=SECONDS)


def get(server: RunningServer, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{server.url}/api/v1{path}", headers=headers, timeout=SECONDS)


def events(body: str) -> list[dict[str, Any]]:
    """The events of a stream, which must be nothing but those."""
    *blocks, rest = body.split("\n\n")
    assert rest == ""
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def refused(answer: requests.Response, status: int, code: str) -> None:
    """Demand the page's shape of an error, and nothing beside it."""
    body = answer.json()
    assert (answer.status_code, body["error"]["code"]) == (status, code), answer.text
    assert body.keys() == {"error"} and body["error"].keys() == ERROR["error"].keys()
    fits(body, ERROR)
    assert answer.headers["content-type"] == "application/json"


def test_health_has_the_fields_of_the_page(vllm_server: RunningServer) -> None:
    answer = get(vllm_server, "/health")
    assert answer.status_code == 200
    fits(
        answer.json(),
        {"status": "healthy", "model_loaded": True, "memory_usage": str, "active_connections": int},
    )
    assert re.fullmatch(r"[\d.]+GB/[\d.]+GB", answer.json()["memory_usage"])


def test_health_counts_the_open_connections(simulated_server: RunningServer) -> None:
    before = get(simulated_server, "/health").json()["active_connections"]
    with connect(simulated_server), connect(simulated_server):
        deadline = time.monotonic() + SECONDS
        while get(simulated_server, "/health").json()["active_connections"] != before + 2:
            assert time.monotonic() < deadline


def test_a_prompt_is_answered_whole(vllm_server: RunningServer) -> None:
    answer = post(vllm_server, "/generate", {**ASKED, "model": MODEL, "stream": False})
    assert answer.status_code == 200
    body = answer.json()
    fits(body, GENERATED)
    assert body["text"] and 0 < body["latency"] < SECONDS
    usage = body["usage"]
    assert 0 < usage["completion_tokens"] <= 24
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_prompt_is_an_instruction_to_a_model_that_chats(vllm_server: RunningServer) -> None:
    told = post(vllm_server, "/generate", ASKED).json()
    chat = {
        "messages": [{"role": "user", "content": ASKED["prompt"]}],
        "max_tokens": ASKED["max_tokens"],
        "temperature": 0,
    }
    url = f"{vllm_server.url}/v1/chat/completions"
    answered = requests.post(url, json=chat, timeout=SECONDS).json()
    assert told["text"] == answered["choices"][0]["message"]["content"]
    assert told["usage"]["prompt_tokens"] == answered["usage"]["prompt_tokens"]


def test_a_model_without_a_template_goes_on_with_the_text() -> None:
    with running_server("--engine=simulated", "--engine-args=chats=false") as server:
        body = {"prompt": "one two three"}
        told = post(server, "/generate", body).json()
        text = requests.post(
            f"{server.url}/v1/completions", json={**body, "max_tokens": 32}, timeout=SECONDS
        ).json()
        streamed = events(post(server, "/generate/stream", body).text)
    assert told["text"] == text["choices"][0]["text"]
    assert "".join(event["token"] for event in streamed) == told["text"]


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": "default"}, {"model": MODEL}])
def test_the_model_may_be_left_out_or_be_the_default(
    simulated_server: RunningServer, model: dict[str, Any]
) -> None:
    answer = post(simulated_server, "/generate", {"prompt": "Hello", **model})
    assert answer.status_code == 200 and answer.json()["text"]


def test_the_client_of_the_page_gets_a_poem(vllm_server: RunningServer) -> None:
    def generate_text(prompt: str, model: str = "default") -> Any:
        payload = {"prompt": prompt, "model": model, "max_tokens": 512, "temperature": 0.7}
        url = f"{vllm_server.url}/api/v1/generate"
        return requests.post(url, json=payload, timeout=SECONDS).json()

    assert generate_text("Write a poem about spring")["text"]


@pytest.mark.parametrize(
    ("path", "stream"), [("/generate/stream", {}), ("/generate", {"stream": True})]
)
def test_a_stream_is_tokens_of_which_the_last_is_finished(
    vllm_server: RunningServer, path: str, stream: dict[str, bool]
) -> None:
    whole = post(vllm_server, "/generate", ASKED).json()["text"]
    answer = post(vllm_server, path, {**ASKED, **stream}, Accept="text/event-stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    assert all(event.keys() == {"token", "finished"} for event in told)
    assert [event["finished"] for event in told] == [False] * (len(told) - 1) + [True]
    assert "".join(event["token"] for event in told) == whole


def chunks(connection: socket.socket) -> Iterator[bytes]:
    """The chunks of an answer's body, RFC 9112, section 7.1."""
    with connection.makefile("rb") as answer:
        while answer.readline().strip():
            pass
        while size := int(answer.readline(), 16):
            yield answer.read(size)
            answer.readline()


def packets_read(connection: socket.socket) -> int:
    """Packets with data that have come; tcp_info's `tcpi_data_segs_in`, at byte 152 (tcp(7))."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    number: int = struct.unpack_from("=I", info, 152)[0]
    return number


def test_each_event_is_a_write_and_a_packet_of_its_own(simulated_server: RunningServer) -> None:
    body = {"prompt": "Hello", "max_tokens": 40, "ignore_eos": True}
    with connect(simulated_server) as connection:
        connection.sendall(request("POST", STREAM, body))
        told = list(chunks(connection))
        packets = packets_read(connection)
    assert [len(events(chunk.decode())) for chunk in told] == [1] * 40
    assert packets >= 40


def test_what_was_ready_at_once_still_comes_one_by_one(simulated_server: RunningServer) -> None:
    """A repeat is read from the log, many events at a time."""
    body = {"prompt": "Hello", "max_tokens": 100, "ignore_eos": True}
    asked = request("POST", STREAM, body, idempotency_key="once-and-again")
    for replayed in (False, True):
        with connect(simulated_server) as connection:
            connection.sendall(asked)
            told = list(chunks(connection))
            packets = packets_read(connection)
        assert [len(events(chunk.decode())) for chunk in told] == [1] * 100, replayed
        assert packets >= 100, replayed


def test_silence_is_not_filled_with_comments() -> None:
    flags = ("--engine=simulated", "--engine-args=first_token_seconds=0.5")
    with running_server(*flags, "--keep-alive-seconds=0.05") as server:
        told = events(post(server, "/generate/stream", {"prompt": "Hello"}).text)
    assert told[-1]["finished"]


def test_a_stream_that_breaks_ends_with_the_error() -> None:
    flags = ("--engine=simulated", "--engine-args=fail_after_tokens=3")
    with running_server(*flags) as server:
        *told, last = events(post(server, "/generate/stream", {"prompt": "Hello"}).text)
    assert [event["finished"] for event in told] == [False] * 3
    assert last.keys() == {"error"} and last["error"]["code"] == "MODEL_NOT_LOADED"
    fits(last, ERROR)


def test_models_are_listed_with_what_they_take(vllm_server: RunningServer) -> None:
    answer = get(vllm_server, "/models").json()
    shape = {"name": str, "format": str, "size": str, "loaded": bool, "memory_usage": str}
    fits(answer, {"models": [shape]})
    [model] = [model for model in answer["models"] if model["name"] == MODEL]
    assert (model["format"], model["loaded"]) == ("safetensors", True)
    for size in (model["size"], model["memory_usage"]):
        assert re.fullmatch(r"[\d.]+GB", size) and float(size.removesuffix("GB")) > 0


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that knows a second model, which nobody has loaded."""
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    second = {"model": MODEL, "engine": "simulated", "load": "on_request"}
    config.write_text(json.dumps({"engine": "simulated", "models": {"team/second": second}}))
    with running_server("--config", str(config)) as server:
        yield server


def test_a_model_is_loaded_by_its_name(two_models: RunningServer) -> None:
    def loaded() -> dict[str, bool]:
        models = get(two_models, "/models").json()["models"]
        return {model["name"]: model["loaded"] for model in models}

    asked = {"prompt": "Hello", "model": "team/second"}
    assert loaded() == {MODEL: True, "team/second": False}
    refused(post(two_models, "/generate", asked), 503, "MODEL_NOT_LOADED")
    answer = post(two_models, "/models/team/second/load", {"prefer_gpu": False})
    assert answer.status_code == 200, answer.text
    fits(answer.json(), {"name": "team/second", "loaded": True, "memory_usage": str})
    assert loaded() == {MODEL: True, "team/second": True}
    assert post(two_models, "/generate", asked).status_code == 200
    again = requests.post(f"{two_models.url}/api/v1/models/team/second/load", timeout=SECONDS)
    assert again.json() == answer.json()


def test_a_load_that_cannot_be_is_refused(two_models: RunningServer) -> None:
    refused(post(two_models, "/models/nobody/load", {}), 404, "MODEL_NOT_FOUND")
    page = {"quantization": "q4_0", "prefer_gpu": False}
    refused(post(two_models, f"/models/{MODEL}/load", page), 400, "INVALID_REQUEST")
    refused(post(two_models, f"/models/{MODEL}/load", {"prefer_gpu": 5}), 400, "INVALID_REQUEST")
    refused(post(two_models, f"/models/{MODEL}/fold", {}), 404, "NOT_FOUND")
    assert post(two_models, "/generate", {"prompt": "Hello"}).status_code == 200


def test_a_batch_is_answered_in_order_and_one_bad_request_fails_alone(
    vllm_server: RunningServer,
) -> None:
    prompts = ["Question 1", "Question 2", "Question 3"]
    asked: list[Any] = [
        {"prompt": prompt, "max_tokens": 16, "temperature": 0} for prompt in prompts
    ]
    asked[1:1] = [{"prompt": "Question", "max_tokens": 0}, {"model": "nobody", "prompt": "?"}, 5]
    answer = post(vllm_server, "/batch/generate", {"requests": asked})
    assert answer.status_code == 200
    first, *wrong, second, third = answer.json()["results"]
    fits([first, second, third], [GENERATED])
    fits(wrong, [ERROR])
    assert [one["error"]["code"] for one in wrong] == [
        "INVALID_REQUEST",
        "MODEL_NOT_FOUND",
        "INVALID_REQUEST",
    ]
    alone = [post(vllm_server, "/generate", asked[number]).json()["text"] for number in (0, 4, 5)]
    assert [one["text"] for one in (first, second, third)] == alone


def test_the_requests_of_a_batch_run_side_by_side() -> None:
    with running_server("--engine=simulated", "--engine-args=first_token_seconds=1") as server:
        began = time.monotonic()
        answer = post(server, "/batch/generate", {"requests": [{"prompt": "Hello"}] * 8})
        assert time.monotonic() - began < 4
    assert len(answer.json()["results"]) == 8


def test_a_batch_is_bounded(simulated_server: RunningServer) -> None:
    most = {"requests": [{"prompt": "Hello", "max_tokens": 1}] * 64}
    assert post(simulated_server, "/batch/generate", most).status_code == 200
    most["requests"] *= 2
    refused(post(simulated_server, "/batch/generate", most), 400, "INVALID_REQUEST")
    refused(post(simulated_server, "/batch/generate", {"requests": []}), 400, "INVALID_REQUEST")


def test_every_error_has_the_shape_of_the_page(simulated_server: RunningServer) -> None:
    server = simulated_server
    refused(post(server, "/generate", {"prompt": "a", "model": "b"}), 404, "MODEL_NOT_FOUND")
    refused(post(server, "/generate", {}), 400, "INVALID_REQUEST")
    refused(post(server, "/generate", {"prompt": 5}), 400, "INVALID_REQUEST")
    refused(post(server, "/generate/stream", {"prompt": ""}), 400, "INVALID_REQUEST")
    too_long = {"prompt": "a", "max_tokens": 10**6}
    refused(post(server, "/generate", too_long), 400, "CONTEXT_LENGTH_EXCEEDED")
    refused(post(server, "/nowhere", {}), 404, "NOT_FOUND")
    refused(get(server, ""), 404, "NOT_FOUND")
    refused(get(server, "/generate"), 405, "METHOD_NOT_ALLOWED")
    url = f"{server.url}/api/v1/generate"
    refused(requests.post(url, data="{", timeout=SECONDS), 400, "INVALID_JSON")
    resumable = post(server, "/generate", {"prompt": "a"}, **{"Inferneo-Resume-For": "30"})
    refused(resumable, 400, "INVALID_REQUEST")


def test_an_error_says_what_to_do(simulated_server: RunningServer) -> None:
    wrong = post(simulated_server, "/generate", {"prompt": "a", "temperature": 9}).json()
    assert "temperature" in wrong["error"]["details"]
    missing = post(simulated_server, "/generate", {"prompt": "a", "model": "b"}).json()
    assert "/api/v1/models" in missing["error"]["details"]


def test_a_model_that_is_still_loading_is_not_loaded() -> None:
    server = RunningServer("--engine=simulated", "--engine-args=start_seconds=60")
    try:
        server.wait_listening()
        assert get(server, "/health").json()["model_loaded"] is False
        answer = post(server, "/generate", {"prompt": "Hello"})
        refused(answer, 503, "MODEL_NOT_LOADED")
        assert int(answer.headers["retry-after"]) > 0
    finally:
        server.stop()


def test_a_server_with_a_key_asks_for_it() -> None:
    with running_server("--engine=simulated", f"--api-key={KEY}") as server:
        for path in ("/models", "/metrics"):
            refused(get(server, path), 401, "AUTHENTICATION_FAILED")
        refused(post(server, "/generate", {"prompt": "a"}), 401, "AUTHENTICATION_FAILED")
        assert get(server, "/health").status_code == 200
        asked = post(server, "/generate", {"prompt": "a"}, Authorization=f"Bearer {KEY}")
        assert asked.status_code == 200


def test_metrics_have_the_names_of_the_page(vllm_server: RunningServer) -> None:
    def finished() -> float:
        return vllm_server.metric("model_inference_seconds_count")

    before = finished()
    post(vllm_server, "/generate", ASKED).raise_for_status()
    assert finished() == before + 1
    text = get(vllm_server, "/metrics").text
    assert "# TYPE model_inference_seconds histogram" in text
    assert "# TYPE active_connections gauge" in text
    for bound in (1, 3, 5):
        assert re.search(rf'^model_inference_seconds_bucket{{le="{bound}(\.0)?"}} \d', text, re.M)
    assert re.search(r"^active_connections [1-9]", text, re.M)
    assert "inferneo_requests_total" in text and "vllm:" in text


def test_metrics_are_json_to_those_who_ask_for_it(vllm_server: RunningServer) -> None:
    told = get(vllm_server, "/metrics", Accept="application/json").json()
    sample = {"name": str, "labels": dict, "value": (float, type(None))}
    for name in ("model_inference_seconds", "active_connections", "inferneo_requests"):
        fits(told[name], {"type": str, "help": str, "samples": [sample]})
    assert told["model_inference_seconds"]["type"] == "histogram"


def test_the_page_of_a_browser_reads_one_event_from_each_chunk(node: Run) -> None:
    assert "# pass 2" in node("custom_interface.test.mjs")


def test_a_line_of_the_shell_streams_tokens(shell: Run) -> None:
    told = shell(
        "curl -sN -X POST http://localhost:8000/api/v1/generate/stream "
        "-H 'Accept: text/event-stream' -H 'Content-Type: application/json' "
        """-d '{"prompt": "Hello", "max_tokens": 8}'"""
    )
    assert events(told)[-1]["finished"]
