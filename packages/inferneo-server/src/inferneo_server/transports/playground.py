"""Receives a browser; hands on the chat page, and the files that it is made of."""

import hashlib
import math
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from msgspec import Struct

from inferneo_core.errors import NotFound
from inferneo_server.access.check import logged_path
from inferneo_server.transports.requests import ApiRequest

_FOLDER = Path(__file__).parents[1] / "playground"
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    # The page shows what a model writes. Should it ever take that for markup, nothing runs, nothing
    # is loaded from elsewhere, and no other page can frame it.
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # A browser asks each time, and is told in a line that nothing has changed.
    "cache-control": "no-cache",
}


class _File(Struct, frozen=True):
    body: bytes
    etag: str
    media_type: str


@cache
def _files() -> dict[str, _File]:
    return {
        path.name: _File(
            body=(body := path.read_bytes()),
            etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            media_type=_MEDIA_TYPES[path.suffix],
        )
        for path in _FOLDER.iterdir()
        if path.suffix in _MEDIA_TYPES
    }


def page(
    request: ApiRequest, name: str = "index.html", *, vary: str | None = None
) -> Response[Any]:
    """A file of the playground, or 304 where the browser has it.

    Raises:
        NotFound: there is no such file.
    """
    file = _files().get(name)
    if file is None:
        raise NotFound(f"There is nothing at {request.url.path}")
    headers = {**_HEADERS, "etag": file.etag}
    if vary:
        headers["vary"] = vary
    known = request.headers.get("if-none-match", "")
    if file.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(b"", status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)


def has_slash(request: Request[Any, Any, Any]) -> bool:
    """Whether a path was sent with a slash at its end, which the router takes away: the links of a
    page begin below it then."""
    return logged_path(request.scope).endswith("/")


def prefers_html(accept: str) -> bool:
    """Whether an `Accept` header names HTML, and before JSON, as those of browsers do."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        weights.setdefault(name, _weight(weight))
    html, json = weights.get("text/html", 0.0), weights.get("application/json", 0.0)
    if html != json:
        return html > json
    names = [*weights]
    return html > 0 and names.index("text/html") < names.index("application/json")


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if math.isfinite(weight) else 0.0


@get("/playground", include_in_schema=False)
async def playground(request: ApiRequest) -> Response[Any]:
    """Give the page."""
    return _moved() if has_slash(request) else page(request)


@get("/playground/{name:str}", include_in_schema=False)
async def playground_file(request: ApiRequest, name: str) -> Response[Any]:
    """Give what the page loads."""
    return _moved() if name == "index.html" else page(request, name)


def _moved() -> Response[Any]:
    """The page has one address: its links begin there, wherever a proxy has put it."""
    return Response(b"", status_code=308, headers={"location": "../playground"})


handlers: list[Any] = [playground, playground_file]
