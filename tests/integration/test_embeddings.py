"""OpenAI's client for Python asks each engine for embeddings: sync and async, right and wrong."""

import asyncio
import base64
import math
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, cast

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import CreateEmbeddingResponse

from inferneo_core.embeddings import MAX_INPUTS
from tests.integration.sockets import connect, request
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

SECONDS = 100
TEXTS = ["A cat sat on the mat.", "Rates rose again", "a cat sat", "Rates rose again"]


@pytest.fixture(scope="module", params=["simulated", "minilm"])
def server(request: pytest.FixtureRequest) -> RunningServer:
    """Each engine that embeds."""
    return cast("RunningServer", request.getfixturevalue(f"{request.param}_server"))


@pytest.fixture(scope="module")
def model(server: RunningServer) -> str:
    name: str = httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"]
    return name


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=SECONDS
    ) as client:
        yield client


def vectors(answer: CreateEmbeddingResponse) -> list[list[float]]:
    return [each.embedding for each in answer.data]


def near(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether vectors of length 1 are equal, but for what a batch's company changes."""
    return sum(a * b for a, b in zip(one, other, strict=True)) > 0.99999


def test_vectors_come_in_the_order_of_the_inputs(client: OpenAI, model: str) -> None:
    answer = client.embeddings.create(model=model, input=TEXTS)

    assert [each.index for each in answer.data] == [0, 1, 2, 3]
    assert (answer.object, answer.model) == ("list", model)
    for text, vector in zip(TEXTS, vectors(answer), strict=True):
        (alone,) = vectors(client.embeddings.create(model=model, input=text))
        assert near(vector, alone)
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)
    first, second, third, fourth = vectors(answer)
    assert near(second, fourth)
    assert not near(first, second) and not near(first, third)


def test_floats_are_what_base64_holds(client: OpenAI, model: str) -> None:
    text = TEXTS[0]
    floats = client.embeddings.create(model=model, input=text, encoding_format="float")
    raw = client.embeddings.with_raw_response.create(
        model=model, input=text, encoding_format="base64"
    )
    told = raw.http_response.json()["data"][0]["embedding"]

    (vector,) = vectors(floats)
    assert near(struct.unpack(f"<{len(vector)}f", base64.b64decode(told)), vector)
    # By default the client asks for base64, and decodes it.
    assert near(vectors(client.embeddings.create(model=model, input=text))[0], vector)


def test_the_answer_says_only_what_openais_does(server: RunningServer) -> None:
    body = {"input": "Hello", "encoding_format": "float"}
    told = httpx.post(f"{server.url}/v1/embeddings", json=body, timeout=SECONDS).json()

    CreateEmbeddingResponse.model_validate(told, strict=True)
    assert set(told) == {"object", "data", "model", "usage"}
    assert set(told["data"][0]) == {"object", "index", "embedding"}
    assert set(told["usage"]) == {"prompt_tokens", "total_tokens"}


def test_token_ids_are_embedded_as_their_text_is(
    server: RunningServer, client: OpenAI, model: str
) -> None:
    ids = [
        httpx.post(f"{server.url}/tokenize", json={"prompt": text}, timeout=SECONDS).json()
        for text in TEXTS[:2]
    ]
    by_text = client.embeddings.create(model=model, input=TEXTS[:2])
    by_ids = client.embeddings.create(model=model, input=[each["tokens"] for each in ids])
    by_one = client.embeddings.create(model=model, input=ids[0]["tokens"])

    assert by_ids.usage.prompt_tokens == sum(each["count"] for each in ids)
    assert by_ids.usage == by_text.usage
    for one, other in zip(vectors(by_ids), vectors(by_text), strict=True):
        assert near(one, other)
    assert near(vectors(by_one)[0], vectors(by_text)[0])


def test_the_async_client_asks_several_at_once(server: RunningServer, model: str) -> None:
    async def ask() -> list[CreateEmbeddingResponse]:
        async with AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=SECONDS
        ) as client:
            asked = (client.embeddings.create(model=model, input=text) for text in TEXTS)
            return list(await asyncio.gather(*asked))

    first, second, _, fourth = (vectors(answer)[0] for answer in asyncio.run(ask()))
    assert near(second, fourth)
    assert not near(first, second)


def test_two_thousand_inputs_are_embedded_in_their_order(client: OpenAI, model: str) -> None:
    inputs = [f"{'cat' if number % 3 else 'bank'} {number % 7}" for number in range(MAX_INPUTS)]

    answer = client.embeddings.create(model=model, input=inputs)

    found = vectors(answer)
    assert [each.index for each in answer.data] == list(range(MAX_INPUTS))
    # 21 texts, again and again: each where it belongs.
    for number in range(21, MAX_INPUTS, 97):
        assert near(found[number], found[number % 21])
    assert not near(found[0], found[1])


def test_one_more_is_refused(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=model, input=["a"] * (MAX_INPUTS + 1))
    assert refused.value.param == "input"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [10**7]}, "input"),
        ({"input": [[5], [10**7]]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 100_000}, "dimensions"),
        ({"dimensions": "8"}, "dimensions"),
        ({"user": 7}, "user"),
        ({"extra_body": {"truncate_prompt_tokens": -2}}, "truncate_prompt_tokens"),
        ({"extra_body": {"truncate_prompt_tokens": 0}}, "truncate_prompt_tokens"),
        ({"extra_body": {"truncation_side": "up"}}, "truncation_side"),
        ({"extra_body": {"use_activation": 1}}, "use_activation"),
        ({"extra_body": {"add_special_tokens": "no"}}, "add_special_tokens"),
        ({"extra_body": {"priority": 2**40}}, "priority"),
    ],
)
def test_a_value_that_does_not_fit_is_a_bad_request_that_names_its_field(
    client: OpenAI, model: str, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(**{"model": model, "input": "Hello", **fields})
    assert refused.value.param == param


def test_a_missing_input_is_named(server: RunningServer) -> None:
    refused = httpx.post(f"{server.url}/v1/embeddings", json={}, timeout=SECONDS)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")


def test_a_model_that_is_not_served_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="text-embedding-3-small", input="Hello")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": "a", "documents": ["b"]}),
        ("/score", {"text_1": "a", "text_2": "b"}),
        ("/tokenize", {"prompt": "a"}),
        ("/detokenize", {"tokens": [1]}),
    ],
)
def test_no_route_that_reads_answers_for_another_model(
    simulated_server: RunningServer, path: str, body: Any
) -> None:
    def ask(**fields: Any) -> httpx.Response:
        return httpx.post(f"{simulated_server.url}{path}", json=body | fields, timeout=SECONDS)

    refused = ask(model="nobody's")
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "model")
    assert ask().status_code == 200


@pytest.mark.parametrize("as_list", [False, True])
def test_an_input_past_the_models_length_is_refused(
    server: RunningServer, client: OpenAI, model: str, as_list: bool
) -> None:
    longest = httpx.get(f"{server.url}/v1/models").json()["data"][0]["max_model_len"]
    too_long = "word " * (longest + 1)
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=model, input=["a", too_long] if as_list else too_long)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")

    cut = client.embeddings.create(
        model=model, input=too_long, extra_body={"truncate_prompt_tokens": -1}
    )
    assert cut.usage.prompt_tokens == longest


def test_user_is_taken_and_what_is_not_known_is_named(client: OpenAI, model: str) -> None:
    raw = client.embeddings.with_raw_response.create(
        model=model, input="Hello", user="u-1", extra_body={"nonsense": 1, "embed_dtype": "int8"}
    )
    assert raw.headers["inferneo-ignored"] == "nonsense, embed_dtype"
    plain = client.embeddings.with_raw_response.create(model=model, input="Hello", user="u-1")
    assert "inferneo-ignored" not in plain.headers


def test_a_key_is_wanted_here_too(keyed_server: RunningServer, key: str) -> None:
    for path in ("/v1/embeddings", "/score", "/rerank", "/tokenize", "/detokenize"):
        refused = httpx.post(f"{keyed_server.url}{path}", json={}, timeout=SECONDS)
        assert refused.status_code == 401, path
    headers = {"authorization": f"Bearer {key}"}
    body = {"input": "Hello"}
    taken = httpx.post(
        f"{keyed_server.url}/v1/embeddings", json=body, headers=headers, timeout=SECONDS
    )
    assert taken.status_code == 200


def test_hanging_up_frees_the_engine(slow_server: RunningServer) -> None:
    with connect(slow_server) as connection:
        connection.sendall(request("POST", "/v1/embeddings", {"input": ["a", "b", "c"]}))
        wait_running(slow_server, 3)
    wait_running(slow_server, 0)


def test_a_deadline_ends_the_work(slow_server: RunningServer) -> None:
    late = httpx.post(
        f"{slow_server.url}/v1/embeddings",
        json={"input": "a"},
        headers={"inferneo-timeout": "0.2"},
        timeout=SECONDS,
    )
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    wait_running(slow_server, 0)


@pytest.mark.parametrize(
    ("tasks", "route"),
    [("[generate, embed]", "chat/completions"), ("[embed]", "embeddings"), ("[score]", "rerank")],
)
def test_the_banner_shows_a_request_that_the_model_can_answer(tasks: str, route: str) -> None:
    with running_server("--engine=simulated", f"--engine-args=tasks={tasks}") as server:
        shown = re.search(r"-N (\S+) .*?-d '(.*?)'", server.log, re.DOTALL)
        assert shown is not None
        assert shown.group(1) == f"{server.url}/v1/{route}"
        headers = {"content-type": "application/json"}
        answer = httpx.post(
            shown.group(1), content=shown.group(2), headers=headers, timeout=SECONDS
        )
        assert answer.status_code == 200
