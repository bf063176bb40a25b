"""LangChain with today's `langchain-openai`, as the custom interface's page shows it."""

import asyncio
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import SecretStr

from tests.servers import RunningServer

MODEL = "inferneo-tiny"
KEY = SecretStr("any-key")
QUESTION = "What is Inferneo?"


def chat_model(server: RunningServer) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{server.url}/v1",
        model=MODEL,
        api_key=KEY,
        temperature=0,
        max_completion_tokens=24,
    )


def test_a_chat_model_answers(vllm_server: RunningServer) -> None:
    answer = chat_model(vllm_server).invoke(
        [("system", "You are a helpful assistant"), ("user", QUESTION)]
    )
    assert isinstance(answer.content, str) and answer.content
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] <= 24
    assert answer.response_metadata["model_name"] == MODEL


def test_a_chat_model_streams_what_it_answers_whole(vllm_server: RunningServer) -> None:
    model = chat_model(vllm_server)
    chunks = list(model.stream(QUESTION))
    assert chunks and all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert "".join(str(chunk.content) for chunk in chunks) == model.invoke(QUESTION).content


def test_a_chat_model_answers_many_side_by_side(vllm_server: RunningServer) -> None:
    model = chat_model(vllm_server)
    answers = asyncio.run(model.abatch([QUESTION] * 4))
    assert len({str(answer.content) for answer in answers}) == 1


def test_a_model_goes_on_with_a_text(vllm_server: RunningServer) -> None:
    model = OpenAI(
        base_url=f"{vllm_server.url}/v1", model=MODEL, api_key=KEY, temperature=0, max_tokens=16
    )
    whole = model.invoke("Inferneo is")
    assert whole and "".join(model.stream("Inferneo is")) == whole


def test_the_names_of_the_page_s_arguments_still_work(vllm_server: RunningServer) -> None:
    # Names that the classes take, and do not declare.
    named: dict[str, Any] = {
        "openai_api_base": f"{vllm_server.url}/v1",
        "model_name": MODEL,
        "openai_api_key": KEY,
    }
    assert ChatOpenAI(**named).invoke(QUESTION).content
    text = OpenAI(**named)
    assert isinstance(text.invoke("Inferneo is"), str)
