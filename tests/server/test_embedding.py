"""Proves what an embeddings request may hold, how vectors are told, and what is refused."""

import asyncio
import base64
import json
import math
import struct
from array import array
from collections.abc import Coroutine
from typing import Any

import pytest

from inferneo_core.chat import ChatCompletionRequest, Message
from inferneo_core.embeddings import MAX_INPUTS, EmbeddingRequest
from inferneo_core.errors import (
    ApiError,
    ContextLengthExceeded,
    Draining,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)
from inferneo_server.access.identity import ANYONE
from inferneo_server.embedding import embed, to_base64
from inferneo_server.engines.simulated import SimulatedEngine
from tests.server.services import BOUND_SECONDS, MODEL, ready_service

SIZE = 16


def engine(**options: Any) -> SimulatedEngine:
    return SimulatedEngine(**{"max_model_len": 8, "vector_size": SIZE, **options})


def answer(request: EmbeddingRequest, on: SimulatedEngine | None = None) -> Any:
    """The answer to a request, as JSON is read."""

    async def work() -> Any:
        async with ready_service(on or engine()) as service:
            return json.loads(await embed(service, request, ANYONE))

    return asyncio.run(work())


def vectors(on: SimulatedEngine | None = None, **fields: Any) -> list[list[float]]:
    return [each["embedding"] for each in answer(EmbeddingRequest(**fields), on)["data"]]


def refusal(on: SimulatedEngine | None = None, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        answer(EmbeddingRequest(**fields), on)
    return caught.value


def test_each_input_gets_its_vector_in_its_place() -> None:
    inputs: list[Any] = ["one two", "three", "one two", "four five six"]
    told = answer(EmbeddingRequest(input=inputs))

    assert [each["index"] for each in told["data"]] == [0, 1, 2, 3]
    assert {each["object"] for each in told["data"]} == {"embedding"}
    assert (told["object"], told["model"]) == ("list", MODEL)
    assert told["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    alone = [vectors(input=text)[0] for text in inputs]
    assert [each["embedding"] for each in told["data"]] == alone
    assert alone[0] == alone[2] != alone[1]


def test_a_vector_has_length_one_and_all_its_dimensions() -> None:
    (vector,) = vectors(input="some words")

    assert len(vector) == SIZE
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dimensions", [1, 5, SIZE])
def test_dimensions_keep_the_first_ones_and_the_length(dimensions: int) -> None:
    (whole,) = vectors(input="some words")
    (short,) = vectors(input="some words", dimensions=dimensions)

    assert len(short) == dimensions
    assert math.hypot(*short) == pytest.approx(1, abs=1e-6)
    ratios = [one / other for one, other in zip(short, whole, strict=False)]
    assert ratios == pytest.approx([ratios[0]] * dimensions)


def test_base64_holds_the_same_numbers() -> None:
    (text,) = vectors(input="some words", encoding_format="base64")
    (floats,) = vectors(input="some words", encoding_format="float")

    assert isinstance(text, str)
    assert list(struct.unpack(f"<{SIZE}f", base64.b64decode(text))) == floats


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_base64_is_little_endian_on_any_machine(byteorder: str) -> None:
    numbers = array("f", [1.5, -2.0])
    native = "<" if struct.pack("=h", 1) == struct.pack("<h", 1) else ">"
    if {"little": "<", "big": ">"}[byteorder] != native:
        numbers.byteswap()  # as a machine of that order holds them

    told = to_base64(memoryview(numbers), byteorder)

    assert base64.b64decode(told) == struct.pack("<2f", 1.5, -2.0)


def test_token_ids_are_as_good_as_their_text() -> None:
    async def ids() -> list[list[int]]:
        return [list(each) for each in await engine().tokenize(["one two", "three"])]

    one, other = asyncio.run(ids())

    assert vectors(input=one) == vectors(input="one two")
    assert vectors(input=[one, other]) == vectors(input=["one two", "three"])


@pytest.mark.parametrize("inputs", ["", [], [""], ["a", ""], [[]], [[1], []]])
def test_an_empty_input_is_refused(inputs: Any) -> None:
    refused = refusal(input=inputs)

    assert isinstance(refused, InvalidRequest)
    assert refused.param == "input"


@pytest.mark.parametrize("inputs", [["a", 1], [1, [2]], ["a", [1]], [10**6], [[1], [10**6]]])
def test_a_mixture_and_unknown_token_ids_are_refused(inputs: Any) -> None:
    refused = refusal(input=inputs)

    assert (refused.status, refused.param) == (400, "input")


def test_so_many_inputs_are_embedded_and_one_more_is_refused() -> None:
    assert len(vectors(input=["a"] * MAX_INPUTS)) == MAX_INPUTS

    refused = refusal(input=["a"] * (MAX_INPUTS + 1))
    assert (refused.status, refused.param) == (400, "input")
    assert str(MAX_INPUTS) in refused.message


@pytest.mark.parametrize("inputs", ["w " * 9, ["w", "w " * 9], [1] * 9, [[1], [1] * 9]])
def test_an_input_that_is_too_long_for_the_model_is_refused(inputs: Any) -> None:
    refused = refusal(input=inputs)

    assert isinstance(refused, ContextLengthExceeded)
    assert (refused.code, refused.param) == ("context_length_exceeded", "input")


def test_an_input_may_fill_the_model() -> None:
    assert len(vectors(input=["w " * 8, "w"])) == 2


@pytest.mark.parametrize(("side", "left"), [(None, "a b c"), ("right", "a b c"), ("left", "c d e")])
@pytest.mark.parametrize("as_ids", [False, True])
def test_an_input_is_cut_to_as_many_tokens_as_are_wanted(
    side: Any, left: str, as_ids: bool
) -> None:
    async def ids() -> list[int]:
        return list((await engine().tokenize(["a b c d e"]))[0])

    given: Any = asyncio.run(ids()) if as_ids else "a b c d e"
    told = answer(EmbeddingRequest(input=given, truncate_prompt_tokens=3, truncation_side=side))

    assert [each["embedding"] for each in told["data"]] == vectors(input=left)
    assert told["usage"]["prompt_tokens"] == 3


def test_an_input_is_cut_to_what_fits() -> None:
    told = answer(EmbeddingRequest(input="w " * 20, truncate_prompt_tokens=-1))

    assert told["usage"]["prompt_tokens"] == 8


def test_nothing_at_all_is_no_input() -> None:
    assert refusal(input="a b", truncate_prompt_tokens=0).status == 400


def test_vectors_that_cannot_be_shortened_are_not() -> None:
    for refused in (
        refusal(engine(matryoshka=False), input="a", dimensions=4),
        refusal(input="a", dimensions=SIZE + 1),
    ):
        assert (refused.status, refused.param) == (400, "dimensions")


def test_a_model_is_asked_for_what_it_can_do_only() -> None:
    refused = refusal(engine(tasks=["generate"]), input="a")
    assert (refused.status, refused.param, refused.code) == (400, "model", "model_not_supported")

    async def chat() -> None:
        async with ready_service(engine(tasks=["embed"])) as service:
            message = Message(role="user", content="Hello")
            await service.begin(ChatCompletionRequest(messages=[message]))

    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(chat())
    assert (caught.value.param, caught.value.code) == ("model", "model_not_supported")


def test_a_model_that_is_not_served_is_not_found() -> None:
    assert isinstance(refusal(input="a", model="other"), ModelNotFound)


def test_a_server_that_drains_refuses() -> None:
    async def work() -> None:
        async with ready_service(engine()) as service:
            service.draining = True
            with pytest.raises(Draining):
                await embed(service, EmbeddingRequest(input="a"), ANYONE)

    asyncio.run(work())


async def _until_running(engine: SimulatedEngine, inputs: int) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while engine.running != inputs:  # noqa: ASYNC110
            await asyncio.sleep(0)


def while_embedding(work: Coroutine[Any, Any, None], slow: SimulatedEngine) -> asyncio.Task[bytes]:
    """Do some work while two inputs are being embedded; give the ended task that embeds them."""

    async def both() -> asyncio.Task[bytes]:
        async with ready_service(slow) as service:
            task = asyncio.create_task(embed(service, EmbeddingRequest(input=["a", "b"]), ANYONE))
            await _until_running(slow, 2)
            await work
            await asyncio.wait([task])
            assert slow.running == 0
            return task

    return asyncio.run(both())


def test_an_engine_that_dies_fails_the_request() -> None:
    slow = engine(first_token_seconds=60)

    async def die() -> None:
        slow.fail("dead")

    task = while_embedding(die(), slow)
    assert isinstance(task.exception(), EngineUnavailable)
