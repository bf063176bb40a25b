"""Receives models that were loaded at run time; hands them on to the next start, by a file."""

import asyncio
import logging
import os
import tempfile
from pathlib import Path

import msgspec
from msgspec.structs import replace

from inferneo_core.errors import ServerError
from inferneo_server.model_spec import ModelSpec

logger = logging.getLogger(__name__)


class _File(msgspec.Struct, frozen=True):
    models: dict[str, ModelSpec]


class RememberedModels:
    """A file of models, which is replaced as a whole: a crash leaves the old one or the new.

    Args:
        path: the file; its folder is made when it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = asyncio.Lock()

    async def read(self) -> list[ModelSpec]:
        """All of them, in the order in which they were loaded; none where that cannot be known."""
        try:
            return list((await asyncio.to_thread(self._read)).values())
        except (OSError, ValueError) as error:
            logger.error("The models that were loaded at run time are lost: %s", error)
            return []

    async def add(self, spec: ModelSpec) -> None:
        """Remember a model, in the place of another of its name.

        Raises:
            ServerError: the file cannot be written.
        """
        await self._change({spec.name: spec}, spec.name)

    async def move(self, spec: ModelSpec) -> None:
        """Note the new device of a model that is remembered; with other arguments, for which nobody
        asked to be remembered, it stays as it is.

        Raises:
            ServerError: the file cannot be written.
        """
        known = {model.name: model for model in await self.read()}.get(spec.name)
        if known is not None and known != spec and replace(known, device=spec.device) == spec:
            await self.add(spec)

    async def forget(self, name: str) -> None:
        """Forget a model, if it is remembered.

        Raises:
            ServerError: the file cannot be written.
        """
        await self._change({}, name)

    async def _change(self, new: dict[str, ModelSpec], name: str) -> None:
        def change() -> None:
            models = self._read()
            if new or name in models:
                self._write({known: models[known] for known in models if known != name} | new)

        async with self._writing:
            try:
                await asyncio.to_thread(change)
            except (OSError, ValueError) as error:
                logger.error("%s cannot be written: %s", self._path, error)
                raise ServerError(
                    f"What is remembered of '{name}' cannot be written: see the server's log"
                ) from None

    def _read(self) -> dict[str, ModelSpec]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_File).models
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise ValueError(f"{self._path} is no list of models: {error}") from error

    def _write(self, models: dict[str, ModelSpec]) -> None:
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made with mode 0600: arguments of engines may hold tokens.
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".models-", suffix=".json")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(_File(models)), indent=2))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            os.unlink(temporary)
            raise
