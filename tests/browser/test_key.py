"""Proves that the playground asks for the key that a server wants, and keeps it to itself."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import KEY, OpenPage
from tests.browser.playground import Playground, uncut
from tests.browser.proxy import Proxy
from tests.servers import RunningServer, running_server

QUESTION = "What is Inferneo?"
OTHER_KEY = "sk-other"


def enter(playground: Playground, key: str) -> None:
    field = playground.page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill(key)
    field.press("Enter")


def test_the_key_is_asked_for_once_and_opens_the_chat(
    open_page: OpenPage, keyed_server: RunningServer
) -> None:
    playground = open_page(keyed_server.url)
    expect(playground.page.get_by_role("dialog")).to_contain_text("This server asks for a key")
    enter(playground, KEY)
    expect(playground.page.get_by_role("dialog")).to_be_hidden()
    expect(playground.prompt).to_be_focused()
    playground.ask(QUESTION)
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(keyed_server, QUESTION, key=KEY))
    assert playground.sent[0] == {"type": "auth", "api_key": KEY}
    assert "api_key" not in playground.sent[1]
    playground.page.reload()
    expect(playground.model).to_be_enabled()
    expect(playground.page.get_by_role("dialog")).to_be_hidden()


def test_a_wrong_key_is_told_of_until_the_right_one_comes(
    open_page: OpenPage, keyed_server: RunningServer
) -> None:
    playground = open_page(keyed_server.url)
    dialog = playground.page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_have_text("")
    for wrong in ("sk-wrong", "sk-\u0007", "\U0001f525"):
        enter(playground, wrong)
        expect(dialog.get_by_role("alert")).to_have_text(
            re.compile("Incorrect API key provided|characters that no key has")
        )
        playground.page.get_by_label("API key").fill("")
        expect(playground.model).to_be_disabled()
    enter(playground, KEY)
    expect(playground.model).to_be_enabled()
    assert playground.sent == []


def test_a_key_that_holds_no_more_is_asked_for_again(
    open_page: OpenPage, keyed_server: RunningServer
) -> None:
    playground = open_page(keyed_server.url)
    enter(playground, KEY)
    expect(playground.model).to_be_enabled()
    storage = "window.sessionStorage.setItem('inferneo.key', '\"sk-old\"')"
    playground.page.evaluate(f"() => {storage}")
    playground.page.reload()
    alert = playground.page.get_by_role("dialog").get_by_role("alert")
    expect(alert).to_have_text("Incorrect API key provided")


def test_without_a_key_nothing_is_sent_and_it_is_asked_for_again(
    open_page: OpenPage, keyed_server: RunningServer
) -> None:
    playground = open_page(keyed_server.url)
    dialog = playground.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    playground.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    playground.prompt.fill(QUESTION)
    playground.prompt.press("Enter")
    expect(dialog).to_be_visible()
    enter(playground, KEY)
    expect(playground.prompt).to_have_value(QUESTION)
    assert playground.sent == []


def test_the_key_can_be_changed(open_page: OpenPage, keyed_server: RunningServer) -> None:
    playground = open_page(keyed_server.url)
    enter(playground, KEY)
    expect(playground.page.get_by_role("dialog")).to_be_hidden()
    playground.page.get_by_role("button", name="Key").click()
    enter(playground, "sk-wrong")
    expect(playground.page.get_by_role("alert")).to_have_text("Incorrect API key provided")
    playground.page.keyboard.press("Escape")
    # The key that was right is still there.
    playground.ask(QUESTION)
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(keyed_server, QUESTION, key=KEY))


def test_a_key_that_the_server_takes_no_more_is_told_of_in_mid_chat(
    open_page: OpenPage, keyed_server: RunningServer, other_server: RunningServer
) -> None:
    with Proxy(keyed_server.url) as proxy:
        playground = open_page(proxy.url)
        enter(playground, KEY)
        expect(playground.model).to_be_enabled()
        is_asked_by(playground, proxy, other_server, told="Incorrect API key provided")


def test_a_server_that_asks_for_a_key_from_now_on_is_given_one(
    open_page: OpenPage, writing_server: RunningServer, other_server: RunningServer
) -> None:
    with Proxy(writing_server.url) as proxy:
        playground = open_page(proxy.url)
        expect(playground.model).to_be_enabled()
        is_asked_by(playground, proxy, other_server, told="")


@pytest.fixture(scope="module")
def other_server() -> Iterator[RunningServer]:
    """A server that wants another key."""
    with running_server("--engine=simulated", f"--api-key={OTHER_KEY}") as server:
        yield server


def is_asked_by(playground: Playground, proxy: Proxy, server: RunningServer, *, told: str) -> None:
    """Check that a question which another server gets comes to its answer, by that one's key."""
    proxy.target = server.url
    proxy.cut()
    playground.ask(QUESTION)
    expect(playground.page.get_by_role("alert")).to_have_text(told)
    playground.shows(told or "This server asks for a key.")
    enter(playground, OTHER_KEY)
    playground.page.get_by_role("button", name="Try again").click()
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(server, QUESTION, key=OTHER_KEY))


def test_the_key_stays_in_the_tab(open_page: OpenPage, keyed_server: RunningServer) -> None:
    playground = open_page(keyed_server.url)
    enter(playground, KEY)
    playground.ask(QUESTION)
    playground.wait_end()
    page = playground.page
    assert page.evaluate("() => Object.keys(window.localStorage)") == []
    assert page.context.cookies() == []
    assert KEY in str(page.evaluate("() => ({...window.sessionStorage})"))
    assert not [url for url in playground.requested if "sk-" in url]
    assert "sk-" not in page.url
    second = page.context.new_page()
    second.goto(f"{keyed_server.url}/playground")
    expect(second.get_by_role("dialog")).to_be_visible()


def test_a_server_without_a_key_asks_for_none(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    expect(playground.model).to_be_enabled()
    expect(playground.page.get_by_role("dialog")).to_be_hidden()
    expect(playground.page.get_by_role("button", name="Key")).to_be_hidden()
