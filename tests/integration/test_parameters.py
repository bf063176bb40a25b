"""Proves that each sampling parameter does what it says, on both routes, in one piece and streamed.

Over the real engine: each of these fails where its parameter is dropped on the way.
"""

import math
from typing import Any

import pytest

from tests.integration.asking import CHAT, TEXT, ask, events, refusal
from tests.servers import RunningServer

QUESTION = {"messages": [{"role": "user", "content": "What is Inferneo?"}]}
BEGINNING = {"prompt": "Inferneo is"}
ROUTES = [(CHAT, QUESTION), (TEXT, BEGINNING)]
GREEDY = {"temperature": 0, "max_tokens": 8}

both_routes = pytest.mark.parametrize(("path", "body"), ROUTES, ids=["chat", "text"])
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def text_of(choice: Any) -> str:
    text: str = choice["text"] if "text" in choice else choice["message"]["content"]
    return text


def only(answer: Any) -> Any:
    [choice] = answer["choices"]
    return choice


@both_ways
def test_logprobs_of_a_chat_tell_each_token(vllm_server: RunningServer, stream: bool) -> None:
    body = QUESTION | GREEDY | {"logprobs": True, "top_logprobs": 3}
    choice = only(ask(vllm_server, CHAT, body, stream=stream))

    entries = choice["logprobs"]["content"]
    assert len(entries) == 8
    assert "".join(entry["token"] for entry in entries) == text_of(choice)
    for entry in entries:
        assert bytes(entry["bytes"]).decode() == entry["token"]
        likely = [top["logprob"] for top in entry["top_logprobs"]]
        assert likely == sorted(likely, reverse=True)
        assert len(likely) == 3
        # Greedy takes the likeliest.
        assert entry["logprob"] == likely[0] <= 0
    if not stream:
        assert choice["logprobs"]["refusal"] is None


@both_ways
def test_top_logprobs_may_be_none_at_all(vllm_server: RunningServer, stream: bool) -> None:
    choice = only(ask(vllm_server, CHAT, QUESTION | GREEDY | {"logprobs": True}, stream=stream))

    assert [entry["top_logprobs"] for entry in choice["logprobs"]["content"]] == [[]] * 8


@both_ways
def test_logprobs_of_a_text_are_four_equal_lists(vllm_server: RunningServer, stream: bool) -> None:
    choice = only(ask(vllm_server, TEXT, BEGINNING | GREEDY | {"logprobs": 2}, stream=stream))

    logprobs, text = choice["logprobs"], choice["text"]
    assert {len(values) for values in logprobs.values()} == {8}
    for offset, token in zip(logprobs["text_offset"], logprobs["tokens"], strict=True):
        assert text[offset : offset + len(token)] == token
    for token, value, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top[token] == value == max(top.values())
        assert len(top) == 2


@both_routes
@both_ways
def test_logprobs_are_not_told_unasked(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    answer = ask(vllm_server, path, body | GREEDY, stream=stream)

    assert only(answer)["logprobs"] is None
    assert "prompt_logprobs" not in answer
    assert not only(answer).get("token_ids")


@both_routes
@both_ways
def test_prompt_logprobs_tell_each_token_of_the_prompt(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    answer = ask(vllm_server, path, body | GREEDY | {"prompt_logprobs": 1}, stream=stream)

    told = answer if path == CHAT else only(answer)
    first, *others = told["prompt_logprobs"]
    assert first is None
    assert len(others) == answer["usage"]["prompt_tokens"] - 1
    assert all(entry["logprob"] <= 0 for place in others for entry in place.values())


@both_ways
def test_each_choice_has_the_logprobs_of_its_prompt(
    vllm_server: RunningServer, stream: bool
) -> None:
    body = {"prompt": ["Inferneo is", "🙂"], "max_tokens": 5, "temperature": 1, "n": 8}
    answer = ask(vllm_server, TEXT, body | {"prompt_logprobs": 1}, stream=stream)

    told = [choice["prompt_logprobs"] for choice in answer["choices"]]
    assert told[0] and told[8]
    assert told == [told[0]] * 8 + [told[8]] * 8


@both_ways
def test_echo_puts_the_prompt_first(vllm_server: RunningServer, stream: bool) -> None:
    plain = only(ask(vllm_server, TEXT, BEGINNING | GREEDY, stream=stream))
    for prompt in ("Inferneo is", plain_ids(vllm_server)):
        echoed = only(
            ask(vllm_server, TEXT, GREEDY | {"prompt": prompt, "echo": True}, stream=stream)
        )
        assert echoed["text"] == "Inferneo is" + plain["text"]


def plain_ids(server: RunningServer) -> list[int]:
    """The token ids of the beginning."""
    ids: list[int] = only(ask(server, TEXT, BEGINNING | GREEDY | {"return_token_ids": True}))[
        "prompt_token_ids"
    ]
    return ids


@both_ways
def test_echo_tells_the_logprobs_of_the_prompt_too(
    vllm_server: RunningServer, stream: bool
) -> None:
    body = BEGINNING | GREEDY | {"echo": True, "logprobs": 1}
    choice = only(ask(vllm_server, TEXT, body, stream=stream))

    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert choice["text"].startswith("Inferneo is")
    assert logprobs["token_logprobs"][0] is logprobs["top_logprobs"][0] is None
    assert all(value <= 0 for value in logprobs["token_logprobs"][1:])


@both_ways
def test_the_prompt_alone_can_be_scored(vllm_server: RunningServer, stream: bool) -> None:
    body = BEGINNING | {"echo": True, "logprobs": 2, "prompt_logprobs": 2, "return_token_ids": True}
    answer = ask(vllm_server, TEXT, body | {"max_tokens": 0}, stream=stream)
    longer = only(ask(vllm_server, TEXT, body | {"max_tokens": 1}, stream=stream))

    choice = only(answer)
    length = len(choice["prompt_token_ids"])
    assert choice["text"] == "Inferneo is" == "".join(choice["logprobs"]["tokens"])
    assert choice["token_ids"] == []
    assert choice["logprobs"] == {
        name: values[:length] for name, values in longer["logprobs"].items()
    }
    assert choice["prompt_logprobs"] == longer["prompt_logprobs"]
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 0
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] == length
    # Nothing at all can be asked for only where it is an answer.
    assert refusal(vllm_server, TEXT, BEGINNING | {"max_tokens": 0})["param"] == "max_tokens"


def test_best_of_gives_those_with_the_highest_mean_logprob(vllm_server: RunningServer) -> None:
    body = BEGINNING | {"temperature": 2, "seed": 5, "max_tokens": 12, "logprobs": 0}
    choices = ask(vllm_server, TEXT, body | {"n": 4})["choices"]
    best = ask(vllm_server, TEXT, body | {"n": 2, "best_of": 4})

    def mean(choice: Any) -> float:
        values = choice["logprobs"]["token_logprobs"]
        return float(sum(values) / len(values))

    ranked = sorted(choices, key=mean, reverse=True)
    assert len({choice["text"] for choice in choices}) == 4
    assert [choice["text"] for choice in best["choices"]] == [one["text"] for one in ranked[:2]]
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert best["usage"]["completion_tokens"] == 48


def test_a_suffix_makes_the_prompt_a_gap(vllm_server: RunningServer) -> None:
    def ids(**fields: Any) -> list[int]:
        body = {"max_tokens": 1, "return_token_ids": True, **fields}
        found: list[int] = only(ask(vllm_server, TEXT, body))["prompt_token_ids"]
        return found

    written = ids(prompt="<|fim_prefix|>Inferneo is<|fim_suffix|> server<|fim_middle|>")
    assert ids(prompt="Inferneo is", suffix=" server") == written
    assert refusal(vllm_server, TEXT, {"prompt": ["a", "b"], "suffix": "c"})["param"] == "suffix"


@both_routes
@both_ways
def test_logit_bias_forces_and_forbids(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    asked = body | GREEDY | {"return_token_ids": True}
    first = only(ask(vllm_server, path, asked, stream=stream))["token_ids"][0]
    forced = only(ask(vllm_server, path, asked | {"logit_bias": {"77": 100}}, stream=stream))
    barred = only(ask(vllm_server, path, asked | {"logit_bias": {str(first): -100}}, stream=stream))

    assert forced["token_ids"] == [77] * 8
    assert first not in barred["token_ids"]


@both_routes
def test_allowed_token_ids_are_all_that_is_written(
    vllm_server: RunningServer, path: str, body: Any
) -> None:
    asked = body | GREEDY | {"return_token_ids": True, "allowed_token_ids": [70, 71]}

    assert set(only(ask(vllm_server, path, asked))["token_ids"]) <= {70, 71}


@both_routes
def test_bad_words_are_not_written(vllm_server: RunningServer, path: str, body: Any) -> None:
    asked = body | GREEDY | {"max_tokens": 16}
    assert "server" in text_of(only(ask(vllm_server, path, asked)))
    barred = asked | {"bad_words": ["server"]}
    assert "server" not in text_of(only(ask(vllm_server, path, barred)))


@both_routes
@both_ways
def test_a_stop_token_ends_and_min_tokens_put_it_off(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    asked = body | GREEDY | {"return_token_ids": True}
    written = only(ask(vllm_server, path, asked, stream=stream))["token_ids"]
    stopped = only(ask(vllm_server, path, asked | {"stop_token_ids": [written[2]]}, stream=stream))
    later = only(
        ask(
            vllm_server,
            path,
            asked | {"stop_token_ids": [written[2]], "min_tokens": 5},
            stream=stream,
        )
    )

    assert stopped["token_ids"] == written[:3]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", written[2])
    assert len(later["token_ids"]) >= 5


@both_routes
@both_ways
def test_a_stop_text_is_told_only_on_request(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    asked = body | GREEDY | {"stop": ["AI-comp"]}
    hidden = only(ask(vllm_server, path, asked, stream=stream))
    shown = only(
        ask(vllm_server, path, asked | {"include_stop_str_in_output": True}, stream=stream)
    )

    assert text_of(hidden).endswith(" Open")
    assert text_of(shown) == text_of(hidden) + "AI-comp"
    assert hidden["stop_reason"] == "AI-comp"


@both_routes
@both_ways
def test_special_tokens_are_skipped_unless_asked_for(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    end = 2  # <|im_end|>, which does not end the answer where the end is ignored
    asked = body | GREEDY | {"logit_bias": {str(end): 100}, "ignore_eos": True}
    hidden = only(ask(vllm_server, path, asked, stream=stream))
    shown = only(ask(vllm_server, path, asked | {"skip_special_tokens": False}, stream=stream))

    assert not text_of(hidden)
    assert text_of(shown) == "<|im_end|>" * 8


@both_routes
@both_ways
def test_token_ids_are_returned_of_prompt_and_answer(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    answer = ask(vllm_server, path, body | GREEDY | {"return_token_ids": True}, stream=stream)

    told = answer if path == CHAT else only(answer)
    assert len(told["prompt_token_ids"]) == answer["usage"]["prompt_tokens"]
    assert len(only(answer)["token_ids"]) == 8


@both_routes
def test_a_prompt_is_cut_at_its_beginning(vllm_server: RunningServer, path: str, body: Any) -> None:
    def told(**fields: Any) -> Any:
        answer = ask(vllm_server, path, body | GREEDY | {"return_token_ids": True, **fields})
        return (answer if path == CHAT else only(answer))["prompt_token_ids"]

    whole = told()
    assert told(truncate_prompt_tokens=1) == whole[-1:]
    assert told(truncate_prompt_tokens=1, truncation_side="left") == whole[-1:]
    assert told(truncate_prompt_tokens=1, truncation_side="right") == whole[:1]
    assert told(truncate_prompt_tokens=-1) == whole


# Of these, vLLM's own renderer refuses the second before it would cut it.
@pytest.mark.parametrize("words", [3_000, 30_000])
@both_routes
def test_a_prompt_that_is_too_long_can_be_cut_to_what_fits(
    vllm_server: RunningServer, path: str, body: Any, words: int
) -> None:
    text = " ".join(["begin", *["word"] * words, "end"])
    long = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text}

    def read(**fields: Any) -> list[int]:
        asked = long | GREEDY | {"return_token_ids": True, **fields}
        answer = ask(vllm_server, path, asked)
        told = answer if path == CHAT else only(answer)
        found: list[int] = told["prompt_token_ids"]
        assert answer["usage"]["prompt_tokens"] == len(found)
        return found

    end, beginning = (
        read(truncate_prompt_tokens=-1, truncation_side=side) for side in ("left", "right")
    )
    assert len(end) == len(beginning) == 2040
    assert end != beginning
    assert read(truncate_prompt_tokens=-1) == end
    assert read(truncate_prompt_tokens=100) == end[-100:]
    assert read(truncate_prompt_tokens=100, truncation_side="right") == beginning[:100]
    assert refusal(vllm_server, path, long)["code"] == "context_length_exceeded"


@both_routes
def test_usage_is_told_in_each_chunk_on_request(
    vllm_server: RunningServer, path: str, body: Any
) -> None:
    options = {"stream_options": {"continuous_usage_stats": True}}
    *told, last = events(vllm_server, path, body | GREEDY | options)

    counts = [chunk["usage"]["completion_tokens"] for chunk in told if "usage" in chunk]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == last["usage"]["completion_tokens"] == 8


def test_a_chat_goes_on_with_its_last_message(vllm_server: RunningServer) -> None:
    messages = [*QUESTION["messages"], {"role": "assistant", "content": "Inferneo is an"}]
    body = GREEDY | {"messages": messages, "return_token_ids": True}
    new_turn = ask(vllm_server, CHAT, body)
    going_on = ask(vllm_server, CHAT, body | {"continue_final_message": True})
    no_prompt = ask(vllm_server, CHAT, body | {"add_generation_prompt": False})

    assert len(going_on["prompt_token_ids"]) < len(no_prompt["prompt_token_ids"])
    assert len(no_prompt["prompt_token_ids"]) < len(new_turn["prompt_token_ids"])
    assert only(going_on)["message"]["content"].startswith(" OpenAI")
    for wrong in ({"add_generation_prompt": True}, {"messages": QUESTION["messages"]}):
        error = refusal(vllm_server, CHAT, body | {"continue_final_message": True} | wrong)
        assert error["param"] == "continue_final_message"


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        *((path, {"logit_bias": {"1": 101}}, "logit_bias[...]") for path in (CHAT, TEXT)),
        *((path, {"logit_bias": {"x": 1}}, "logit_bias") for path in (CHAT, TEXT)),
        *((path, {"logit_bias": {"8192": 1}}, "logit_bias") for path in (CHAT, TEXT)),
        *((path, {"min_tokens": -1}, "min_tokens") for path in (CHAT, TEXT)),
        *((path, {"prompt_logprobs": 21}, "prompt_logprobs") for path in (CHAT, TEXT)),
        *(
            (path, {"truncate_prompt_tokens": -2}, "truncate_prompt_tokens")
            for path in (CHAT, TEXT)
        ),
        *((path, {"truncation_side": "up"}, "truncation_side") for path in (CHAT, TEXT)),
        *((path, {"stop_token_ids": [-1]}, "stop_token_ids[0]") for path in (CHAT, TEXT)),
        *((path, {"stream_options": {}}, "stream_options") for path in (CHAT, TEXT)),
        (CHAT, {"top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (CHAT, {"tool_choice": "required"}, "tool_choice"),
        (CHAT, {"tool_choice": "sometimes"}, "tool_choice"),
        (CHAT, {"reasoning_effort": "huge"}, "reasoning_effort"),
        (TEXT, {"logprobs": 21}, "logprobs"),
        (TEXT, {"best_of": 1, "n": 2}, "best_of"),
        (TEXT, {"best_of": 2, "stream": True}, "best_of"),
        (TEXT, {"suffix": "b", "echo": True}, "suffix"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(
    vllm_server: RunningServer, path: str, fields: Any, param: str
) -> None:
    body = (QUESTION if path == CHAT else BEGINNING) | fields

    assert refusal(vllm_server, path, body)["param"] == param


def test_logprobs_are_those_of_the_tokens(vllm_server: RunningServer) -> None:
    """All 20 candidates and the rest make no more than certainty."""
    body = QUESTION | {"temperature": 1, "max_tokens": 3, "logprobs": True, "top_logprobs": 20}
    for entry in only(ask(vllm_server, CHAT, body))["logprobs"]["content"]:
        total = sum(math.exp(top["logprob"]) for top in entry["top_logprobs"])
        assert 0.3 < total < 1.001
