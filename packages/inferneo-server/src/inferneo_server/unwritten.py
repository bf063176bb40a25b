"""Receives the deltas of prompts that are only to be read; hands them on with nothing written."""

from collections.abc import Sequence

from inferneo_server.engines.base import Delta, DeltaStream, DetailedDelta


class UnwrittenStream:
    """A stream of which each choice ends at once, and has no token.

    Engines write one token at least, which nobody asked for: it is neither told nor counted.

    Args:
        stream: has one token for each choice.
    """

    def __init__(self, stream: DeltaStream) -> None:
        self._stream = stream

    @property
    def cached_tokens(self) -> int:
        return self._stream.cached_tokens

    def __aiter__(self) -> "UnwrittenStream":
        return self

    async def __anext__(self) -> Sequence[Delta]:
        return [_unwritten(delta) for delta in await self._stream.__anext__()]

    async def aclose(self) -> None:
        await self._stream.aclose()


def _unwritten(delta: Delta) -> DetailedDelta:
    of_prompt = delta.prompt_logprobs if isinstance(delta, DetailedDelta) else None
    reason = delta.finish_reason
    return DetailedDelta(
        index=delta.index,
        text="",
        token_ids=[],
        # Whatever ended it: no token was to come. What went wrong stays told.
        finish_reason="length" if reason == "stop" else reason,
        prompt_logprobs=of_prompt,
    )
