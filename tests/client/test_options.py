"""Proves that a client refuses options that cannot be when it gets them, and shows no key."""

from typing import Any

import pytest

from inferneo_client import AsyncInferneo, Inferneo, Retry, Timeout
from inferneo_client.types.chat import ChatCompletion

URL = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize("kind", [Inferneo, AsyncInferneo])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"base_url": "127.0.0.1:8000/v1"}, "base_url is '127.0.0.1:8000/v1'"),
        ({"base_url": "ftp://a/v1"}, "must begin with http:// or https://"),
        ({"timeout": -1}, "timeout: total is -1"),
        ({"timeout": float("nan")}, "timeout: total is nan"),
        ({"max_retries": -1}, "max_retries is -1"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(
    kind: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        kind(**{"base_url": URL, **options})


def test_each_time_and_number_has_its_bound() -> None:
    with pytest.raises(ValueError, match="idle is 0"):
        Timeout(idle=0)
    with pytest.raises(ValueError, match="attempts is 0, and must be 1 or more"):
        Retry(attempts=0)
    assert (Timeout(total=None).total, Retry(delay=0).delay) == (None, 0)


def test_a_client_shows_its_address_and_not_its_key() -> None:
    with Inferneo(base_url=URL, api_key="secret") as client:
        assert repr(client) == f"Inferneo(base_url='{URL}')"
        with pytest.raises(ValueError, match="max_retries"):
            client.with_options(max_retries=-5)


def test_an_answer_shows_what_came_and_nothing_else() -> None:
    assert repr(ChatCompletion(id="a", model="m")) == "ChatCompletion(id='a', model='m')"
