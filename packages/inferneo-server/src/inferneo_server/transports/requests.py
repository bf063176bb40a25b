"""Receives a connection; hands on its body, decoded once, straight into the struct of the route."""

from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import Empty

from inferneo_core.codec import decode_request
from inferneo_core.errors import InvalidRequest
from inferneo_server.service import Service


@lru_cache(maxsize=64)
def _decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(annotation)


class ApiRequest(Request[None, None, State]):
    """A request whose body fits the handler's `data` or is refused with the field's name.

    Litestar's own way decodes twice, takes `"1"` for 1, and names no field.
    """

    @property
    def service(self) -> Service:
        """The application's service."""
        service: Service = self.app.state.service
        return service

    async def json(self) -> Any:
        """Decode the body.

        Raises:
            InvalidRequest: it does not fit.
        """
        field = self.route_handler.parsed_data_field
        return decode_request(await self.body(), _decoder(field.annotation if field else Any))

    async def body(self) -> bytes:
        """Read the body, up to the size that the settings allow.

        Raises:
            InvalidRequest: there is none, it is too large, or it broke off.
        """
        state = self._connection_state
        if state.body is Empty:
            state.body = await self._read(self.app.state.settings.max_body_bytes)
        return state.body

    async def _read(self, limit: int) -> bytes:
        # Litestar's own reading builds its tables of headers and layers anew for each request,
        # at a third of what all the rest of HTTP costs here.
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise InvalidRequest("The request broke off")
            parts.append(message["body"])
            size += len(message["body"])
            if size > limit:
                raise InvalidRequest(
                    f"The body has more than {limit} bytes", code="body_too_large", status=413
                )
            if not message["more_body"]:
                break
        if not size:
            raise InvalidRequest("The request has no body", code="invalid_json")
        return b"".join(parts)
