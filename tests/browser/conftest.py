"""Receives Chromium as the system has it; hands on one browser, pages of it, and their servers."""

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, sync_playwright

from tests.browser.playground import Playground
from tests.browser.proxy import Proxy
from tests.servers import RunningServer, running_server

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "These tests need Chromium, and there is none on the PATH. On Debian and Ubuntu: "
    "apt-get install -y chromium"
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    # No name leads anywhere: what a page wants from another host, it does not get.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
KEY = "sk-schlüssel"
WORDS = 150  # three seconds, which is time enough for a busy machine to be in mid-answer

# What Chromium itself says of a connection that a test has cut, or of a key that is wrong.
_NETWORK = re.compile(r"Failed to load resource|WebSocket connection to .* failed")

OpenPage = Callable[..., Playground]


# Of the package, and not of the session: Playwright keeps an event loop running in this thread,
# under which the tests of other folders could not run theirs.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.fail(MISSING, pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes windows with nothing in their memory; what goes wrong in their pages fails the test."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _NETWORK.match(message.text):
            wrong.append(message.text)

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.on("console", note)
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def open_page(new_context: Callable[..., BrowserContext]) -> OpenPage:
    """Opens the playground of a server in a window of its own."""

    def open_page(url: str, **options: Any) -> Playground:
        playground = Playground(new_context(**options).new_page())
        playground.page.goto(f"{url}/playground")
        return playground

    return open_page


@pytest.fixture(scope="package")
def writing_server() -> Iterator[RunningServer]:
    """Answers of `WORDS` words, which take a while."""
    arguments = f'{{"token_seconds": 0.02, "words": {WORDS}}}'
    with running_server("--engine=simulated", "--engine-args", arguments) as server:
        yield server


@pytest.fixture(scope="package")
def keyed_server() -> Iterator[RunningServer]:
    """A server that wants `KEY`."""
    with running_server("--engine=simulated", f"--api-key={KEY}") as server:
        yield server


@pytest.fixture
def proxy(writing_server: RunningServer) -> Iterator[Proxy]:
    """An address of `writing_server` whose connections can be cut."""
    with Proxy(writing_server.url) as proxy:
        yield proxy
