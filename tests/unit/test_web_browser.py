"""The live web app in a real browser: the sign-in link works, scripts run, errors arrive."""

# ruff: noqa: F811 - the fixture is imported
from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from harness.identity import mint
from harness.providers.error_tracking import error_tracker
from harness.waiting import wait_until
from tests.browser import PATIENCE_MS, browser, needs_chromium  # noqa: F401
from tests.web_stack import WebStand, damaged

pytestmark = needs_chromium


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a new person."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def shows(page: Page, url: str, text: str) -> str:
    """The page at ``url`` as soon as it shows ``text``."""
    page.goto(url)
    page.get_by_text(text).first.wait_for()
    return page.content()


def link(stand: WebStand, **claims: object) -> str:
    environment = stand.stack.environment
    known = {
        "iss": f"{environment.supabase.api_url}/auth/v1",
        "aud": "authenticated",
        "role": "authenticated",
        "sub": stand.stack.identities.user_id("browser"),
        "email": "browser@chat-stack.test",
        "exp": int(time.time()) + 600,
    }
    token = mint(stand.stack.secret(environment.supabase.jwt_secret), {**known, **claims})
    return f"{environment.web.url}/auth/callback#access_token={token.reveal()}&token_type=bearer"


def test_a_sign_in_link_opens_the_chat(web_stand: WebStand, page: Page) -> None:
    content = shows(page, link(web_stand), "What is on your mind?")
    assert "browser@chat-stack.test" in content
    assert "access_token" not in content
    assert "access_token" not in page.url


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"exp": 1_700_000_000}, "has expired"),
        ({"iss": "https://other.example"}, "belongs to another environment"),
    ],
)
def test_a_link_that_must_not_work_says_why(
    web_stand: WebStand, page: Page, claims: dict[str, object], told: str
) -> None:
    assert "What is on your mind?" not in shows(page, link(web_stand, **claims), told)


def test_without_a_sign_in_the_app_invites(web_stand: WebStand, page: Page) -> None:
    shows(page, web_stand.stack.environment.web.url, "You are not signed in")


def test_an_error_in_the_browser_is_reported_without_the_person(web_stand: WebStand, page: Page) -> None:
    tracker = error_tracker(web_stand.stack)
    mark = tracker.mark()
    boom = 'addEventListener("load",()=>setTimeout(()=>{throw Error("error of zoe@example.org")},500));'

    def change(build: Path) -> None:
        script = next(
            path for path in (build / ".next/static").rglob("*.js") if "data-page" in path.read_text()
        )
        script.write_text(boom + script.read_text())

    with damaged(web_stand, change) as stack:
        port = stack.http(stack.environment.web.url).base_url.port
        page.goto(f"http://localhost:{port}/auth/callback")
        (event,) = wait_until("the browser's error", lambda: tracker.since(mark), seconds=60)
    assert event["exception"]["values"][0]["value"] == "error of [email]"
    assert event["tags"]["runtime"] == "browser"
    assert event["environment"] == "local"
