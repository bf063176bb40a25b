"""Proves that the playground shows as text what a model or a server says, whatever it is."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenPage
from tests.browser.playground import Playground, uncut
from tests.servers import RunningServer, running_server

HOSTILE = [
    "<script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "<svg/onload=document.title='taken'>",
    "<iframe srcdoc=\"<script>parent.document.title='taken'</script>\"></iframe>",
    "</div></article></body><h1>taken</h1>",
    "<a href=\"javascript:document.title='taken'\">press</a>",
    "<style>body{display:none}</style>",
    "<base href=http://elsewhere.example/><link rel=stylesheet href=//elsewhere.example/a.css>",
    "<think>a thought</think>",
    "&lt;b&gt;&#60;b&#62;",
    "![](http://elsewhere.example/a.png) [press](javascript:alert(1)) **bold**",
    "\u202eright to left \u0000\u0007\u001b[31m Z\u0351\u0352\u0353\u0354",
    "${1+1} {{1+1}} <%= 1+1 %>",
]
MODEL = "<img/src=x/onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def hostile_server() -> Iterator[RunningServer]:
    arguments = json.dumps({"vocabulary": HOSTILE, "words": 2 * len(HOSTILE)})
    flags = ("--engine=simulated", "--engine-args", arguments, "--served-model-name", MODEL)
    with running_server(*flags) as server:
        yield server


def is_untouched(playground: Playground) -> None:
    """Check that there is nothing on the page which was not there before."""
    page = playground.page
    assert page.title() == "Inferneo playground"
    assert page.locator("script").count() == 1
    assert page.locator("iframe, base, style, svg, object, embed, b").count() == 0
    assert page.locator("h1").count() == 1
    assert page.locator("main a, main img").count() == 0
    assert len(page.frames) == 1
    expect(playground.prompt).to_be_visible()


def test_hostile_output_is_shown_as_the_text_that_it_is(
    open_page: OpenPage, hostile_server: RunningServer
) -> None:
    playground = open_page(hostile_server.url)
    # The answer comes back as a part of the second request, and as what a reload shows.
    for question in ("One <b>bold</b>", "Two"):
        playground.ask(question)
        playground.wait_end()
    first, second = uncut(hostile_server, "One <b>bold</b>", "Two")
    assert all(word in second for word in HOSTILE)
    assert playground.requests[1]["messages"][1]["content"] == first
    for _ in range(2):
        shown = playground.page.locator(".text").evaluate_all(
            "all => all.map((it) => [it.textContent, it.childElementCount])"
        )
        assert shown == [[text, 0] for text in ("One <b>bold</b>", first, "Two", second)]
        is_untouched(playground)
        playground.page.reload()
        expect(playground.model).to_be_enabled()


def test_a_hostile_name_of_a_model_is_shown_as_text(
    open_page: OpenPage, hostile_server: RunningServer
) -> None:
    playground = open_page(hostile_server.url)
    expect(playground.model).to_have_value(MODEL)
    expect(playground.model.locator("option")).to_have_text([MODEL])
    is_untouched(playground)


def test_a_hostile_error_is_shown_as_text(
    open_page: OpenPage, hostile_server: RunningServer
) -> None:
    playground = open_page(hostile_server.url)
    expect(playground.model).to_be_enabled()
    # The server names the model that it does not know.
    playground.model.evaluate(
        "it => it.append(new Option('other', '<img src=x onerror=document.title=`taken`>'))"
    )
    playground.model.select_option("other")
    playground.ask("One")
    playground.shows(r"<img src=x onerror=document.title=`taken`>.*\(model_not_found\)")
    is_untouched(playground)


def test_markup_that_were_taken_for_such_would_still_be_stopped(
    browser: Browser, hostile_server: RunningServer
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{hostile_server.url}/playground")
        told = page.evaluate(
            """() => {
                try { document.body.innerHTML = '<img src=x>'; }
                catch (error) { return error.name; }
            }"""
        )
        assert told == "TypeError"
