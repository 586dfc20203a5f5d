"""Blocks of patches and projections show every pixel where it belongs, on stated scales."""

import numpy as np

from convlens import figures
from convlens.figures.patches import GRAY


def texts(figure) -> str:
    figure.draw_without_rendering()
    words = [figure.get_suptitle()]
    for part in figure.subfigs:
        words.append(part.get_suptitle())
    return "\n".join([*words, *(ax.get_title() for ax in figure.axes)])


def blocks(figure) -> list[np.ndarray]:
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def test_each_patch_has_its_place_in_the_block():
    patches = np.random.default_rng(0).integers(0, 255, (2, 9, 4, 6, 3), dtype=np.uint8)
    figure = figures.patches(patches, (3, 7), np.ones((2, 9)), "the title")
    first, second = blocks(figure)
    assert first.shape == (3 * 5 + 1, 3 * 7 + 1, 3)
    np.testing.assert_array_equal(first[1:5, 1:7], patches[0, 0])
    np.testing.assert_array_equal(second[6:10, 15:21], patches[1, 5])
    assert (first[:, [0, 7, 14, 21]] == GRAY).all()
    assert (first[[0, 5, 10, 15]] == GRAY).all()
    assert "the title" in texts(figure)


def test_fewer_than_nine_leave_their_places_empty():
    patches = np.zeros((1, 2, 4, 4, 3), np.uint8)
    (block,) = blocks(figures.patches(patches, (0,), np.ones((1, 2)), ""))
    assert (block[5:] == GRAY).all()
    assert (block[1:5, 11:] == GRAY).all()


def test_a_dead_map_is_said_to_be_dead():
    patches = np.zeros((2, 1, 4, 4, 3), np.uint8)
    values = np.array([[0.0], [2.0]])
    words = texts(figures.patches(patches, (4, 5), values, "")).splitlines()
    assert "4 dead" in words
    assert "5" in words
    projections = patches.astype(np.float32)
    words = texts(figures.deconvolution(projections, patches, (4, 5), values, ""))
    assert "map 4: dead, nowhere above 0" in words
    assert "map 5, activations 2 to 2" in words


def test_projections_are_symmetric_about_gray_on_a_scale_for_each_map():
    projections = np.zeros((2, 1, 4, 4, 3), np.float32)
    projections[0, 0, 0, 0] = 2, -4, 0
    projections[1, 0, 3, 3] = 0.5, 0, 0
    patches = np.full((2, 1, 4, 4, 3), 9, np.uint8)
    figure = figures.deconvolution(projections, patches, (0, 1), np.array([[8.0], [3]]), "")
    left, beside, right, _ = blocks(figure)
    np.testing.assert_allclose(left[1, 1], [0.75, 0, 0.5])
    np.testing.assert_allclose(left[2, 2], 0.5)
    np.testing.assert_allclose(right[4, 4], [1, 0.5, 0.5])
    assert (beside[1:5, 1:5] == 9).all()
    assert "map 0, activations 8 to 8, m = 4" in texts(figure)


def test_growth_has_projection_and_patch_of_each_map_and_a_column_for_each_epoch():
    random = np.random.default_rng(0)
    projections = random.normal(size=(3, 2, 5, 5, 3))
    patches = random.integers(0, 255, (3, 2, 5, 5, 3), dtype=np.uint8)
    values = np.array([[1.0, 0.0], [2.0, 3.0], [4.0, 5.0]])
    figure = figures.growth(projections, patches, (7, 9), (1, 2, 5), values, "the title")
    tiles = blocks(figure)
    assert len(tiles) == 12  # the block of the first map, then that of the second
    limit = np.abs(projections[1, 0]).max()
    np.testing.assert_allclose(tiles[1], projections[1, 0] / (2 * limit) + 0.5)
    np.testing.assert_array_equal(tiles[3], patches[0, 0])
    np.testing.assert_array_equal(tiles[11], patches[2, 1])
    assert figure.get_figheight() < 2 * figure.get_figwidth()
    told = texts(figure)
    assert "epoch 5\n4" in told and "dead" in told
