"""Proves that a browser is told what the server's pages may do, and to keep no token."""

import re

import httpx
import pytest

from tests.servers import RunningServer

PAGES = ["/playground", "/docs", "/docs/nothing"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_its_own_scripts_alone_and_is_framed_by_nobody(
    simulated_server: RunningServer, path: str
) -> None:
    answer = httpx.get(simulated_server.url + path)
    policy = dict(
        part.strip().split(" ", 1)
        for part in answer.headers["content-security-policy"].split(";")
        if part.strip()
    )
    scripts = policy.get("script-src", policy["default-src"])
    assert "unsafe" not in scripts and "*" not in scripts and "http" not in scripts
    assert policy["default-src"] in ("'none'", "'self'")
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_what_pages_load_is_of_the_kind_that_it_says(simulated_server: RunningServer) -> None:
    for page in ("/playground", "/docs"):
        html = httpx.get(simulated_server.url + page).text
        for path in re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', html):
            answer = httpx.get(simulated_server.url + path)
            assert answer.status_code == 200, path
            assert answer.headers["x-content-type-options"] == "nosniff", path
            assert answer.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")


def test_a_token_is_kept_by_nobody_on_the_way(simulated_server: RunningServer) -> None:
    answer = httpx.post(f"{simulated_server.url}/v1/tokens", json={})
    assert answer.headers["cache-control"] == "no-store"


def test_pages_of_other_origins_may_call_nothing_unless_they_are_named(
    simulated_server: RunningServer,
) -> None:
    for method in ("GET", "OPTIONS", "POST"):
        headers = {
            "Origin": "https://elsewhere.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        answer = httpx.request(method, f"{simulated_server.url}/v1/models", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_the_documentation_answers_options_and_describes_no_page_of_its_own(
    simulated_server: RunningServer,
) -> None:
    assert httpx.options(f"{simulated_server.url}/docs").status_code == 204
    paths = httpx.get(f"{simulated_server.url}/openapi.json").json()["paths"]
    assert not [path for path in paths if path.startswith("/docs")]
