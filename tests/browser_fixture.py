"""A real browser without a screen, for pages that people look at."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=2000",
)
Browser = Callable[..., str]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Open a file in Chromium, ``width`` pixels wide; returns the page as the browser has built it.

    A picture of it is left beside the file, named ``<file>.<width>.png``.
    """

    def run(page: Path, *options: str) -> str:
        command = ["chromium", *_FLAGS, f"--user-data-dir={tmp_path / 'browser'}", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def look(page: Path, width: int) -> str:
        picture = page.with_name(f"{page.name}.{width}.png")
        run(page, f"--window-size={width},2400", f"--screenshot={picture}")
        assert picture.stat().st_size > 0
        return run(page, f"--window-size={width},2400", "--dump-dom")

    return look
