"""A server that other machines can reach is never open by mistake."""

import re

import httpx

from tests.servers import running_server

ANYWHERE = ("--engine", "simulated", "--host", "0.0.0.0")


def test_without_a_key_it_makes_one_tells_it_once_and_requires_it() -> None:
    with running_server(*ANYWHERE) as server:
        url = f"{server.url}/v1/models"
        made = re.findall(r"sk-[\w-]{40,}", server.log)
        assert len(made) == 1
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer sk-guess"}).status_code == 401
        assert httpx.get(url, headers={"authorization": f"Bearer {made[0]}"}).status_code == 200
        log = server.log
    assert log.count(made[0]) == 1


def test_a_key_of_the_operator_is_required_and_never_shown() -> None:
    key = "sk-chosen-by-the-operator"
    with running_server(*ANYWHERE, environment={"INFERNEO_API_KEY": key}) as server:
        url = f"{server.url}/v1/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": f"bearer {key}"}).status_code == 200
    assert key not in server.log
