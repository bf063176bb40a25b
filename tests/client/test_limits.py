"""What the client tells of rate limits, usage and tokens, by our own server and by headers."""

from collections.abc import Iterator

import pytest

from inferneo_client import (
    ApiError,
    AsyncInferneo,
    Inferneo,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    Retry,
)
from inferneo_client.types.response import Allowance, rate_limits
from tests.client.flavours import MESSAGES
from tests.client.scripted import ScriptedServer, whole
from tests.servers import RunningServer, running_server

ONCE = Retry(attempts=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def limited_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    file = tmp_path_factory.mktemp("limits") / "config.yaml"
    file.write_text("default_limits: {requests_per_minute: 6, tokens_per_day: 100000}\n")
    with running_server("--engine=simulated", "--api-key=right", f"--config={file}") as server:
        yield server


def test_what_is_left_is_told_with_every_answer(limited_server: RunningServer) -> None:
    with Inferneo(base_url=f"{limited_server.url}/v1", api_key="right", retry=ONCE) as client:
        first = client.chat.completions.create(messages=MESSAGES, max_tokens=3)
        stream = client.chat.completions.create(messages=MESSAGES, max_tokens=3, stream=True)
        list(stream)
        with client.connect() as session:
            told = session.chat.completions.create(messages=MESSAGES, max_tokens=3, stream=True)
            list(told)

        assert first.response is not None
        left = [each.limits.requests for each in (first.response, stream.response, told.response)]
        assert [item and (item.limit, item.remaining) for item in left] == [(6, 5), (6, 4), (6, 3)]
        assert all(item and 0 < (item.reset_seconds or 0) <= 60 for item in left)
        tokens = told.response.limits.tokens
        assert tokens and tokens.limit == 100_000 and (tokens.remaining or 0) < 100_000

        with pytest.raises(RateLimited) as raised:
            for _ in range(6):
                client.chat.completions.create(messages=MESSAGES, max_tokens=3)
        assert raised.value.retry_after is not None and 0 < raised.value.retry_after <= 60
        assert f"again in {raised.value.retry_after:g} s" in raised.value.message

        report = client.usage.retrieve(group_by=["model"])
        assert report.total.requests == report.data[0].requests >= 6
        assert client.usage.all().data[0].owner


@pytest.mark.anyio
async def test_a_token_counts_as_its_key(limited_server: RunningServer) -> None:
    url = f"{limited_server.url}/v1"
    async with AsyncInferneo(base_url=url, api_key="right") as client:
        token = await client.tokens.create(seconds=60)
        async with AsyncInferneo(base_url=url, api_key=token.token) as other:
            assert len(await other.models.list()) == 1
            assert (await other.usage.retrieve()).total.requests >= 0
    assert token.expires_at > 1_700_000_000


def failing(status: int, code: str, **headers: str) -> bytes:
    body = b'{"error": {"message": "No", "type": "t", "param": null, "code": "%b"}}' % code.encode()
    return whole(status, body, **headers)


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable", "told"),
    [
        (403, "permission_denied", PermissionDenied, False, "lacks a scope"),
        (429, "rate_limit_exceeded", RateLimited, True, "again in 2.5 s"),
        (429, "insufficient_quota", QuotaExceeded, False, "or wait for 2.5 s"),
    ],
)
def test_refusals_have_their_classes_and_say_when_to_come_back(
    other: ScriptedServer, status: int, code: str, kind: type[ApiError], retryable: bool, told: str
) -> None:
    headers = {"retry_after_ms": "2500"} if status == 429 else {}
    other.answer = failing(status, code, **headers)
    with Inferneo(base_url=other.url, retry=ONCE) as client, pytest.raises(kind) as raised:
        client.completions.create(prompt="a")

    error = raised.value
    assert (error.status, error.code, error.retryable) == (status, code, retryable)
    assert error.retry_after == (2.5 if headers else None)
    assert told in str(error)


def test_a_server_that_says_so_is_not_asked_again(other: ScriptedServer) -> None:
    other.answer = failing(429, "rate_limit_exceeded", x_should_retry="false")
    with Inferneo(base_url=other.url) as client, pytest.raises(RateLimited) as raised:
        client.completions.create(prompt="a")

    assert (raised.value.attempts, raised.value.retryable) == (1, False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("1d", 86_400),
        ("59", 59),
        ("1", 1),
        ("1000000000000", 998_000_000_000),
        ("soon", None),
        ("", None),
    ],
)
def test_a_reset_is_read_however_it_is_written(
    text: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    headers = {"x-ratelimit-limit-tokens": "9", "x-ratelimit-reset-tokens": text}

    found = rate_limits(headers).tokens
    assert found is not None and found.reset_seconds == pytest.approx(seconds)


def test_headers_without_a_unit_are_requests() -> None:
    headers = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "59"}

    assert rate_limits(headers).requests == Allowance(limit=60, remaining=59)
    assert rate_limits({}).requests is None
    assert rate_limits({"x-ratelimit-limit": "\u0663"}).requests == Allowance()
