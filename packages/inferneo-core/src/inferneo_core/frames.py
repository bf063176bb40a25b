"""Receives and hands on the JSON frames of a WebSocket session, both ways; see docs/protocol.md.

A request is the body of the route's POST, with the fields of `Call` beside its own and no `type`.
Chunks and whole answers are those of the route, with `request_id` (and `seq`) put in front.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.codec import decode_request
from inferneo_core.errors import ErrorDetail, InvalidRequest
from inferneo_core.limits import LimitsLeft
from inferneo_core.usage import Usage

RequestId = str | int
Seconds = Annotated[float, Meta(gt=0)]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]


class Frame(Struct, frozen=True, kw_only=True):
    """What every frame of a client may carry; a request has no `type`."""

    type: str | None = None
    request_id: RequestId | None = None


class Call(Frame, frozen=True, kw_only=True):
    """What a request says beside the body of its route.

    `resume_for` and `timeout` are in seconds; see the headers `Inferneo-Resume-For`,
    `Inferneo-Timeout` and `Idempotency-Key`.
    """

    resume_for: Annotated[float, Meta(ge=0)] = 0.0
    timeout: Seconds | None = None
    idempotency_key: IdempotencyKey | None = None


class Auth(Frame, frozen=True, kw_only=True):
    """`auth`: the first frame of a socket that carried no credentials; one of the two."""

    token: str | None = None
    api_key: str | None = None


class Cancel(Frame, frozen=True, kw_only=True):
    """`cancel`: end a request of this socket, named by its `request_id` or its answer's `id`."""

    id: str | None = None


class Resume(Frame, frozen=True, kw_only=True):
    """`resume`: go on with a generation after its event `after`; without `stream`, the whole."""

    id: str
    after: Annotated[int, Meta(ge=-1)] = -1
    stream: bool = True


class Ping(Frame, frozen=True, kw_only=True):
    """`ping`: is answered by a `pong`."""


class Done(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a request that streamed, or was cancelled. It has no `choices`.

    `limits` is what the caller has left, where that is limited.
    """

    object: Literal["chat.completion.done", "text_completion.done", "response.done", "message.done"]
    request_id: RequestId | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    limits: LimitsLeft | UnsetType = UNSET
    cancelled: bool = False


class Failure(Struct, frozen=True, kw_only=True):
    """The error of a request, or of a frame that is none.

    `retry_after_ms` says when to try again.
    """

    error: ErrorDetail
    status: int
    request_id: RequestId | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET
    limits: LimitsLeft | UnsetType = UNSET


class Notice(Struct, frozen=True, kw_only=True):
    """`pong`, or `authenticated`."""

    type: Literal["pong", "authenticated"]
    request_id: RequestId | UnsetType = UNSET


_head: Final = msgspec.json.Decoder(Frame)
_kinds: Final[dict[str | None, msgspec.json.Decoder[Any]]] = {
    None: msgspec.json.Decoder(Call),
    "auth": msgspec.json.Decoder(Auth),
    "cancel": msgspec.json.Decoder(Cancel),
    "resume": msgspec.json.Decoder(Resume),
    "ping": msgspec.json.Decoder(Ping),
}


def decode_frame(data: bytes) -> Frame:
    """Decode what a client sent: a Call, Auth, Cancel, Resume or Ping.

    Raises:
        InvalidRequest: it is no JSON object, of no known type, or does not fit.
    """
    kind = decode_request(data, _head).type
    if kind not in _kinds:
        known = ", ".join(f"'{name}'" for name in _kinds if name)
        raise InvalidRequest(
            f"There is no frame of type '{kind}'; a request has none, others: {known}", param="type"
        )
    frame: Frame = decode_request(data, _kinds[kind])
    return frame


def frame_request_id(data: bytes) -> RequestId | None:
    """The request id of a frame that may be wrong in all else."""
    try:
        return _head.decode(data).request_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
