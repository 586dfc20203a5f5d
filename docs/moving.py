"""Draws README's moving picture anew: `python docs/moving.py [WEIGHTS [DATA]]`.

It shows the real page of `convlens explore`, opened in Chromium at one address after another. Needs
playwright and Chromium, as the tests of the page do; the data set is found as by every verb.
"""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURE = Path(__file__).parent / "pictures" / "explorer.webp"
SIZE = {"width": 1280, "height": 800}
SHOWN = (960, 600)
SECONDS = 1.8  # that a step stands
IMAGE = "image/v700"
STEPS = (
    IMAGE,
    f"{IMAGE}/layer/0/map/5",
    f"{IMAGE}/layer/2/map/20",
    f"{IMAGE}/attribution",
    f"{IMAGE}/neighbors",
    "mistakes",
    "confusion",
    "training",
)


def main(weights: str = "weights/convnet.safetensors", *data: str) -> None:
    command = [sys.executable, "-m", "convlens", "explore", weights, "--port", "0"]
    command += ["--data", *data] if data else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            shots = screenshots(address_of(server))
        finally:
            server.terminate()
    first, *others = (shot.convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS) for shot in shots)
    first.save(
        PICTURE,
        save_all=True,
        append_images=others,
        duration=int(1000 * SECONDS),
        loop=0,
        quality=72,
    )
    print(f"kept       {PICTURE} ({PICTURE.stat().st_size / 1000:.0f} kB)")


def address_of(server: subprocess.Popen) -> str:
    """Where the server says that the page is."""
    for line in server.stdout or ():
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise SystemExit("explore ended before its page could be opened")


def screenshots(address: str) -> list[Image.Image]:
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    )
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page(
            viewport=SIZE, color_scheme="light"
        )
        page.goto(address)
        return [at(page, step) for step in STEPS]


def at(page: Page, step: str) -> Image.Image:
    """The page at one of its own addresses, once everything is there."""
    page.evaluate("step => { location.hash = `#/${step}`; }", step)
    page.wait_for_load_state("networkidle")
    page.wait_for_selector("main:not([aria-busy=true])")
    page.wait_for_load_state("networkidle")
    return Image.open(io.BytesIO(page.screenshot()))


if __name__ == "__main__":
    main(*sys.argv[1:])
