"""Proves that a person can chat on the playground: ask, read, stop, go on, set and keep things."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import WORDS, OpenPage
from tests.browser.playground import uncut
from tests.browser.proxy import Proxy
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

QUESTION = "What is Inferneo?"


def test_an_answer_is_streamed_and_its_speed_is_told(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    playground.ask(QUESTION)
    playground.wait_text()
    expect(playground.answer).to_have_attribute("aria-busy", "true")
    expect(playground.prompt).to_have_value("")
    playground.shows(r"\d tokens/s · first token after \d+ ms")
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))
    playground.shows(rf"{WORDS} tokens · \d+\.\d tokens/s · first token after \d+ ms")
    request = playground.requests[0]
    assert request["stream"] is True and request["resume_for"] > 0 and request["request_id"]


def test_the_page_works_below_a_path_of_a_proxy(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    with Proxy(writing_server.url, prefix="/models/here") as proxy:
        for path in ("/", "/playground/", "/playground/index.html"):
            playground = open_page(proxy.url)
            playground.page.goto(proxy.url + path)
            playground.ask(QUESTION)
            playground.wait_end()
            expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))
            assert all("/models/here/" in url for url in playground.requested)


def test_a_further_question_carries_the_conversation(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    for question in ("One", "Two"):
        playground.ask(question)
        playground.wait_end()
    first, second = uncut(writing_server, "One", "Two")
    assert first != second
    expect(playground.text).to_have_text(second)
    assert playground.requests[1]["messages"] == [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "Two"},
    ]


def test_shift_enter_starts_a_line_and_enter_sends_both(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    expect(playground.model).to_be_enabled()
    expect(playground.prompt).to_be_focused()
    keyboard = playground.page.keyboard
    keyboard.type("One")
    keyboard.press("Shift+Enter")
    keyboard.type("Two")
    expect(playground.prompt).to_have_value("One\nTwo")
    keyboard.press("Enter")
    expect(playground.articles.first.locator(".text")).to_have_text("One\nTwo", use_inner_text=True)
    playground.wait_text()
    assert playground.requests[0]["messages"] == [{"role": "user", "content": "One\nTwo"}]


def test_nothing_is_sent_where_nothing_is_typed(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    playground.ask("  \n ")
    playground.ask(QUESTION)
    playground.wait_text()
    assert len(playground.requests) == 1
    expect(playground.articles).to_have_count(2)


@pytest.mark.parametrize("way", ["button", "key"])
def test_stopping_ends_the_work_and_keeps_what_is_written(
    open_page: OpenPage, writing_server: RunningServer, way: str
) -> None:
    playground = open_page(writing_server.url)
    playground.ask(QUESTION)
    playground.wait_text()
    wait_running(writing_server, 1)
    if way == "button":
        playground.stop.click()
    else:
        playground.page.keyboard.press("Escape")
    playground.wait_end()
    playground.shows(r"\d+ tokens .* stopped")
    wait_running(writing_server, 0)
    [whole] = uncut(writing_server, QUESTION)
    written = playground.text.inner_text()
    assert whole.startswith(written) and len(written) < len(whole)
    expect(playground.send).to_be_visible()
    expect(playground.prompt).to_be_focused()
    assert playground.sent[-1]["type"] == "cancel"


def test_a_suggestion_is_asked_when_it_is_pressed(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    expect(playground.model).to_be_enabled()
    playground.page.get_by_role("button", name=QUESTION).click()
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))
    expect(playground.page.get_by_role("button", name=QUESTION)).to_be_hidden()


def test_what_is_set_reaches_the_server(open_page: OpenPage, writing_server: RunningServer) -> None:
    playground = open_page(writing_server.url)
    fields = {
        "System prompt": "Be brief.",
        "Temperature": "0.25",
        "Top p": "0.9",
        "Max tokens": "7",
        "Seed": "42",
        "Stop texts": "END\n\\n\\n",
    }
    for label, value in fields.items():
        playground.page.get_by_label(label).fill(value)
    playground.ask(QUESTION)
    playground.wait_end()
    playground.shows("^.*7 tokens")
    set_by_hand: dict[str, Any] = {
        "model": "inferneo-tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": QUESTION},
        ],
        "temperature": 0.25,
        "top_p": 0.9,
        "max_tokens": 7,
        "seed": 42,
        "stop": ["END", "\n\n"],
    }
    [request] = playground.requests
    assert set_by_hand.items() <= request.items()


def test_what_is_not_set_is_left_to_the_model(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    playground.page.get_by_label("Temperature").fill("")
    playground.ask(QUESTION)
    playground.wait_text()
    [request] = playground.requests
    left_out = {"temperature", "top_p", "max_tokens", "seed", "stop"}
    assert left_out.isdisjoint(request)
    assert [message["role"] for message in request["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("label", "value", "told"),
    [
        ("Seed", "1.5", "Seed must be a whole number"),
        ("Max tokens", "99999999999999999999", "Max tokens must be a whole number"),
        ("Temperature", "-", "Temperature must be a number"),
    ],
)
def test_a_setting_that_is_no_number_is_told_of_and_not_sent(
    open_page: OpenPage, writing_server: RunningServer, label: str, value: str, told: str
) -> None:
    playground = open_page(writing_server.url)
    field = playground.page.get_by_label(label)
    field.fill("")
    field.press_sequentially(value)
    playground.ask(QUESTION)
    expect(playground.notice).to_contain_text(told)
    expect(field).to_be_focused()
    expect(playground.prompt).to_have_value(QUESTION)
    assert playground.sent == []


def test_an_error_of_the_server_is_told_and_can_be_tried_again(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    playground.page.get_by_label("Temperature").fill("9")
    playground.ask(QUESTION)
    playground.shows(r"'temperature': .* <= 2.0 \(invalid_request_error\)")
    playground.page.get_by_label("Temperature").fill("1")
    playground.page.get_by_role("button", name="Try again").click()
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))
    expect(playground.page.get_by_role("button", name="Try again")).to_be_hidden()
    assert [frame["temperature"] for frame in playground.requests] == [9, 1]


def test_a_reload_keeps_the_conversation_and_the_settings_until_they_are_cleared(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    playground.page.get_by_label("Seed").fill("3")
    playground.ask(QUESTION)
    playground.wait_end()
    shown = playground.conversation.inner_text()
    playground.page.reload()
    expect(playground.model).to_be_enabled()
    assert playground.conversation.inner_text() == shown
    expect(playground.page.get_by_label("Seed")).to_have_value("3")
    playground.page.get_by_role("button", name="New chat").click()
    expect(playground.articles).to_have_count(0)
    playground.page.reload()
    expect(playground.page.get_by_role("heading", name="What would you like")).to_be_visible()
    expect(playground.articles).to_have_count(0)


def test_a_new_chat_in_mid_answer_ends_the_old_one(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    playground.ask(QUESTION)
    playground.wait_text()
    playground.page.get_by_role("button", name="New chat").click()
    wait_running(writing_server, 0)
    expect(playground.send).to_be_visible()
    playground.ask("One")
    playground.wait_end()
    expect(playground.articles).to_have_count(2)
    expect(playground.text).to_have_text(*uncut(writing_server, "One"))


@pytest.fixture
def loading_server() -> Iterator[RunningServer]:
    server = RunningServer("--engine=simulated", "--engine-args=start_seconds=2")
    try:
        server.wait_listening()
        yield server
    finally:
        server.stop()


def test_a_page_that_comes_before_the_model_waits_for_it(
    open_page: OpenPage, loading_server: RunningServer
) -> None:
    playground = open_page(loading_server.url)
    expect(playground.notice).to_have_text("The model is being loaded…")
    expect(playground.model).to_be_disabled()
    playground.ask(QUESTION)
    playground.wait_end()
    expect(playground.notice).to_have_text("")
    expect(playground.text).to_have_text(re.compile("counted"))


def test_a_request_that_fails_in_mid_answer_says_so(open_page: OpenPage) -> None:
    with running_server("--engine=simulated", "--engine-args=fail_after_tokens=3") as server:
        playground = open_page(server.url)
        playground.ask(QUESTION)
        playground.shows(r"The engine has died \(engine_unavailable\)")
        playground.wait_text(r"^\w+ \w+ \w+$")
