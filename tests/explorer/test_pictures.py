"""Pixels are exactly what the docstrings promise."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convlens.explorer import pictures


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5))
def test_map_m_of_a_sprite_lies_in_raster_order(count, height, width):
    maps = np.random.default_rng(0).uniform(-1, 1, (count, height, width)).astype(np.float32)
    columns = pictures.columns_of(count)
    found = pictures.sprite(maps, 0.5)
    assert found.dtype == np.uint8
    assert found.shape == (-(-count // columns) * height, columns * width)
    for number, values in enumerate(maps):
        top, left = number // columns * height, number % columns * width
        cell = found[top : top + height, left : left + width]
        np.testing.assert_array_equal(cell, np.clip(values * 510, 0, 255).astype(np.uint8))
    row, column = divmod(count - 1, columns)
    assert not found[row * height :, (column + 1) * width :].any()


def test_png_keeps_pixels_of_every_kind():
    for shape in (4, 5), (4, 5, 3), (4, 5, 4):
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        with Image.open(io.BytesIO(pictures.png(pixels))) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), pixels)


def test_numbers_are_cut_to_their_digits_and_0_has_no_sign():
    found = pictures.short([-0.0, -1.23456e-9, 12345.6, np.nan, -np.inf])
    assert found == [0, -1.235e-9, 12350, None, None]
    assert np.copysign(1, found[0]) == 1


def test_thumbnails_stand_32_in_a_row_each_in_its_mean_colors():
    images = np.zeros((34, 64, 64, 3), np.uint8)
    images[33, :, :, 1] = 200
    images[33, ::2, :, 1] = 100  # of each 2×2 pixels the mean is 150
    found = pictures.thumbnails(images)
    assert found.shape == (64, 32 * 32, 3)
    assert (found[32:, 32:64] == [0, 150, 0]).all()
    found[32:, 32:64] = 0
    assert not found.any()


def test_a_scale_is_the_percentile_else_the_maximum_else_1():
    ramp = np.arange(1001.0)
    assert pictures.scale_of(ramp) == 995
    lonely = np.zeros(1001)
    lonely[5] = 3
    assert pictures.scale_of(lonely) == 3
    assert pictures.scale_of(np.full(4, -2.0)) == 1
    assert pictures.magnitude_of(np.full(4, -2.0)) == 2


def test_what_is_no_finite_number_fills_no_scale_and_is_drawn():
    wild = np.array([[np.nan, np.inf, -np.inf, 2, 1]])
    assert pictures.scale_of(wild) == pytest.approx(2, rel=0.01)
    assert pictures.largest(wild) == 2
    assert pictures.scale_of(wild[:, :3]) == 1
    assert pictures.largest(wild[:, :3]) == 0
    with np.errstate(all="ignore"):
        assert pictures.sprite(wild[None], 2).tolist() == [[0, 255, 0, 255, 127]]
        assert pictures.on_gray(wild[..., None], 2)[..., 0].tolist() == [[0, 255, 0, 255, 191]]
        for draw in pictures.overlay, pictures.for_and_against, pictures.heat:
            assert draw(wild, 2).dtype == np.uint8


def test_signs_have_colors_and_0_has_none():
    values = np.array([[-9.0, -1, 0, 1, 9]])
    signed = pictures.for_and_against(values, 1)
    assert (signed[0, 2] == 128).all()
    np.testing.assert_array_equal(signed[0, [0, 1]], [pictures.AGAINST, pictures.AGAINST])
    np.testing.assert_array_equal(signed[0, [3, 4]], [pictures.FOR, pictures.FOR])
    over = pictures.overlay(values, 1)
    assert over[0, :, 3].tolist() == [217, 217, 0, 217, 217]
    heat = pictures.heat(np.array([[0.0, 0.5, 1, 9]]), 1)
    assert heat[0, :, 3].tolist() == [0, 108, 217, 217]
    gray = pictures.on_gray(np.array([[[-9.0, 0, 9]]]), 1)
    assert gray.tolist() == [[[0, 128, 255]]]
