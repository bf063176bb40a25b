"""Proves that commands change who may do what while a server runs, over HTTP and WebSocket."""

import contextlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from inferneo_server.cli import main
from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server
from tests.survival.frames import RawSocket

CHAT = "/v1/chat/completions"
SECRET = "an issuer's secret of 32 bytes or more"
BODY = {"messages": [{"role": "user", "content": "Count"}], "max_tokens": 3}
# A change counts within a second; a busy machine answers late.
SOON_SECONDS = 3.0


class Place:
    """A server and the folder of its keys.

    Attributes:
        server: the server, in a process of its own.
        root: a key that may do everything, of the first command.
    """

    def __init__(self, server: RunningServer, state_dir: Path, root: str) -> None:
        self.server = server
        self.root = root
        self._state_dir = state_dir

    def command(self, *arguments: str) -> str:
        return command(self._state_dir, *arguments)

    def create(self, name: str, *arguments: str) -> str:
        """A new key, which counts by now."""
        key = self.command("create", name, *arguments)
        wait_until(lambda: self.get("/v1/models", key) != 401, seconds=SOON_SECONDS)
        return key

    def get(self, path: str, key: str | None) -> int:
        return httpx.get(f"{self.server.url}{path}", headers=bearer(key), timeout=30).status_code

    def post(self, path: str, key: str | None, body: Any = BODY) -> httpx.Response:
        url = f"{self.server.url}{path}"
        return httpx.post(url, headers=bearer(key), json=body, timeout=30)


def bearer(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def command(state_dir: Path, *arguments: str) -> str:
    """What a command prints. It runs in this process, which is another one than the server's."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main(["keys", *arguments, "--state-dir", str(state_dir)])
    assert end.value.code == 0
    return printed.getvalue().strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server that began without keys, and got the first one while it ran."""
    state_dir = tmp_path_factory.mktemp("state")
    environment = {"INFERNEO_STATE_DIR": str(state_dir)}
    with running_server("--engine=simulated", environment=environment) as server:
        assert httpx.get(f"{server.url}/v1/models").status_code == 200
        root = command(state_dir, "create", "root", "--scope", "inference", "--scope", "admin")
        url = f"{server.url}/v1/models"
        wait_until(lambda: httpx.get(url).status_code == 401, seconds=SOON_SECONDS)
        yield Place(server, state_dir, root)
    for secret in (root, "sk-inf-", "eyJ", "Traceback", "ERROR"):
        assert secret not in server.log


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_first_key_closes_an_open_server_within_a_second(place: Place) -> None:
    assert place.get("/v1/models", None) == 401
    assert place.get("/v1/models", place.root) == 200


def test_a_key_of_a_running_server_comes_changes_and_goes(place: Place) -> None:
    key = place.create("comes", "--model", "inferneo-tiny")
    assert place.post(CHAT, key).status_code == 200
    assert place.get("/metrics", key) == 403

    place.command("update", "comes", "--scope", "admin")
    wait_until(lambda: place.get("/metrics", key) == 200, seconds=SOON_SECONDS)
    assert error(place.post(CHAT, key)) == (403, "permission_denied")

    rotated = place.command("rotate", "comes")
    wait_until(lambda: place.get("/metrics", rotated) == 200, seconds=SOON_SECONDS)
    assert place.get("/metrics", key) == 401

    place.command("revoke", "comes")
    wait_until(lambda: place.get("/metrics", rotated) == 401, seconds=SOON_SECONDS)
    assert "revoked" in place.post(CHAT, rotated).json()["error"]["message"]


def test_a_change_counts_within_a_second(place: Place) -> None:
    key = place.create("quick")
    place.command("revoke", "quick")
    time.sleep(1.0)  # what is promised, and not a wait for a condition
    assert place.get("/v1/models", key) == 401


def test_new_limits_count_without_a_restart(place: Place) -> None:
    key = place.create("limited")
    assert place.post(CHAT, key).status_code == 200
    place.command("update", "limited", "--limit", "max_completion_tokens=2")
    wait_until(lambda: place.post(CHAT, key).status_code == 400, seconds=SOON_SECONDS)


ASKING: dict[str, Any] = {
    CHAT: BODY,
    "/v1/completions": {"prompt": "a", "max_tokens": 1},
    "/v1/embeddings": {"input": "a"},
    "/v1/score": {"text_1": "a", "text_2": "b"},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/tokenize": {"prompt": "a"},
    "/detokenize": {"tokens": [1]},
    "/v1/responses": {"input": "a"},
    "/v1/responses/input_tokens": {"input": "a"},
    "/v1/messages": {"max_tokens": 1, "messages": [{"role": "user", "content": "a"}]},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "a"}]},
}


@pytest.fixture(scope="module")
def elsewhere(place: Place) -> str:
    """A key for another model than the one that is there."""
    return place.create("elsewhere", "--model", "another")


@pytest.mark.parametrize("model", [None, "inferneo-tiny", "nowhere"])
@pytest.mark.parametrize("path", ASKING)
def test_a_model_that_a_key_may_not_use_is_refused_on_each_route(
    place: Place, elsewhere: str, path: str, model: str | None
) -> None:
    named = {} if model is None and "messages" not in path else {"model": model or "inferneo-tiny"}
    answer = place.post(path, elsewhere, ASKING[path] | named)

    assert answer.status_code == 403, answer.text
    # Nothing that is there is told, of what is not there nothing else.
    assert answer.json()["error"]["message"] == (
        f"Your key may not use the model '{model or 'inferneo-tiny'}'"
    )


def test_models_that_a_key_may_not_use_are_hidden(place: Place, elsewhere: str) -> None:
    url = f"{place.server.url}/v1/models"

    assert httpx.get(url, headers=bearer(elsewhere)).json()["data"] == []
    assert len(httpx.get(url, headers=bearer(place.root)).json()["data"]) == 1
    for name in ("inferneo-tiny", "nowhere"):
        answer = httpx.get(f"{url}/{name}", headers=bearer(elsewhere))
        assert error(answer) == (403, "model_not_allowed")


def test_a_socket_asks_for_the_scope_and_the_model_too(place: Place, elsewhere: str) -> None:
    admin = place.create("only-admin", "--scope", "admin")
    with RawSocket(place.server, CHAT, f"Authorization: Bearer {admin}") as socket:
        assert socket.status == 403
        assert json.loads(socket.body)["error"]["code"] == "permission_denied"
    with RawSocket(place.server) as socket:
        socket.send({"type": "auth", "api_key": admin})
        assert socket.read()["error"]["code"] == "permission_denied"
        assert socket.closed().code == 1008
    with RawSocket(place.server, CHAT, f"Authorization: Bearer {elsewhere}") as socket:
        socket.send(BODY)
        refused = socket.read()
        assert (refused["status"], refused["error"]["code"]) == (403, "model_not_allowed")


def test_an_open_socket_of_a_revoked_key_begins_nothing_more(place: Place) -> None:
    key = place.create("socket")
    token = place.post("/v1/tokens", key, {}).json()["token"]
    sockets = [
        RawSocket(place.server, CHAT, f"Authorization: Bearer {credential}")
        for credential in (key, token)
    ]
    for socket in sockets:
        socket.send(BODY)
        assert socket.read()["object"] == "chat.completion"
    place.command("revoke", "socket")
    wait_until(lambda: place.get("/v1/models", key) == 401, seconds=SOON_SECONDS)
    for socket in sockets:
        with socket:
            socket.send({**BODY, "request_id": 1})
            refused = socket.read()
            assert (refused["status"], refused["request_id"]) == (401, 1)
            assert "revoked" in refused["error"]["message"]


def test_a_socket_takes_newer_credentials_of_the_same_owner(place: Place) -> None:
    key, other = place.create("renews"), place.create("stranger")
    with RawSocket(place.server, CHAT, f"Authorization: Bearer {key}") as socket:
        socket.send({"type": "auth", "api_key": other, "request_id": 1})
        assert socket.read()["status"] == 401
        socket.send({"type": "auth", "api_key": "sk-wrong", "request_id": 2})
        assert socket.read()["status"] == 401
        renewed = place.command("rotate", "renews")
        wait_until(lambda: place.get("/v1/models", renewed) == 200, seconds=SOON_SECONDS)
        socket.send({"type": "auth", "api_key": renewed, "request_id": 3})
        assert socket.read() == {"type": "authenticated", "request_id": 3}
        socket.send(BODY)
        assert socket.read()["object"] == "chat.completion"


def test_a_token_is_narrowed_and_never_wider_than_its_key(place: Place) -> None:
    key = place.create("mints", "--scope", "inference", "--scope", "admin", "--model", "another")

    def minted(**fields: Any) -> str:
        answer = place.post("/v1/tokens", key, fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    assert place.get("/metrics", minted()) == 403
    assert place.get("/metrics", minted(scopes=["admin"])) == 200
    assert place.get("/v1/models", minted(scopes=["admin"])) == 403
    assert error(place.post(CHAT, minted(models=["another"]))) == (403, "model_not_allowed")
    for fields, code in [
        ({"models": ["inferneo-tiny"]}, "model_not_allowed"),
        ({"models": ["another", "inferneo-tiny"]}, "model_not_allowed"),
    ]:
        assert error(place.post("/v1/tokens", key, fields)) == (403, code)
    plain = place.create("plain")
    refused = place.post("/v1/tokens", plain, {"scopes": ["inference", "admin"]})
    assert error(refused) == (403, "permission_denied")
    assert refused.json()["error"]["param"] == "scopes"
    wrongs: list[dict[str, Any]]
    wrongs = [{"scopes": []}, {"scopes": ["root"]}, {"models": []}, {"models": "another"}]
    for wrong in wrongs:
        assert place.post("/v1/tokens", key, wrong).status_code == 400
    assert place.post("/v1/tokens", minted(), {}).status_code == 401


def test_the_logs_tell_who_and_audit_what_administrators_do(place: Place) -> None:
    key = place.create("told", "--scope", "admin")
    key_id = json.loads(place.command("show", "told", "--json"))["id"]
    who = f"key_{key_id}/told"
    assert place.get("/v1/usage/all", key) == 200
    assert place.get("/v1/usage/all?%0aAUDIT=forged", key) == 200
    assert place.get("/v1/usage%0aforged", key) == 404
    plain = place.create("spy")
    assert place.get("/v1/usage/all", plain) == 403
    wait_until(lambda: "GET /v1/usage/all 403" in place.server.log)
    log = place.server.log

    assert f"AUDIT who='{who}' what='GET /v1/usage/all' outcome='200'" in log
    assert "/spy' what='GET /v1/usage/all' outcome='403'" in log
    assert f"key {key_id} (told) was made" in log
    assert any("GET /v1/usage/all 200" in line and line.endswith(who) for line in log.splitlines())
    assert "\nforged" not in log and "GET /v1/usage%0aforged 404" in log
    assert "what='GET /metrics'" not in log


def test_an_issuers_token_opens_what_its_claims_say(tmp_path: Path) -> None:
    def token(**claims: Any) -> str:
        claims = {"sub": "ann", "exp": int(time.time()) + 60, "iss": "us"} | claims
        return jwt.encode(claims, SECRET, "HS256")

    config = tmp_path / "config.yaml"
    config.write_text("engine: simulated\njwt:\n  issuer: us\n")
    environment = {"INFERNEO_JWT__SECRET": SECRET}
    with running_server("--config", str(config), environment=environment) as server:
        place = Place(server, tmp_path, "")
        assert place.get("/v1/models", None) == 401
        assert place.post(CHAT, token()).status_code == 200
        assert place.get("/metrics", token()) == 403
        assert place.get("/metrics", token(scope="admin")) == 200
        assert place.get("/v1/models", token(iss="them")) == 401
        assert error(place.post(CHAT, token(models=["x"]))) == (403, "model_not_allowed")
        # It is no key, so that it makes no token, and it stands in no URL.
        assert place.post("/v1/tokens", token(), {}).status_code == 401
        assert place.get(f"/v1/streams/x?token={token()}", None) == 401
        with RawSocket(server) as socket:
            socket.send({"type": "auth", "token": token()}, BODY)
            assert socket.read() == {"type": "authenticated"}
            assert socket.read()["object"] == "chat.completion"
        soon = token(exp=int(time.time()) - 8)  # within the leeway, for two seconds
        with RawSocket(server, CHAT, f"Authorization: Bearer {soon}") as socket:
            assert socket.status == 101

            def over() -> bool:
                socket.send(BODY)
                return bool(socket.read().get("status") == 401)

            wait_until(over)
            socket.send({"type": "auth", "token": token()}, BODY)
            assert socket.read() == {"type": "authenticated"}
            assert socket.read()["object"] == "chat.completion"
    assert SECRET not in server.log and "eyJ" not in server.log


def test_a_key_of_the_file_keeps_another_from_being_made(tmp_path: Path) -> None:
    key = command(tmp_path, "create", "ann")
    environment = {"INFERNEO_STATE_DIR": str(tmp_path)}
    with running_server("--engine=simulated", "--host=0.0.0.0", environment=environment) as server:
        assert "No key is set" not in server.log
        assert "Bearer $INFERNEO_API_KEY" in server.log
        place = Place(server, tmp_path, key)
        assert (place.get("/v1/models", None), place.get("/v1/models", key)) == (401, 200)
