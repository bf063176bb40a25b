"""Receives nothing; hands on the structs and the errors of `/api/v1`.

Source: the API's published page, section by section in `docs/native.md`.
"""

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.errors import ApiError
from inferneo_core.sampling import Penalty, StopText
from inferneo_core.usage import Usage

DEFAULT_MODEL: Final = "default"
"""What a request may call the model that is served, as the page's client does."""


class GenerateRequest(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /api/v1/generate` and of `/generate/stream`, and one of a batch's requests.

    None means the model's own default. Where `max_tokens` is left out the answer may fill the
    model's context. The fields that the page does not show mean what they mean in `/v1`.
    """

    prompt: Annotated[str, Meta(min_length=1)]
    model: str | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    ignore_eos: bool | None = None
    stream: bool | None = None
    user: str | None = None


class Generated(Struct, frozen=True, kw_only=True):
    """Answer of `POST /api/v1/generate`; `latency` is in seconds, from the request's arrival on."""

    text: str
    usage: Usage
    latency: float


class TokenEvent(Struct, frozen=True, kw_only=True):
    """An event of a streamed answer: what is new of its text, and whether that is its end."""

    token: str
    finished: bool


class SentEvent(Struct, frozen=True, kw_only=True):
    """A server-sent event, for the description of a route; `data` is a TokenEvent, as JSON."""

    data: str


class BatchRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/v1/batch/generate`: bodies of `/generate`, each checked by itself."""

    requests: Annotated[list[Any], Meta(min_length=1)]


class NativeErrorDetail(Struct, frozen=True, kw_only=True):
    """What went wrong: `code` is for programs, `message` for people, `details` is what to do."""

    code: str
    message: str
    details: str


class NativeError(Struct, frozen=True, kw_only=True):
    """An error answer of `/api/v1`, and the last event of a stream that failed."""

    error: NativeErrorDetail


class BatchResult(Struct, frozen=True, kw_only=True):
    """What came of one request of a batch: the fields of an answer, or `error`."""

    text: str | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    latency: float | UnsetType = UNSET
    error: NativeErrorDetail | UnsetType = UNSET


class BatchResults(Struct, frozen=True, kw_only=True):
    """Answer of `POST /api/v1/batch/generate`, in the order of its requests."""

    results: list[BatchResult]


class NativeModel(Struct, frozen=True, kw_only=True):
    """A model that can be asked for.

    Attributes:
        name: what requests call it.
        format: of its weights: `safetensors`, `gguf`, `pytorch`, or `unknown` where they are not
            on this machine.
        size: of its weights, as in `4.2GB`; `unknown` where they are not on this machine.
        loaded: whether it can be asked now.
        memory_usage: what it is reckoned to take of the memory, as in `3.8GB`.
    """

    name: str
    format: str
    size: str
    loaded: bool
    memory_usage: str


class NativeModels(Struct, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/models`."""

    models: list[NativeModel]


class NativeLoadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/v1/models/{name}/load`, which may be left out.

    `quantization` is an argument of the engine, or how the model's GGUF file is made. With
    `prefer_gpu` the model goes to a GPU where there is one, without to the CPU where its engine can
    use that.
    """

    quantization: Annotated[str, Meta(min_length=1)] | None = None
    prefer_gpu: bool | None = None


# The page's own words, where they are not ours in capitals.
_CODES: Final = {
    "invalid_request_error": "INVALID_REQUEST",
    "invalid_api_key": "AUTHENTICATION_FAILED",
    "engine_unavailable": "MODEL_NOT_LOADED",
    "server_error": "INTERNAL_ERROR",
}
_DETAILS: Final = {
    "MODEL_NOT_LOADED": "It loads by itself, or by POST /api/v1/models/{name}/load; ask again",
    "MODEL_NOT_FOUND": "GET /api/v1/models tells which there are; 'model' may be left out",
    "AUTHENTICATION_FAILED": "Send the header 'Authorization: Bearer <key>'",
    "NOT_FOUND": "/docs describes all routes",
    "METHOD_NOT_ALLOWED": "The header 'Allow' names the methods",
    "INTERNAL_ERROR": "The same request may succeed later",
}


def error_body(error: ApiError) -> NativeError:
    """The error in these routes' words. `details` is empty where there is nothing to add."""
    code = _CODES.get(error.code) or error.code.upper()
    details = _DETAILS.get(code, "")
    if not details and error.param:
        # A prompt may have been rendered as a conversation of one message.
        param = "prompt" if error.param.startswith("messages") else error.param
        details = f"The field at fault is '{param}'"
    if not details and "retry-after" in error.headers:
        details = f"Ask again in {error.headers['retry-after']} s"
    detail = NativeErrorDetail(code=code, message=error.message, details=details)
    return NativeError(error=detail)
