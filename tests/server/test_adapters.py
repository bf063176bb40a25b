"""Proves that adapters are asked for by their names, and come and go with the model they are of."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from inferneo_core.errors import InvalidRequest, ModelNotAllowed, ModelNotFound
from inferneo_core.models import LoadRequest
from inferneo_server.access.identity import Identity
from inferneo_server.engines.base import EngineStartError
from inferneo_server.engines.making import make_engine
from inferneo_server.generation import Terms
from inferneo_server.load_requests import spec_of
from tests.server.services import CPU, MODEL, read_answer
from tests.server.workshop import Workshop, chat, load, question, run, serving, spec, status, until

# Of another length than its neighbour, since that is how the simulated engine tells them apart.
ADAPTERS = {"sql": "org/sql", "pirate": "/srv/adapters/pirate"}


def base(**fields: Any) -> Any:
    return spec("base", **{"lora_modules": ADAPTERS, **fields})


def text(answer: Any) -> str:
    content: str = answer["choices"][0]["message"]["content"]
    return content


def test_an_adapter_answers_by_its_name_on_the_engine_of_its_model() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop, base()) as (service, registry):
            answers = [await chat(service, name) for name in ("sql", "pirate", "base")]

            assert [each["model"] for each in answers] == ["sql", "pirate", "base"]
            assert len({text(each) for each in answers}) == 3
            assert len(workshop.made) == 2
            with await registry.lease("sql"):
                assert registry.busy
            assert not registry.busy

    run(work())


def test_adapters_are_listed_below_their_model_and_their_paths_are_told_to_nobody() -> None:
    async def work() -> None:
        async with serving(Workshop(), base(aliases=("b",))) as (service, registry):
            await chat(service, "base")
            told = {each.id: each for each in registry.models}

            assert list(told) == [MODEL, "base", "sql", "pirate"]
            assert [each.parent for each in told.values()] == [None, None, "base", "base"]
            assert (told["sql"].root, told["pirate"].root) == ("org/sql", "pirate")
            assert told["sql"].max_model_len == told["base"].max_model_len
            assert (told["sql"].aliases, told["base"].aliases) == ([], ["b"])
            assert registry.model("pirate") == told["pirate"]
            assert registry.model("b") == told["base"]

    run(work())


def test_a_key_may_use_adapters_by_their_own_names_alone() -> None:
    async def work() -> None:
        async with serving(Workshop(), base()) as (service, _):
            for allowed, refused in (("sql", "base"), ("base", "sql")):
                who = Identity(models=frozenset({allowed}))
                assert [each.id for each in service.models(who)] == [allowed]
                await read_answer(await service.begin(question(allowed), Terms(identity=who)))
                with pytest.raises(ModelNotAllowed):
                    await service.begin(question(refused), Terms(identity=who))

    run(work())


def test_adapters_wait_in_the_queue_of_their_model() -> None:
    async def work() -> None:
        narrow = base(engine_args={"max_running": 1, "token_seconds": 0.01})
        async with serving(Workshop(), narrow) as (service, _):
            first = await service.begin(question("base", max_tokens=5, stream=True))
            second = asyncio.create_task(service.begin(question("sql", max_tokens=5)))
            await until(lambda: service.queues.waiting == 1)
            await read_answer(first)
            assert (await read_answer(await second))["model"] == "sql"

    run(work())


def test_an_adapter_does_nothing_but_write() -> None:
    async def work() -> None:
        async with serving(Workshop(), base()) as (_, registry):
            assert "embed" in (await registry.lease("base")).tasks
            with pytest.raises(InvalidRequest, match="'sql' gives no embeddings"):
                await registry.lease("sql", "embed")

    run(work())


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        (spec("sql"), "name"),
        (spec("other", aliases=("sql",)), "aliases"),
        (spec("other", lora_modules={"sql": "x/y"}), "lora_modules"),
        (spec("other", lora_modules={MODEL: "x/y"}), "lora_modules"),
        (spec("other", lora_modules={"b": "x/y"}), "lora_modules"),
    ],
)
def test_a_name_that_is_taken_is_refused(wanted: Any, param: str) -> None:
    async def work() -> None:
        async with serving(Workshop(), base(aliases=("b",))) as (_, registry):
            with pytest.raises(InvalidRequest, match="is a name of the model") as refused:
                await registry.load(wanted)
            assert refused.value.param == param

    run(work())


def test_adapters_go_with_their_model_and_not_without_it() -> None:
    async def work() -> None:
        async with serving(Workshop()) as (service, registry):
            await load(registry, base())
            with pytest.raises(InvalidRequest, match="comes and goes with its model 'base'"):
                await registry.unload("sql")
            assert status(registry, "base") == "ready"
            await registry.switch("gpu:0", "base")
            assert (await chat(service, "sql"))["model"] == "sql"
            await registry.unload("base")
            with pytest.raises(ModelNotFound):
                await chat(service, "sql")
            assert [each.id for each in registry.models] == [MODEL]

    run(work())


def test_a_model_that_is_loaded_with_other_adapters_has_those_alone() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop, base()) as (service, registry):
            await chat(service, "sql")
            await load(registry, base(lora_modules={"new": "org/new"}))

            assert (await chat(service, "new"))["model"] == "new"
            with pytest.raises(ModelNotFound, match="'base', 'new'"):
                await chat(service, "sql")
            assert len(workshop.made) == 3

    run(work())


def test_who_waits_for_an_adapter_that_is_not_loaded_again_is_told_so() -> None:
    async def work() -> None:
        workshop = Workshop()
        gate = workshop.gates["base"] = asyncio.Event()
        async with serving(workshop) as (service, registry):
            job = await registry.load(base())
            gate.set()
            await job.result()
            gate.clear()
            await registry.sleep("base", 1)
            # A model that sleeps answers nobody while its next engine is loaded.
            job = await registry.load(base(lora_modules={}))
            asked = asyncio.create_task(chat(service, "sql"))
            await until(lambda: len(workshop.made) == 3)
            gate.set()
            await job.result()
            with pytest.raises(ModelNotFound):
                await asked

    run(work())


def test_a_request_to_load_gives_adapters_or_keeps_those_that_are_known() -> None:
    known = base()

    def asked(**fields: Any) -> Any:
        request = LoadRequest(model="base", **fields)
        return spec_of(request, known, engine="simulated").lora_modules

    assert asked() == ADAPTERS
    assert asked(lora_modules={"x": "org/x"}) == {"x": "org/x"}
    # They would be adapters of two models.
    assert asked(name="copy") == {}
    for wrong in ({"base": "org/x"}, {"x": "/nowhere/x"}, {" /": "org/x"}):
        with pytest.raises(InvalidRequest):
            asked(lora_modules=wrong)


def test_an_engine_that_has_no_adapters_says_so() -> None:
    with pytest.raises(EngineStartError, match="torch has no adapters"):
        make_engine(replace(base(), engine="torch"), CPU)


def test_what_an_adapter_is_leaves_out_a_folder_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapters" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    paths = ("adapters/x", "./adapters/x", "~/x", "../x", str(tmp_path))

    for path in paths:
        assert base(lora_modules={"x": path}).root_of("x") == "x"
    assert base(lora_modules={"x": "org/x"}).root_of("x") == "org/x"
