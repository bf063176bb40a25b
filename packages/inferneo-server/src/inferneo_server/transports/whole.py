"""Receives work that ends in one answer; hands that on over HTTP, unless the client leaves."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from litestar.types import Receive, Scope, Send
from msgspec import Struct

from inferneo_core.codec import encode
from inferneo_core.errors import DeadlineExceeded
from inferneo_server.transports.answers import ClientDisconnected, while_connected
from inferneo_server.transports.requests import ApiRequest


class WholeAnswer:
    """An ASGI application that does the work of a request and answers with what comes of it.

    Args:
        request: its deadline ends the work, and its unknown fields are named in the answer.
        work: gives the answer, or its JSON. It is cancelled when the client hangs up.

    Raises:
        InvalidRequest: a header does not fit.
    """

    def __init__(
        self, request: ApiRequest, work: Callable[[], Coroutine[Any, Any, Struct | bytes]]
    ) -> None:
        self._work = work
        self._deadline = request.terms.deadline
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                answer = await while_connected(self._work(), receive)
        except ClientDisconnected:
            return
        except TimeoutError:
            raise DeadlineExceeded from None
        body = answer if isinstance(answer, bytes) else encode(answer)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if ignored := self._request.ignored:
            headers.append((b"inferneo-ignored", ignored.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
