"""Growth is, epoch by epoch, the deconvolution of what then excites a map most."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from convlens.cli import main
from convlens.data.augment import normalize
from convlens.data.batches import to_tensor
from convlens.errors import UserError
from convlens.look import activations, deconvolution, growth
from convlens.look.views import draw

MEAN, STD = torch.full((3,), 0.5), torch.full((3,), 0.25)


def test_each_epoch_has_its_own_strongest_patch(network):
    images = np.random.default_rng(0).integers(0, 256, (9, 12, 12, 3), dtype=np.uint8)
    late = network()
    early = copy.deepcopy(late)
    torch.manual_seed(3)
    early[2].reset_parameters()
    early[2].bias.data[4] = -100  # not yet excited by anything
    seen = growth({1: early, 20: late}, images, MEAN, STD, "3", [1, 4])
    assert (seen.epochs, seen.maps, seen.layer) == ((1, 20), (1, 4), "3")
    x = normalize(to_tensor(images), MEAN, STD)
    for e, model in enumerate((early, late)):
        maps = activations(model, x, ["3"])["3"][:, [1, 4]]
        np.testing.assert_allclose(seen.values[e], maps.max(axis=(0, 2, 3)), rtol=1e-5)
        row, _, top, left = np.unravel_index(maps[:, :1].argmax(), maps[:, :1].shape)
        assert seen.rows[e, 0] == row
        # a unit's field: 5×5 pixels, from one above and left of it, for the first conv pads
        patch = np.pad(images[row], ((1, 1), (1, 1), (0, 0)), constant_values=128)
        np.testing.assert_array_equal(seen.patches[e, 0], patch[top : top + 5, left : left + 5])
        whole = deconvolution(model, x[row : row + 1], "3", [1], [(top, left)])[0]
        inside = np.pad(whole, ((1, 1), (1, 1), (0, 0)))[top : top + 5, left : left + 5]
        np.testing.assert_allclose(seen.projections[e, 0], inside, atol=1e-6)
    assert not np.array_equal(seen.projections[0, 0], seen.projections[1, 0])
    assert seen.values[0, 1] == 0 and not seen.projections[0, 1].any()


def test_unasked_the_strongest_maps_of_the_last_epoch_are_followed(network):
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    model = network()
    seen = growth({1: model}, images, MEAN, STD, "3", count=2)
    x = normalize(to_tensor(images), MEAN, STD)
    strongest = activations(model, x, ["3"])["3"].max(axis=(0, 2, 3))
    assert list(seen.maps) == np.argsort(-strongest)[:2].tolist()
    with pytest.raises(UserError, match="layer 3 has no map 5; choose from 0 to 4"):
        growth({1: model}, images, MEAN, STD, "3", [5])


def test_a_run_with_snapshots_is_looked_at_and_one_without_refused(
    toy_data, toy_weights, tmp_path, capsys
):
    run = tmp_path / "run"
    main(["train", "lenet5", "--data", str(toy_data), "--out", str(run), "--epochs", "2",
          "--batch-size", "16", "--snapshots", "--device", "cpu"])  # fmt: skip
    (written,) = draw(run, (), ("growth",), toy_data, tmp_path / "looks", None, "relu1", (3, 7))
    assert written.name == "growth-relu1-map3-7.png"
    with Image.open(written) as picture:
        assert min(picture.size) > 300
    with pytest.raises(UserError, match="holds no snapshots; train with --snapshots"):
        draw(toy_weights, (), ("growth", "filters"), toy_data, tmp_path / "none")
    assert not (tmp_path / "none").exists()
