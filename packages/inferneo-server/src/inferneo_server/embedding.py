"""Receives an embeddings request; hands on its answer, encoded."""

import asyncio
import contextlib
import sys
from array import array
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from typing import cast
from uuid import uuid4

import msgspec

from inferneo_core.codec import encode
from inferneo_core.embeddings import (
    MAX_INPUTS,
    Embedding,
    EmbeddingRequest,
    PromptUsage,
)
from inferneo_core.errors import ContextLengthExceeded, InvalidRequest, RequestError
from inferneo_core.sampling import Side
from inferneo_server.access.identity import Identity
from inferneo_server.checks import split_prompt
from inferneo_server.engines.base import Cut, Engine, PoolingOptions, Prompt, Vector
from inferneo_server.metrics import token_series
from inferneo_server.service import Service

# So many numbers are encoded, or prompts prepared, before others get their turn.
NUMBERS_AT_ONCE = 16_384
PROMPTS_AT_ONCE = 64


async def embed(service: Service, request: EmbeddingRequest, identity: Identity) -> bytes:
    """Embed the inputs of a request.

    Raises:
        ApiError: the request is refused, or fails.
    """
    with await service.lease(request.model, identity, "embed") as lease:
        service.note_prompt(request.input)
        prompts, options = await _prepared(lease.engine, request)
        charged = lengths(prompts)
        async with service.reading(
            lease, identity, charged, param="input", priority=request.priority
        ):
            vectors = await lease.engine.embed(f"embd-{uuid4().hex}", prompts, options)
            usage = count_tokens(prompts, lease.name)
    return await _encoded(vectors, lease.name, usage, base64=request.encoding_format == "base64")


async def _prepared(
    engine: Engine, request: EmbeddingRequest
) -> tuple[Sequence[Prompt], PoolingOptions]:
    inputs = split_prompt(request.input, param="input")
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(
            f"'input' has {len(inputs)} items, more than the {MAX_INPUTS} that are allowed",
            param="input",
        )
    cut = make_cut(engine, request.truncate_prompt_tokens, request.truncation_side)
    if isinstance(inputs[0], str):
        texts = cast("list[str]", inputs)
        if "" in texts:
            raise InvalidRequest("Empty 'input'", param="input")
        special = request.add_special_tokens is not False
        token_ids = await engine.tokenize(texts, special_tokens=special, cut=cut)
    else:
        token_ids = [_shortened(each, cut) for each in cast("list[list[int]]", inputs)]
    prompts = await render_all(engine, token_ids, param="input")
    options = PoolingOptions(
        dimensions=request.dimensions,
        activation=request.use_activation,
        priority=request.priority or 0,
    )
    return prompts, options


def make_cut(engine: Engine, kept: int | None, side: Side | None) -> Cut | None:
    """How a request wants its texts shortened; never to more than the model reads."""
    if kept is None:
        return None
    tokens = engine.max_model_len if kept < 0 else min(kept, engine.max_model_len)
    return Cut(tokens=tokens, side=side or "right")


def _shortened(token_ids: list[int], cut: Cut | None) -> list[int]:
    if cut is None or len(token_ids) <= cut.tokens:
        return token_ids
    return (
        token_ids[len(token_ids) - cut.tokens :] if cut.side == "left" else token_ids[: cut.tokens]
    )


async def render_all(
    engine: Engine, token_ids: Sequence[Sequence[int]], *, param: str
) -> list[Prompt]:
    """Prompts for token ids.

    Raises:
        ContextLengthExceeded: one is longer than what the model reads.
        InvalidRequest: one is empty, or holds ids that are not of the vocabulary.
    """
    prompts: list[Prompt] = []
    for number, each in enumerate(token_ids):
        check_length(each, engine, param=param, number=number)
        with _named(param):
            prompts.append(await engine.render_text(each))
        if number % PROMPTS_AT_ONCE == PROMPTS_AT_ONCE - 1:
            await asyncio.sleep(0)
    return prompts


def check_length(token_ids: Sequence[int], engine: Engine, *, param: str, number: int) -> None:
    """Refuse what the model cannot read at once.

    Raises:
        ContextLengthExceeded: it is too long.
    """
    if len(token_ids) > engine.max_model_len:
        raise ContextLengthExceeded(
            f"The model reads {engine.max_model_len} tokens at most; item {number} of '{param}' "
            f"has {len(token_ids)}",
            param=param,
        )


@contextlib.contextmanager
def _named(param: str) -> Iterator[None]:
    """Call by the name of the request's own field what an engine finds wrong with a prompt."""
    try:
        yield
    except RequestError as error:
        error.param = param
        raise


def lengths(prompts: Sequence[Prompt]) -> list[int]:
    """The tokens of each prompt."""
    return [len(prompt.token_ids) for prompt in prompts]


def count_tokens(prompts: Sequence[Prompt], model: str) -> PromptUsage:
    """The usage of a request that reads these prompts, which is counted for the metrics too."""
    tokens = sum(lengths(prompts))
    token_series(model)[0].inc(tokens)
    return PromptUsage(prompt_tokens=tokens, total_tokens=tokens)


async def _encoded(
    vectors: Sequence[Vector], model: str, usage: PromptUsage, *, base64: bool
) -> bytes:
    """An EmbeddingList, encoded piece by piece: all of it at once would hold up other requests."""
    pieces = []
    numbers = 0
    for index, vector in enumerate(vectors):
        told = to_base64(vector) if base64 else list(vector)
        pieces.append(msgspec.Raw(encode(Embedding(index=index, embedding=told))))
        numbers += len(vector)
        if numbers > NUMBERS_AT_ONCE:
            numbers = 0
            await asyncio.sleep(0)
    return encode({"object": "list", "data": pieces, "model": model, "usage": usage})


def to_base64(vector: Vector, byteorder: str = sys.byteorder) -> str:
    """The base64 of a vector's numbers, each in four bytes of which the lowest is first."""
    if byteorder != "little":
        swapped = array("f", vector)
        swapped.byteswap()
        vector = memoryview(swapped)
    return b2a_base64(vector, newline=False).decode()
