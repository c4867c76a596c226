"""A real browser: Debian's Chromium, without a screen, driven by its own ChromeDriver."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DESKTOP = (1280, 900)
PHONE = (360, 740)
"""Width and height of a window in CSS pixels."""

needed = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no chromium and chromedriver here; Debian's packages chromium and chromium-driver",
)


@contextmanager
def opened(profile: Path, size: tuple[int, int] = DESKTOP) -> Iterator[Any]:
    """A selenium driver of a browser with an empty ``profile`` folder and a window of ``size``."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        resize(driver, size)
        yield driver
    finally:
        driver.quit()


def resize(driver: Any, size: tuple[int, int]) -> None:
    """Lay the page out as on a screen of ``size``, narrower than a window can be."""
    width, height = size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )


def complaints(driver: Any) -> list[str]:
    """What the console has held since the last call: errors and warnings."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] != "INFO"]


def overflow(driver: Any) -> float:
    """Pixels by which the page is wider than its window."""
    script = "const r = document.documentElement; return r.scrollWidth - r.clientWidth"
    return float(driver.execute_script(script))


def screenshot(driver: Any, path: Path) -> None:
    """The whole page as a PNG."""
    import base64

    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))
