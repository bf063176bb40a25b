"""Receives a conversation that may be too long; hands on as much of its end as fits."""

from collections.abc import Awaitable, Callable

import msgspec

from inferneo_core.chat import ChatCompletionRequest

# What is said to the model, and not in the conversation.
_INSTRUCTIONS = ("system", "developer")


async def shortened(
    request: ChatCompletionRequest, fits: Callable[[ChatCompletionRequest], Awaitable[bool]]
) -> ChatCompletionRequest:
    """Drop the oldest messages until the rest fits.

    The instructions before them stay, and the last message does. What a tool gave goes with the
    call of it.

    Args:
        request: the whole conversation.
        fits: whether the model takes so much. It is asked a few times: the cut is found by halves.

    Returns:
        The request with what is left; as it was where nothing would help.

    Raises:
        ApiError: as `fits` does.
    """
    if await fits(request):
        return request
    messages = request.messages
    first = next(
        (at for at, each in enumerate(messages) if each.role not in _INSTRUCTIONS), len(messages)
    )
    cuts = [at for at in range(first + 1, len(messages)) if messages[at].role != "tool"]

    def cut(at: int) -> ChatCompletionRequest:
        return msgspec.structs.replace(request, messages=[*messages[:first], *messages[at:]])

    low, high = 0, len(cuts)
    while low < high:
        middle = (low + high) // 2
        if await fits(cut(cuts[middle])):
            high = middle
        else:
            low = middle + 1
    return cut(cuts[low]) if low < len(cuts) else request
