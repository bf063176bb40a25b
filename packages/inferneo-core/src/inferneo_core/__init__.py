"""The wire contract of Inferneo: structs, errors and codecs, for the server and its clients."""

from inferneo_core.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, Message
from inferneo_core.completions import Completion, CompletionRequest
from inferneo_core.errors import ApiError, ErrorBody, ErrorDetail, RequestError, ServerError
from inferneo_core.models import Model, ModelList
from inferneo_core.sse import Event, EventDecoder, EventTooLarge
from inferneo_core.usage import Usage

__all__ = [
    "ApiError",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatCompletionRequest",
    "Completion",
    "CompletionRequest",
    "ErrorBody",
    "ErrorDetail",
    "Event",
    "EventDecoder",
    "EventTooLarge",
    "Message",
    "Model",
    "ModelList",
    "RequestError",
    "ServerError",
    "Usage",
]
