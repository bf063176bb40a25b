"""Receives an action on models; hands on what a running server, or its settings, say of them."""

import argparse
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from inferneo_server.cli import Failure
from inferneo_server.cli.console import print_json, print_table, size
from inferneo_server.cli.flags import add_settings, settings_of

DEFAULT_URL = "http://127.0.0.1:8000"
# A load answers when it is done, and takes minutes.
LIST_SECONDS = 10.0
CHANGE_SECONDS = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="command")
    listed = _add(commands, "list", "list the models of a running server")
    _add_server(listed)
    configured = _add(commands, "configured", "list the models that the settings name")
    configured.add_argument("--json", action="store_true", help="print JSON")
    add_settings(configured)
    load = _add(commands, "load", "have a running server load a model")
    load.add_argument("model", help="a configured name, a Hugging Face id, or a path")
    load.add_argument("--name", help="its name in requests")
    load.add_argument("--device", help="where it is to run: auto, cpu, gpu:0, rbln:0")
    load.add_argument("--persist", action="store_true", help="load it again after a restart")
    _add_server(load)
    unload = _add(commands, "unload", "have a running server unload a model")
    unload.add_argument("model", help="its name in requests")
    unload.add_argument("--force", action="store_true", help="end the requests that it runs")
    unload.add_argument("--persist", action="store_true", help="forget it for the next start, too")
    _add_server(unload)


def _add(commands: Any, name: str, told: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=told, description=f"{told.capitalize()}.", allow_abbrev=False
    )
    return added


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=DEFAULT_URL, help="the server (default: %(default)s)")
    parser.add_argument("--api-key", metavar="KEY", help="else INFERNEO_API_KEY")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(values: argparse.Namespace) -> int:
    """Do it.

    Raises:
        Failure: a setting is wrong, no server answers, or it refuses.
    """
    if values.action == "configured":
        _show_configured(values)
    elif values.action == "list":
        told = _ask(values, "GET", "/v1/models", seconds=LIST_SECONDS)
        _show_served(told["data"], values.json)
    elif values.action == "load":
        body = {"model": values.model, "persist": values.persist}
        body |= {
            name: getattr(values, name) for name in ("name", "device") if getattr(values, name)
        }
        _show_status(_ask(values, "POST", "/v1/models/load", body), values.json)
    else:
        body = {"force": values.force, "persist": values.persist}
        path = f"/v1/models/{quote(values.model)}/unload"
        _show_status(_ask(values, "POST", path, body), values.json)
    return 0


def _show_configured(values: argparse.Namespace) -> None:
    from inferneo_server.model_spec import memory_of

    specs = settings_of(values).model_specs
    if values.json:
        print_json(specs)
        return
    print_table(
        ("name", "model", "engine", "device", "load", "memory"),
        [
            (spec.name, spec.model, spec.engine, spec.device, spec.load, size(memory_of(spec)))
            for spec in specs
        ],
    )


def _show_served(models: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(models)
        return
    print_table(
        ("name", "status", "context", "aliases"),
        [
            (
                model["id"],
                model.get("status", ""),
                str(model.get("max_model_len", "")),
                ", ".join(model.get("aliases", ())),
            )
            for model in models
        ],
    )


def _show_status(status: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(status)
        return
    where = f" on {status['device']} ({status['engine']})" if status["status"] == "ready" else ""
    print(f"{status['id']}: {status['status']}{where}")


def _ask(
    values: argparse.Namespace,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    seconds: float = CHANGE_SECONDS,
) -> Any:
    """Send one request to the server.

    Raises:
        Failure: it is not there, or refuses; the message is the server's own.
    """
    from inferneo_server.environment import variables

    url = values.url if "://" in values.url else f"http://{values.url}"
    url = url.rstrip("/").removesuffix("/v1")
    key = values.api_key or variables().get("INFERNEO_API_KEY")
    headers = {"content-type": "application/json"}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    try:
        request = urllib.request.Request(
            f"{url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            method=method,
        )
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Failure(_reason(error)) from None
    except (OSError, ValueError) as error:
        raise Failure(f"{url} does not answer: {getattr(error, 'reason', error)}") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"the server answered {error.code} {error.reason}"
