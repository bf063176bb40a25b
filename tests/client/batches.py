"""Receives a batch of requests; runs it sync, on asyncio and on trio; hands on its answers."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import trio

from inferneo_client import AsyncInferneo, Inferneo

SECONDS = 60.0
REQUESTS = [{"messages": [{"role": "user", "content": f"word {n}"}]} for n in range(12)]


class Way(NamedTuple):
    """One way to run a batch."""

    name: str
    run: Callable[..., list[Any]]


def run_sync(url: str, requests: Any, **options: Any) -> list[Any]:
    with Inferneo(base_url=url, max_retries=0) as client:
        answers: list[Any] = client.batch(requests, **options)
        return answers


async def _async(url: str, requests: Any, options: dict[str, Any]) -> list[Any]:
    async with AsyncInferneo(base_url=url, max_retries=0) as client:
        answers: list[Any] = await client.batch(requests, **options)
        return answers


WAYS = [
    Way("sync", run_sync),
    Way("asyncio", lambda url, requests, **more: asyncio.run(_async(url, requests, more))),
    Way("trio", lambda url, requests, **more: trio.run(_async, url, requests, more)),
]


def text(answer: Any) -> str:
    content: str = answer.choices[0].message.content
    return content


def answers_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()[1:]]
