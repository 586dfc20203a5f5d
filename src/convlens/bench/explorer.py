"""The explorer as its page feels it: seconds over the loopback, beside a bare forward pass.

The server runs as a user starts it, in a process of its own, with its survey of the data set done;
what is measured is from the first request to the last byte of the last answer, asked for over six
connections as browsers do. Drawing the page is not in it.
"""

import contextlib
import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens.data import open_dataset
from convlens.explorer.answers import page_files
from convlens.inference.classifier import Classifier

CONNECTIONS = 6  # of a browser to one host
FORWARDS = 5  # in a round, of which the median counts
IN_SIGHT = 3  # layers whose maps are on the screen at once


class Browser:
    """Asks over connections that stay open, one for each of its threads."""

    def __init__(self, port: int):
        self.port = port
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def all(self, paths: Sequence[str]) -> list[bytes]:
        """The answers, all asked for at once."""
        return list(self._pool.map(self.ask, paths))

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """One answer. Raises RuntimeError where it is an error."""
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            self._all.append(self._own.connection)
        connection = self._own.connection
        connection.request("GET" if body is None else "POST", f"/{path}", body)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"/{path} gave {response.status}: {content[:200]!r}")
        return content

    def close(self) -> None:
        self._pool.shutdown()
        for connection in self._all:
            connection.close()


@contextlib.contextmanager
def serving(weights: str, data: str) -> Iterator[int]:
    """The port of a server in a process of its own, once its survey is done."""
    command = [sys.executable, "-m", "convlens", "explore", weights, "--data", data, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        told = next((line for line in process.stdout or () if line.startswith("explore")), "")
        found = re.search(r":(\d+)/", told)
        if found is None:
            raise RuntimeError("convlens explore did not start")
        browser = Browser(int(found[1]))
        while not _done(json.loads(browser.ask("api/progress.json"))):
            time.sleep(0.5)
        browser.close()
        yield int(found[1])
    finally:
        process.terminate()
        process.communicate()


def _done(progress: dict) -> bool:
    if progress["failure"]:
        raise RuntimeError(progress["failure"])
    return all(task["done"] == task["total"] for task in progress["tasks"])


def explorer_seconds(weights: str, data: str, rounds: int) -> list[dict[str, float]]:
    """A row of seconds a round, each with an image that was not asked about before.

    forward: the bare forward pass of one image, in this process, eager fp32. image: upload it, and
    get its prediction and all maps of all layers. click: the deconvolution, filter and
    top-activating patches of a map. touch: what the page asks while a picture is being changed, its
    bars and the maps of IN_SIGHT layers. page: from a cold browser all files of the page and what
    there is to see.
    """
    classifier = Classifier.load(weights)
    dataset = open_dataset(data, size=classifier.loaded_size, skip_bad=True, progress=False)
    x = torch.randn(1, classifier.normalize.channels, classifier.size, classifier.size)
    model, images = classifier.model.eval(), dataset.validation.paths
    noise = np.random.default_rng(0)
    with serving(weights, data) as port:
        browser = Browser(port)
        layers = json.loads(browser.ask("api/site.json"))["runs"][0]["layers"]
        with_filters = [number for number, layer in enumerate(layers) if layer["filters"]]
        seconds = []
        for number in range(rounds + 1):
            content = (Path(data) / images[number * len(images) // (rounds + 1)]).read_bytes()
            layer = with_filters[number % len(with_filters)]
            row = {"forward": median(_timed(lambda: _forward(model, x)) for _ in range(FORWARDS))}
            row["image"], name = _new_image(browser, content, len(layers))
            row["click"] = _click(browser, name, layer)
            picture = noise.integers(0, 256, (classifier.loaded_size, classifier.loaded_size, 3))
            row["touch"] = _touch(browser, picture.astype(np.uint8).tobytes())
            row["page"] = _timed(lambda: _page(port))
            seconds.append(row)
        browser.close()
    return seconds[1:]  # the first warms up


def _timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@torch.inference_mode()
def _forward(model: nn.Module, x: torch.Tensor) -> None:
    model(x)


def _new_image(browser: Browser, content: bytes, layers: int) -> tuple[float, str]:
    start = time.perf_counter()
    name = json.loads(browser.ask("images", content))["id"]
    here = f"api/0/{name}"
    browser.all(
        [
            f"images/0/{name}.png",
            f"{here}/prediction.json",
            f"{here}/layers.json",
            *(f"{here}/layer-{number}.png" for number in range(layers)),
        ]
    )
    return time.perf_counter() - start, name


def _click(browser: Browser, name: str, layer: int) -> float:
    """On the strongest map of a layer."""
    map_ = json.loads(browser.ask(f"api/0/{name}/layers.json"))[layer]["order"][0]
    return _timed(
        lambda: browser.all(
            [
                f"api/0/{name}/deconvolution-{layer}-{map_}.png",
                f"api/0/filter-{layer}-{map_}.json",
                f"api/0/patches-{layer}.json",
            ]
        )
    )


def _touch(browser: Browser, pixels: bytes) -> float:
    """The pixels of a changed picture, as it is loaded."""
    layers = ",".join(map(str, range(IN_SIGHT)))
    return _timed(lambda: browser.ask(f"api/0/touched?layers={layers}", pixels))


def _page(port: int) -> None:
    browser = Browser(port)
    browser.ask("")
    browser.all([*page_files(), "api/site.json"])
    browser.close()
