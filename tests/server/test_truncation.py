"""Proves that a conversation that is too long loses its oldest messages, and no others."""

import asyncio

import pytest

from inferneo_core.chat import ChatCompletionRequest, Message
from inferneo_server.truncation import shortened


def conversation(*roles: str) -> ChatCompletionRequest:
    return ChatCompletionRequest(
        messages=[Message(role=role, content=str(at)) for at, role in enumerate(roles)]
    )


def cut(request: ChatCompletionRequest, room: "Room") -> ChatCompletionRequest:
    return asyncio.run(shortened(request, room))


class Room:
    """Holds so many messages; counts how often it is asked."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.asked = 0

    async def __call__(self, request: ChatCompletionRequest) -> bool:
        self.asked += 1
        return len(request.messages) <= self.messages


def left(request: ChatCompletionRequest) -> list[object]:
    return [message.content for message in request.messages]


def test_what_fits_is_left_as_it_is() -> None:
    request = conversation("system", "user", "assistant", "user")
    room = Room(4)
    assert cut(request, room) is request
    assert room.asked == 1


@pytest.mark.parametrize("room", [2, 3, 4, 5])
def test_the_oldest_go_and_the_instructions_stay(room: int) -> None:
    request = conversation("system", "user", "assistant", "user", "assistant", "user")
    kept = ["0", *[str(at) for at in range(7 - room, 6)]]
    assert left(cut(request, Room(room))) == kept


def test_what_a_tool_gave_goes_with_its_call() -> None:
    request = conversation("user", "assistant", "tool", "tool", "assistant", "user")
    assert left(cut(request, Room(4))) == ["4", "5"]


def test_what_cannot_fit_is_left_as_it_is() -> None:
    request = conversation("system", "user", "assistant", "user")
    assert cut(request, Room(1)) is request
    alone = conversation("user")
    assert cut(alone, Room(0)) is alone


def test_the_cut_is_found_by_halves() -> None:
    room = Room(10)
    assert len((cut(conversation(*["user"] * 1000), room)).messages) == 10
    assert room.asked < 15
