"""What the tests of the explorer share: networks that nobody trained, on data that are quick."""

import contextlib
import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pages import launched
from playwright.sync_api import Browser
from small_runs import small_run
from torch import Tensor, nn

from convlens.data import open_dataset
from convlens.data.normalize import Normalize
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.inference import Classifier


@pytest.fixture
def explorer(toy_weights: Path, toy_data: Path) -> Explorer:
    """The toy network on the toy data, nothing surveyed yet."""
    return Explorer.open([toy_weights], toy_data)


@pytest.fixture(scope="session")
def holdout_run(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs that held a quarter of train/ out; trained once, for all."""
    out = tmp_path_factory.mktemp("holdout") / "held"
    return small_run(out, toy_data, holdout=0.25, epochs=2)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


class UNetEncoder(nn.Module):
    """A user's own: two levels of a U-Net, with skips that come back by concatenation, and a head.

    Its nonlinearity is one module, in place, used again and again.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.down1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.pool = nn.MaxPool2d(2)
        self.down2 = nn.Conv2d(6, 8, 3, padding=1, groups=2)
        self.up = nn.Upsample(scale_factor=2)
        self.join = nn.Conv2d(14, 8, 3, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.act(self.norm(self.down1(x)))
        x = self.up(self.act(self.down2(self.pool(skip))))
        x = self.act(self.join(torch.cat([x, skip], dim=1)))
        return self.head(x.mean(dim=(2, 3)))


@pytest.fixture
def unet() -> nn.Module:
    torch.manual_seed(0)
    return UNetEncoder(5)


@pytest.fixture
def vgg() -> nn.Module:
    """A user's own: a small VGG without batch norm."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 6 * 6, 20),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(20, 5),
    )


@pytest.fixture
def own(toy_data: Path) -> Callable[..., Explorer]:
    """An explorer of a user's own modules, for images of 24×24, at a temperature of 1.5."""

    def make(*modules: nn.Module) -> Explorer:
        dataset = open_dataset(toy_data, size=24)
        normalize = Normalize([0.2, 0.25, 0.3], [0.25, 0.2, 0.3])
        networks = [
            Network(
                Classifier(module.eval(), dataset.classes, normalize, size=24, temperature=1.5),
                f"mine-{number}",
            )
            for number, module in enumerate(modules)
        ]
        return Explorer(networks, [dataset])

    return make


class Proxy(http.server.BaseHTTPRequestHandler):
    """Hands on what lies below `prefix` as JupyterHub does, under a Host header of its own."""

    port: int
    prefix: str
    strips: bool

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        if not self.path.startswith(f"{self.prefix}/"):
            return self.send_error(404, "nothing but the explorer is here")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        path = self.path[len(self.prefix) :] if self.strips else self.path
        there = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(there):
            there.request(self.command, path, body or None, headers | {"Host": "hub.example:80"})
            answer = there.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET


@pytest.fixture
def behind() -> Callable[..., contextlib.AbstractContextManager[str]]:
    """behind(port, prefix, strips): the host that a small proxy is asked at."""

    @contextlib.contextmanager
    def proxied(port: int, prefix: str, strips: bool) -> Iterator[str]:
        handler = type("", (Proxy,), {"port": port, "prefix": prefix, "strips": strips})
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()

    return proxied
