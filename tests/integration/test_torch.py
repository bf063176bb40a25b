"""The torch engine beside vLLM's, on the same model: what it writes, and how it ends."""

import asyncio
import itertools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from inferneo_core.chat import ChatCompletionRequest, FunctionDefinition, Message, Tool
from inferneo_core.errors import EngineUnavailable, InvalidRequest, Overloaded
from inferneo_core.sampling import SamplingFields
from inferneo_server.devices import find_device
from inferneo_server.engines.base import DeltaStream, Engine, EngineStartError, PoolingOptions
from inferneo_server.engines.making import make_engine
from inferneo_server.settings import load_settings
from tests.servers import RunningServer

# Of the libraries that the engine is made of.
pytestmark = pytest.mark.filterwarnings("ignore")

SECONDS = 100.0
TEMPLATE = "{% for message in messages %}{{ message.role }} says {{ message.content }}.{% endfor %}"
QUESTIONS = ["What is Inferneo?", "How do I stream?", "Who are you?"]
CITY = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Anna", "Ben"]}, "age": {"enum": [7, 30]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def ask(server: RunningServer, question: str, **fields: Any) -> Any:
    """The only choice of a chat."""
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0} | fields
    url = f"{server.url}/v1/chat/completions"
    answer = httpx.post(url, json={"max_tokens": 100} | body, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_writes_what_vllm_writes(
    torch_server: RunningServer, vllm_server: RunningServer, question: str
) -> None:
    fields = {"logprobs": True, "top_logprobs": 3}
    ours, theirs = (ask(server, question, **fields) for server in (torch_server, vllm_server))

    assert ours["message"]["content"] == theirs["message"]["content"]
    assert ours["finish_reason"] == theirs["finish_reason"]
    pairs = zip(ours["logprobs"]["content"], theirs["logprobs"]["content"], strict=True)
    for one, other in pairs:
        assert (one["token"], one["bytes"]) == (other["token"], other["bytes"])
        # vLLM computes in half precision here.
        assert one["logprob"] == pytest.approx(other["logprob"], abs=0.15)
        assert len(one["top_logprobs"]) == len(other["top_logprobs"]) == 3


def test_the_logprobs_of_a_prompt_are_those_of_vllm(
    torch_server: RunningServer, vllm_server: RunningServer
) -> None:
    body = {"prompt": "Inferneo is a server for", "max_tokens": 1, "prompt_logprobs": 2}
    ours, theirs = (
        httpx.post(f"{server.url}/v1/completions", json=body, timeout=SECONDS).json()["choices"][0]
        for server in (torch_server, vllm_server)
    )
    first, *places = ours["prompt_logprobs"]
    assert first is None
    for one, other in zip(places, theirs["prompt_logprobs"][1:], strict=True):
        for token in set(one) & set(other):
            assert one[token]["logprob"] == pytest.approx(other[token]["logprob"], abs=0.3)
            assert one[token]["decoded_token"] == other[token]["decoded_token"]
        assert next(iter(one)) == next(iter(other))


def test_an_answer_fits_its_schema(torch_server: RunningServer) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    for seed in range(3):
        choice = ask(torch_server, "Who?", response_format=format_, temperature=1.5, seed=seed, n=1)
        found = json.loads(choice["message"]["content"])
        assert found["name"] in ("Anna", "Ben") and found["age"] in (7, 30)


def test_one_of_several_is_chosen(torch_server: RunningServer) -> None:
    choice = ask(torch_server, "Yes?", structured_outputs={"choice": ["red", "green"]})
    assert choice["message"]["content"] in ("red", "green")
    assert choice["finish_reason"] == "stop"


def test_a_grammar_that_is_none_is_refused(torch_server: RunningServer) -> None:
    body = {
        "messages": [{"role": "user", "content": "Hello"}],
        "structured_outputs": {"grammar": "root ::= nothing ("},
    }
    answer = httpx.post(f"{torch_server.url}/v1/chat/completions", json=body, timeout=SECONDS)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "structured_outputs"


def test_calls_are_found_and_can_be_forced(torch_server: RunningServer) -> None:
    choice = ask(torch_server, "What is the weather in Paris?", tools=[CITY])
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}

    choice = ask(torch_server, "Hello", tools=[CITY], tool_choice="required")
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert set(json.loads(call["function"]["arguments"])) == {"city"}


def test_reasoning_is_told_apart(torch_server: RunningServer) -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    message = ask(torch_server, "What is 3 + 4?", **thinking)["message"]
    assert message["reasoning"].strip() and message["content"].strip()


# Engines of their own, in this process's loop.


@pytest.fixture(scope="module")
def runner() -> Any:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def narrow(runner: asyncio.Runner, base_folder: Path) -> Any:
    """An engine that writes one choice at a time, and lets one wait; its model has no template,
    and is given one."""
    arguments = {"max_num_seqs": 1, "max_queue": 1, "max_model_len": 1024}
    engine = torch_engine(model=str(base_folder), engine_args=arguments, chat_template=TEMPLATE)
    runner.run(engine.start())
    yield engine
    runner.run(engine.aclose())


def torch_engine(**settings: Any) -> Engine:
    """A torch engine on the CPU, not started."""
    specs = load_settings(engine="torch", **settings).model_specs
    return make_engine(specs[0], find_device("cpu"))


async def begin(engine: Engine, tokens: int) -> DeltaStream:
    sampling = SamplingFields(temperature=0, ignore_eos=True)
    prompt = await engine.render_text("Inferneo is")
    return await engine.submit("t", prompt, sampling, max_tokens=tokens, streamed=True)


def test_a_chat_is_rendered_by_the_template_that_is_given(
    narrow: Engine, runner: asyncio.Runner
) -> None:
    tools = [Tool(function=FunctionDefinition(name="look"))]
    request = ChatCompletionRequest(messages=[Message(role="user", content="Hello")], tools=tools)
    prompt = runner.run(narrow.render_chat(request))

    assert narrow.detokenize(prompt.token_ids) == "user says Hello."
    assert narrow.chats
    assert narrow.parsing(request, prompt) is None, "the form of calls is the template's"


def test_a_full_queue_is_told(narrow: Engine, runner: asyncio.Runner) -> None:
    async def fill() -> None:
        streams = [await begin(narrow, 500), await begin(narrow, 500)]
        with pytest.raises(Overloaded):
            await begin(narrow, 500)
        for stream in streams:
            await stream.aclose()

    runner.run(fill())
    assert narrow.running == 0


def test_what_is_given_up_leaves_its_place_at_once(narrow: Engine, runner: asyncio.Runner) -> None:
    async def swap() -> tuple[float, float]:
        async with asyncio.timeout(SECONDS):
            first = await begin(narrow, 900)
            await anext(first)
            second = await begin(narrow, 2)
            started = time.perf_counter()
            for _ in range(4):
                await anext(first)
            steps = time.perf_counter() - started
            await first.aclose()
            started = time.perf_counter()
            await anext(second)
            waited = time.perf_counter() - started
            await second.aclose()
        return waited, steps

    waited, steps = runner.run(swap())
    # A step that runs is finished, the prompt of the next one is read: no 900 tokens, which take
    # 225 times as long as those four.
    assert waited < 100 * steps


def test_what_it_cannot_do_is_refused(narrow: Engine, runner: asyncio.Runner) -> None:
    async def refused(**fields: Any) -> str | None:
        prompt = await narrow.render_text("Hello")
        with pytest.raises(InvalidRequest) as error:
            await narrow.submit("t", prompt, SamplingFields(**fields), max_tokens=4, streamed=True)
        return error.value.param

    for fields, param in (
        ({"priority": 1}, "priority"),
        ({"logit_bias": {"9999999": 1}}, "logit_bias"),
        ({"allowed_token_ids": [9999999]}, "allowed_token_ids"),
        ({"min_tokens": 5}, "min_tokens"),
    ):
        assert runner.run(refused(**fields)) == param


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"gpu_memory": 1}, ["gpu_memory", "device", "max_num_seqs", "max_queue"]),
        ({"max_num_seqs": "many"}, ["max_num_seqs"]),
        ({"max_num_seqs": 0}, ["max_num_seqs"]),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(EngineStartError) as refused:
        torch_engine(engine_args=arguments)
    assert [word for word in words if word not in str(refused.value)] == []


def test_a_device_that_is_not_there_is_told(runner: asyncio.Runner) -> None:
    engine = torch_engine(engine_args={"device": "cuda:7"})

    async def start() -> None:
        try:
            await engine.start()
        finally:
            await engine.aclose()

    with pytest.raises(EngineStartError, match="cuda:7"):
        runner.run(start())


def test_vectors_are_those_of_sentence_transformers(
    minilm_folder: Path, runner: asyncio.Runner
) -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["A cat sleeps.", "x", "Ünïcödé, 漢字 and 🙂", "MIXED Case", "word " * 250]
    expected = SentenceTransformer(str(minilm_folder), device="cpu").encode(
        texts, normalize_embeddings=True
    )

    async def embedded() -> Any:
        engine = torch_engine(model=str(minilm_folder))
        await engine.start()
        try:
            assert (engine.tasks, engine.max_model_len) == ({"embed"}, 256)
            prompts = [await engine.render_text(ids) for ids in await engine.tokenize(texts)]
            with pytest.raises(InvalidRequest):
                await engine.embed("e", prompts, PoolingOptions(dimensions=100))
            raw = await engine.embed("e", prompts, PoolingOptions(activation=False))
            return await engine.embed("e", prompts, PoolingOptions()), raw
        finally:
            await engine.aclose()

    vectors, raw = runner.run(embedded())
    for vector, unscaled, reference in zip(vectors, raw, expected, strict=True):
        assert sum(map(lambda one, other: one * float(other), vector, reference)) > 0.999
        assert sum(value * value for value in unscaled) > 1.1


def test_streams_fail_when_the_engine_dies(runner: asyncio.Runner) -> None:
    async def die() -> str:
        engine: Any = torch_engine()
        await engine.start()
        stream = await begin(engine, 1000)
        await anext(stream)
        os.kill(engine._link._process.pid, signal.SIGKILL)
        with pytest.raises(EngineUnavailable):
            for _ in itertools.count():
                await anext(stream)
        reason: str = await asyncio.wait_for(engine.wait_failed(), SECONDS)
        with pytest.raises(EngineUnavailable):
            await begin(engine, 1)
        assert engine.running == 0
        await engine.aclose()
        return reason

    assert "died" in runner.run(die())
