"""A real Chromium, headless, for the page; the suite is skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until

pytestmark = pytest.mark.ui
SHOTS = os.environ.get("UI_SHOTS")  # a folder for screenshots of every panel


def chromium() -> str | None:
    """One that is named, Debian's without the script around it, or any on the PATH."""
    named = [os.environ.get("CHROMIUM"), "/usr/lib/chromium/chromium"]
    named += [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return next((path for path in named if path and Path(path).exists()), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-ui does")
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = chromium() or (own if Path(own).exists() else None)
        if path is None:
            pytest.skip("no Chromium: apt install chromium, or CHROMIUM=/path/to/it")
        made = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


def comes(page: Any, expression: str, argument: Any = None) -> None:
    """Wait until an expression is true; playwright's own way needs eval, which the page forbids."""
    until(lambda: page.evaluate(expression, argument), what=expression)


def told(page: Any, action: Callable[[], Any], text: str) -> None:
    """Do something and wait until the page says `text` of it; what it said before does not count."""
    toasts = "async () => (await import('/static/store.js')).store.toasts"
    before = page.evaluate(toasts)
    action()
    newer = (
        "([number, text]) => [...document.querySelectorAll('.toast')]"
        ".some(t => +t.dataset.number > number && t.innerText.includes(text))"
    )
    comes(page, newer, [before, text])


class Tab:
    """A page and everything that its console complained of."""

    def __init__(self, browser: Any, width: int = 1280, scheme: str = "light") -> None:
        height = 900 if width > 500 else 844
        view = {"width": width, "height": height}
        self.context = browser.new_context(viewport=view, color_scheme=scheme, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, url: str) -> Any:
        self.page.goto(url)
        self.page.wait_for_selector(".tabs")
        return self.page

    def shot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=f"{SHOTS}/{name}.png")


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    """A tab that must have complained of nothing."""
    made = Tab(browser)
    yield made
    made.context.close()
    assert made.complaints == []
