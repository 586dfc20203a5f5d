import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from convlens.data.augment import Augment, augment
from convlens.data.batches import Batch
from convlens.data.normalize import Normalize
from convlens.data.trivial_augment import OPERATIONS, TrivialAugment

PLAIN = Normalize((0, 0, 0), (1, 1, 1))  # augment then returns 0..1


def images(n=4, side=24):
    """uint8 (n, 3, side, side), smooth enough to have structure, none of them flat."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(9 * x * a + 7 * y * b)[..., None] * c for a, b, c in random.random((n, 3))]
    noisy = [80 + 90 * w + random.integers(0, 40, (side, side, 3)) for w in waves]
    return torch.from_numpy(np.stack(noisy).clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2)


def trivial(operation, strength, n=4):
    return TrivialAugment(torch.full((n,), OPERATIONS.index(operation)), torch.full((n,), strength))


def pillow(batch, operate):
    pictures = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in batch]
    arrays = [np.asarray(operate(picture)) for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(
    "operation, strength, operate, tolerance",
    [
        ("autocontrast", 0.0, ImageOps.autocontrast, 1),
        ("equalize", 0.0, ImageOps.equalize, 0),
        ("posterize", -0.99, lambda p: ImageOps.posterize(p, 4), 0),
        ("posterize", -0.3, lambda p: ImageOps.posterize(p, 5), 0),
        ("solarize", 0.0, lambda p: ImageOps.solarize(p, 128), 0),
        ("sharpness", 0.8, lambda p: ImageEnhance.Sharpness(p).enhance(1.72), 2),
        ("sharpness", -0.8, lambda p: ImageEnhance.Sharpness(p).enhance(0.28), 2),
    ],
)
def test_operations_on_pixels_are_pillows(operation, strength, operate, tolerance):
    batch = images()
    changed = trivial(operation, strength).change(batch.float())
    assert (changed - pillow(batch, operate)).abs().max() <= tolerance
    assert (changed - batch).abs().max() > 6


def test_images_whose_operation_is_none_on_pixels_stay_as_they_are():
    batch = images().float()
    for operation in ("identity", "rotate", "brightness", "shear_x"):
        assert torch.equal(trivial(operation, 0.7).change(batch.clone()), batch)
    flat = torch.full((4, 3, 8, 8), 77.0)
    for operation in ("autocontrast", "equalize"):
        assert torch.equal(trivial(operation, 0.7).change(flat.clone()), flat)


@pytest.mark.parametrize(
    "operation, moved",  # where the input point (x, y) = (0.5, 0.25) is read from
    [
        ("identity", (0.5, 0.25)),
        ("shift_x", (0.5 + 0.3, 0.25)),
        ("shift_y", (0.5, 0.25 + 0.3)),
        ("shear_x", (0.5 + 0.15 * 0.25, 0.25)),
        ("shear_y", (0.5, 0.25 + 0.15 * 0.5)),
        (
            "rotate",
            (
                0.5 * np.cos(np.pi / 12) - 0.25 * np.sin(np.pi / 12),
                0.5 * np.sin(np.pi / 12) + 0.25 * np.cos(np.pi / 12),
            ),
        ),
    ],
)
def test_geometry_at_half_strength(operation, moved):
    maps = trivial(operation, 0.5, n=1).affine()
    point = maps[0] @ torch.tensor([0.5, 0.25, 1.0])
    np.testing.assert_allclose(point, moved, rtol=1e-5)


def test_the_policy_is_the_share_of_images_that_get_an_operation():
    n = 2800
    batch = Batch(images(1).expand(n, -1, -1, -1), torch.eye(n), seed=1)
    plain, _ = augment(batch, Augment(), PLAIN, 24)

    def share(policy):
        drawn, _ = augment(batch, Augment(trivial_augment=policy), PLAIN, 24)
        return float(((drawn - plain).abs().amax(dim=(1, 2, 3)) > 1e-3).float().mean())

    # one of 14 is the identity, and 8 bits or a threshold above the brightest change nothing either
    assert 0.85 < share(1.0) < 13 / 14 + 0.02
    assert share(0.5) == pytest.approx(share(1.0) / 2, abs=0.04)
