"""Receives nothing; hands on how the cost of a token grows with its answer's length, in a page.

Streams of 400 and of 4,000 tokens, plain and with all that is worked out token by token: tool
calls, reasoning, logprobs. What costs as much late as early has a growth of 1.
"""

import argparse
import http.client
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from bench.contenders import ENGINE_ARGS, Server, Setup, inferneo, vllm
from bench.processes import cpu_ns, end_by_signal

_ROOT: Final = Path(__file__).parent.parent
_MODEL: Final = _ROOT / "packages/inferneo-server/src/inferneo_server/embedded/inferneo-tiny"
_LENGTHS: Final = (400, 4000)
_STREAMS: Final = 4
_TIMEOUT_S: Final = 120.0
_PARSERS: Final = {
    "inferneo": ("--tool-parser", "hermes", "--reasoning-parser", "deepseek_v3"),
    "vllm": (
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        *("--reasoning-parser", "deepseek_v3"),
    ),
}

# Arguments as long as the answer may become.
_LONG_TEXT: Final = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 30_000}},
    "required": ["text"],
    "additionalProperties": False,
}
_TOOL: Final = {"type": "function", "function": {"name": "write", "parameters": _LONG_TEXT}}

CASES: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain text": {"ignore_eos": True},
    "tools that may be called": {"ignore_eos": True, "tools": [_TOOL]},
    "arguments of a tool call": {
        "ignore_eos": True,
        "tools": [_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "write"}},
    },
    "reasoning": {"ignore_eos": True, "chat_template_kwargs": {"enable_thinking": True}},
    "logprobs, 5 a token": {"ignore_eos": True, "logprobs": True, "top_logprobs": 5},
}

# CPU us per token of one run: by case, contender and length.
Costs = dict[tuple[str, str, int], list[float]]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=_ROOT / "docs")
    options = parser.parse_args()
    end_by_signal()
    with tempfile.TemporaryDirectory(prefix="inferneo-bench-") as logs:
        engine_args = {**ENGINE_ARGS, "max_model_len": 8192}
        setup = Setup(model=_MODEL, engine_args=engine_args, logs=Path(logs))
        costs = measure(setup, options.rounds, say=lambda line: print(line, flush=True))
    lines = list(page(costs, options.rounds))
    print("\n".join(lines))
    (options.output / "benchmarks-growth.md").write_text("\n".join(lines) + "\n")


def measure(setup: Setup, rounds: int, *, say: Callable[[str], None]) -> Costs:
    """Starts both servers and runs all cases, interleaved.

    Raises:
        ContenderFailed: one did not start.
        ValueError: an answer was not as long as was asked for.
    """
    make: Sequence[Callable[..., Server]] = (inferneo, vllm)
    costs: Costs = {}
    with ExitStack() as started:
        servers = []
        for factory in make:
            server = factory(setup, *_PARSERS[factory.__name__])
            started.callback(server.stop)
            server.start()
            servers.append(server)
        for number in range(rounds):
            for case, body in CASES.items():
                for length in _LENGTHS:
                    for server in servers[:: 1 if number % 2 else -1]:
                        cost = _cost(server, {**body, "max_tokens": length}, setup.model.name)
                        costs.setdefault((case, server.name, length), []).append(cost)
                        say(f"{case}, {length} tokens, {server.name}: {cost:.1f} us a token")
    return costs


def _cost(server: Server, body: Mapping[str, Any], model: str) -> float:
    request = msgspec.json.encode(
        {
            **body,
            "model": model,
            "messages": [{"role": "user", "content": "Tell me a long story about a river."}],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    with ThreadPoolExecutor(_STREAMS) as threads:
        _stream(server, request, 0)
        before = cpu_ns(server.pid)
        runs = [
            threads.submit(_stream, server, request, body["max_tokens"]) for _ in range(_STREAMS)
        ]
        tokens = sum(run.result() for run in runs)
        return (cpu_ns(server.pid) - before) / tokens / 1000


def _stream(server: Server, request: bytes, expected: int) -> int:
    """Reads one stream; with nothing expected, its beginning alone."""
    connection = http.client.HTTPConnection(*server.address, timeout=_TIMEOUT_S)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", request, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"{server.name}: {answer.read().decode()}")
        if not expected:
            answer.readline()
            return 0
        usage = b""
        for line in answer:
            if b'"usage":{' in line or b'"usage": {' in line:
                usage = line
        tokens: int = msgspec.json.decode(usage.removeprefix(b"data: "))["usage"][
            "completion_tokens"
        ]
    finally:
        connection.close()
    if tokens != expected:
        raise ValueError(f"{server.name} wrote {tokens} tokens, not {expected}")
    return tokens


def page(costs: Costs, rounds: int) -> Iterator[str]:
    """Writes the page's lines."""
    short, long = _LENGTHS
    yield "# Benchmarks: long answers"
    yield ""
    yield "Written by `make bench`: change `bench/growth.py`, not this page."
    yield ""
    yield (
        f"CPU time of the API process per token of a stream, for answers of {short} and of {long:,}"
        f" tokens, {_STREAMS} streams at once, on {datetime.now(UTC):%Y-%m-%d},"
        f" {platform.machine()}: rounds: {rounds}, of which this is the median, both servers in"
        " turn. **Growth** is what a token of the long answer costs, divided by what one of the"
        " short answer does. The steps of the engine take longer there, and fewer tokens share one:"
        " so plain text grows too, on both, and what a row costs beyond it is its parsing."
    )
    yield ""
    yield (
        f"| answer | Inferneo, {short} | {long:,} | growth | vLLM's server, {short} | {long:,} |"
        " growth | Inferneo / vLLM's, long |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for case in CASES:
        cells, at_length = [], {}
        for name in ("inferneo", "vllm"):
            first, last = (median(costs[case, name, length]) for length in _LENGTHS)
            growth = median(
                b / a
                for a, b in zip(costs[case, name, short], costs[case, name, long], strict=True)
            )
            cells += [f"{first:.0f} us", f"{last:.0f} us", f"{growth:.2f}"]
            at_length[name] = last
        yield (
            f"| {case} | {' | '.join(cells)} | {at_length['inferneo'] / at_length['vllm']:.2f}x |"
        )


if __name__ == "__main__":
    main()
