"""The streamed patches are those of a full sort, their boxes exact, and crops what they say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens.data.normalize import Normalize
from convlens.errors import UserError
from convlens.inference import Classifier
from convlens.look.arrays.top_patches import crop, deepest_local_layer, top_activating_patches
from convlens.models import LeNet5, ResNet18

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])


def top_patches(model, images, layer, count=9, **options):
    """Of a bare network."""
    classifier = Classifier(model, "ab", Normalize(MEAN, STD), size=12)
    return top_activating_patches(classifier, images, layer, count, **options)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 2),
    )


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)


class OnlyInBatches:
    """An array that can be read at most four rows at a time, as if it did not fit into memory."""

    def __init__(self, array):
        self.array = array
        self.shape = array.shape

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        assert len(range(*rows.indices(len(self)))) <= 4
        return self.array[rows]


def full_sort(model, images, count):
    """(value, image, unit) of each map's strongest, found by sorting everything at once."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    x = (x - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    with torch.no_grad():
        maps = model[:5](x).numpy()
    found = []
    for of_map in maps.transpose(1, 0, 2, 3):
        strongest = [
            (plane.max(), row, np.unravel_index(plane.argmax(), plane.shape))
            for row, plane in enumerate(of_map)
        ]
        found.append(sorted(strongest, key=lambda each: (-each[0], each[1]))[:count])
    return found


def test_one_pass_finds_what_a_full_sort_finds():
    images = pictures(21)
    images[[7, 13, 14]] = images[2]  # equally strong ones, in one batch and in several
    model = network()
    found = top_patches(model, OnlyInBatches(images), "4", 9, batch_size=4)
    expected = full_sort(model, images, 9)
    assert found.values.shape == (6, 9)
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(
        found.values, [[value for value, _, _ in each] for each in expected], rtol=1e-4
    )
    np.testing.assert_array_equal(found.rows, [[row for _, row, _ in each] for each in expected])
    np.testing.assert_array_equal(found.positions, [[unit for *_, unit in e] for e in expected])


def test_a_box_holds_all_the_pixels_that_move_the_unit_and_no_more():
    model = network()
    images = pictures(10)
    found = top_patches(model, images, "4", count=3)
    moved = network().double()
    for parameter in moved.parameters():
        parameter.data.fill_(1.0)
    moved[2] = nn.AvgPool2d(2)
    x = torch.ones(1, 3, 12, 12, dtype=torch.double, requires_grad=True)
    maps = moved[:5](x)
    for unit, box in zip(found.positions.reshape(-1, 2), found.boxes.reshape(-1, 4), strict=True):
        (gradient,) = torch.autograd.grad(maps[0, 0, *unit], x, retain_graph=True)
        rows, columns = gradient[0].sum(dim=0).nonzero().T.numpy()
        seen = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert tuple(box.clip(0, 12)) == seen
        assert tuple(box[2:] - box[:2]) == (8, 8)  # 3 + 1·(2 − 1) + 2·(3 − 1)


def test_the_value_is_that_of_the_cropped_patch_alone():
    """A unit inside the border sees nothing but its patch."""
    model = network()[:2]
    images = pictures(5)
    found = top_patches(model, images, "1", count=5)
    inside = [
        (m, i)
        for m, i in np.ndindex(5, 5)
        if found.positions[m, i].min() > 0 and found.positions[m, i].max() < 11
    ]
    assert len(inside) > 5
    for m, i in inside:
        patch = crop(images[found.rows[m, i]], found.boxes[m, i])
        x = torch.from_numpy(patch).permute(2, 0, 1) / 255 - MEAN.view(3, 1, 1)
        value = model(x[None] / STD.view(3, 1, 1))[0, m, 1, 1].item()
        assert value == pytest.approx(found.values[m, i], rel=1e-4)


def test_of_larger_images_the_middle_is_looked_at():
    larger = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    found, same = (top_patches(network(), i, "4") for i in (larger, larger[:, 2:14, 2:14]))
    np.testing.assert_array_equal(found.values, same.values)
    np.testing.assert_array_equal(found.boxes, same.boxes)


def test_fewer_images_than_asked_for_give_all_of_them():
    assert top_patches(network(), pictures(4), "1").values.shape == (5, 4)


def test_a_unit_that_reads_everything_has_the_whole_image_for_its_box():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))
    found = top_patches(model, pictures(3), "1", count=2)
    np.testing.assert_array_equal(found.boxes, np.tile([0, 0, 12, 12], (4, 2, 1)))


def test_a_layer_without_maps_is_refused():
    with pytest.raises(UserError, match="layer 6 gives no maps; choose a convolution"):
        top_patches(network(), pictures(3), "6")


@settings(max_examples=50, deadline=None)
@given(st.integers(-12, 12), st.integers(-12, 12), st.integers(1, 5), st.integers(1, 6))
def test_a_crop_is_cut_from_the_image_laid_on_an_endless_ground(top, left, height, width):
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    ground = np.pad(image, ((20, 20), (20, 20), (0, 0)), constant_values=128)
    patch = crop(image, np.array([top, left, top + height, left + width]))
    expected = ground[20 + top : 20 + top + height, 20 + left : 20 + left + width]
    np.testing.assert_array_equal(patch, expected)


def test_a_box_longer_than_the_image_shows_the_image():
    image = pictures(1)[0]
    patch = crop(image, np.array([-20, 3, 40, 5]))
    np.testing.assert_array_equal(patch, image[:, 3:5])


def test_the_layer_shown_unasked_is_the_deepest_that_sees_parts():
    assert deepest_local_layer(LeNet5(), 64) == "relu2"
    assert deepest_local_layer(ResNet18(), 64) == "layer2.0.relu1"
    assert deepest_local_layer(nn.Sequential(nn.Conv2d(3, 2, 7, padding=3), nn.ReLU()), 4) == "1"
