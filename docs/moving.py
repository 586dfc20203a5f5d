"""Draws README's moving picture anew, and the page's picture in docs/how-to/explore.md:
`python docs/moving.py [WEIGHTS [DATA]]`.

They show the real page of `convlens explore`, opened in Chromium at one address after another.
Needs playwright and Chromium, as the tests of the page do; the data set is found as by every verb.
"""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, Request, sync_playwright

from convlens import open_dataset

PICTURE = Path(__file__).parent / "pictures" / "explorer.webp"
STILL = PICTURE.with_suffix(".png"), "image/{image}/layer/2/map/20"
SIZE = {"width": 1280, "height": 800}
SHOWN = (960, 600)
SECONDS = 1.8  # that a step stands
CLASS = "sunflower"  # whose first validation image is shown, else the first of all
STEPS = (
    "image/{image}",
    "image/{image}/layer/0/map/5",
    STILL[1],
    "image/{image}/attribution",
    "image/{image}/neighbors",
    "mistakes",
    "confusion",
    "embedding",
)


def main(weights: str = "weights/convnet.safetensors", data: str | None = None) -> None:
    validation = open_dataset(data).validation
    rows = [i for i, path in enumerate(validation.paths) if f"/{CLASS}/" in path]
    steps = [step.format(image=f"v{rows[0] if rows else 0}") for step in STEPS]
    command = [sys.executable, "-m", "convlens", "explore", weights, "--port", "0"]
    command += ["--data", data] if data else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            shots = screenshots(address_of(server), steps)
        finally:
            server.terminate()
    file, step = STILL
    shots[STEPS.index(step)].save(file, optimize=True)
    first, *others = (shot.convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS) for shot in shots)
    milliseconds = int(1000 * SECONDS)
    first.save(
        PICTURE, save_all=True, append_images=others, duration=milliseconds, loop=0, quality=72
    )
    print(f"kept       {file}")
    print(f"kept       {PICTURE} ({PICTURE.stat().st_size / 1000:.0f} kB)")


def address_of(server: subprocess.Popen) -> str:
    """Where the server says that the page is."""
    for line in server.stdout or ():
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise SystemExit("explore ended before its page could be opened")


def screenshots(address: str, steps: list[str]) -> list[Image.Image]:
    """The page at its own addresses, each once all that it asks for is there and nothing moves."""
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    )
    open_requests: set[Request] = set()
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page(
            viewport=SIZE, color_scheme="light", reduced_motion="reduce"
        )
        page.on(
            "request", lambda each: each.resource_type == "eventsource" or open_requests.add(each)
        )
        page.on("requestfinished", lambda each: open_requests.discard(each))
        page.on("requestfailed", lambda each: open_requests.discard(each))
        page.goto(address)
        page.wait_for_selector(".survey[hidden]", state="attached", timeout=600_000)
        shots = []
        for step in steps:
            page.evaluate("step => { location.hash = `#/${step}`; }", step)
            before = b""
            while (shot := settled(page)) != before or open_requests:
                before = shot
            shots.append(Image.open(io.BytesIO(shot)))
        return shots


def settled(page: Page) -> bytes:
    page.wait_for_timeout(1000)
    return page.screenshot()


if __name__ == "__main__":
    main(*sys.argv[1:])
