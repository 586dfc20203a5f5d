import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data.normalize import Normalize


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 10))
def test_channel_statistics_are_numpys(n, side, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    normalize = Normalize.of(images)
    np.testing.assert_allclose(normalize.mean, images.mean(axis=(0, 1, 2)) / 255, rtol=1e-5)
    np.testing.assert_allclose(normalize.std, images.std(axis=(0, 1, 2)) / 255, rtol=1e-4)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    normalized = normalize(pixels)
    assert normalized.dtype == torch.float32
    np.testing.assert_allclose(normalized.mean(dim=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(normalized.std(dim=(0, 2, 3), correction=0), 1, rtol=1e-3)


def test_gray_is_pillows_luma_before_it_is_rounded():
    images = np.random.default_rng(0).integers(0, 256, (7, 9, 11, 3), dtype=np.uint8)
    luma = images @ np.array([0.299, 0.587, 0.114])
    normalize = Normalize.of(images, channels=1)
    np.testing.assert_allclose(normalize.mean, [luma.mean() / 255], rtol=1e-5)
    np.testing.assert_allclose(normalize.std, [luma.std() / 255], rtol=1e-4)
    gray = normalize(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert gray.shape == (7, 1, 9, 11)
    values = 255 * (gray[:, 0] * normalize.std + normalize.mean)
    np.testing.assert_allclose(values, luma, atol=1e-3)
    pillows = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    np.testing.assert_allclose(values, pillows, atol=0.51)


def test_the_statistics_of_large_images_are_counted_in_parts(monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    whole = [Normalize.of(images, channels, max_images=12) for channels in (1, 3)]
    monkeypatch.setattr("convlens.data.normalize.COUNTED", 40)  # two images, and half of one
    parts = [Normalize.of(images, channels, max_images=12) for channels in (1, 3)]
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.std, other.std)


def test_channel_statistics_of_one_color_stay_usable():
    normalize = Normalize.of(np.full((3, 4, 4, 3), 9, dtype=np.uint8))
    assert (normalize.std > 0).all()
