"""Attribution and occlusion figures show the right numbers on the scales that they state."""

import matplotlib
import numpy as np
import pytest

from convlens import figures

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def texts(figure) -> str:
    figure.draw_without_rendering()
    found = figure.findobj(matplotlib.text.Text)
    return "\n".join(text.get_text() for text in found if text.get_visible())


def shown(figure) -> dict:
    """The last picture drawn on each titled axis, by the title."""
    titled = [ax for ax in figure.axes if ax.images and ax.get_title()]
    return {ax.get_title().strip(): ax.images[-1] for ax in titled}


def test_signed_maps_are_summed_over_colors_on_a_scale_symmetric_about_0():
    values = RANDOM.normal(size=(3, 16, 16)) + 1
    figure = figures.attribution(IMAGE, {"gradients": values}, (), "LeNet5, cat")
    picture = shown(figure)["gradients"]
    np.testing.assert_allclose(picture.get_array(), values.sum(axis=0))
    limit = np.percentile(np.abs(values.sum(axis=0)), 99.5)
    assert picture.get_clim() == pytest.approx((-limit, limit))
    assert f"{limit:.2g}" in texts(figure) and f"{-limit:.2g}" in texts(figure)
    assert "percentile 99.5" in texts(figure) and "LeNet5, cat" in texts(figure)


def test_an_overlay_lies_on_the_image_and_ends_at_its_maximum():
    values = RANDOM.random((16, 16))
    figure = figures.attribution(IMAGE, {"Grad-CAM\nrelu2": values}, ("Grad-CAM\nrelu2",), "")
    picture = shown(figure)["Grad-CAM\nrelu2"]
    gray = picture.axes.images[0].get_array()
    np.testing.assert_allclose(gray, IMAGE.mean(axis=2))
    np.testing.assert_allclose(picture.get_array(), values)
    assert picture.get_clim() == (0, values.max()) and 0 < picture.get_alpha() < 1


def test_maps_of_zeros_are_drawn():
    zeros = np.zeros((16, 16))
    figure = figures.attribution(IMAGE, {"cam": zeros, "gradients": zeros}, ("cam",), "")
    assert shown(figure)["cam"].get_clim() == (0, 1)
    assert shown(figure)["gradients"].get_clim() == (-1, 1)


def draw_occlusion(predicted, **changes):
    count = int(predicted.max()) + 1
    given = {
        "activation": np.linspace(2, 5, predicted.size).reshape(predicted.shape),
        "probability": np.linspace(0.25, 0.75, predicted.size).reshape(predicted.shape),
        "predicted": predicted,
        "square": 4,
        "stride": 4,
    }
    return figures.occlusion(
        IMAGE,
        figures.Places(**given | changes),
        [f"$class_{i}" for i in range(count)],
        "$camera",
        "relu2, map 7",
        "LeNet5",
    )


def test_occlusion_states_target_layer_and_scales():
    figure = draw_occlusion(np.zeros((4, 4), int))
    activation = shown(figure)["activation of relu2, map 7\nsummed over the map"]
    probability = shown(figure)["probability of the target\n$camera"]
    assert activation.get_clim() == (2, 5) and probability.get_clim() == (0, 1)
    read = texts(figure)
    assert "25.0 % to 75.0 % here" in read and "from its minimum to its maximum" in read
    assert "$class_0, 16" in read and "16 places" in read and "4×4" in read


def test_the_maps_lie_where_the_square_was_also_when_the_last_cells_reach_beyond():
    figure = draw_occlusion(np.zeros((3, 3), int), stride=6)  # 3 · 6 = 18 pixels for 16
    for title, picture in shown(figure).items():
        side = 15.5 if title.startswith("input") else 17.5
        assert tuple(picture.get_extent()) == (-0.5, side, side, -0.5)
        assert picture.axes.get_xlim() == (-0.5, 15.5)
        assert picture.axes.get_ylim() == (15.5, -0.5)


def test_the_commonest_classes_have_a_color_and_the_rest_share_gray():
    predicted = np.repeat(np.arange(12), np.arange(12, 0, -1)).reshape(6, 13)
    figure = draw_occlusion(predicted)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names[0] == "$class_0, 12" and names[8] == "$class_8, 4"
    assert names[9:] == ["3 others, 6"]
    colors = shown(figure)["most probable class\n(colors below)"].get_array()
    for label, patch in enumerate(legend.get_patches()[:9]):
        (color,) = np.unique(colors[predicted == label].data, axis=0)
        np.testing.assert_allclose(color, patch.get_facecolor()[:3])
    assert len(np.unique(colors[predicted >= 9], axis=0)) == 1


def test_an_activation_that_nothing_changes_is_drawn():
    figure = draw_occlusion(np.zeros((4, 4), int), activation=np.full((4, 4), 3.0))
    picture = shown(figure)["activation of relu2, map 7\nsummed over the map"]
    assert picture.get_clim() == (3, 4)
