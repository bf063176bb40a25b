"""Receives nothing; hands on `/openapi.json` and `/docs`, of files that lie on this host."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import Request, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.router import Router
from litestar.static_files import create_static_files_router

ASSETS = "/docs/assets"


def _swagger_files() -> Path:
    """Where the package that ships Swagger UI keeps it. Importing it would load frameworks."""
    spec = find_spec("swagger_ui")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "static"


def openapi_config(version: str) -> OpenAPIConfig:
    """Describe the application; the pages load nothing from another host."""
    swagger = SwaggerRenderPlugin(
        js_url=f"{ASSETS}/swagger-ui-bundle.js",
        css_url=f"{ASSETS}/swagger-ui.css",
        standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
        path="/",
        favicon="<link rel='icon' href='data:,'>",
    )
    return OpenAPIConfig(
        title="Inferneo",
        version=version,
        description="An OpenAI-compatible inference server over vLLM.",
        path="/docs",
        render_plugins=[swagger],
        tags=[Tag(name="OpenAI"), Tag(name="vLLM"), Tag(name="Devices"), Tag(name="Server")],
        components=Components(
            security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"key": []}],
    )


@get("/openapi.json", include_in_schema=False)
async def openapi_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Give the description of the application."""
    return request.app.openapi_schema.to_schema()


def assets_router() -> Router:
    """Serve the files of `/docs`."""
    return create_static_files_router(
        path=ASSETS, directories=[_swagger_files()], include_in_schema=False
    )
