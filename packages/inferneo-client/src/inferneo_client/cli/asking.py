"""Receives the flags of a command that asks once; hands on what it prints."""

import argparse
import sys

import msgspec

from inferneo_client._errors import InvalidAnswer
from inferneo_client.cli.connection import (
    STREAM_RETRY,
    connected,
    model_of,
    sampling_of,
)
from inferneo_client.cli.console import FAILED, Failure, document, harmless, table


def complete(given: argparse.Namespace) -> int:
    """Have a text written on, and print what is written as it comes."""
    prompt = " ".join(given.prompt) if given.prompt else _input("a text to write on")
    params = {**sampling_of(given), "stop": given.stop}
    with connected(given) as client:
        model = model_of(client, given)
        create = client.with_options(retry=STREAM_RETRY).completions.create
        if given.json:
            print(document(create(prompt=prompt, model=model, **params)))
            return 0
        on_terminal = sys.stdout.isatty()
        with create(prompt=prompt, model=model, stream=True, **params) as stream:
            for text in stream.text_deltas():
                print(harmless(text) if on_terminal else text, end="", flush=True)
    print()
    return 0


def embed(given: argparse.Namespace) -> int:
    """Print a vector for each text, as a JSON array on a line of its own."""
    texts = given.text or [line for line in _input("texts to embed").splitlines() if line.strip()]
    with connected(given) as client:
        # As numbers: those that a server writes are shorter than those of its float32.
        answer = client.embeddings.create(
            input=texts, model=model_of(client, given), encoding_format="float"
        )
    if len(answer.data) != len(texts):
        raise Failure(f"The server gave {len(answer.data)} vectors for {len(texts)} texts")
    if given.json:
        print(document(answer))
    else:
        for item in sorted(answer.data, key=lambda item: item.index):
            print(msgspec.json.encode(item.embedding).decode())
    return 0


def models(given: argparse.Namespace) -> int:
    """List what is served."""
    with connected(given) as client:
        listed = client.models.list()
    if given.json:
        print(document(listed))
        return 0
    rows = [
        [harmless(model.id), str(model.max_model_len or ""), harmless(model.owned_by)]
        for model in listed
    ]
    print(table(["model", " context", "owner"], rows))
    return 0


def health(given: argparse.Namespace) -> int:
    """Tell how the server is; the exit status is 1 where it is not well."""
    with connected(given) as client:
        try:
            state = client.health()
        except InvalidAnswer:
            # Others answer with an empty page: that it lists its models has to do.
            served = ", ".join(model.id for model in client.models.list())
            print(harmless(f"{client.base_url} answers, and serves {served}"))
            return 0
        if given.json:
            print(document(state))
        else:
            told = [state.status, state.model and f"serves {state.model}", state.version]
            print(harmless(f"{client.base_url}: {', '.join(filter(None, told))}"))
    return 0 if state.status in ("healthy", "ok", "") else FAILED


def _input(wanted: str) -> str:
    """All of standard input; on a terminal the user is told that it waits."""
    if sys.stdin.isatty():
        print(f"inferneo: waits for {wanted}; Ctrl-D ends it", file=sys.stderr)
    text = sys.stdin.read().removesuffix("\n")
    if not text.strip():
        raise Failure(f"There is nothing to do: give {wanted}, as an argument or on the input", 2)
    return text
