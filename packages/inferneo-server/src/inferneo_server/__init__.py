"""An OpenAI-compatible inference server over vLLM."""

from inferneo_server.app import make_app
from inferneo_server.server import serve
from inferneo_server.settings import Settings

__all__ = ["Settings", "make_app", "serve"]
