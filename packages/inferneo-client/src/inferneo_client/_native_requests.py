"""Receives what is asked of `/api/v1`; hands on the calls, and how their tokens join."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from msgspec.structs import replace

from inferneo_client._calls import Call
from inferneo_client._options import Options
from inferneo_client._params import CallParams, GenerateParams, body_of
from inferneo_client._requests import Request, StreamRequest, post
from inferneo_client.types.native import Generated, GeneratedToken, GenerateResults


class TokenFold:
    """Joins tokens to a `Generated`."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._ended = False

    def add(self, chunks: Iterable[GeneratedToken]) -> None:
        for chunk in chunks:
            self._texts.append(chunk.token)
            self._ended = chunk.finished

    def whole(self) -> Generated:
        return Generated(text="".join(self._texts))

    def finished(self, choices: int) -> bool:
        return self._ended


def generate(options: Options, prompt: str, params: GenerateParams) -> Request[Generated]:
    """`POST /api/v1/generate`."""
    return Request(_call(options, "/generate", prompt, params), Generated)


def generate_stream(
    options: Options, prompt: str, params: GenerateParams
) -> StreamRequest[GeneratedToken, Generated]:
    """`POST /api/v1/generate/stream`."""
    call = _call(options, "/generate/stream", prompt, params)
    call.streamed = True
    return StreamRequest(call, GeneratedToken, TokenFold, _texts)


def generate_batch(
    options: Options, requests: Sequence[Mapping[str, Any]], params: CallParams
) -> Request[GenerateResults]:
    """`POST /api/v1/batch/generate`."""
    given = cast("Mapping[str, Any]", params)
    body = body_of(CallParams, given, requests=requests)
    return Request(
        post(_plain(options), _url(options, "/batch/generate"), body, given), GenerateResults
    )


def _call(options: Options, path: str, prompt: str, params: GenerateParams) -> Call:
    given = cast("Mapping[str, Any]", params)
    body = body_of(GenerateParams, given, prompt=prompt)
    return post(_plain(options), _url(options, path), body, given)


def _plain(options: Options) -> Options:
    """These routes' events have no ids: they refuse to be asked for what can be picked up."""
    return replace(options, retry=replace(options.retry, resume_for=0.0))


def _url(options: Options, path: str) -> str:
    return f"{options.base_url.removesuffix('/v1')}/api/v1{path}"


def _texts(chunks: list[GeneratedToken]) -> list[str]:
    return [chunk.token for chunk in chunks if chunk.token]
