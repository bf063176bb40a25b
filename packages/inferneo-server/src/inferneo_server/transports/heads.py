"""Receives the head of an HTTP request; hands it back as sound, or refuses it, and words the answer
that tells why. No I/O."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from inferneo_core.codec import encode
from inferneo_core.errors import ApiError, InvalidRequest

Headers = Sequence[tuple[bytes, bytes]]

MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
# RFC 9112, section 3, has servers take 8,000 at least; a token in the query needs some of them.
MAX_TARGET_BYTES = 16 * 1024

_PLAIN_TARGET = re.compile(rb"/[A-Za-z0-9/_-]*(?:\?[^#]*)?")
_ABSOLUTE_TARGET = re.compile(rb"https?://([^/?#]*)([/?].*)?", re.IGNORECASE)
# RFC 3986, section 3.2.2, less the comma: two hosts that a proxy has joined are none.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]*|\[[0-9A-Za-z:.%]+\])(?::[0-9]*)?")
# The parser knows the methods of RTSP and ICE too.
_FOREIGN_METHODS = frozenset(
    [
        *("ANNOUNCE", "DESCRIBE", "FLUSH", "GET_PARAMETER", "PAUSE", "PLAY", "PRI", "RECORD"),
        *("REDIRECT", "SETUP", "SET_PARAMETER", "SOURCE", "TEARDOWN"),
    ]
)


def check_head(method: str, version: str, target: bytes, headers: Headers) -> None:
    """Refuse a head that two servers could read in two ways, or that asks for too much.

    What is wrong in its syntax the parser has refused before.

    Raises:
        InvalidRequest: with the status of RFC 9112 (400, 414, 501, 505) or of RFC 6585 (431).
    """
    if version not in ("1.1", "1.0"):
        raise _wrong_version()
    if method in _FOREIGN_METHODS:
        raise InvalidRequest(f"{method} is no method of HTTP")
    if len(headers) > MAX_HEADERS:
        raise head_too_large(f"The request has more than {MAX_HEADERS} headers")
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    if hosts != 1 and (hosts or version == "1.1"):
        # RFC 9112, section 3.2
        raise InvalidRequest(f"The request has {hosts} Host headers; it must have one")
    host = headers[names.index(b"host")][1] if hosts else b""
    if not _HOST.fullmatch(host):
        raise InvalidRequest("The Host header is not valid")
    if b"transfer-encoding" in names:
        _check_coding(version, headers[names.index(b"transfer-encoding")][1])
    if not _PLAIN_TARGET.fullmatch(target):
        _check_target(method, target, host)


def _check_coding(version: str, coding: bytes) -> None:
    """RFC 9112, section 6.1; more than one such header is an error of syntax."""
    if version == "1.0":
        raise InvalidRequest("HTTP/1.0 has no Transfer-Encoding")
    if coding.strip().lower() != b"chunked":
        raise InvalidRequest("The only Transfer-Encoding taken is 'chunked'", status=501)


def _check_target(method: str, target: bytes, host: bytes) -> None:
    if target == b"*" and method == "OPTIONS":
        return
    path = target
    if absolute := _ABSOLUTE_TARGET.fullmatch(target):
        if absolute.group(1).lower() != host.lower():
            raise InvalidRequest("The request's target and its Host header differ")
        path = absolute.group(2) or b"/"
    elif not target.startswith(b"/") and method != "CONNECT":
        raise InvalidRequest("The request's target is no path")
    if b"#" in path:
        raise InvalidRequest("The request's target has a fragment")


def not_http(reason: str) -> InvalidRequest:
    """The error of what the parser refuses; its reasons repeat nothing of the request."""
    if "HTTP version" in reason:
        return _wrong_version()
    return InvalidRequest(f"The request is not valid HTTP/1.1: {reason}")


def _wrong_version() -> InvalidRequest:
    return InvalidRequest(
        "This server speaks HTTP/1.1", code="http_version_not_supported", status=505
    )


def head_too_large(message: str) -> InvalidRequest:
    """The error of a head, or of trailers, beyond what is taken (RFC 6585, section 5)."""
    return InvalidRequest(message, code="headers_too_large", status=431)


def target_too_long() -> InvalidRequest:
    """The error of a request line beyond what is taken (RFC 9110, section 15.5.15)."""
    return InvalidRequest(
        f"The request's target has more than {MAX_TARGET_BYTES} bytes",
        code="uri_too_long",
        status=414,
    )


def took_too_long() -> InvalidRequest:
    """The error of a request that is not whole in time (RFC 9110, section 15.5.9)."""
    return InvalidRequest("The request was not whole in time", code="request_timeout", status=408)


def last_words(error: ApiError, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The answer that tells of an error, as it goes over the wire, and ends the connection.

    Args:
        error: what is told.
        headers: the server's own, as the date is.
    """
    body = encode(error.body())
    lines = [b"HTTP/1.1 %d %s" % (error.status, HTTPStatus(error.status).phrase.encode())]
    lines += [b"%s: %s" % header for header in headers]
    lines += [f"{name}: {value}".encode() for name, value in error.headers.items()]
    lines += [b"content-type: application/json", b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, b"connection: close", b"", body])
