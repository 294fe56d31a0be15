"""Draw docs/images/explorer.png, the explorer's page as a class sees it, in a headless Chromium.

python tools/draw_explorer.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from qtarget_inspect.explorer.page import write_explorer

STATE = "losses=dft,gem,target-sft&p=0.08"
WIDTH, HEIGHT = 1440, 920


def main() -> None:
    """Write the page, open it in the state, and keep what it looks like with few colours.

    Raises:
        SystemExit: there is no Chromium.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("error: no Chromium on the path; install Debian's package chromium.")
    target = Path(__file__).resolve().parents[1] / "docs" / "images" / "explorer.png"
    with tempfile.TemporaryDirectory() as folder:
        page, picture = write_explorer(Path(folder) / "explorer.html"), Path(folder) / "explorer.png"
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}", f"{page.resolve().as_uri()}#{STATE}"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        Image.open(picture).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
