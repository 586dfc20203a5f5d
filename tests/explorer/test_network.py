"""One pass holds what the separate views say, and filters and pictures are the network's own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens.explorer.attribution import METHODS, draw, methods_of
from convlens.explorer.network import Network, look_inside
from convlens.inference import Classifier
from convlens.look import arrays
from convlens.models import ResNet18


@pytest.mark.parametrize("which", ["vgg", "unet", "resnet18"])
def test_one_pass_holds_what_the_separate_views_say(own, which, request):
    module = ResNet18(5).eval() if which == "resnet18" else request.getfixturevalue(which)
    explorer = own(module)
    network = explorer.networks[0]
    images = explorer.dataset.train.images[:3]
    x = torch.cat([network.normalized(image) for image in images])
    seen = look_inside(module, x, network.layers)
    with torch.no_grad():
        np.testing.assert_allclose(seen.logits, module(x).numpy(), rtol=1e-5, atol=1e-6)
    apart = arrays.activations(module, x, network.layers)
    for layer, maps in zip(network.layers, seen.maps, strict=True):
        assert maps.ndim == 4
        np.testing.assert_allclose(maps.reshape(apart[layer].shape), apart[layer], rtol=1e-5)
    features = arrays.features(network.classifier, images)
    np.testing.assert_allclose(seen.features, features, rtol=1e-5, atol=1e-6)
    assert not any(m._forward_hooks for m in module.modules())


def test_the_first_filters_stand_by_their_colors_and_deeper_ones_by_their_strength(own, vgg):
    network = own(vgg).networks[0]
    first = network.filter(0, 7)
    weight = network.model[0].weight.detach().numpy()
    assert (first["of"], first["kernel"]) == ("0", [3, 3])
    assert [each["map"] for each in first["inputs"]] == [0, 1, 2]
    np.testing.assert_allclose([e["weights"] for e in first["inputs"]], weight[7], rtol=1e-3)
    deep = network.filter(3, 4)
    weight = network.model[5].weight.detach().numpy()[4]
    norms = [np.linalg.norm(weight[each["map"]]) for each in deep["inputs"]]
    assert norms == sorted(norms, reverse=True)
    assert len(norms) == 8
    np.testing.assert_allclose(
        deep["inputs"][0]["weights"], weight[deep["inputs"][0]["map"]], rtol=1e-3
    )
    assert network.filter(2, 0) is None  # a pooling


def test_a_filter_of_a_group_names_the_maps_it_reads(own, unet):
    network = own(unet).networks[0]
    number = [stage.convolution for stage in network.stages].index("down2")
    assert {each["map"] for each in network.filter(number, 1)["inputs"]} == {0, 1, 2}
    assert {each["map"] for each in network.filter(number, 7)["inputs"]} == {3, 4, 5}


@pytest.mark.parametrize("name", METHODS)
def test_a_picture_has_the_image_s_size_and_tells_its_scale(own, name, vgg):
    explorer = own(vgg)
    network, image = explorer.networks[0], np.array(explorer.dataset.train.images[0])
    picture = draw(network, name, "t0", image, 3)
    overlaid = name in ("grad-cam", "occlusion")
    assert picture.pixels.shape == (24, 24, 4 if overlaid else 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.caption["low"] <= 0 < picture.caption["high"]
    assert draw(network, name, "t0", image, 3) is picture
    assert draw(network, name, "t0", image, 2) is not picture


def test_occlusion_is_red_exactly_where_the_class_becomes_less_probable(own, vgg):
    explorer = own(vgg)
    network, image = explorer.networks[0], np.array(explorer.dataset.train.images[0])
    x = network.normalized(image)
    seen = arrays.occlusion(network.model, x, 2, temperature=1.5)
    with torch.no_grad():
        whole = (network.model(x) / 1.5).softmax(dim=1)[0, 2].item()
    picture = draw(network, "occlusion", "t0", image, 2)
    cells = picture.pixels[:: seen.stride, :: seen.stride]
    visible = cells[..., 3] > 0
    red = cells[..., 0] > cells[..., 2]
    np.testing.assert_array_equal(red[visible], (seen.probability < whole)[visible])
    np.testing.assert_allclose(picture.caption["probability"], seen.probability, atol=1e-4)
    first = draw(network, "occlusion-first", "t0", image, 2)
    apart = arrays.occlusion(network.model, x, 2, stride=seen.square, temperature=1.5)
    assert np.shape(first.caption["probability"]) == (4, 4)
    np.testing.assert_allclose(first.caption["probability"], apart.probability, atol=1e-4)
    assert first.pixels.shape == picture.pixels.shape


def test_a_network_without_relu_modules_has_no_guided_backpropagation(own, vgg):
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 22 * 22, 5),
    )
    assert "guided-backpropagation" not in methods_of(own(plain).networks[0])
    assert methods_of(own(vgg).networks[0]) == list(METHODS)


def test_a_run_brings_its_history_and_summary(tmp_path: Path, toy_weights: Path, caplog):
    run = tmp_path / "my-run"
    run.mkdir()
    (run / "best.safetensors").write_bytes(toy_weights.read_bytes())
    bare = Network.of_run(run)
    assert (bare.name, bare.summary) == ("my-run", None)
    assert bare.history == {"columns": [], "rows": []}
    (run / "history.csv").write_text("epoch,train_loss\n1,2.5\n2,nan\n", encoding="utf-8")
    (run / "metrics.json").write_text(json.dumps({"validation_accuracy": 0.5}))
    full = Network.of_run(run)
    assert full.summary == {"validation_accuracy": 0.5}
    assert full.history["columns"] == ["epoch", "train_loss"]
    assert full.history["rows"][0] == [1, 2.5]
    assert Network.of_run(toy_weights).name == "toy"
    assert not Network.of_run(toy_weights).half

    published = tmp_path / "weights" / "small.safetensors"  # as this project's own are
    published.parent.mkdir()
    Classifier.load(toy_weights).save(published, half=True)
    assert (Network.of_run(published).half, Network.of_run(published).summary) == (True, None)
    shutil.copytree(run, tmp_path / "results" / "small")
    found = Network.of_run(published)
    assert found.summary == full.summary
    assert str(found.history) == str(full.history)  # one number is none
    (run / "metrics.json").write_text("{")
    assert Network.of_run(run).summary is None
    assert "metrics.json is damaged" in caplog.text
