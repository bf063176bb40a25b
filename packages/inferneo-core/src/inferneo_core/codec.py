"""Receives structs or bytes; hands on JSON bytes or structs, by codecs that are built once."""

import re
import types
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.completions import CompletionRequest
from inferneo_core.errors import InvalidRequest

T = TypeVar("T")

# Of a body beyond this size, only the first unknown field is named.
MAX_NAMED_BYTES = 256 * 1024
# Lists and objects, and texts with the names of fields: to build more of them takes a tenth of a
# second and longer, and nothing else runs meanwhile.
MAX_CONTAINERS = 100_000
MAX_TEXTS = 300_000

encode: Final = msgspec.json.Encoder().encode

chat_request: Final = msgspec.json.Decoder(ChatCompletionRequest)
completion_request: Final = msgspec.json.Decoder(CompletionRequest)

_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

_PATH = re.compile(r" - at `(?:key` in `)?\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
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


def convert_part(value: Any, kind: type[T], param: str) -> T:
    """Convert a part of a request that was decoded before.

    Raises:
        InvalidRequest: it does not fit; `param` is the part's path, and names the field at fault.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, path = _explain(str(error), param)
        raise InvalidRequest(message, param=path) from None


def decode_known(body: bytes, decoder: msgspec.json.Decoder[T]) -> tuple[T, list[str]]:
    """Decode the body of a request whose struct forbids unknown fields, and name those it has.

    Raises:
        InvalidRequest: as `decode_request` does, but for unknown fields; or the body holds too many
            values.
    """
    _check_values(body, decoder.type)
    try:
        return decoder.decode(body), []
    except msgspec.ValidationError as error:
        first = _UNKNOWN.fullmatch(str(error))
        if not first:
            return decode_request(body, decoder), []  # which tells what is wrong
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode_request(body, decoder), []
    if len(body) > MAX_NAMED_BYTES:
        # To name a million fields would take seconds: here it is the first alone.
        known = decode_request(body, _patient(decoder.type))  # type: ignore[arg-type]
        return decode_request(encode(known), decoder), [first.group(1)]
    fields = decode_request(body, _fields)
    names = {field.encode_name for field in msgspec.structs.fields(decoder.type)}  # type: ignore[arg-type]
    unknown = [name for name in fields if name not in names]
    rest = {name: value for name, value in fields.items() if name in names}
    return decode_request(encode(rest), decoder), unknown


def _check_values(body: bytes, kind: Any) -> None:
    """Refuse a body of which too many values would be built, before any is.

    Raises:
        InvalidRequest: it is one; `param` names the field of the struct that holds the most.
    """
    # The shortest list takes two bytes. Brackets and quotes within texts are counted too, at first.
    if len(body) <= 2 * MAX_CONTAINERS or _fit(_containers(body), body.count(b'"') // 2):
        return
    containers, texts = _values(body)
    if _fit(containers, texts):
        return
    told = f"{containers} lists and objects, more than the {MAX_CONTAINERS}"
    if containers <= MAX_CONTAINERS:
        told = f"{texts} texts and names, more than the {MAX_TEXTS}"
    param = _fullest(body, kind, (containers + texts) // 2)
    most = f", most of them in '{param}'" if param else ""
    raise InvalidRequest(f"The body has {told} that are allowed{most}", param=param)


def _fit(containers: int, texts: int) -> bool:
    return containers <= MAX_CONTAINERS and texts <= MAX_TEXTS


def _containers(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _values(body: bytes) -> tuple[int, int]:
    """How many lists and objects a JSON document has, and how many texts."""
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")
    texts = bare.count(b'"') // 2
    # Each second piece is the inside of a text. Of more texts nobody asks further.
    if texts <= MAX_TEXTS:
        bare = b"".join(bare.split(b'"')[::2])
    return _containers(bare), texts


def _fullest(body: bytes, kind: Any, most: int) -> str | None:
    """The field of a struct that holds more than so many values; None where none of it does."""
    try:
        fields = msgspec.structs.asdict(_undecoded(kind).decode(body))
    except (TypeError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return next((name for name in fields if sum(_values(bytes(fields[name]))) > most), None)


@lru_cache(maxsize=64)
def _undecoded(kind: Any) -> msgspec.json.Decoder[Any]:
    """A decoder of the same struct that leaves the values of its fields as they are.

    Raises:
        TypeError: it is no struct.
    """
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    return msgspec.json.Decoder(
        msgspec.defstruct("Undecoded", [(name, msgspec.Raw, msgspec.Raw()) for name in names])
    )


@lru_cache(maxsize=64)
def _patient(kind: Any) -> msgspec.json.Decoder[Any]:
    """A decoder of the same struct that passes over what it does not know."""
    return msgspec.json.Decoder(
        types.new_class(kind.__name__, (kind,), {"forbid_unknown_fields": False})
    )


def _explain(text: str, within: str = "") -> tuple[str, str | None]:
    """Split msgspec's message into what is wrong and the field at fault."""
    path = found.group(1) if (found := _PATH.search(text)) else ""
    if within:
        path = f"{within}.{path}".removesuffix(".").replace(".[", "[")
    message = _PATH.sub("", text)
    if missing := _MISSING.search(message):
        path = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return f"Missing required field '{path}'", path
    return (f"Invalid '{path}': {message}" if path else message), path or None
