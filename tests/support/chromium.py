"""A real headless Chromium without a network, driven by selenium; skipped where there is none, except in CI."""

import os
import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def chromium(what):
    """The browser; where there is none, the test that asks is skipped with a loud notice, and in CI it fails.

    Args:
        what: what goes untested without it.
    """
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        notice = f"NO CHROMIUM: {what} is not tested here. Debian has it: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{notice} (in CI this is a failure)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    started.set_script_timeout(60)
    try:
        started.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        started.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield started
    finally:
        started.quit()
