"""Proves how the playground's files are served; what they do is in `tests/browser`."""

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.sockets import exchange, request
from tests.servers import RunningServer, running_server

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FILES = {
    "app.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "": "text/html; charset=utf-8",
}


@pytest.fixture
def http(simulated_server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulated_server.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML;q=0.9, application/json;q=0.8", True),
        ("text/html, application/json", True),
        ("application/json, text/html", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=inf", False),
        ("text/html;q=lots", False),
        ("application/json", False),
        ("*/*", False),
        ("text/*", False),
        ("image/png", False),
        ("", False),
        (";;,,/q=", False),
    ],
)
def test_the_front_page_is_the_playground_for_those_who_prefer_html(
    http: httpx.Client, accept: str, html: bool
) -> None:
    answer = http.get("/", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["cache-control"] == "no-cache"
    if html:
        assert answer.text == http.get("/playground").text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    else:
        assert answer.json()["name"] == "Inferneo"


def test_who_does_not_say_what_it_takes_gets_json(simulated_server: RunningServer) -> None:
    answer = exchange(simulated_server, request("GET", "/", connection="close"))
    assert b"content-type: application/json" in answer


@pytest.mark.parametrize(
    "path", [f"/playground/{name}" for name in FILES if name] + ["/playground"]
)
def test_a_file_is_of_its_type_and_may_load_nothing_from_elsewhere(
    http: httpx.Client, path: str
) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == FILES[(path.split("/") + [""])[2]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = dict(
        part.partition(" ")[::2] for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy == {
        "default-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_the_files_name_no_other_host_and_the_page_has_nothing_inline(http: httpx.Client) -> None:
    page = http.get("/playground").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    linked = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    assert linked >= {"playground/app.js", "playground/style.css", "playground/icon.svg"}
    modules = re.findall(r"from '\./(\w+\.js)'", http.get("/playground/app.js").text)
    assert len(modules) > 3
    for path in linked | {f"playground/{name}" for name in modules}:
        answer = http.get(path)
        assert answer.status_code == 200, path
        if path != "docs":
            addresses = set(re.findall(r"\w+://[^\s\"']+", answer.text))
            assert addresses <= {"http://www.w3.org/2000/svg"}, path


@pytest.mark.parametrize("path", ["/playground/", "/playground/index.html"])
def test_the_page_has_one_address_where_its_links_hold(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.headers["location"]) == (308, "../playground")


@pytest.mark.parametrize("path", ["/", "/playground", "/playground/app.js"])
def test_a_browser_that_has_a_file_is_told_so(http: httpx.Client, path: str) -> None:
    first = http.get(path, headers={"accept": BROWSER})
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = http.get(path, headers={"accept": BROWSER, "if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    changed = http.get(path, headers={"accept": BROWSER, "if-none-match": '"other"'})
    assert (changed.status_code, changed.content) == (200, first.content)


@pytest.mark.parametrize(
    "name", ["nothing.js", "__init__.py", "../app.py", "%2e%2e/app.py", "a/b.js", ".", "%00"]
)
def test_what_is_no_file_of_the_playground_is_not_found(
    simulated_server: RunningServer, name: str
) -> None:
    answer = exchange(simulated_server, request("GET", f"/playground/{name}", connection="close"))
    assert answer.startswith(b"HTTP/1.1 404 ") and b'"not_found"' in answer


def test_the_playground_is_public_and_what_it_calls_is_not() -> None:
    with (
        running_server("--engine=simulated", "--api-key=secret") as server,
        httpx.Client(base_url=server.url) as http,
    ):
        for path in ("/playground", *(f"/playground/{name}" for name in FILES if name)):
            assert http.get(path).status_code == 200
        assert http.get("/", headers={"accept": BROWSER}).status_code == 200
        assert http.get("/v1/models").status_code == 401
