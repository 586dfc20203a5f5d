import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from convlens.data.augment import Augment, augment
from convlens.data.batches import Batch
from convlens.data.normalize import Normalize

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
NORMALIZE = Normalize(MEAN, STD)
ALL = Augment(
    scale=0.5,
    aspect=0.3,
    translate=0.1,
    rotate=20,
    flip=0.5,
    color=0.4,
    grayscale=0.2,
    erase=0.5,
    mixup=0.4,
    cutmix=0.4,
    trivial_augment=0.5,
)


def a_batch(n=8, size=16, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    targets = torch.eye(classes)[torch.arange(n) % classes]
    return Batch(images.contiguous(memory_format=torch.channels_last), targets, seed)


def pixels(images):
    """Back to 0..255."""
    return (images * STD.view(1, 3, 1, 1) + MEAN.view(1, 3, 1, 1)) * 255


policies = st.builds(
    Augment,
    scale=st.floats(0, 0.9),
    aspect=st.floats(0, 1),
    translate=st.floats(0, 0.5),
    rotate=st.floats(0, 180),
    flip=st.floats(0, 1),
    color=st.floats(0, 0.9),
    grayscale=st.floats(0, 1),
    erase=st.floats(0, 1),
    mixup=st.floats(0, 0.5),
    cutmix=st.floats(0, 0.5),
    trivial_augment=st.floats(0, 1),
)


@settings(deadline=None, max_examples=60)
@given(policy=policies, n=st.integers(1, 9), size=st.sampled_from([8, 16, 24]))
def test_any_policy_gives_finite_images_of_the_size_and_targets_that_sum_to_one(policy, n, size):
    images, targets = augment(a_batch(n), policy, NORMALIZE, size)
    assert images.shape == (n, 3, size, size)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(images).all()
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(n))
    assert (targets >= 0).all()


def test_no_policy_is_evaluations_preprocessing():
    batch = a_batch()
    images, targets = augment(batch, Augment(), NORMALIZE, 16)
    expected = (batch.images.float() / 255 - MEAN.view(1, 3, 1, 1)) / STD.view(1, 3, 1, 1)
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(images, NORMALIZE(batch.images))
    assert torch.equal(targets, batch.targets)


def test_the_seed_decides_everything():
    first, again, other = (augment(a_batch(seed=s), ALL, NORMALIZE, 16) for s in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_images_have_parameters_of_their_own():
    one = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    batch = Batch(one.expand(6, -1, -1, -1), torch.eye(6), seed=3)
    images, _ = augment(batch, Augment(scale=0.5, rotate=20, color=0.4), NORMALIZE, 16)
    for i in range(6):
        for j in range(i):
            assert not torch.allclose(images[i], images[j])


@pytest.mark.parametrize("others", [{}, {"rotate": 1e-9}], ids=["alone", "resampled"])
def test_flip_mirrors_left_and_right(others):
    batch = a_batch()
    images, _ = augment(batch, Augment(flip=1.0, **others), NORMALIZE, 16)
    torch.testing.assert_close(pixels(images), batch.images.flip(3).float(), rtol=0, atol=0.02)


def test_rotation_stays_within_its_range_and_turns_about_the_center():
    # one bright pixel off the center: where it lands tells the angle
    image = torch.zeros(64, 3, 33, 33, dtype=torch.uint8)
    image[:, :, 16, 26] = 255
    batch = Batch(image, torch.eye(64), seed=0)
    images, _ = augment(batch, Augment(rotate=30), NORMALIZE, 33)
    weight = pixels(images).mean(dim=1).clamp(min=0)
    grid = torch.arange(33.0) - 16
    total = weight.sum(dim=(1, 2))
    x = (weight.sum(dim=1) * grid).sum(dim=1) / total
    y = (weight.sum(dim=2) * grid).sum(dim=1) / total
    angle = torch.rad2deg(torch.atan2(y, x))
    assert angle.abs().max() <= 31
    assert angle.max() > 15
    assert angle.min() < -15
    torch.testing.assert_close(torch.hypot(x, y), torch.full((64,), 10.0), rtol=0.05, atol=0)


def test_a_crop_keeps_at_least_the_area_it_says_and_stays_inside():
    # an image whose red is its column and green its row: a crop's extremes tell what it kept
    ramp = torch.arange(64).expand(64, 64)
    image = torch.stack([ramp, ramp.T, torch.zeros_like(ramp)]).to(torch.uint8)
    batch = Batch(image.expand(128, -1, -1, -1), torch.ones(128, 1), seed=0)
    images, _ = augment(batch, Augment(scale=0.6), NORMALIZE, 64)
    x, y = pixels(images)[:, 0], pixels(images)[:, 1]
    width = (x.amax(dim=(1, 2)) - x.amin(dim=(1, 2)) + 1) / 64
    height = (y.amax(dim=(1, 2)) - y.amin(dim=(1, 2)) + 1) / 64
    area = width * height
    assert area.min() > 0.4 - 0.03
    assert area.min() < 0.5
    assert area.max() > 0.95
    # nothing mirrored at the border: columns and rows only ever rise
    assert (x.diff(dim=2) > -0.02).all()
    assert (y.diff(dim=1) > -0.02).all()


def test_grayscale_removes_all_color_and_keeps_pillows_luma():
    batch = a_batch()
    images, _ = augment(batch, Augment(grayscale=1.0), NORMALIZE, 16)
    for image, original in zip(pixels(images), batch.images, strict=True):
        pillow = Image.fromarray(original.permute(1, 2, 0).numpy()).convert("L")
        for channel in image:
            np.testing.assert_allclose(channel.numpy(), np.asarray(pillow), atol=0.6)


def test_color_is_pillows_saturation_contrast_and_brightness():
    # factors recovered by brute force: some triple from the range must explain each image
    batch = a_batch(n=4, size=8)
    images, _ = augment(batch, Augment(color=0.3), NORMALIZE, 8)
    luma = np.array([0.299, 0.587, 0.114])
    for image, original in zip(pixels(images), batch.images, strict=True):
        rgb = original.permute(1, 2, 0).numpy().astype(float)
        gray = rgb @ luma
        # x' = gain·(s·x + (1 − s)·gray) + shift, linear in (gain·s, gain·(1 − s), shift)
        left = np.stack([rgb.ravel(), np.repeat(gray, 3), np.ones(rgb.size)], axis=1)
        right = image.permute(1, 2, 0).double().numpy().ravel()
        (a, b, shift), residual, *_ = np.linalg.lstsq(left, right, rcond=None)
        assert residual[0] < 1e-3
        gain, saturation = a + b, a / (a + b)
        brightness = gain + shift / gray.mean()  # shift = brightness·(1 − contrast)·mean luma
        contrast = gain / brightness
        for factor in (brightness, contrast, saturation):
            assert 0.7 - 1e-3 <= factor <= 1.3 + 1e-3
    # and the same chain in Pillow, for one image with known factors
    rgb = batch.images[0].permute(1, 2, 0).numpy()
    chain = ImageEnhance.Color(Image.fromarray(rgb)).enhance(0.8)
    by_hand = 0.8 * rgb + 0.2 * (rgb @ luma)[..., None]
    np.testing.assert_allclose(np.asarray(chain), by_hand, atol=1.1)


def test_erase_blanks_one_rectangle_to_the_mean_color():
    batch = Batch(torch.full((200, 3, 32, 32), 255, dtype=torch.uint8), torch.ones(200, 1), seed=0)
    images, targets = augment(batch, Augment(erase=0.5), NORMALIZE, 32)
    blank = (images == 0).all(dim=1)
    areas = blank.sum(dim=(1, 2))
    hit = areas > 0
    assert 70 < hit.sum() < 130
    for mask, area in zip(blank[hit], areas[hit], strict=True):
        rows, columns = mask.any(dim=1).sum(), mask.any(dim=0).sum()
        assert rows * columns == area  # a full rectangle
        assert 0.01 * 1024 < area < 0.36 * 1024
    assert torch.equal(targets, batch.targets)


def test_mixup_blends_pixels_and_labels_in_the_same_share():
    batch = a_batch(n=6, classes=6)
    images, targets = augment(batch, Augment(mixup=1.0), NORMALIZE, 16)
    plain = NORMALIZE(batch.images)
    partner = torch.tensor([1, 0, 3, 2, 5, 4])
    share = 1 - targets.diagonal()
    assert share.min() >= 0
    assert share.unique().numel() == 6
    expected = torch.lerp(plain, plain[partner], share.view(-1, 1, 1, 1))
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)


def test_cutmix_pastes_a_rectangle_whose_area_is_the_labels_share():
    batch = Batch(
        torch.arange(0, 200, 25, dtype=torch.uint8).view(8, 1, 1, 1).repeat(1, 3, 16, 16),
        torch.eye(8),
        seed=5,
    )
    images, targets = augment(batch, Augment(cutmix=1.0), NORMALIZE, 16)
    plain = NORMALIZE(batch.images)
    foreign = (images != plain).any(dim=1)
    for i in range(8):
        assert targets[i, i ^ 1] == pytest.approx(foreign[i].sum() / 256)
        rows, columns = foreign[i].any(dim=1).sum(), foreign[i].any(dim=0).sum()
        assert rows * columns == foreign[i].sum()


def test_the_last_of_an_odd_batch_has_no_partner_and_stays_itself():
    images, targets = augment(a_batch(n=5, classes=5), Augment(mixup=1.0), NORMALIZE, 16)
    assert targets[4, 4] == pytest.approx(1.0)
    torch.testing.assert_close(images[4], NORMALIZE(a_batch(n=5).images)[4])


@settings(deadline=None, max_examples=30)
@given(policy=policies, seed=st.integers(0, 100))
def test_gray_images_are_the_luma_of_those_in_color(policy, seed):
    batch = a_batch(n=4, seed=seed)
    color, targets = augment(batch, policy, Normalize([0.0] * 3, [1.0] * 3), 16)
    gray, same = augment(batch, policy, Normalize([0.0], [1.0]), 16)
    luma = (color * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(gray, luma, rtol=1e-4, atol=1e-4)
    assert torch.equal(same, targets)
