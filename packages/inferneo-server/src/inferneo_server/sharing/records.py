"""Receives what a replica knows of a generation; hands on what the others read of it in Redis."""

import hashlib
import logging
from typing import Literal

import msgspec
from msgspec import Struct

from inferneo_core.errors import ApiError, Cancelled, RequestError, ServerError
from inferneo_core.usage import Usage
from inferneo_server.answers.base import DoneObject
from inferneo_server.generation import Generation

# A replica that says nothing for so long counts as dead, with all that it had not finished.
LEASE_SECONDS = 10.0
RENEW_SECONDS = 2.0

logger = logging.getLogger(__name__)

_PREFIX = "inferneo:streams:"


def about_key(stream_id: str) -> str:
    """Of the record About a generation."""
    return f"{_PREFIX}{stream_id}:about"


def events_key(stream_id: str) -> str:
    """Of a Redis stream, in which event n is the entry `0-<n+1>`; the end is the last one."""
    return f"{_PREFIX}{stream_id}:events"


def lease_key(replica: str) -> str:
    """Of what is there as long as a replica lives."""
    return f"{_PREFIX}replica:{replica}"


def asks_key(replica: str) -> str:
    """Of a list of what others ask of a replica."""
    return f"{_PREFIX}replica:{replica}:asks"


def claim_key(owner: str, idempotency_key: str) -> str:
    """Of the Claim to an idempotency key."""
    name = msgspec.msgpack.encode((owner, idempotency_key))
    return f"{_PREFIX}claim:{hashlib.sha256(name).hexdigest()}"


class About(Struct, frozen=True, kw_only=True):
    """What is known of a generation from its beginning.

    Attributes:
        replica: which one works on it.
        form: the class of its AnswerForm; `named` and `done` are as there.
    """

    id: str
    owner: str
    replica: str
    model: str
    form: str
    named: bool
    done: DoneObject
    resume_for: float
    idempotency_key: str | None

    @classmethod
    def of(cls, generation: Generation, replica: str) -> "About":
        """What there is to know of a generation of this replica."""
        form, terms = generation.form, generation.terms
        return cls(
            id=generation.id,
            owner=terms.owner,
            replica=replica,
            model=form.model,
            form=type(form).__name__,
            named=form.named,
            done=form.done,
            resume_for=terms.resume_for,
            idempotency_key=terms.idempotency_key,
        )


class Fault(Struct, frozen=True, kw_only=True):
    """An error, as it goes from one replica to another."""

    message: str
    status: int
    type: str
    code: str
    param: str | None
    headers: dict[str, str]

    @classmethod
    def of(cls, error: ApiError) -> "Fault":
        """What there is to tell of an error."""
        return cls(
            message=error.message,
            status=error.status,
            type=error.type,
            code=error.code,
            param=error.param,
            headers=error.headers,
        )

    def error(self) -> ApiError:
        """The error again; of its class only what transports tell apart."""
        kind: type[ApiError] = ServerError if self.status >= 500 else RequestError
        if self.code == Cancelled.code:
            kind = Cancelled
        error = kind(
            self.message,
            param=self.param,
            code=self.code,
            status=self.status,
            headers=self.headers,
        )
        error.__dict__["type"] = self.type
        return error


class Ending(Struct, frozen=True, kw_only=True):
    """How a generation ended.

    Attributes:
        last: what a stream of it ends with.
        whole: the whole answer; empty where it failed, or cannot be told.
    """

    last: bytes
    usage: Usage
    whole: bytes
    fault: Fault | None

    @classmethod
    def of(cls, generation: Generation) -> "Ending":
        """The ending of a generation that has ended."""
        error = generation.error
        if error is not None and not isinstance(error, ApiError):
            # Its own readers have it logged.
            error = ServerError("The server failed on this request")
        return cls(
            last=generation.form.end(error),
            usage=generation.usage(),
            whole=b"" if error else _whole(generation),
            fault=Fault.of(error) if error else None,
        )


def _whole(generation: Generation) -> bytes:
    try:
        return generation.whole()
    except Exception:
        logger.exception("The whole answer of %s cannot be told", generation.id)
        return b""


class Ask(Struct, frozen=True, kw_only=True):
    """What a replica asks of the one that works on a generation: to go on, since it reads there;
    to count on it no longer; to end it for all."""

    what: Literal["read", "left", "cancel"]
    stream_id: str
    replica: str
    reason: str = ""


class Claim(Struct, frozen=True, kw_only=True):
    """To whom an idempotency key belongs.

    Attributes:
        body: digest of the request.
        stream_id: its generation; empty while that has not begun.
    """

    body: bytes
    replica: str
    stream_id: str = ""
