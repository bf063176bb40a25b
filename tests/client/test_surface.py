"""What the package exports, what its import costs, and that both flavours offer the same."""

import inspect
import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

import inferneo_client
from inferneo_client import AsyncInferneo, AsyncStream, Inferneo, Stream
from inferneo_client._calls import VERSION
from inferneo_client._event_streams import AsyncEventStream, EventStream
from inferneo_client.resources import (
    accounts,
    chat,
    completions,
    devices,
    embeddings,
    generate,
    models,
    responses,
    streams,
)

PAIRS = [
    (Inferneo, AsyncInferneo),
    (Stream, AsyncStream),
    (EventStream, AsyncEventStream),
    (chat.Chat, chat.AsyncChat),
    (chat.ChatCompletions, chat.AsyncChatCompletions),
    (completions.Completions, completions.AsyncCompletions),
    (embeddings.Embeddings, embeddings.AsyncEmbeddings),
    (responses.Responses, responses.AsyncResponses),
    (generate.Generate, generate.AsyncGenerate),
    (devices.Devices, devices.AsyncDevices),
    (accounts.UsageCalls, accounts.AsyncUsageCalls),
    (accounts.Tokens, accounts.AsyncTokens),
    (models.Models, models.AsyncModels),
    (streams.Streams, streams.AsyncStreams),
]
# An async iterator is another protocol, and `aclose` the name that its libraries look for.
ONLY_ASYNC = {"aclose"}


def surface(kind: type) -> dict[str, Any]:
    """The public names of a class, with the arguments of what can be called."""
    found = {}
    for name, value in inspect.getmembers(kind):
        if not name.startswith("_"):
            called = inspect.isfunction(value)
            found[name] = list(inspect.signature(value).parameters.values()) if called else None
    return {
        name: [(item.name, item.kind, item.default) for item in arguments or ()]
        for name, arguments in found.items()
    }


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=lambda kind: kind.__name__)
def test_both_flavours_offer_the_same(sync: type, asynchronous: type) -> None:
    others = surface(asynchronous)

    assert surface(sync) == {name: others[name] for name in others if name not in ONLY_ASYNC}


def test_every_exported_name_loads_and_is_sorted() -> None:
    names = inferneo_client.__all__

    assert sorted(names) == names == dir(inferneo_client)
    assert all(getattr(inferneo_client, name).__name__ == name for name in names)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = inferneo_client.Nothing


def modules_after(statement: str) -> set[str]:
    script = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout))


def test_the_import_loads_nothing_but_itself() -> None:
    assert modules_after("import inferneo_client") - modules_after("") == {"inferneo_client"}


def test_the_version_is_that_of_the_package() -> None:
    assert version("inferneo-client") == VERSION


def test_a_client_is_made_without_pydantic_and_websockets() -> None:
    loaded = modules_after("from inferneo_client import Inferneo; Inferneo().chat.completions")

    assert loaded.isdisjoint({"pydantic", "websockets", "litestar", "inferneo_server"})


def test_a_client_loads_its_http_library_with_its_first_request() -> None:
    loaded = modules_after("from inferneo_client import Inferneo; Inferneo()")

    assert loaded.isdisjoint({"httpx", "httpx2", "pyreqwest"})
