"""A headless Chromium for tests of pages, where there is one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


def started(profile: Path, downloads: Path | None = None) -> Iterator:
    """Yield a browser with its profile in a folder, and quit it; the test is skipped where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed; the page is not tried in a browser")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-component-update",
             "disable-background-networking", "disable-sync", "window-size=1280,900",
             f"user-data-dir={profile}")  # fmt: skip
    for flag in flags:
        options.add_argument(f"--{flag}")
    if downloads is not None:
        settings = {"download.default_directory": str(downloads), "download.prompt_for_download": False}
        options.add_experimental_option("prefs", settings)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()
