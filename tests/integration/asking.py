"""Receives a request; hands on its whole answer, be it asked for in one piece or as a stream."""

import json
from typing import Any

import httpx

from tests.servers import RunningServer

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
ASK_SECONDS = 60.0


def ask(server: RunningServer, path: str, body: dict[str, Any], *, stream: bool = False) -> Any:
    """The answer to a request; a stream's chunks are joined into what the whole answer says."""
    if not stream:
        answer = httpx.post(f"{server.url}{path}", json=body, timeout=ASK_SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()
    return join(events(server, path, body))


def events(server: RunningServer, path: str, body: dict[str, Any]) -> list[Any]:
    """The chunks of a streamed answer."""
    options = {"include_usage": True, **(body.get("stream_options") or {})}
    streamed = {**body, "stream": True, "stream_options": options}
    answer = httpx.post(f"{server.url}{path}", json=streamed, timeout=ASK_SECONDS)
    assert answer.status_code == 200, answer.text
    *lines, last = [line for line in answer.text.split("\n\n") if line]
    assert last == "data: [DONE]", last
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def refusal(server: RunningServer, path: str, body: dict[str, Any]) -> Any:
    """The error of a request that must be refused as wrong."""
    answer = httpx.post(f"{server.url}{path}", json=body, timeout=ASK_SECONDS)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def join(chunks: list[Any]) -> Any:
    """The whole answer that chunks tell."""
    whole: dict[str, Any] = {"choices": [], "usage": chunks[-1]["usage"]}
    for chunk in chunks:
        whole |= {name: chunk[name] for name in _ONCE if name in chunk}
        for part in chunk["choices"]:
            while len(whole["choices"]) <= part["index"]:
                whole["choices"].append({"logprobs": None})
            _add(whole["choices"][part["index"]], part)
    return whole


_ONCE = ("prompt_logprobs", "prompt_token_ids")


def _add(choice: dict[str, Any], part: dict[str, Any]) -> None:
    if "delta" in part:
        _add_delta(choice.setdefault("message", {"content": None}), part["delta"])
    else:
        choice["text"] = choice.get("text", "") + part["text"]
    for name in ("finish_reason", "stop_reason", *_ONCE):
        if part.get(name) is not None:
            choice[name] = part[name]
    choice["token_ids"] = choice.get("token_ids", []) + part.get("token_ids", [])
    if logprobs := part.get("logprobs"):
        joined = choice["logprobs"] = choice["logprobs"] or {}
        for name, values in logprobs.items():
            joined[name] = (joined.get(name) or []) + values if values is not None else None


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("content", "reasoning", "reasoning_content"):
        if name in delta:
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls", []):
        calls = message.setdefault("tool_calls", [])
        if "id" in call:
            assert call["index"] == len(calls)
            function = {"name": call["function"]["name"], "arguments": ""}
            calls.append({"id": call["id"], "type": call["type"], "function": function})
        more = call.get("function", {}).get("arguments", "")
        calls[call["index"]]["function"]["arguments"] += more
