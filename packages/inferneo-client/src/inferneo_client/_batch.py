"""Receives many requests; hands on their answers in the same order: what both flavours share.

A batch does no I/O but to its file: who carries it out asks for the next request, and brings back
what came of it.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from types import TracebackType
from typing import Any, Literal, Required, Self, cast

from msgspec import Struct
from msgspec.structs import replace

from inferneo_client._batch_file import BatchFile, digest_of
from inferneo_client._calls import Call, decode_whole
from inferneo_client._options import Options
from inferneo_client._params import ChatParams, CompletionParams, Message, Prompt
from inferneo_client._progress import ProgressLine
from inferneo_client._requests import Request, chat, completion, with_response
from inferneo_client._transport import WholeResponse
from inferneo_core.errors import ApiError

OnError = Literal["raise", "return"]
Path = str | os.PathLike[str]


class ChatRequest(ChatParams, total=False):
    """The arguments of `chat.completions.create`, as a batch takes them."""

    messages: Required[Sequence[Message]]


class CompletionRequest(CompletionParams, total=False):
    """The arguments of `completions.create`, as a batch takes them."""

    prompt: Required[Prompt]


class Item(Struct, frozen=True):
    """One request of a batch."""

    index: int
    request: Request[Any]
    digest: str

    def call(self) -> Call:
        """The call, whose time begins now."""
        return replace(self.request.call)


class Batch:
    """What is to be done, and what came of it. Safe across threads.

    Raises:
        TypeError: a request is none of a kind that there is.
        ValueError: an argument, or the file, is wrong.
        OSError: the file cannot be written, or is in use.
    """

    def __init__(
        self,
        options: Options,
        requests: Iterable[Mapping[str, Any]],
        *,
        concurrency: int,
        on_error: OnError,
        progress: bool,
        file: Path | None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, and must be 1 or more")
        if on_error not in ("raise", "return"):
            raise ValueError(f"on_error is {on_error!r}, and must be 'raise' or 'return'")
        self._returns = on_error == "return"
        self._lock = Lock()
        self._failure: BaseException | None = None
        made = [_request_of(options, index, given) for index, given in enumerate(requests)]
        self._outcomes: list[Any] = [None] * len(made)
        self._file = None if file is None else BatchFile(file)
        try:
            left = [item for item in map(self._item, range(len(made)), made) if item]
        except BaseException:
            self.close()
            raise
        self._left = iter(left)
        self.workers = min(concurrency, len(left))
        self._progress = ProgressLine(len(made), done=len(made) - len(left), wanted=progress)

    def _item(self, index: int, request: Request[Any]) -> Item | None:
        """The request as it is to be sent; None where the file has its answer."""
        digest = digest_of(request.call)
        if self._file is None:
            return Item(index, request, digest)
        if answer := self._file.answer(index, digest):
            self._outcomes[index] = decode_whole(WholeResponse(200, {}, answer), request.kind)
            return None
        call = replace(request.call, key=self._file.key(index, digest))
        return Item(index, replace(request, call=call), digest)

    def next(self) -> Item | None:
        """The next request to send; None where there is none, or no more shall be sent."""
        with self._lock:
            return None if self._failure else next(self._left, None)

    def answered(self, item: Item, call: Call, response: WholeResponse) -> None:
        """Take an answer.

        Raises:
            ApiError: it is none.
        """
        answer = decode_whole(response, item.request.kind)
        with self._lock:
            if self._file is not None:
                self._file.write(item.index, item.digest, response.body)
            self._outcomes[item.index] = with_response(answer, call.info(response))
            self._progress.step()

    def failed(self, item: Item, error: ApiError) -> None:
        """Take an error in the place of an answer."""
        error.add_note(f"It was request {item.index} of the batch.")
        with self._lock:
            self._outcomes[item.index] = error
            self._progress.step(failed=True)
            if not self._returns:
                self._failure = self._failure or error

    def stop(self, error: BaseException) -> None:
        """Send no more: something went wrong that is no answer to any of the requests."""
        with self._lock:
            self._failure = self._failure or error

    def outcomes(self) -> list[Any]:
        """All answers, in the order of their requests; raises what ended the batch."""
        if self._failure is not None:
            raise self._failure
        return self._outcomes

    def close(self) -> None:
        """Leave the file and the terminal."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            if hasattr(self, "_progress"):
                self._progress.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.stop(error)
        self.close()


def _request_of(options: Options, index: int, given: Mapping[str, Any]) -> Request[Any]:
    params = dict(given)
    if params.pop("stream", None):
        raise TypeError(f"Request {index} asks for a stream; a batch gives whole answers")
    if "messages" in params:
        messages = params.pop("messages")
        return chat(options, messages, cast("ChatParams", params))
    if "prompt" in params:
        prompt = params.pop("prompt")
        return completion(options, prompt, cast("CompletionParams", params))
    raise TypeError(f"Request {index} has neither `messages` nor `prompt`")
