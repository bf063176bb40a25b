"""Receives commands for Redis; hands them on in one go, and each answer to who waits for it."""

from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from inferneo_server.cancellable import cancellable

Then = Callable[[Any], None]

# Redis on an entry that has come before: its number is its id, so that it may be sent again.
_KNOWN = "equal or smaller than the target stream top item"


class Round:
    """Commands that go to Redis together, in their order, one round trip for all.

    Args:
        client: gives bytes.
    """

    def __init__(self, client: "Redis") -> None:
        self._pipeline = client.pipeline(transaction=False)
        self._then: list[Then | None] = []

    def add(self, *command: str | bytes | int, then: Then | None = None) -> None:
        """Add a command, and what is done with its answer."""
        self._pipeline.execute_command(*command)
        self._then.append(then)

    async def run(self) -> None:
        """Send them. All may be sent again where that fails.

        Raises:
            RedisError: Redis cannot be reached, or refused a command.
            OSError: it cannot be reached.
        """
        if not self._then:
            return
        failure: ResponseError | None = None
        answers = await cancellable(self._pipeline.execute(raise_on_error=False))
        for answer, then in zip(answers, self._then, strict=True):
            if isinstance(answer, ResponseError):
                failure = failure if _KNOWN in str(answer) else answer
            elif then is not None:
                then(answer)
        if failure is not None:
            raise failure


async def answer(client: "Redis", *command: str | bytes | int) -> Any:
    """What a single command is answered.

    Raises:
        RedisError, OSError: as `Round.run` does.
    """
    answers: list[Any] = []
    round_ = Round(client)
    round_.add(*command, then=answers.append)
    await round_.run()
    return answers[0]


# Sets a key, or deletes it for an empty value, where it holds what is expected (nothing: an empty
# value). Gives what it held.
_SWAP = """
local held = redis.call('GET', KEYS[1]) or ''
if held == ARGV[1] then
  if ARGV[2] == '' then redis.call('DEL', KEYS[1])
  else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
end
return held
"""


def swap(key: str, expected: bytes, value: bytes, ms: int) -> tuple[str | bytes | int, ...]:
    """The command that sets a key for so long, where it holds what is expected; empty is nothing.
    It answers what the key held."""
    return ("EVAL", _SWAP, 1, key, expected, value, ms)
