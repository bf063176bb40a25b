"""Embeddings, scores, tokens and responses by the client, against our own server."""

import asyncio
import base64
import json
import math
from array import array
from typing import Any

import pytest
import trio

from inferneo_client import (
    AsyncInferneo,
    Inferneo,
    InvalidAnswer,
    NotFound,
    RequestError,
    StreamTruncatedError,
)
from inferneo_client.types.response_events import OtherEvent
from tests.client.flavours import QUICK
from tests.client.proxy import Fault, faulty_proxy
from tests.client.scripted import ScriptedServer, whole
from tests.servers import RunningServer


@pytest.fixture(scope="module")
def client(simulated_server: RunningServer) -> Any:
    with Inferneo(base_url=f"{simulated_server.url}/v1") as made:
        yield made


def test_vectors_are_the_same_over_both_encodings(client: Inferneo) -> None:
    texts = ["one", "two words", "three"]
    exact = client.embeddings.create(input=texts)
    plain = client.embeddings.create(input=texts, encoding_format="float")

    assert [item.index for item in exact] == [0, 1, 2] and len(plain) == 3
    assert isinstance(exact.data[0].encoded, str) and isinstance(plain.data[0].encoded, list)
    assert [item.embedding for item in exact] == [item.embedding for item in plain]
    assert [item.buffer for item in exact] == [item.buffer for item in plain]
    assert math.isclose(math.hypot(*exact.data[0].embedding), 1.0, rel_tol=1e-5)
    assert exact.usage is not None and exact.usage.prompt_tokens > 0
    assert exact.response is not None and exact.response.request_id


def test_a_vector_is_a_buffer_of_float32() -> None:
    from inferneo_client.types.embeddings import Embedding

    vector = array("f", [0.5, -1.0, 3.25])
    found = Embedding(encoded=base64.b64encode(vector.tobytes()).decode())

    assert memoryview(found.buffer).format == "f"
    assert found.embedding == [0.5, -1.0, 3.25]
    with pytest.raises(ValueError):
        _ = Embedding(encoded="AAAA").buffer  # three bytes


def test_vectors_with_fields_of_another_server_stay_vectors(other: ScriptedServer) -> None:
    item = {"index": 0, "embedding": [1.0, 2.0], "norm": 3}
    other.answer = whole(200, json.dumps({"data": [item], "took": 1}).encode())
    with Inferneo(base_url=other.url) as client:
        found = client.embeddings.create(input="a")

    assert found.data[0].embedding == [1.0, 2.0]
    assert found.data[0].extra == {"norm": 3} and found.extra == {"took": 1}


def test_scores_and_an_order(client: Inferneo) -> None:
    texts = ["a cat sat", "something else", "the cat"]
    scores = client.score(text_1="the cat", text_2=texts)
    ranked = client.rerank(query="the cat", documents=texts, top_n=2)

    assert [item.index for item in scores.data] == [0, 1, 2]
    assert max(scores.data, key=lambda item: item.score).index == 2
    assert [item.index for item in ranked.results][0] == 2 and len(ranked.results) == 2
    assert ranked.results[0].document is not None
    assert ranked.results[0].document.text == "the cat"


def test_tokens_there_and_back(client: Inferneo) -> None:
    found = client.tokenize("one two three", return_token_strs=True)

    assert found.count == len(found.tokens) == len(found.token_strs or ())
    # The simulated engine's words are its own, but there are as many.
    assert len(client.detokenize(found.tokens).prompt.split()) == 3
    assert client.tokenize(messages=[{"role": "user", "content": "one two"}]).count == 2
    with pytest.raises(TypeError, match="a prompt, or messages"):
        client.tokenize()


def test_a_response_is_stored_listed_and_forgotten(client: Inferneo) -> None:
    first = client.responses.create(input="Hello there", max_output_tokens=5)
    second = client.responses.create(
        input=[{"role": "user", "content": "Again"}],
        previous_response_id=first.id,
        max_output_tokens=5,
    )

    assert first.status == "incomplete" and first.incomplete_details is not None
    assert first.output_text == first.output[0].text != ""
    assert first.usage is not None and first.usage.output_tokens == 5
    assert client.responses.retrieve(second.id).output == second.output
    items = client.responses.input_items(second.id, order="asc", limit=1)
    assert [item.text for item in items] == ["Hello there"] and items.has_more
    rest = client.responses.input_items(second.id, order="asc", after=items.last_id)
    assert [item.role for item in rest] == ["assistant", "user"]
    counted = client.responses.input_tokens(input="Again", previous_response_id=first.id)
    assert second.usage is not None and counted.input_tokens == second.usage.input_tokens
    assert client.responses.delete(first.id).deleted
    with pytest.raises(NotFound):
        client.responses.retrieve(first.id)


def test_a_streamed_response_is_typed_events(client: Inferneo) -> None:
    text, last = "", None
    with client.responses.create(input="Hi", max_output_tokens=5, stream=True) as stream:
        for event in stream:
            last = event
            if event.type == "response.output_text.delta":
                text += event.delta
        final = stream.final()

    assert last is not None and last.type == "response.incomplete"
    assert final.output_text == text != "" and final == last.response
    assert list(client.responses.stream(input="Hi", max_output_tokens=5).text_deltas())
    # The decoder of the whole standard is for others: ours must never need it.
    assert stream._reading._decoder._standard is None


def test_a_stored_response_is_read_again_behind_an_event(client: Inferneo) -> None:
    begun = client.responses.create(input="Hi", max_output_tokens=5, background=True)
    every = list(client.responses.retrieve(begun.id, stream=True))
    later = client.responses.retrieve(begun.id, stream=True, starting_after=3)

    assert list(later) == [event for event in every if event.sequence_number > 3]
    with pytest.raises(RequestError):
        client.responses.cancel(begun.id[:-1])


def test_a_cut_response_goes_on_where_it_stopped(simulated_server: RunningServer) -> None:
    port = int(simulated_server.url.rpartition(":")[2])
    with faulty_proxy(port) as proxy, Inferneo(base_url=proxy.url, retry=QUICK) as client:
        for at in range(300, 6000, 700):
            proxy.faults.append(Fault("cut", at=at))
            stream = client.responses.create(input="Hi", max_output_tokens=8, stream=True)
            numbers = [event.sequence_number for event in stream]
            proxy.faults.clear()

            assert numbers == list(range(len(numbers)))
            assert stream.final().status == "incomplete"


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_the_async_client_does_the_same(run: Any, simulated_server: RunningServer) -> None:
    async def main() -> None:
        async with AsyncInferneo(base_url=f"{simulated_server.url}/v1") as client:
            assert len(await client.embeddings.create(input=["a", "b"])) == 2
            assert (await client.score(text_1="a", text_2="a")).data[0].index == 0
            assert (await client.rerank(query="a", documents=["a", "b"])).results[0].index == 0
            tokens = (await client.tokenize("a b")).tokens
            assert (await client.detokenize(tokens)).prompt
            stream = await client.responses.stream(input="Hi", max_output_tokens=3)
            async with stream:
                kinds = [event.type async for event in stream]
            assert kinds[0] == "response.created" and kinds[-1] == "response.incomplete"
            stored = await client.responses.retrieve((await stream.final()).id)
            assert stored.output_text == (await stream.final()).output_text
            assert len(await client.responses.input_items(stored.id)) == 1
            assert (await client.responses.input_tokens(input="Hi")).input_tokens == 1
            assert (await client.responses.delete(stored.id)).deleted

    run(main) if run is trio.run else run(main())


EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
    {"type": "response.odd_search", "query": "x"},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}},
    {"type": "response.output_text.delta", "output_index": 0, "delta": "Hel", "odd": 1},
    {"type": "response.output_text.delta", "output_index": 0, "delta": "lo"},
]


def events(*documents: dict[str, Any]) -> bytes:
    body = b"".join(
        b"event: %b\ndata: %b\n\n" % (document["type"].encode(), json.dumps(document).encode())
        for document in documents
    )
    return whole(200, body, content_type="text/event-stream")


def test_events_of_other_servers_are_kept_and_a_cut_is_an_error(other: ScriptedServer) -> None:
    other.answer = events(*EVENTS)
    found: list[Any] = []
    with Inferneo(base_url=other.url) as client, pytest.raises(StreamTruncatedError) as raised:
        stream = client.responses.create(input="Hi", stream=True)
        found.extend(stream)

    odd = found[1]
    assert isinstance(odd, OtherEvent)
    assert (odd.name, odd.extra) == ("response.odd_search", {"query": "x"})
    assert found[3].extra == {"odd": 1}
    assert raised.value.partial.output_text == "Hello"


def test_an_error_event_is_raised(other: ScriptedServer) -> None:
    told = {
        "type": "error",
        "code": "context_length_exceeded",
        "message": "Too long",
        "param": None,
    }
    other.answer = events(*EVENTS[:1], told)
    with Inferneo(base_url=other.url) as client, pytest.raises(RequestError) as raised:
        client.responses.create(input="Hi", stream=True).final()

    assert (raised.value.code, raised.value.message) == ("context_length_exceeded", "Too long")


def test_a_function_is_a_tool_of_a_response(other: ScriptedServer) -> None:
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    other.answer = whole(200, json.dumps({"id": "resp_1", "output": [call]}).encode())
    with Inferneo(base_url=other.url) as client:
        found = client.responses.create(input="Oslo?", tools=[weather])

    tool = json.loads(other.requests[-1][1])["tools"][0]
    assert (tool["type"], tool["name"], tool["description"]) == (
        "function",
        "weather",
        "Tell the weather.",
    )
    assert [item.name for item in found.function_calls] == ["weather"]


def test_no_vectors_are_an_error(other: ScriptedServer) -> None:
    other.answer = whole(200, b"<html>", content_type="text/html")
    with Inferneo(base_url=other.url) as client, pytest.raises(InvalidAnswer):
        client.embeddings.create(input="a")
