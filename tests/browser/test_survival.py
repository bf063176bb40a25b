"""Proves that an answer on the playground outlives its connection, or says that it does not."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.playground import Playground, uncut
from tests.browser.proxy import Proxy
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

QUESTION = "What is Inferneo?"


def resumes(playground: Playground) -> list[int]:
    return [frame["after"] for frame in playground.sent if frame.get("type") == "resume"]


def sockets(playground: Playground) -> int:
    return sum(url.startswith("ws:") for url in playground.requested)


@pytest.mark.parametrize("cuts", [1, 3])
def test_an_answer_goes_on_where_the_connection_was_cut(
    open_page: OpenPage, writing_server: RunningServer, proxy: Proxy, cuts: int
) -> None:
    playground = open_page(proxy.url)
    playground.ask(QUESTION)
    playground.wait_text()
    for number in range(cuts):
        proxy.cut()
        playground.shows("resumed once" if not number else f"resumed {number + 1} times")
        expect(playground.notice).to_have_text("Resumed where it stopped.")
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))
    assert len(playground.requests) == 1
    behind = resumes(playground)
    assert len(behind) >= cuts and behind == sorted(behind) and behind[0] > 0


def test_while_the_server_cannot_be_reached_the_page_says_so_and_tries_again(
    open_page: OpenPage, writing_server: RunningServer, proxy: Proxy
) -> None:
    playground = open_page(proxy.url)
    playground.ask(QUESTION)
    playground.wait_text()
    proxy.refusing = True
    proxy.cut()
    expect(playground.notice).to_contain_text("Connection lost. Reconnecting, 2 of 8")
    expect(playground.answer).to_have_attribute("aria-busy", "true")
    proxy.refusing = False
    playground.wait_end()
    playground.shows("resumed once")
    expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))


def test_a_request_that_was_cut_before_its_answer_began_is_answered_once(
    open_page: OpenPage, writing_server: RunningServer, proxy: Proxy
) -> None:
    playground = open_page(proxy.url)
    playground.ask("One")
    playground.wait_end()
    [_, answer] = uncut(writing_server, "One", QUESTION)
    wait_running(writing_server, 0)
    before = writing_server.metric("inferneo_completion_tokens_total")
    proxy.stall()
    playground.ask(QUESTION)
    wait_running(writing_server, 1)
    proxy.cut()
    playground.wait_end()
    expect(playground.text).to_have_text(answer)
    expect(playground.answer).not_to_contain_text("resumed")
    _, *asked = playground.requests
    assert len(asked) == 2 and asked[0] == asked[1]
    written = writing_server.metric("inferneo_completion_tokens_total") - before
    assert written == len(answer.split())


def test_a_connection_that_is_dead_and_does_not_say_so_is_given_up(
    open_page: OpenPage, writing_server: RunningServer, proxy: Proxy
) -> None:
    playground = open_page(proxy.url)
    playground.ask(QUESTION)
    playground.wait_text()
    proxy.stall()
    # By its own clock: the page asks after 5 s of silence, and leaves after 5 s more.
    playground.shows("resumed once")
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))
    assert {"type": "ping"} in playground.sent


def test_a_server_that_stays_away_is_given_up_and_can_be_tried_again(
    open_page: OpenPage, writing_server: RunningServer, proxy: Proxy
) -> None:
    playground = open_page(proxy.url)
    playground.ask(QUESTION)
    playground.wait_text()
    proxy.refusing = True
    proxy.cut()
    playground.shows("The server cannot be reached.")
    playground.wait_end()
    expect(playground.notice).to_have_text("")
    assert sockets(playground) == 1 + 8
    proxy.refusing = False
    playground.page.get_by_role("button", name="Try again").click()
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))
    assert len(playground.requests) == 1


@pytest.fixture
def other_server() -> Iterator[RunningServer]:
    """A server that knows nothing of what the first one wrote: as after a restart."""
    with running_server("--engine=simulated") as server:
        yield server


def test_an_answer_whose_rest_is_gone_says_so_and_can_be_asked_for_anew(
    open_page: OpenPage, other_server: RunningServer, proxy: Proxy
) -> None:
    playground = open_page(proxy.url)
    playground.ask(QUESTION)
    playground.wait_text()
    proxy.target = other_server.url
    proxy.cut()
    playground.shows("The rest of this answer is gone. There is no stream")
    playground.page.get_by_role("button", name="Try again").click()
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(other_server, QUESTION))


def test_where_the_server_keeps_no_streams_a_cut_is_told(open_page: OpenPage) -> None:
    flags = ("--engine=simulated", "--engine-args=token_seconds=0.05", "--max-resume-seconds=0")
    with running_server(*flags) as server, Proxy(server.url) as proxy:
        playground = open_page(proxy.url)
        playground.ask(QUESTION)
        playground.wait_text(r"\w+ \w+")
        proxy.cut()
        playground.shows("The connection was lost, and this server keeps no streams.")


def test_stopping_ends_the_attempts_to_reach_the_server(
    open_page: OpenPage, writing_server: RunningServer, proxy: Proxy
) -> None:
    playground = open_page(proxy.url)
    playground.ask(QUESTION)
    playground.wait_text()
    proxy.refusing = True
    proxy.cut()
    expect(playground.notice).to_contain_text("Reconnecting")
    playground.page.keyboard.press("Escape")
    playground.wait_end()
    playground.shows("stopped")
    expect(playground.notice).to_have_text("")
    proxy.refusing = False
    playground.ask("One")
    playground.wait_end()
    expect(playground.answer).not_to_contain_text("resumed")


def test_a_page_that_is_reloaded_in_mid_answer_goes_on_with_it(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    playground.ask(QUESTION)
    playground.wait_text()
    playground.page.reload()
    playground.wait_end()
    expect(playground.text).to_have_text(*uncut(writing_server, QUESTION))
    assert len(playground.requests) == 1
    [behind] = resumes(playground)
    assert behind > 0


def test_a_connection_that_was_closed_while_nothing_ran_is_opened_again(
    open_page: OpenPage, writing_server: RunningServer, proxy: Proxy
) -> None:
    playground = open_page(proxy.url)
    playground.ask("One")
    playground.wait_end()
    before = sockets(playground)
    proxy.cut()
    playground.ask("Two")
    playground.wait_end()
    expect(playground.text).to_have_text(uncut(writing_server, "One", "Two")[1])
    expect(playground.answer).not_to_contain_text("resumed")
    assert sockets(playground) == before + 1
