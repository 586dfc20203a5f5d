"""Growth is, epoch by epoch, the deconvolution of what then excites a map most."""

import copy

import numpy as np
import pytest
import torch

from convlens.errors import UserError
from convlens.look.arrays import activations, deconvolution, growth


def test_each_epoch_has_its_own_strongest_patch(network, classifier_of):
    images = np.random.default_rng(0).integers(0, 256, (9, 12, 12, 3), dtype=np.uint8)
    late = network()
    early = copy.deepcopy(late)
    torch.manual_seed(3)
    early[2].reset_parameters()
    early[2].bias.data[4] = -100  # not yet excited by anything
    networks = {1: classifier_of(early, 12), 20: classifier_of(late, 12)}
    seen = growth(networks, images, "3", [1, 4])
    assert (seen.epochs, seen.maps, seen.layer) == ((1, 20), (1, 4), "3")
    x = networks[1].inputs(images)
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


def test_unasked_the_strongest_maps_of_the_last_epoch_are_followed(network, classifier_of):
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    classifier = classifier_of(network(), 12)
    seen = growth({1: classifier}, images, "3", count=2)
    x = classifier.inputs(images)
    strongest = activations(classifier.model, x, ["3"])["3"].max(axis=(0, 2, 3))
    assert list(seen.maps) == np.argsort(-strongest)[:2].tolist()
    with pytest.raises(UserError, match="layer 3 has no map 5; choose from 0 to 4"):
        growth({1: classifier}, images, "3", [5])
