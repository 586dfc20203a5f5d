import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_channel_statistics_of_one_color_stay_usable():
    normalize = Normalize.of(np.full((3, 4, 4, 3), 9, dtype=np.uint8))
    assert (normalize.std > 0).all()
