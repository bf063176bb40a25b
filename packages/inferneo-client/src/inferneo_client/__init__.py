"""A typed client of Inferneo, and of other OpenAI-compatible servers.

Names load when they are first used: importing this costs next to nothing.
"""

# What type checkers know as true. The module `typing` would be most of the time of this import.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from inferneo_client._async import AsyncInferneo
    from inferneo_client._async_streams import AsyncStream
    from inferneo_client._cache import Cache, DirectoryCache, MemoryCache
    from inferneo_client._errors import (
        ConnectionFailed,
        InvalidAnswer,
        StreamInterruptedError,
        StreamTruncatedError,
        TimedOut,
        UnparsableAnswer,
    )
    from inferneo_client._event_streams import AsyncEventStream, EventStream
    from inferneo_client._options import Retry, Timeout
    from inferneo_client._streams import Stream
    from inferneo_client._sync import Inferneo
    from inferneo_client.transports.asgi import AsgiTransport, AsyncAsgiTransport
    from inferneo_core.errors import (
        ApiError,
        Conflict,
        NotFound,
        PermissionDenied,
        QuotaExceeded,
        RateLimited,
        RequestError,
        ServerError,
        TooManyRequests,
    )

_HOMES = {
    "inferneo_client._async": ("AsyncInferneo",),
    "inferneo_client._async_streams": ("AsyncStream",),
    "inferneo_client._cache": ("Cache", "DirectoryCache", "MemoryCache"),
    "inferneo_client._errors": (
        "ConnectionFailed",
        "InvalidAnswer",
        "StreamInterruptedError",
        "StreamTruncatedError",
        "TimedOut",
        "UnparsableAnswer",
    ),
    "inferneo_client._event_streams": ("AsyncEventStream", "EventStream"),
    "inferneo_client._options": ("Retry", "Timeout"),
    "inferneo_client._streams": ("Stream",),
    "inferneo_client._sync": ("Inferneo",),
    "inferneo_client.transports.asgi": ("AsgiTransport", "AsyncAsgiTransport"),
    "inferneo_core.errors": (
        "ApiError",
        "Conflict",
        "NotFound",
        "PermissionDenied",
        "QuotaExceeded",
        "RateLimited",
        "RequestError",
        "ServerError",
        "TooManyRequests",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ApiError",
    "AsgiTransport",
    "AsyncAsgiTransport",
    "AsyncEventStream",
    "AsyncInferneo",
    "AsyncStream",
    "Cache",
    "Conflict",
    "ConnectionFailed",
    "DirectoryCache",
    "EventStream",
    "Inferneo",
    "InvalidAnswer",
    "MemoryCache",
    "NotFound",
    "PermissionDenied",
    "QuotaExceeded",
    "RateLimited",
    "RequestError",
    "Retry",
    "ServerError",
    "Stream",
    "StreamInterruptedError",
    "StreamTruncatedError",
    "TimedOut",
    "Timeout",
    "TooManyRequests",
    "UnparsableAnswer",
]


def __getattr__(name: str) -> "Any":
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
