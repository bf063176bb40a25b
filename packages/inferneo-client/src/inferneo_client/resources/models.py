"""Receives the names of models; hands on what the server tells of them, and how it changes them."""

from typing import TYPE_CHECKING, Literal, Unpack, overload

from inferneo_client._async_streams import AsyncStream
from inferneo_client._params import LoadParams
from inferneo_client._requests import model as model_of
from inferneo_client._requests import models
from inferneo_client._streams import Stream
from inferneo_client.types.models import Model, ModelList, ModelStatus

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Models:
    """`client.models`; what changes models needs a key of the scope `admin`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    def list(self) -> ModelList:
        """Name the models that can be asked for. Raises `ApiError`."""
        return self._client._ask(models(self._client._options))

    def retrieve(self, model: str) -> Model:
        """Describe a model.

        Raises:
            ModelNotFound: it is not served.
            ApiError: see the tree of errors.
        """
        return self._client._ask(model_of(self._client._options, model))

    @overload
    def load(
        self, model: str, *, stream: Literal[False] | None = None, **params: Unpack[LoadParams]
    ) -> ModelStatus: ...

    @overload
    def load(
        self, model: str, *, stream: Literal[True], **params: Unpack[LoadParams]
    ) -> Stream[ModelStatus, ModelStatus]: ...

    @overload
    def load(
        self, model: str, *, stream: bool, **params: Unpack[LoadParams]
    ) -> ModelStatus | Stream[ModelStatus, ModelStatus]: ...

    def load(
        self, model: str, *, stream: bool | None = None, **params: Unpack[LoadParams]
    ) -> ModelStatus | Stream[ModelStatus, ModelStatus]:
        """Load a model, and wait until it serves; with `stream=True` give its progress as events.

        Args:
            model: a name of the server's settings, a Hugging Face id, or a path on the server.
            stream: give a `Stream`, whose `final()` is how the model stands at the end.
            params: see `LoadParams` and `CallParams`.

        Raises:
            ApiError: it cannot be loaded, and why; what served before serves on.
        """
        from inferneo_client._server_requests import load, load_stream

        options = self._client._options
        if stream:
            return self._client._begin(load_stream(options, model, params))
        return self._client._ask(load(options, model, params))

    def unload(self, model: str, *, force: bool = False, persist: bool = False) -> ModelStatus:
        """Unload a model, once it has answered what it is asked.

        Args:
            model: its name.
            force: end what runs.
            persist: do not load it either when the server is started again.

        Raises:
            ModelNotFound: there is none of that name.
            ApiError: see the tree of errors.
        """
        from inferneo_client._server_requests import unload

        return self._client._ask(unload(self._client._options, model, force, persist))

    def sleep(self, model: str, *, level: Literal[1, 2] = 1) -> ModelStatus:
        """Free the device of a model; level 2 drops its weights, too. Raises as `unload`."""
        from inferneo_client._server_requests import sleep

        return self._client._ask(sleep(self._client._options, model, level))

    def wake(self, model: str) -> ModelStatus:
        """Make a model that sleeps serve again. Raises as `unload`."""
        from inferneo_client._server_requests import wake

        return self._client._ask(wake(self._client._options, model))


class AsyncModels:
    """`client.models`; what changes models needs a key of the scope `admin`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    async def list(self) -> ModelList:
        """Name the models that can be asked for. Raises `ApiError`."""
        return await self._client._ask(models(self._client._options))

    async def retrieve(self, model: str) -> Model:
        """Describe a model.

        Raises:
            ModelNotFound: it is not served.
            ApiError: see the tree of errors.
        """
        return await self._client._ask(model_of(self._client._options, model))

    @overload
    async def load(
        self, model: str, *, stream: Literal[False] | None = None, **params: Unpack[LoadParams]
    ) -> ModelStatus: ...

    @overload
    async def load(
        self, model: str, *, stream: Literal[True], **params: Unpack[LoadParams]
    ) -> AsyncStream[ModelStatus, ModelStatus]: ...

    @overload
    async def load(
        self, model: str, *, stream: bool, **params: Unpack[LoadParams]
    ) -> ModelStatus | AsyncStream[ModelStatus, ModelStatus]: ...

    async def load(
        self, model: str, *, stream: bool | None = None, **params: Unpack[LoadParams]
    ) -> ModelStatus | AsyncStream[ModelStatus, ModelStatus]:
        """Load a model, and wait until it serves; with `stream=True` give its progress as events.

        Args:
            model: a name of the server's settings, a Hugging Face id, or a path on the server.
            stream: give an `AsyncStream`, whose `final()` is how the model stands at the end.
            params: see `LoadParams` and `CallParams`.

        Raises:
            ApiError: it cannot be loaded, and why; what served before serves on.
        """
        from inferneo_client._server_requests import load, load_stream

        options = self._client._options
        if stream:
            return await self._client._begin(load_stream(options, model, params))
        return await self._client._ask(load(options, model, params))

    async def unload(
        self, model: str, *, force: bool = False, persist: bool = False
    ) -> ModelStatus:
        """Unload a model, once it has answered what it is asked.

        Args:
            model: its name.
            force: end what runs.
            persist: do not load it either when the server is started again.

        Raises:
            ModelNotFound: there is none of that name.
            ApiError: see the tree of errors.
        """
        from inferneo_client._server_requests import unload

        return await self._client._ask(unload(self._client._options, model, force, persist))

    async def sleep(self, model: str, *, level: Literal[1, 2] = 1) -> ModelStatus:
        """Free the device of a model; level 2 drops its weights, too. Raises as `unload`."""
        from inferneo_client._server_requests import sleep

        return await self._client._ask(sleep(self._client._options, model, level))

    async def wake(self, model: str) -> ModelStatus:
        """Make a model that sleeps serve again. Raises as `unload`."""
        from inferneo_client._server_requests import wake

        return await self._client._ask(wake(self._client._options, model))
