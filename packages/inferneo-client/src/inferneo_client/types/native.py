"""Receives nothing; hands on the answers of `/api/v1`.

Source: the published page of the custom interface.
"""

from collections.abc import Iterator

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo
from inferneo_client.types.usage import Usage


class Generated(Answer, frozen=True, kw_only=True, gc=False):
    """A text that was written; `latency` is in seconds. A stream's has no usage and no latency."""

    text: str = ""
    usage: Usage | None = None
    latency: float | None = None
    response: ResponseInfo | None = None


class GeneratedToken(Answer, frozen=True, kw_only=True, gc=False):
    """What is new of a streamed text, and whether that is its end."""

    token: str = ""
    finished: bool = False


class GenerateFault(Answer, frozen=True, kw_only=True, gc=False):
    """What was wrong with one request of several."""

    code: str = ""
    message: str = ""
    details: str = ""


class GenerateResult(Answer, frozen=True, kw_only=True, gc=False):
    """What came of one request of several: a text, or an `error`."""

    text: str = ""
    usage: Usage | None = None
    latency: float | None = None
    error: GenerateFault | None = None


class GenerateResults(Answer, frozen=True, kw_only=True, gc=False):
    """What came of several requests, in their order. Iterating gives it."""

    results: list[GenerateResult] = []
    response: ResponseInfo | None = None

    def __iter__(self) -> Iterator[GenerateResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)
