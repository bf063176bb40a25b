"""Proves that the playground can be read and worked: small, dark, by keyboard, and offline."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, expect

from tests.browser.conftest import OpenPage
from tests.browser.playground import Playground, uncut
from tests.servers import RunningServer, running_server

QUESTION = "What is Inferneo?"
PHONE = {"width": 320, "height": 640}
READABLE = 4.5  # WCAG 2.2, success criterion 1.4.3: contrast of text

_COLOURS = """it => {
    const [found, behind] = [[], []];
    for (let each = it; each; each = each.parentElement) {
        const style = getComputedStyle(each);
        if (!found.length) found.push(style.color);
        behind.push(style.backgroundColor);
    }
    return [found[0], behind.find((colour) => colour !== 'rgba(0, 0, 0, 0)')];
}"""


def fits(playground: Playground) -> None:
    """Check that nothing lies beside the screen."""
    width = playground.page.evaluate(
        "() => [document.documentElement, document.body, document.getElementById('conversation')]"
        ".map((it) => it.scrollWidth - it.clientWidth)"
    )
    assert width == [0, 0, 0]


def test_a_phone_shows_all_of_it_without_scrolling_sideways(open_page: OpenPage) -> None:
    arguments = '{"vocabulary": ["' + "endless" * 40 + '", "short"], "words": 6}'
    flags = ("--engine=simulated", "--engine-args", arguments)
    with running_server(*flags, "--served-model-name", "a-very-long-name/" * 6 + "x") as server:
        playground = open_page(server.url, viewport=PHONE, has_touch=True, is_mobile=True)
        expect(playground.model).to_be_enabled()
        fits(playground)
        playground.ask("question" * 30)
        playground.wait_end()
        fits(playground)
        settings = playground.page.get_by_role("complementary")
        expect(settings).to_be_hidden()
        playground.page.get_by_role("button", name="Settings").click()
        expect(settings).to_be_visible()
        fits(playground)
        box = settings.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
        playground.page.get_by_label("Temperature").fill("9")
        playground.page.get_by_role("button", name="Done").click()
        expect(settings).to_be_hidden()
        playground.ask("Again")
        playground.shows("invalid_request_error")
        fits(playground)
        for button in (playground.send, playground.page.get_by_role("button", name="Try again")):
            expect(button).to_be_in_viewport()


def test_escape_closes_the_settings_of_a_phone(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url, viewport=PHONE)
    toggle = playground.page.get_by_role("button", name="Settings")
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    playground.page.keyboard.press("Escape")
    expect(toggle).to_have_attribute("aria-expanded", "false")
    expect(toggle).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_by_day_and_by_night(
    open_page: OpenPage, writing_server: RunningServer, scheme: Any
) -> None:
    playground = open_page(writing_server.url, color_scheme=scheme)
    page = playground.page
    expect(playground.model).to_be_enabled()
    assert contrast(playground, "h1") >= READABLE
    page.get_by_label("Seed").fill("1")
    playground.ask(QUESTION)
    playground.wait_end()
    page.get_by_label("Top p").fill("9")
    playground.ask(QUESTION)
    playground.shows("invalid_request_error")
    for selector in (
        *("body", ".user .text", ".assistant .text", ".facts", ".turn .error", ".turn > button"),
        *("#send", "#clear", "#keys", "kbd", "#settings label", ".hint", "#prompt", "#model"),
    ):
        assert contrast(playground, selector) >= READABLE, selector
    [text, ground] = colours(playground, "body")
    assert (luminance(ground) < luminance(text)) == (scheme == "dark")


def colours(playground: Playground, selector: str) -> list[str]:
    """Text and ground of the first such element."""
    found: list[str] = playground.page.locator(selector).first.evaluate(_COLOURS)
    return found


def contrast(playground: Playground, selector: str) -> float:
    lights = sorted(luminance(colour) for colour in colours(playground, selector))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_keyboard_reaches_everything_in_order(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    expect(playground.model).to_be_enabled()
    page = playground.page
    page.get_by_role("link", name="Inferneo").focus()
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.id || document.activeElement.textContent")
        )
    assert (
        reached
        == [
            *("model", "clear", "toggle-settings", "API", "conversation"),
            *("What is Inferneo?", "How do I start the server?", "Tell me a short story."),
            *("prompt", "send"),
            *("system", "temperature", "top_p", "max_tokens", "seed", "stop_texts"),
        ]
        + reached[16:]
    )


def test_a_screen_reader_is_told_what_everything_is(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url)
    playground.ask(QUESTION)
    playground.wait_end()
    expect(playground.conversation).to_have_attribute("aria-live", "polite")
    expect(playground.conversation).to_have_accessible_name("Conversation")
    for button in playground.page.get_by_role("button").all():
        expect(button).to_have_accessible_name(re.compile(r"\w"))
    fields = playground.page.locator("input, textarea, select")
    labels = fields.evaluate_all("all => all.map((it) => [it.id, it.labels.length])")
    assert len(labels) == 9
    assert all(count == 1 for _, count in labels), labels
    expect(playground.page.get_by_role("heading", name="You")).to_be_attached()
    expect(playground.page.get_by_role("heading", name="Answer")).to_be_attached()
    assert playground.page.evaluate("() => document.documentElement.lang") == "en"


def test_the_view_follows_the_answer_unless_its_reader_scrolls_back(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page(writing_server.url, viewport={"width": 400, "height": 420})
    playground.ask(QUESTION)
    playground.wait_end()
    expect(playground.answer.locator(".facts")).to_be_in_viewport()
    playground.ask("Two")
    playground.wait_text()
    playground.conversation.evaluate("it => { it.scrollTop = 0; }")
    playground.wait_end()
    assert playground.conversation.evaluate("it => it.scrollTop") == 0


def test_the_page_asks_no_other_host_and_has_nothing_to_complain_of(
    open_page: OpenPage, writing_server: RunningServer
) -> None:
    playground = open_page("about:blank#")
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    playground.page.on("console", note)
    for path in ("/", "/playground"):
        answer = playground.page.goto(writing_server.url + path)
        assert answer and answer.headers["content-security-policy"].startswith(
            "default-src 'self';"
        )
        playground.ask(QUESTION)
        playground.wait_end()
        expect(playground.text).to_have_text(uncut(writing_server, QUESTION)[0])
        playground.page.get_by_role("button", name="New chat").click()
    hosts = {urlsplit(url).netloc for url in playground.requested if not url.startswith("about:")}
    assert hosts == {urlsplit(writing_server.url).netloc}
    assert {urlsplit(url).path for url in playground.requested} >= {
        *("/", "/playground", "/playground/app.js", "/playground/style.css", "/v1/models"),
        *("/playground/session.js", "/v1/chat/completions"),
    }
    assert complaints == []
