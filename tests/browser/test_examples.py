"""Proves that the snippets of docs/browser.md run in a browser, as they stand there."""

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from tests.browser.conftest import KEY
from tests.browser.playground import WAIT_MS, uncut
from tests.browser.proxy import Proxy
from tests.servers import RunningServer, running_server

DOCUMENT = Path(__file__).parents[2] / "docs" / "browser.md"
PUBLISHED, EVENTS, WITH_TOKEN = re.findall(
    r"^```javascript\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S
)
QUESTION = "Tell me a story"
MODEL = "meta-llama/Llama-2-7b-chat-hf"
NewContext = Callable[..., BrowserContext]


class Site:
    """A web server of somebody else, whose page holds a snippet."""

    def __init__(self) -> None:
        self.page = b""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(site.page)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def hold(self, snippet: str, url: str, token: str = "unused") -> None:
        """Have the page run a snippet, against this server."""
        assert "localhost:8000" in snippet
        code = snippet.replace("localhost:8000", urlsplit(url).netloc).replace("unused", token)
        icon = '<link rel="icon" href="data:,">'
        self.page = f"<!doctype html>{icon}<script type=module>{code}</script>".encode()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[RunningServer]:
    arguments = '{"token_seconds": 0.02, "words": 100}'
    flags = ("--engine=simulated", "--engine-args", arguments, "--cors-origins", site.origin)
    with running_server(*flags, "--served-model-name", MODEL) as server:
        yield server


class Logged:
    """What a page has written to its console, as one text."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lines: list[str] = []
        page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        # Others are Chromium's own, of a connection that was cut.
        if message.type == "log":
            self._lines.append(message.text)

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def wait(self, text: str) -> None:
        """Wait until all of the text is there, and no more."""
        self._wait(lambda: self.text == text)

    def wait_part(self, text: str) -> None:
        """Wait until there is so much of it."""
        self._wait(lambda: self.text.startswith(text))

    def _wait(self, condition: Callable[[], bool]) -> None:
        if not condition():
            self._page.wait_for_event("console", lambda _: condition(), timeout=WAIT_MS)


def open_site(new_context: NewContext, site: Site) -> tuple[Page, Logged]:
    page = new_context().new_page()
    logged = Logged(page)
    page.goto(site.origin)
    return page, logged


@pytest.mark.parametrize("snippet", [PUBLISHED, EVENTS, WITH_TOKEN], ids=["ws", "sse", "token"])
def test_a_snippet_writes_the_answer(
    new_context: NewContext, site: Site, server: RunningServer, snippet: str
) -> None:
    site.hold(snippet, server.url)
    _, logged = open_site(new_context, site)
    logged.wait(*uncut(server, QUESTION))


def test_an_event_source_comes_back_by_itself(
    new_context: NewContext, site: Site, server: RunningServer
) -> None:
    [answer] = uncut(server, QUESTION)
    with Proxy(server.url) as proxy:
        site.hold(EVENTS, proxy.url)
        page, logged = open_site(new_context, site)
        for part in (answer[: len(answer) // 4], answer[: len(answer) // 2]):
            logged.wait_part(part)
            with page.expect_request("**/v1/streams/*") as again:
                proxy.cut()
            last = again.value.all_headers()["last-event-id"]
            assert int(last.rpartition(":")[2]) > part.count(" ")
        logged.wait(answer)


def test_an_event_source_is_closed_once_it_has_all(
    new_context: NewContext, site: Site, server: RunningServer
) -> None:
    site.hold(EVENTS, server.url)
    page = new_context().new_page()
    page.add_init_script(
        "window.EventSource = class extends EventSource {"
        "constructor(...given) { super(...given); window.made = this; } };"
    )
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(site.origin)
    page.wait_for_function("() => window.made?.readyState === EventSource.CLOSED", timeout=WAIT_MS)
    # One that is left open comes back, and is closed by the server's 204.
    assert len([url for url in requested if "/v1/streams/" in url]) == 1


@pytest.fixture(scope="module")
def closed_server(site: Site) -> Iterator[RunningServer]:
    flags = (f"--api-key={KEY}", "--cors-origins", site.origin)
    with running_server("--engine=simulated", *flags) as server:
        yield server


@pytest.mark.parametrize("snippet", [EVENTS, WITH_TOKEN], ids=["sse", "ws"])
def test_a_token_stands_for_the_key(
    new_context: NewContext, site: Site, closed_server: RunningServer, snippet: str
) -> None:
    made = httpx.post(
        f"{closed_server.url}/v1/tokens",
        json={"seconds": 300},
        headers=[(b"authorization", f"Bearer {KEY}".encode())],
    )
    site.hold(snippet, closed_server.url, made.json()["token"])
    _, logged = open_site(new_context, site)
    logged.wait(*uncut(closed_server, QUESTION, key=KEY))


def test_a_failure_reaches_the_page(new_context: NewContext, site: Site) -> None:
    flags = ("--engine=simulated", "--engine-args=fail_after_tokens=3")
    with running_server(*flags, "--cors-origins", site.origin) as server:
        logs = "(text) => console.log(text));"
        assert EVENTS.count(logs) == 1
        told = "() => {}).catch((error) => console.log(error.message));"
        site.hold(EVENTS.replace(logs, told), server.url)
        _, logged = open_site(new_context, site)
        logged.wait("The engine has died")
