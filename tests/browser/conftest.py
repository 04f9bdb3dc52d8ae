"""A headless browser, and pages in it that may say nothing and ask nobody."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox import write_report

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a Chromium of the system, or Chrome, which is made of it."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if "playwright" not in os.environ.get("RFA_TEST_REQUIRE", "").split():
        pytest.importorskip("playwright")
        if program is None:
            pytest.skip("neither chromium nor google-chrome is installed")
    assert program, "RFA_TEST_REQUIRE asks for playwright, which needs chromium or google-chrome"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        started = running.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Write a report and open it; afterwards, nothing was said on the console or asked for."""
    heard: list[str] = []
    contexts: list[Any] = []

    def opened(graphs: Any, input_res: Any = 32, **options: Any) -> Any:
        view = options.pop("view", {})
        options = {"refinements": 0, **options}  # what they cost is paid by the tests of them
        path = write_report(graphs, tmp_path / f"report{len(contexts)}.html", input_res, **options)
        context = browser.new_context(
            **{"viewport": {"width": 1400, "height": 900}, "accept_downloads": True, **view}
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url == path.as_uri() or request.url.startswith(("data:", "blob:"))
                else heard.append(f"request: {request.url}")
            ),
        )
        page.on("dialog", lambda dialog: heard.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not heard
