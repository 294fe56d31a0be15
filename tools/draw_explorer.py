"""Draw docs/images/explorer.png, the explorer's page as a class sees it, in a headless Chromium.

python tools/draw_explorer.py
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver

from qtarget_inspect.explorer.page import write_explorer

STATE = "losses=dft,gem,target-sft&p=0.08&theme=light"
WIDTH, HEIGHT = 1440, 920


def main() -> None:
    """Write the page, open it in the state, and keep what it looks like with few colours.

    Raises:
        SystemExit: there is no Chromium.
    """
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in found.values():
        sys.exit("error: no Chromium on the path; install Debian's packages chromium and chromium-driver.")
    target = Path(__file__).resolve().parents[1] / "docs" / "images" / "explorer.png"
    options = webdriver.ChromeOptions()
    options.binary_location = str(found["chromium"])
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=found["chromedriver"]))
    try:
        screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        with tempfile.TemporaryDirectory() as folder:
            page = write_explorer(Path(folder) / "explorer.html")
            driver.get(f"{page.resolve().as_uri()}#{STATE}")
            time.sleep(1)  # figures take their size a frame after the page
            picture = Image.open(io.BytesIO(driver.get_screenshot_as_png()))
    finally:
        driver.quit()
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
