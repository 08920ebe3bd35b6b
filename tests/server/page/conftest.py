"""A browser with the page, and a server whose answers the test chooses."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from page_server import Canned, Stage, served
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "color_scheme": "light",
        "has_touch": True,
    },
}
# Chromium says so of every answer that is an error; the page deals with them.
EXPECTED = "Failed to load resource"

Opener = Callable[..., Page]


# Of one file: while Playwright runs, no test of another file could run a loop of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with served() as running:
        yield running


@pytest.fixture
def canned(stage: Stage) -> Canned:
    """The server's answers in this test; new ones, which earlier streams do not touch."""
    stage.canned = Canned()
    return stage.canned


@pytest.fixture
def open_page(browser: Browser, stage: Stage, canned: Canned) -> Iterator[Opener]:
    """Opens the page in a given style. Afterwards: it asked no other server and logged no error."""
    wrong: list[str] = []
    with ExitStack() as stack:

        def opener(look: str = "light", below: str = "") -> Page:
            address = stage.address + below
            context = browser.new_context(reduced_motion="reduce", **LOOKS[look])
            context.set_default_timeout(10_000)
            stack.callback(context.close)
            page = context.new_page()

            def requested(url: str) -> None:
                if not url.startswith(address):
                    wrong.append(f"request to {url}")

            page.on("request", lambda request: requested(request.url))
            page.on("pageerror", lambda error: wrong.append(f"error {error}"))
            page.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
            page.on(
                "console",
                lambda said: (
                    wrong.append(said.text)
                    if said.type in ("error", "warning") and EXPECTED not in said.text
                    else None
                ),
            )
            page.goto(address)
            return page

        yield opener
    assert wrong == []


@pytest.fixture
def wrong() -> list[str]:
    return []


@pytest.fixture
def page(browser: Browser, wrong: list[str]) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
