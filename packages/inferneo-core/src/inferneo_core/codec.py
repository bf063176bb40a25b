"""Receives structs or bytes; hands on JSON bytes or structs, by codecs that are built once."""

import re
from typing import Final, TypeVar

import msgspec

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.completions import CompletionRequest
from inferneo_core.errors import InvalidRequest

T = TypeVar("T")

encode: Final = msgspec.json.Encoder().encode

chat_request: Final = msgspec.json.Decoder(ChatCompletionRequest)
completion_request: Final = msgspec.json.Decoder(CompletionRequest)

_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")


def decode_request(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode the body of a request.

    Raises:
        InvalidRequest: the body is no JSON, or does not fit; `param` names the field at fault.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, param = _explain(str(error))
        raise InvalidRequest(message, param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}", code="invalid_json") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply", code="invalid_json") from None


def _explain(text: str) -> tuple[str, str | None]:
    """Split msgspec's message into what is wrong and the field at fault."""
    path = found.group(1) if (found := _PATH.search(text)) else ""
    message = _PATH.sub("", text)
    if missing := _MISSING.search(message):
        path = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return f"Missing required field '{path}'", path
    return (f"Invalid '{path}': {message}" if path else message), path or None
