"""The README's two pictures, from the bundled run: the live page, and what a network is shown.

pip install pillow playwright && apt-get install chromium
python models/pictures.py --relstab target/release/relstab
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
FIGURES = HERE.parent / "docs" / "figures"
RUN = HERE / "fashion-mnist-cnn"
ADDRESS = "127.0.0.1:7979"


def page(relstab: str) -> None:
    """The page once every checkpoint of the run is measured."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "fashion-mnist-cnn"
        shutil.copytree(RUN, run)
        environment = {**os.environ, "XDG_STATE_HOME": folder, "XDG_RUNTIME_DIR": folder}
        daemon = subprocess.Popen([relstab, "watch", run, "--http", ADDRESS], env=environment)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                tab = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
                tab.goto(f"http://{ADDRESS}")
                subprocess.run([relstab, "wait", run], env=environment, check=True)
                tab.wait_for_timeout(2_000)
                tab.screenshot(path=FIGURES / "page.png", full_page=True)
                browser.close()
        finally:
            daemon.terminate()
            daemon.wait()


def shown(relstab: str) -> None:
    """One image and what becomes of it, without the text and the phase space above."""
    path = FIGURES / "shown.png"
    flags = ["--probe", "probe.npz", "--show", "1", "--cutoffs", "3", "--png", path.resolve()]
    subprocess.run([relstab, "gallery", *flags], cwd=RUN, check=True)
    with Image.open(path) as sheet:
        rows = sheet.crop((0, round(0.5 * sheet.height), sheet.width, sheet.height))
    rows.resize((rows.width // 2, rows.height // 2), Image.Resampling.LANCZOS).convert("L").save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relstab", default="relstab", help="the command")
    relstab = str(Path(shutil.which(parser.parse_args().relstab) or "relstab").resolve())
    page(relstab)
    shown(relstab)


if __name__ == "__main__":
    main()
