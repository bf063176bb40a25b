"""Proves that the documentation's page works under the policy that it is sent with."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect

from tests.servers import RunningServer


def test_the_documentation_is_shown_and_a_route_unfolds(
    writing_server: RunningServer, new_context: Callable[..., BrowserContext]
) -> None:
    # Whatever the policy stops is an error in the console, which fails the test.
    page = new_context().new_page()
    page.goto(f"{writing_server.url}/docs")
    route = page.locator(".opblock", has_text="/v1/models").first
    expect(route).to_be_visible()
    route.click()
    expect(route.get_by_text("Request fulfilled").first).to_be_visible()
