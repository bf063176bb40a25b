"""Proves that models which were loaded to stay come back with the next start."""

import asyncio
import threading
from pathlib import Path

import pytest

from inferneo_server.model_spec import ModelSpec
from inferneo_server.registry import Registry
from inferneo_server.remembered import RememberedModels
from tests.server.services import BOUND_SECONDS, MODEL
from tests.server.workshop import Workshop, chat, load, run, serving, spec, status, until


def test_what_is_to_be_remembered_is_loaded_at_the_next_start_until_it_is_forgotten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state" / "models.json"
    arguments = {"words": 3}

    async def work() -> None:
        async with serving(Workshop(), remembered=RememberedModels(path)) as (_, registry):
            await load(registry, spec("kept", aliases=("k",), engine_args=arguments), persist=True)
            await load(registry, spec("passing"))
        assert path.stat().st_mode & 0o777 == 0o600

        async with serving(Workshop(), remembered=RememberedModels(path)) as (service, registry):
            await until(lambda: len(registry.models) == 2)
            assert (await chat(service, "k"))["usage"]["completion_tokens"] == 3
            await registry.unload("kept", persist=True)

        async with serving(Workshop(), remembered=RememberedModels(path)) as (_, registry):
            assert registry.names == [MODEL]

    run(work())


def test_who_sees_that_a_model_serves_may_change_it_before_it_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    read = Path.read_bytes

    def slow_read(path: Path) -> bytes:
        assert disk.wait(BOUND_SECONDS)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", slow_read)
    remembered = RememberedModels(tmp_path / "models.json")

    async def first_load(registry: Registry, wanted: ModelSpec) -> None:
        disk.clear()
        job = await registry.load(wanted)
        await until(lambda: status(registry, wanted.name) == "ready")
        assert not job.done
        asyncio.get_running_loop().call_soon(disk.set)

    async def work() -> None:
        disk.set()
        async with serving(Workshop(), remembered=remembered) as (_, registry):
            await first_load(registry, spec("passing"))
            await registry.unload("passing")
            assert registry.names == [MODEL]

            # Who joins too late for his wish to be heeded has a load of his own.
            await first_load(registry, spec("kept"))
            await load(registry, spec("kept"), persist=True)
            assert [model.name for model in await remembered.read()] == ["kept"]

            await first_load(registry, spec("forced"))
            await registry.unload("forced", force=True)
            assert registry.names == [MODEL, "kept"]

    run(work())


def test_what_is_remembered_is_loaded_where_it_was_moved_to(tmp_path: Path) -> None:
    path = tmp_path / "models.json"

    async def work() -> None:
        async with serving(Workshop(), remembered=RememberedModels(path)) as (_, registry):
            await load(registry, spec("kept", engine_args={"words": 3}), persist=True)
            await load(registry, spec("passing"))
            for name in ("kept", "passing"):
                await registry.switch("gpu:0", name)
            # What was not to be remembered stays so, as the arguments do.
            await load(registry, spec("kept", device="cpu", engine_args={"words": 4}))

        (kept,) = await RememberedModels(path).read()
        assert (kept.name, kept.device, kept.engine_args) == ("kept", "gpu:0", {"words": 3})

    run(work())


@pytest.mark.parametrize("content", ["", "{", '{"models": 5}', '{"models": {"a": {}}}'])
def test_a_broken_memory_of_models_keeps_no_server_from_starting(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "models.json"
    path.write_text(content)

    async def work() -> None:
        async with serving(Workshop(), remembered=RememberedModels(path)) as (service, _):
            await until(lambda: "are lost" in caplog.text)
            await chat(service)

    run(work())
