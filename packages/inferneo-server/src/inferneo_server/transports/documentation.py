"""Receives nothing; hands on `/openapi.json` and `/docs`, of files that lie on this host."""

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import InternalServerException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Schema,
    SecurityScheme,
    Server,
    Tag,
)
from litestar.openapi.spec.enums import OpenAPIType
from litestar.plugins import ReceiveRoutePlugin
from litestar.router import Router
from litestar.routes import BaseRoute, HTTPRoute
from litestar.static_files import create_static_files_router

from inferneo_core.errors import NotFound
from inferneo_server.transports.errors import error_response
from inferneo_server.transports.examples import EXAMPLES
from inferneo_server.transports.playground import has_slash

ASSETS = "/docs/assets"

# In the order in which the page shows them.
_TAGS = {
    "OpenAI": "Chats, texts, vectors and models, as OpenAI's SDK asks for them",
    "Responses": "OpenAI's Responses API",
    "Messages": "Anthropic's Messages API",
    "/api/v1": "Prompts and batches without OpenAI's wording",
    "vLLM": "Scores, rankings and tokens, as vLLM's own server has them",
    "Streams": "Answers that are picked up where they broke off",
    "Models": "Load, move and unload models while the server runs (scope `admin`)",
    "Devices": "What this machine can run models on",
    "Server": "Health, metrics, usage and short-lived tokens",
}

_INLINE_SCRIPT = re.compile(rb"<script[^>]*>(.+?)</script>", re.DOTALL)


@dataclass
class WholeOrEvents(Operation):
    """A route that answers in two ways; Litestar describes one for each status."""

    def __post_init__(self) -> None:
        data = Schema(type=OpenAPIType.STRING)
        event = Schema(type=OpenAPIType.OBJECT, properties={"data": data}, required=["data"])
        content = getattr((self.responses or {}).get("200"), "content", None)
        if content is not None:
            content["text/event-stream"] = OpenAPIMediaType(schema=event)


class Descriptions(ReceiveRoutePlugin):
    """Has each route described by its handler's docstring, and its body by an example that gets an
    answer: the one that Swagger UI makes up, of all fields at once, would be refused.
    """

    def receive_route(self, route: BaseRoute) -> None:
        if not isinstance(route, HTTPRoute):
            return
        for handler in route.route_handlers:
            if not handler.resolve_include_in_schema():
                continue
            summary, _, rest = cleandoc(handler.fn.__doc__ or "").partition("\n\n")
            # A summary is shown as it is, a description as Markdown.
            handler.summary = " ".join(summary.replace("`", "").split()).removesuffix(".")
            handler.description = rest or None
            data = handler.parsed_fn_signature.parameters.get("data")
            if data is not None and not isinstance(handler.operation_class, partial):
                made: Any = partial(_with_example, handler.operation_class, EXAMPLES[data.raw])
                handler.operation_class = made


def _with_example(kind: type[Operation], example: dict[str, Any], **told: Any) -> Operation:
    operation = kind(**told)
    for content in getattr(operation.request_body, "content", {}).values():
        content.example = example
    return operation


def _swagger_files() -> Path:
    """Where the package that ships Swagger UI keeps it. Importing it would load frameworks."""
    spec = find_spec("swagger_ui")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "static"


class _Swagger(SwaggerRenderPlugin):
    """The page of `/docs`, whose links hold wherever a proxy has put the server."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        page = super().render(request, openapi_schema)
        if not has_slash(request):
            return page
        below = page.replace(f'"{ASSETS[1:]}'.encode(), f'"..{ASSETS}'.encode())
        return below.replace(b'"servers":[{"url":"./"}]', b'"servers":[{"url":"../"}]')


def openapi_config(version: str) -> OpenAPIConfig:
    """Describe the application; the pages load nothing from another host."""
    swagger = _Swagger(
        js_url=f"{ASSETS[1:]}/swagger-ui-bundle.js",
        css_url=f"{ASSETS[1:]}/swagger-ui.css",
        standalone_preset_js_url=f"{ASSETS[1:]}/swagger-ui-standalone-preset.js",
        path="/",
        favicon="<link rel='icon' href='data:,'>",
    )
    return OpenAPIConfig(
        title="Inferneo",
        version=version,
        description="An OpenAI-compatible inference server over vLLM.",
        path="/docs",
        # Beside the description itself.
        servers=[Server(url="./")],
        render_plugins=[swagger],
        tags=[Tag(name=name, description=told) for name, told in _TAGS.items()],
        components=Components(
            security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"key": []}],
        openapi_router=Router(
            "/docs", route_handlers=[], after_request=_secure, include_in_schema=False
        ),
    )


def _secure(response: Response[Any]) -> Response[Any]:
    """Let the page run its own script alone, load from this server alone, and be framed by none."""
    # What OPTIONS gets has none.
    page = response.content if isinstance(response.content, bytes) else b""
    response.headers.update(
        {
            "content-security-policy": _policy(page),
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }
    )
    return response


@lru_cache(maxsize=4)
def _policy(page: bytes) -> str:
    scripts = _INLINE_SCRIPT.findall(page)
    hashes = [b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    own = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src 'self' {own}; "
        # Swagger UI writes styles into its elements.
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    )


@get("/openapi.json", include_in_schema=False)
async def openapi_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Give the description of the application."""
    return request.app.openapi_schema.to_schema()


def assets_router() -> Router:
    """Serve the files of `/docs`."""
    return create_static_files_router(
        path=ASSETS,
        directories=[_swagger_files()],
        include_in_schema=False,
        after_request=_unsniffed,
        exception_handlers={ValueError: _no_file, InternalServerException: _no_file},
    )


def _unsniffed(response: Any) -> Any:
    response.headers["x-content-type-options"] = "nosniff"
    return response


def _no_file(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What the system takes for no name of a file is none: too long, or with a null character."""
    return error_response(request, NotFound("There is no such file"))
