"""Proves that the documentation's page works under the policy that it is sent with."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect

from tests.browser.proxy import Proxy
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


def test_a_form_reaches_the_server_below_a_path_of_a_proxy(
    writing_server: RunningServer, new_context: Callable[..., BrowserContext]
) -> None:
    with Proxy(writing_server.url, prefix="/models/here") as proxy:
        for path in ("/docs", "/docs/"):
            page = new_context().new_page()
            page.goto(proxy.url + path)
            route = page.locator(".opblock", has_text="/v1/tokenize").first
            route.locator(".opblock-summary-control").click()
            route.get_by_role("button", name="Try it out").click()
            route.get_by_role("button", name="Execute").click()
            expect(route.locator(".live-responses-table")).to_contain_text('"max_model_len"')
