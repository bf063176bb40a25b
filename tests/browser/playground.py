"""Receives a browser's page; hands on what a person does and sees on the playground."""

import json
import re
from functools import cache
from typing import Any

import httpx
from playwright.sync_api import Locator, Page, WebSocket, expect

from tests.servers import RunningServer

WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)


class Playground:
    """The page, by the labels and roles that a screen reader tells of.

    Attributes:
        sent: the frames that the page has sent over its WebSockets.
        requested: the URLs that it has asked for.
    """

    def __init__(self, page: Page) -> None:
        page.set_default_timeout(WAIT_MS)
        self.page = page
        self.sent: list[dict[str, Any]] = []
        self.requested: list[str] = []
        self.prompt = page.get_by_label("Message", exact=True)
        self.send = page.get_by_role("button", name="Send")
        self.stop = page.get_by_role("button", name="Stop")
        self.model = page.get_by_label("Model")
        self.notice = page.get_by_role("status")
        self.conversation = page.get_by_role("log")
        self.articles = self.conversation.get_by_role("article")
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        self.requested.append(socket.url)
        socket.on("framesent", lambda frame: self.sent.append(json.loads(frame)))

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Those of the sent frames that ask for an answer."""
        return [frame for frame in self.sent if "type" not in frame]

    @property
    def answer(self) -> Locator:
        """The last answer, with all that is told about it."""
        return self.articles.filter(has=self.page.get_by_role("heading", name="Answer")).last

    @property
    def text(self) -> Locator:
        """What the model has written of the last answer."""
        return self.answer.locator(".text")

    def ask(self, question: str) -> None:
        """Type a question and send it."""
        expect(self.model).to_be_enabled()
        self.prompt.fill(question)
        self.prompt.press("Enter")

    def wait_text(self, pattern: str = r"\w+ \w+ \w+ \w+") -> None:
        """Wait for a part of the answer."""
        expect(self.text).to_have_text(re.compile(pattern))

    def wait_end(self) -> None:
        """Wait for the end of the answer, be it good or bad."""
        expect(self.answer).to_have_attribute("aria-busy", "false")

    def shows(self, told: str) -> None:
        """Wait until the last answer shows this, beside its text."""
        expect(self.answer).to_contain_text(re.compile(told))


@cache
def uncut(server: RunningServer, *questions: str, key: str = "none") -> list[str]:
    """The answers that the server gives to who asks these, one after the other, over HTTP."""
    messages: list[dict[str, str]] = []
    answers = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        answer = httpx.post(
            f"{server.url}/v1/chat/completions",
            json={"messages": messages},
            headers=[(b"authorization", f"Bearer {key}".encode())],
            timeout=60,
        )
        answer.raise_for_status()
        answers.append(answer.json()["choices"][0]["message"]["content"])
        messages.append({"role": "assistant", "content": answers[-1]})
    return answers
