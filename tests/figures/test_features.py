"""Figures of features show the numbers that they are given, and who they belong to."""

import matplotlib
import numpy as np
import pytest

from convlens import figures

RANDOM = np.random.default_rng(0)


def texts(figure) -> str:
    figure.draw_without_rendering()
    found = figure.findobj(matplotlib.text.Text)
    return "\n".join(text.get_text() for text in found if text.get_visible())


def pictures(*shape) -> np.ndarray:
    return RANDOM.integers(0, 256, (*shape, 8, 8, 3), dtype=np.uint8)


def test_a_line_an_image_a_column_a_change_a_row_a_quantity():
    values = {"scale, times": np.array([0.5, 1, 2]), "rotation, degrees": np.arange(4.0)}
    curves = {
        quantity: {change: RANDOM.random((2, len(steps))) for change, steps in values.items()}
        for quantity in ("distance", "probability")
    }
    figure = figures.invariance(values, curves, ["cat", "dog"], "LeNet5")
    axes = np.array(figure.axes).reshape(2, 2)
    for row, by_change in zip(axes, curves.values(), strict=True):
        for ax, (change, lines) in zip(row, by_change.items(), strict=True):
            for drawn, line in zip(ax.get_lines(), lines, strict=True):
                np.testing.assert_array_equal(drawn.get_xdata(), values[change])
                np.testing.assert_array_equal(drawn.get_ydata(), line)
    for word in "LeNet5", "cat", "dog", "scale, times", "distance", "probability":
        assert word in texts(figure)


def test_neighbors_stand_beside_their_image_with_class_and_similarity():
    images, found = pictures(2), pictures(2, 3)
    names = [["a", "b", "c"], ["d", "e", "f"]]
    similarity = np.array([[0.91, 0.82, 0.73], [0.64, 0.55, 0.46]])
    figure = figures.neighbors(images, ["one", "two"], found, names, similarity, "title")
    axes = np.array(figure.axes).reshape(2, 4)
    for i in range(2):
        np.testing.assert_array_equal(axes[i, 0].images[0].get_array(), images[i])
        for j in range(3):
            np.testing.assert_array_equal(axes[i, j + 1].images[0].get_array(), found[i, j])
            told = f"{names[i][j]}\n{similarity[i, j]:.2f}"
            assert axes[i, j + 1].get_title() == told


@pytest.mark.parametrize("count", [1, 6, 24])
def test_every_image_made_for_a_feature_is_drawn_with_what_it_is_for(count):
    images = RANDOM.random((count, 8, 8, 3))
    names = [f"map {i}" for i in range(count)]
    figure = figures.feature_visualization(images, names, np.arange(count) + 0.5, "title")
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == count
    np.testing.assert_allclose(shown[-1].images[0].get_array(), images[-1])
    assert shown[-1].get_title() == f"map {count - 1}\n{count - 0.5:.3g}"


def test_mistakes_are_framed_and_no_thumbnail_hides_another():
    places = np.array([[0, 0], [0.01, 0], [1, 1], [2, 0.5]])
    right = np.array([True, True, False, True])
    figure = figures.embedding(places, right, np.arange(4), pictures(4), 0.37, "title")
    boxes = figure.findobj(matplotlib.offsetbox.AnnotationBbox)
    assert [tuple(box.xy) for box in boxes] == [(0, 0), (1, 1), (2, 0.5)]
    widths = [box.patch.get_linewidth() for box in boxes]
    assert widths[1] > widths[0] == widths[2]
    assert "37 % of the variance" in texts(figure)


def test_only_those_shown_have_a_thumbnail_and_all_have_a_dot():
    places = np.arange(12.0).reshape(6, 2)
    images = pictures(2)
    figure = figures.embedding(places, np.ones(6, bool), np.array([1, 4]), images, 0.5, "title")
    boxes = figure.findobj(matplotlib.offsetbox.AnnotationBbox)
    assert [tuple(box.xy) for box in boxes] == [(2, 3), (8, 9)]
    np.testing.assert_array_equal(boxes[1].offsetbox.get_data(), images[1])
    (dots,) = figure.axes[0].collections
    np.testing.assert_array_equal(dots.get_offsets(), places)
