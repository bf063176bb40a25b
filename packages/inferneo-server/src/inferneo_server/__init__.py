"""An OpenAI-compatible inference server over vLLM."""

import typing

if typing.TYPE_CHECKING:
    from inferneo_server.app import make_app
    from inferneo_server.server import serve
    from inferneo_server.settings import Settings

__all__ = ["Settings", "make_app", "serve"]

_HOMES = {"Settings": "settings", "make_app": "app", "serve": "server"}


def __getattr__(name: str) -> typing.Any:
    """Import what is asked for. The web framework takes a second, which `--help`, and each process
    that an engine spawns, would wait for.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
