"""A network as a browser runs it: the page's own scripts in Node, against torch."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import COLORS, NETWORKS, PAGE, check, image_for, named, network_of, packed
from PIL import Image
from torch import nn

from convlens.data.decode import to_square
from convlens.explorer.graph import Unknown, graph_of
from convlens.explorer.network import Network
from convlens.explorer.pack import Pack
from convlens.explorer.units import _told

NODE = shutil.which("node")
if NODE is None and os.environ.get("CI") != "true":
    pytest.skip("needs Node.js", allow_module_level=True)

# What the page makes of a pack: what the network says, each stage, what is shown, a map's filter.
RUN = """
const [{ Copy }, shown] = await Promise.all(
  ["copy", "pass"].map((name) => import(`${process.argv[1]}/${name}.js`)));
const { readFileSync, writeFileSync } = await import("node:fs");
const copy = new Copy(new Uint8Array(readFileSync("pack")));
const [network] = copy.networks;
const pixels = new Uint8Array(readFileSync("pixels"));
const told = [];
for (const lanes of [true, false]) {
  const { Forward } = await import(`${process.argv[1]}/forward.js`);
  const { Plain } = await import(`${process.argv[1]}/kernel.js`);
  const { forward } = network;
  if (!forward.product.lanes) throw new Error("WebAssembly has no lanes here");
  if (!lanes) forward.product = new Plain();
  const { logits, stages } = forward.run(pixels, 3);
  told.push({
    logits: [...logits],
    stages: stages.map(({ data }) => [...data]),
    statistics: stages.map(shown.statistics),
    probabilities: shown.probabilities(logits, network.temperature),
    sprite: [...shown.sprite(stages[0], 0.5).pixels],
  });
}
const filter = network.ofStage[1] ? network.filter(1, 3) : null;
writeFileSync("told.json", JSON.stringify({ told, filter }));
"""


@pytest.fixture
def in_node(tmp_path: Path) -> Callable[[str], None]:
    """in_node(script): runs it as a module in `tmp_path`, with the page's folder as argument."""

    def run(script: str) -> None:
        command = [str(NODE), "--input-type=module", "-e", script, PAGE.as_posix()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    return run


def check_all(network: Network, in_node: Callable[[str], None], folder: Path) -> dict:
    """What Node says is what torch says."""
    image = image_for(network)
    (folder / "pack").write_bytes(packed(network))
    (folder / "pixels").write_bytes(image.tobytes())
    in_node(RUN)
    told = json.loads((folder / "told.json").read_text())
    seen = network.look("", image)
    shares = network.classifier.probabilities(seen.logits)[0]
    for answer in told["told"]:
        check(answer, network)
        np.testing.assert_allclose(answer["probabilities"], shares, atol=1e-4)
        for maps, statistics in zip(seen.maps, answer["statistics"], strict=True):
            flat = maps.reshape(maps.shape[1], -1)
            np.testing.assert_allclose(statistics["max"], flat.max(axis=1), atol=1e-3)
            assert sorted(statistics["order"]) == list(range(len(flat)))
    return told


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_says_the_same_in_a_browser(name, in_node, tmp_path):
    network = named(name)
    told = check_all(network, in_node, tmp_path)
    expected = network.filter(1, 3)
    assert (told["filter"] is None) == (expected is None)
    if expected is not None:
        filter_ = told["filter"]
        assert (filter_["of"], filter_["kernel"]) == (expected["of"], expected["kernel"])
        assert [i["map"] for i in filter_["inputs"]] == [i["map"] for i in expected["inputs"]]
        for ours, theirs in zip(filter_["inputs"], expected["inputs"], strict=True):
            np.testing.assert_allclose(ours["weights"], theirs["weights"], atol=1e-3)


# The sums behind units, and behind a probability.
SUMS = """
const [{ Copy }, { explainSoftmax }, { probabilities }] = await Promise.all(
  ["copy", "explain", "pass"].map((name) => import(`${process.argv[1]}/${name}.js`)));
const { readFileSync, writeFileSync } = await import("node:fs");
const copy = new Copy(new Uint8Array(readFileSync("pack")));
const [network] = copy.networks;
const pixels = new Uint8Array(readFileSync("pixels"));
const pass = network.forward.run(pixels, 4);
const sums = JSON.parse(readFileSync("units.json", "utf8"))
  .map(([stage, unit]) => network.explain(pass, pixels, stage, unit));
const { logits } = pass;
const shares = probabilities(logits, network.temperature);
const softmax = explainSoftmax(logits, network.temperature, shares[2], 2);
writeFileSync("told.json", JSON.stringify({ sums, softmax }));
"""


def numbers_of(content) -> list[float]:
    if isinstance(content, dict):
        content = content.values()
    elif not isinstance(content, list):
        is_number = isinstance(content, int | float) and not isinstance(content, bool)
        return [content] if is_number else []
    return [number for each in content for number in numbers_of(each)]


def check_alike(ours, theirs, way: str, close: float) -> None:
    """The same but for rounding."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), way
        for name, each in theirs.items():
            check_alike(ours[name], each, f"{way}.{name}", close)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), way
        for i, each in enumerate(theirs):
            check_alike(ours[i], each, f"{way}[{i}]", close)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=close), way
    else:
        assert ours == theirs, way


@pytest.mark.parametrize("name", [*NETWORKS, "vgg", "unet"])
def test_a_sum_is_the_same_in_a_browser(name, vgg, unet, in_node, tmp_path):
    """Term by term, with weights in half precision, all of whose digits a page keeps."""
    torch.manual_seed(2)
    own = {"vgg": (lambda: vgg, 24, COLORS)}
    if name == "unet":
        unet.up = nn.Identity()  # a page knows no other
        unet.pool = nn.Identity()
        own["unet"] = (lambda: unet, 24, COLORS)
    make, size, normalize = (own | NETWORKS)[name]
    network = network_of(make(), size, normalize)
    for tensor in network.model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (size, size, 3), np.uint8)
    units = []
    for number, stage in enumerate(network.stages):
        units += [[number, [0] * len(stage.shape)], [number, random.integers(stage.shape).tolist()]]
    (tmp_path / "pack").write_bytes(packed(network))
    (tmp_path / "units.json").write_text(json.dumps(units))
    rgba = np.concatenate([image, np.full((size, size, 1), 255, np.uint8)], axis=2)
    (tmp_path / "pixels").write_bytes(rgba.tobytes())
    in_node(SUMS)
    found = json.loads((tmp_path / "told.json").read_text())
    assert len(found["sums"]) == len(units) > 6
    shares = network.classifier.probabilities(network.look("", image).logits)[0]
    assert found["softmax"]["value"] == pytest.approx(shares[2], rel=1e-4)
    assert found["softmax"]["total"] >= 1
    for (number, unit), ours in zip(units, found["sums"], strict=True):
        theirs = json.loads(json.dumps(_told(network.explain("", image, number, unit))))
        # as sums round, and the scale of a norm, which is given 16 of 24 bits too
        close = (3e-5 if "norm" in name else 1e-5) * max(map(abs, numbers_of(theirs)))
        check_alike(ours, theirs, f"{network.layers[number]} {unit}", close)


def test_a_user_s_own_network_runs_where_the_page_knows_its_steps(vgg, unet, in_node, tmp_path):
    check_all(network_of(vgg, 24, COLORS), in_node, tmp_path)
    with pytest.raises(Unknown, match="upsample_nearest2d"):
        graph_of(network_of(unet, 24, COLORS))


def test_weights_of_half_precision_come_through_as_they_are():
    values = torch.randn(1000).half().float().numpy()
    pack = Pack()
    pack.tensors([values])
    planes = np.frombuffer(pack.parts[0], np.uint8).reshape(3, -1).astype(np.uint32)
    bits = planes[0] << 8 | planes[1] << 16 | planes[2] << 24
    np.testing.assert_array_equal(bits.view(np.float32), values)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_an_image_becomes_the_square_that_pillow_makes(fit, in_node, tmp_path):
    random = np.random.default_rng(2)
    for width, height in ((90, 61), (33, 20), (31, 31)):
        image = random.integers(0, 256, (height, width, 4), np.uint8)
        image[..., 3] = 255
        (tmp_path / "image").write_bytes(image.tobytes())
        in_node(
            f"""
            const {{ square }} = await import(`${{process.argv[1]}}/resample.js`);
            const {{ readFileSync, writeFileSync }} = await import("node:fs");
            const data = new Uint8ClampedArray(readFileSync("image"));
            const image = {{ data, width: {width}, height: {height} }};
            writeFileSync("square", square(image, 24, "{fit}"));
            """
        )
        ours = np.frombuffer((tmp_path / "square").read_bytes(), np.uint8).reshape(24, 24, 4)
        theirs = to_square(Image.fromarray(image[..., :3]), 24, fit)
        assert abs(ours[..., :3].astype(int) - theirs).max() <= 1
        assert (ours[..., 3] == 255).all()
