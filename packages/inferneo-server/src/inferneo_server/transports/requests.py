"""Receives a connection; hands on its body, decoded once, straight into the struct of the route."""

import asyncio
import math
import re
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import Empty

from inferneo_core.codec import decode_known
from inferneo_core.errors import InvalidRequest
from inferneo_server.access.check import identity_of
from inferneo_server.access.identity import Identity
from inferneo_server.generation import Terms
from inferneo_server.service import Service
from inferneo_server.settings import Settings

T = TypeVar("T")

MAX_NAMED = 20
_TERMS = (b"inferneo-resume-for", b"inferneo-timeout", b"idempotency-key")
_FIELD_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


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

    @property
    def settings(self) -> Settings:
        """The application's settings."""
        settings: Settings = self.app.state.settings
        return settings

    @property
    def identity(self) -> Identity:
        """Who sends the request."""
        return identity_of(self.scope)

    @property
    def terms(self) -> Terms:
        """What the headers ask for beside the answer.

        Raises:
            InvalidRequest: a header does not fit.
        """
        identity = self.identity
        # Litestar's table of headers would cost more than all that is done here. Of two, the first.
        asked: dict[bytes, bytes] = {}
        for name, value in self.scope["headers"]:
            if name in _TERMS:
                asked.setdefault(name, value)
        if not asked:
            return Terms(identity=identity)
        resume_for, timeout, key = (_text(asked.get(name)) for name in _TERMS)
        if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
            raise InvalidRequest(
                "'Idempotency-Key' takes 1 to 255 visible characters", param="Idempotency-Key"
            )
        return make_terms(
            identity,
            self.settings,
            resume_for=_seconds("Inferneo-Resume-For", resume_for) or 0.0,
            timeout=_seconds("Inferneo-Timeout", timeout),
            idempotency_key=key,
        )

    async def json(self) -> Any:
        """Decode the body.

        Raises:
            InvalidRequest: it does not fit.
        """
        field = self.route_handler.parsed_data_field
        decoder = _decoder(field.annotation if field else Any)
        data, ignored = decode_known(await self.body(), decoder)
        if ignored:
            self.state.ignored = refuse_or_name(ignored, self.settings)
        return data

    @property
    def ignored(self) -> str:
        """Names of the body's fields that are not known, which its answer tells."""
        return str(self.scope["state"].get("ignored", ""))

    async def body(self) -> bytes:
        """Read the body, up to the size that the settings allow.

        Raises:
            InvalidRequest: there is none, it is too large, or it broke off.
        """
        state = self._connection_state
        if state.body is Empty:
            state.body = await self._read(self.app.state.settings.max_body_bytes)
        if not state.body:
            raise InvalidRequest("The request has no body", code="invalid_json")
        return state.body

    async def decode_optional(self, kind: type[T]) -> T:
        """Decode a body that may be left out.

        Raises:
            InvalidRequest: it does not fit.
        """
        body = await self._read(self.app.state.settings.max_body_bytes)
        data: T
        data, ignored = decode_known(body or b"{}", _decoder(cast("Any", kind)))
        if ignored:
            self.state.ignored = refuse_or_name(ignored, self.settings)
        return data

    async def _read(self, limit: int) -> bytes:
        # Litestar's own reading builds its tables of headers and layers anew for each request,
        # at a third of what all the rest of HTTP costs here.
        parts: list[bytes] = []
        size = 0
        for name, value in self.scope["headers"]:
            # Before the client is asked for what it announces. The parser lets only digits pass.
            if name == b"content-length" and int(value) > limit:
                raise _too_large(limit)
            if name == b"content-encoding" and value.lower() != b"identity":
                raise _encoded(value)
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise InvalidRequest("The request broke off")
            parts.append(message["body"])
            size += len(message["body"])
            if size > limit:
                raise _too_large(limit)
            if not message["more_body"]:
                break
        return b"".join(parts)


def _too_large(limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"The body has more than {limit} bytes",
        code="body_too_large",
        status=413,
        # The rest of it is not waited for.
        headers={"connection": "close"},
    )


def _encoded(coding: bytes) -> InvalidRequest:
    """RFC 9110, section 15.5.16."""
    return InvalidRequest(
        f"The body is sent with the Content-Encoding '{coding.decode('latin-1')}'; "
        "send it as it is",
        code="unsupported_content_encoding",
        status=415,
        headers={"accept-encoding": "identity", "connection": "close"},
    )


def refuse_or_name(ignored: list[str], settings: Settings) -> str:
    """The names of unknown fields, as a header carries them.

    Raises:
        InvalidRequest: the settings are strict.
    """
    if settings.strict:
        raise InvalidRequest(f"Unknown field '{ignored[0]}'", param=ignored[0])
    sound = [name if _FIELD_NAME.fullmatch(name) else "?" for name in ignored]
    return ", ".join(sound[:MAX_NAMED])


def make_terms(
    identity: Identity,
    settings: Settings,
    *,
    resume_for: float,
    timeout: float | None,
    idempotency_key: str | None,
) -> Terms:
    """Terms within what the settings allow; a timeout, in seconds, runs from now on."""
    return Terms(
        identity=identity,
        resume_for=min(resume_for, settings.max_resume_seconds),
        deadline=None if timeout is None else asyncio.get_running_loop().time() + timeout,
        idempotency_key=idempotency_key,
    )


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


def _seconds(header: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest(f"'{header}' must be a number of seconds above 0", param=header)
    return seconds
