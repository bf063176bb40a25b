"""Receives the names of models; hands on what the server tells of them."""

from typing import TYPE_CHECKING

from inferneo_client._requests import model as model_of
from inferneo_client._requests import models
from inferneo_client.types.models import Model, ModelList

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Models:
    """`client.models`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    def list(self) -> ModelList:
        """Name the models that are served. Raises `ApiError`."""
        return self._client._ask(models(self._client._options))

    def retrieve(self, model: str) -> Model:
        """Describe a model.

        Raises:
            ModelNotFound: it is not served.
            ApiError: see the tree of errors.
        """
        return self._client._ask(model_of(self._client._options, model))


class AsyncModels:
    """`client.models`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    async def list(self) -> ModelList:
        """Name the models that are served. Raises `ApiError`."""
        return await self._client._ask(models(self._client._options))

    async def retrieve(self, model: str) -> Model:
        """Describe a model.

        Raises:
            ModelNotFound: it is not served.
            ApiError: see the tree of errors.
        """
        return await self._client._ask(model_of(self._client._options, model))
