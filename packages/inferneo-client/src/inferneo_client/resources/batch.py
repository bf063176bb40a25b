"""Receives many requests; hands on their answers, so many at once, in the order of the requests."""

from collections.abc import Iterable, Mapping, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, overload

import anyio

from inferneo_client._batch import Batch as Work
from inferneo_client._batch import ChatRequest, CompletionRequest, OnError, Path
from inferneo_client.types.chat import ChatCompletion
from inferneo_client.types.completions import Completion
from inferneo_core.errors import ApiError

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Batch:
    """`client.batch`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    @overload
    def __call__(
        self,
        requests: Sequence[ChatRequest],
        *,
        concurrency: int = 8,
        on_error: Literal["raise"] = "raise",
        progress: bool = True,
        file: Path | None = None,
    ) -> list[ChatCompletion]: ...

    @overload
    def __call__(
        self,
        requests: Sequence[ChatRequest],
        *,
        concurrency: int = 8,
        on_error: Literal["return"],
        progress: bool = True,
        file: Path | None = None,
    ) -> list[ChatCompletion | ApiError]: ...

    @overload
    def __call__(
        self,
        requests: Sequence[CompletionRequest],
        *,
        concurrency: int = 8,
        on_error: Literal["raise"] = "raise",
        progress: bool = True,
        file: Path | None = None,
    ) -> list[Completion]: ...

    @overload
    def __call__(
        self,
        requests: Sequence[CompletionRequest],
        *,
        concurrency: int = 8,
        on_error: Literal["return"],
        progress: bool = True,
        file: Path | None = None,
    ) -> list[Completion | ApiError]: ...

    @overload
    def __call__(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 8,
        on_error: OnError = "raise",
        progress: bool = True,
        file: Path | None = None,
    ) -> list[Any]: ...

    def __call__(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 8,
        on_error: OnError = "raise",
        progress: bool = True,
        file: Path | None = None,
    ) -> list[Any]:
        """Send many requests, at most `concurrency` at once, and give their answers in order.

        Args:
            requests: the arguments of `chat.completions.create` (with `messages`) or of
                `completions.create` (with `prompt`), a mapping each.
            concurrency: how many are under way at once, 1 or more.
            on_error: `raise` sends no more after the first error, waits for what is under way, and
                raises it; `return` puts each error in the place of its answer.
            progress: show a line on standard error, where that is a terminal.
            file: keeps the answers, as JSON lines. A later call with the same requests sends only
                those that have no answer in it, under the same idempotency keys; so it goes on
                where a killed process was, and our server begins no request twice.

        Raises:
            ApiError: the first error of a request.
            TypeError: a request is of no known kind; then none is sent.
            ValueError: the file is of another batch; then none is sent.
            OSError: the file cannot be written, or is in use.
        """
        work = Work(
            self._client._options,
            requests,
            concurrency=concurrency,
            on_error=on_error,
            progress=progress,
            file=file,
        )
        with work:
            # Daemons: after Ctrl-C the program may end, whatever they still wait for.
            threads = [
                Thread(target=self._work, args=(work,), name="inferneo-batch", daemon=True)
                for _ in range(work.workers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return work.outcomes()

    def _work(self, work: Work) -> None:
        while (item := work.next()) is not None:
            call = item.call()
            try:
                work.answered(item, call, self._client._exchange(call))
            except ApiError as error:
                work.failed(item, error)
            except BaseException as error:
                work.stop(error)


class AsyncBatch:
    """`client.batch`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    @overload
    async def __call__(
        self,
        requests: Sequence[ChatRequest],
        *,
        concurrency: int = 8,
        on_error: Literal["raise"] = "raise",
        progress: bool = True,
        file: Path | None = None,
    ) -> list[ChatCompletion]: ...

    @overload
    async def __call__(
        self,
        requests: Sequence[ChatRequest],
        *,
        concurrency: int = 8,
        on_error: Literal["return"],
        progress: bool = True,
        file: Path | None = None,
    ) -> list[ChatCompletion | ApiError]: ...

    @overload
    async def __call__(
        self,
        requests: Sequence[CompletionRequest],
        *,
        concurrency: int = 8,
        on_error: Literal["raise"] = "raise",
        progress: bool = True,
        file: Path | None = None,
    ) -> list[Completion]: ...

    @overload
    async def __call__(
        self,
        requests: Sequence[CompletionRequest],
        *,
        concurrency: int = 8,
        on_error: Literal["return"],
        progress: bool = True,
        file: Path | None = None,
    ) -> list[Completion | ApiError]: ...

    @overload
    async def __call__(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 8,
        on_error: OnError = "raise",
        progress: bool = True,
        file: Path | None = None,
    ) -> list[Any]: ...

    async def __call__(
        self,
        requests: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 8,
        on_error: OnError = "raise",
        progress: bool = True,
        file: Path | None = None,
    ) -> list[Any]:
        """Send many requests, at most `concurrency` at once, and give their answers in order.

        Arguments and errors are those of `Batch`. Cancelled, it cancels what is under way.
        """
        work = Work(
            self._client._options,
            requests,
            concurrency=concurrency,
            on_error=on_error,
            progress=progress,
            file=file,
        )
        with work:
            async with anyio.create_task_group() as group:
                for _ in range(work.workers):
                    group.start_soon(self._work, work)
        return work.outcomes()

    async def _work(self, work: Work) -> None:
        while (item := work.next()) is not None:
            call = item.call()
            try:
                work.answered(item, call, await self._client._exchange(call))
            except ApiError as error:
                work.failed(item, error)
            except Exception as error:
                work.stop(error)
