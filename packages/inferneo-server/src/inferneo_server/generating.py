"""Receives prompts, one or many; hands on a reader of the answer, or the answers in their order."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from inferneo_core.codec import encode
from inferneo_core.errors import ApiError, DeadlineExceeded, ServerError
from inferneo_core.native import DEFAULT_MODEL, GenerateRequest, error_body
from inferneo_server.answers.chat import ChatDetails
from inferneo_server.answers.native import NativeForm
from inferneo_server.generation import Terms
from inferneo_server.rendering import Wording
from inferneo_server.service import Service
from inferneo_server.streams import Reader
from inferneo_server.translations.native import openai_request

logger = logging.getLogger(__name__)


async def generate(service: Service, request: GenerateRequest, terms: Terms) -> Reader:
    """Begin to answer a prompt.

    Raises:
        ApiError: the request is refused.
    """
    began = time.perf_counter()
    if request.model == DEFAULT_MODEL and service.registry.spec(DEFAULT_MODEL) is None:
        request = msgspec.structs.replace(request, model=None)

    def form(model: str, details: ChatDetails) -> NativeForm:
        return NativeForm(model, details, began)

    try:
        # It may have to be loaded first.
        async with asyncio.timeout_at(terms.deadline):
            chats = await service.chats(request.model, terms.identity)
    except TimeoutError:
        raise DeadlineExceeded from None
    asked = openai_request(request, chats=chats)
    return await service.begin(asked, terms, Wording(asked=request, form=form))


async def generate_all(
    service: Service,
    values: Sequence[Any],
    read: Callable[[int, Any], GenerateRequest],
    terms: Terms,
) -> bytes:
    """Answer all requests of a batch side by side.

    Args:
        service: what answers.
        values: the requests as they came.
        read: checks the request of that number.
        terms: of each of them.

    Returns:
        The encoded answers, in the order of their requests; what one failed of stands in its place.
    """

    async def answer(number: int, value: Any) -> bytes:
        try:
            reader = await generate(service, read(number, value), terms)
            try:
                return await reader.answer()
            finally:
                await reader.aclose()
        except ApiError as error:
            return encode(error_body(error))
        except Exception:
            logger.exception("Unforeseen failure on request %d of a batch", number)
            return encode(error_body(ServerError("The server failed on this request")))

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(answer(*numbered)) for numbered in enumerate(values)]
    return b'{"results":[' + b",".join(task.result() for task in running) + b"]}"
