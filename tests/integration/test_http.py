"""What any HTTP client sees: status routes, errors, ids, the form of a stream, order, keys."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from html.parser import HTMLParser
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inferneo_core import Event, EventDecoder
from tests.integration.sockets import connect, exchange, request
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "What is Inferneo?"}], "max_tokens": 8}
MAX_BODY_BYTES = 2048
FIXED_ROUTES = [
    "/docs/openapi.json",
    "/docs/openapi.yaml",
    "/docs/openapi.yml",
    "/v1/models/a/model/with/slashes",
]
PUBLIC_ROUTES = ["/", "/health", "/api/v1/health", "/ready"]
PAGES = ["/docs", "/openapi.json"]


@pytest.fixture
def http(simulated_server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulated_server.url, timeout=60) as client:
        yield client


def events(body: bytes) -> list[Event]:
    return EventDecoder().feed(body)


def code(answer: httpx.Response) -> str:
    """The error's code, of an answer in OpenAI's shape."""
    body = answer.json()
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["detail"] == body["error"]["message"]
    found: str = body["error"]["code"]
    return found


def counted(http: httpx.Client, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(http.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_the_front_page_says_what_this_is(http: httpx.Client) -> None:
    assert http.get("/").json() == {
        "name": "Inferneo",
        "version": version("inferneo-server"),
        "models": ["inferneo-tiny"],
        "docs": "/docs",
    }


def test_health_tells_of_the_process_and_of_its_model(server: RunningServer) -> None:
    answer = httpx.get(f"{server.url}/health")
    body = answer.json()
    told = datetime.fromisoformat(body.pop("timestamp"))
    assert re.fullmatch(r"[\d.]+GB/[\d.]+GB", body.pop("memory_usage"))
    assert body.pop("active_connections") > 0
    assert isinstance(body.pop("gpus"), int) and isinstance(body.pop("nvidia_5090"), bool)
    assert answer.status_code == 200
    assert told.utcoffset() == timedelta(0)
    assert body == {
        "status": "healthy",
        "version": version("inferneo-server"),
        "initialized": True,
        "model_loaded": True,
        "model": "inferneo-tiny",
    }


def test_a_server_whose_model_is_loaded_is_ready(server: RunningServer) -> None:
    answer = httpx.get(f"{server.url}/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_metrics_count_requests_by_route_method_and_status(http: httpx.Client) -> None:
    labels = {"route": CHAT, "method": "POST", "status": "200"}
    requests = counted(http, "inferneo_requests_total", **labels)
    durations = counted(http, "inferneo_request_seconds_count", route=CHAT)
    tokens = counted(http, "inferneo_completion_tokens_total")
    http.post(CHAT, json=ASKED).raise_for_status()
    assert counted(http, "inferneo_requests_total", **labels) == requests + 1
    assert counted(http, "inferneo_request_seconds_count", route=CHAT) == durations + 1
    assert counted(http, "inferneo_completion_tokens_total") == tokens + 8


def test_metrics_are_told_in_prometheus_text_format(http: httpx.Client) -> None:
    assert http.get("/metrics").headers["content-type"].startswith("text/plain; version=")


def test_paths_that_nobody_serves_share_one_label(http: httpx.Client) -> None:
    before = counted(http, "inferneo_requests_total", route="unknown")
    for path in ("/nowhere", "/elsewhere"):
        assert code(http.get(path)) == "not_found"
    assert counted(http, "inferneo_requests_total", route="unknown") == before + 2
    assert "nowhere" not in http.get("/metrics").text


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_documentation_loads_nothing_from_another_host(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    links = _Links()
    links.feed(page.text)
    assets = [link for link in links.found if not link.startswith("data:")]
    assert {asset.rpartition(".")[2] for asset in assets} == {"css", "js"}
    for asset in assets:
        assert asset.startswith("docs/assets/")
        assert http.get(asset).status_code == 200
    styles = [http.get(asset).text for asset in assets if asset.endswith(".css")]
    for reference in re.findall(r"(?:@import|url\()\s*['\"]?([^'\")\s]+)", " ".join(styles)):
        assert reference.startswith("data:")


def test_openapi_describes_each_route_and_its_body(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert document["paths"].keys() >= {
        "/",
        "/health",
        "/metrics",
        "/ready",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/models",
        "/v1/models/{model_id}",
        "/v1/responses",
        "/v1/streams/{stream_id}",
        "/v1/tokens",
        "/tokenize",
    }
    required = {CHAT: "messages", "/v1/completions": "prompt"}
    for path, field in required.items():
        content = document["paths"][path]["post"]["requestBody"]["content"]
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][name]
        assert field in schema["required"]
        assert {"temperature", "stream", "ignore_eos"} <= schema["properties"].keys()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, {"POST", "OPTIONS"}),
        ("PUT", "/v1/completions", {"POST", "OPTIONS"}),
        ("DELETE", "/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("HEAD", "/v1/streams/any", {"DELETE", "GET", "OPTIONS"}),
        ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_a_route_does_not_take_is_refused(
    http: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    answer = http.request(method, path)
    assert answer.status_code == 405
    assert method == "HEAD" or code(answer) == "method_not_allowed"
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_options_names_the_methods_of_a_route(http: httpx.Client) -> None:
    answer = http.options(CHAT)
    assert answer.status_code == 204
    assert set(answer.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
    page = http.options("/docs")
    assert (page.status_code, page.headers["allow"]) == (204, "GET, OPTIONS")


@pytest.mark.parametrize(
    "path", ["/", "/ready", "/v1/models", "/metrics", "/docs", "/openapi.json", "/playground"]
)
def test_an_answer_to_head_is_that_to_get_without_its_body(
    simulated_server: RunningServer, path: str
) -> None:
    ending = request("GET", "/ready", connection="close")
    head, _, rest = exchange(simulated_server, request("HEAD", path), ending).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\ncontent-length: 0" not in head and b"\r\ncontent-type: " in head
    assert rest.startswith(b"HTTP/1.1 200 ")
    counted = f'method="HEAD",route="{path}",status="200"'
    assert counted in httpx.get(f"{simulated_server.url}/metrics").text


@pytest.fixture(scope="module")
def small_body_server() -> Iterator[RunningServer]:
    with running_server("--engine=simulated", f"--max-body-bytes={MAX_BODY_BYTES}") as server:
        yield server


@pytest.mark.parametrize("chunked", [False, True], ids=["of known length", "chunked"])
def test_a_body_is_taken_up_to_the_limit_and_refused_beyond_it(
    small_body_server: RunningServer, chunked: bool
) -> None:
    fitting = json.dumps(ASKED).encode().ljust(MAX_BODY_BYTES)
    with httpx.Client(base_url=small_body_server.url, timeout=60) as http:
        for body, status in [(fitting, 200), (fitting + b" ", 413), (fitting * 500, 413)]:
            parts = [body[at : at + 1000] for at in range(0, len(body), 1000)]
            answer = http.post(CHAT, content=iter(parts) if chunked else body)
            assert answer.status_code == status
            if status == 413:
                assert code(answer) == "body_too_large"
                assert answer.headers["x-request-id"]


REFUSED: list[tuple[str, str, bytes, int, str]] = [
    ("POST", CHAT, b'{"messages": ', 400, "invalid_json"),
    ("POST", CHAT, b"", 400, "invalid_json"),
    ("POST", CHAT, b"\xff\xfe", 400, "invalid_json"),
    ("POST", CHAT, b'{"chat_template_kwargs": {"a": ' + b"[" * 100_000, 400, "invalid_json"),
    ("POST", CHAT, b'{"nothing_we_know": ' + b"[" * 100_000, 400, "invalid_json"),
    ("POST", CHAT, b"[]", 400, "invalid_request_error"),
    ("POST", CHAT, b'{"messages": []}', 400, "invalid_request_error"),
    ("POST", CHAT, b'{"messages": [{"role": "user"}], "model": "gpt"}', 404, "model_not_found"),
    ("POST", "/v1/completions", b'{"prompt": ["a", 1]}', 400, "invalid_request_error"),
    ("GET", "/v1/models/nobodys/model", b"", 404, "model_not_found"),
    ("GET", "/nowhere", b"", 404, "not_found"),
    ("GET", "/docs/assets/../../etc/passwd", b"", 404, "not_found"),
    ("GET", "/docs/assets/%2e%2e/%2e%2e/etc/passwd", b"", 404, "not_found"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "expected"), REFUSED, ids=map(str, range(len(REFUSED)))
)
def test_an_error_has_a_code_and_an_id_and_tells_nothing_of_the_inside(
    http: httpx.Client, method: str, path: str, body: bytes, status: int, expected: str
) -> None:
    answer = http.request(method, path, content=body, headers={"x-request-id": "mine"})
    assert (answer.status_code, code(answer)) == (status, expected)
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["content-type"] == "application/json"
    for word in ("Traceback", ".py", "site-packages", "Error("):
        assert word not in answer.text


@pytest.mark.parametrize("path", [*PUBLIC_ROUTES, "/metrics", "/v1/models", "/nowhere"])
def test_every_answer_has_an_id_of_its_own(http: httpx.Client, path: str) -> None:
    ids = {http.get(path).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", each) for each in ids)


@pytest.mark.parametrize("stream", [False, True])
def test_a_sound_id_of_the_client_comes_back(http: httpx.Client, stream: bool) -> None:
    sound = "trace-42/" + "x" * 119
    answer = http.post(CHAT, json={**ASKED, "stream": stream}, headers={"x-request-id": sound})
    assert answer.headers.get_list("x-request-id") == [sound]


@pytest.mark.parametrize("unsound", ["", "two words", "x" * 129, "tab\there", "\xe4"])
def test_an_unsound_id_of_the_client_is_replaced(
    simulated_server: RunningServer, unsound: str
) -> None:
    sent = request("GET", "/ready", x_request_id=unsound, connection="close")
    head = exchange(simulated_server, sent).partition(b"\r\n\r\n")[0].decode("latin-1")
    assert re.findall(r"(?mi)^x-request-id: (.*?)\r?$", head) != [unsound]
    assert re.search(r"(?mi)^x-request-id: req_[0-9a-f]{32}\r?$", head)


def test_a_stream_says_that_it_is_one(server: RunningServer) -> None:
    answer = httpx.post(f"{server.url}{CHAT}", json={**ASKED, "stream": True}, timeout=60)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_stream_is_one_chunk_of_json_for_each_event_and_then_done(
    server: RunningServer, path: str
) -> None:
    body = {**ASKED, "prompt": "Inferneo is", "stream": True, "ignore_eos": True}
    answer = httpx.post(f"{server.url}{path}", json=body, timeout=60)
    *chunks, done = events(answer.content)
    assert done == Event(data="[DONE]")
    decoded = [json.loads(chunk.data) for chunk in chunks]
    assert len({chunk["id"] for chunk in decoded}) == 1
    assert [choice["finish_reason"] for chunk in decoded for choice in chunk["choices"]].count(
        "length"
    ) == 1
    assert decoded[-1]["choices"][0]["finish_reason"] == "length"


def test_requests_in_a_pipeline_are_answered_in_order(server: RunningServer) -> None:
    last = request("GET", "/nowhere", x_request_id="3", connection="close")
    answers = exchange(
        server,
        request("POST", CHAT, {**ASKED, "stream": True}, x_request_id="1"),
        request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 4}, x_request_id="2"),
        last,
    )
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"404"]
    assert re.findall(rb"(?m)^x-request-id: (\d)", answers) == [b"1", b"2", b"3"]
    assert answers.index(b"data: [DONE]") < answers.index(b"text_completion")


def test_a_connection_serves_one_request_after_another(simulated_server: RunningServer) -> None:
    with connect(simulated_server) as connection, connection.makefile("rb") as answers:
        for number in range(3):
            connection.sendall(request("GET", "/ready", x_request_id=str(number)))
            head: dict[str, str] = {}
            assert answers.readline().startswith(b"HTTP/1.1 200 ")
            while line := answers.readline().decode().strip():
                name, _, value = line.partition(": ")
                head[name] = value
            assert head["x-request-id"] == str(number)
            assert json.loads(answers.read(int(head["content-length"]))) == {"status": "ready"}


def test_comments_keep_a_silent_stream_alive(slow_server: RunningServer) -> None:
    body = {**ASKED, "stream": True}
    with httpx.stream("POST", f"{slow_server.url}{CHAT}", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        first = [next(lines) for _ in range(8)]
    assert json.loads(first[0].removeprefix("data: "))["choices"][0]["delta"]["content"] == ""
    assert [line for line in first[1:] if line] == [": keep-alive"] * 3
    wait_running(slow_server, 0)


@pytest.mark.parametrize("credentials", [None, "", "Bearer", "Bearer wrong", "Basic sk-test"])
def test_every_route_but_the_public_ones_wants_the_key(
    keyed_server: RunningServer, key: str, credentials: str | None
) -> None:
    headers = {} if credentials is None else {"authorization": credentials}
    with httpx.Client(base_url=keyed_server.url, headers=headers, timeout=30) as http:
        routes = described(http, key) + [("GET", path) for path in [*FIXED_ROUTES, *PAGES]]
        closed = [(method, path) for method, path in routes if path not in PUBLIC_ROUTES]
        assert ("POST", CHAT) in closed and ("GET", "/metrics") in closed
        for method, path in closed:
            answer = http.request(method, path)
            assert answer.status_code == 401, path
            page = path.startswith(tuple(PAGES))
            scheme = "Basic" if page else "Bearer"
            assert answer.headers["www-authenticate"].split()[0] == scheme
            if path.startswith("/api/v1"):
                assert answer.json()["error"]["code"] == "AUTHENTICATION_FAILED"
            elif path.startswith("/v1/messages"):
                assert answer.json()["error"]["type"] == "authentication_error"
            else:
                assert code(answer) == "invalid_api_key", path
        for path in [*PUBLIC_ROUTES, "/docs/assets/swagger-ui.css"]:
            assert http.get(path).status_code == 200


def test_the_key_opens_every_route(keyed_server: RunningServer, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=keyed_server.url, headers=headers, timeout=30) as http:
        for method, path in described(http, key) + [
            ("GET", path) for path in [*FIXED_ROUTES, *PAGES]
        ]:
            assert http.request(method, path).status_code != 401
        assert http.post(CHAT, json=ASKED).status_code == 200


def described(http: httpx.Client, key: str) -> list[tuple[str, str]]:
    """Method and path of each route that `/openapi.json` describes."""
    paths: dict[str, dict[str, Any]] = http.get(
        "/openapi.json", headers={"authorization": f"Bearer {key}"}
    ).json()["paths"]
    return [
        (method.upper(), path.replace("{model_id}", "inferneo-tiny"))
        for path, operations in paths.items()
        for method in operations
    ]
