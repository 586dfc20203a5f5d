"""Views of a network alone: layers, filters, kernels and images made for it."""

import csv

import numpy as np
import pytest
from PIL import Image

from convlens import look
from convlens.errors import UserError
from convlens.look import arrays
from convlens.look.arrays.layers import to_text


def test_the_table_of_layers_is_what_the_command_line_prints(classifier, tmp_path):
    view = look.layers(classifier)
    rows = arrays.layer_table(classifier.model, classifier.size)
    printed = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in to_text(rows).splitlines()
    ]
    picture, table = view.save(tmp_path)
    assert picture.name == "layers.png"
    written = list(csv.reader(table.read_text(encoding="utf-8").splitlines()))
    assert written == [printed[0], *printed[2:]]
    assert written[1][:3] == ["conv1", "conv 5×5", "32×16×16"]
    total = sum(p.numel() for p in classifier.model.parameters())
    assert view.arrays["parameters"].sum() == total
    assert f"its {total:,} parameters" in view.plot().get_suptitle()
    assert "<td" in view._repr_html_()


def test_unasked_the_first_convolution_s_filters_are_shown(classifier, tmp_path):
    view = look.filters(classifier)
    np.testing.assert_array_equal(view.arrays["filters"], arrays.first_filters(classifier.model))
    (written,) = view.save(tmp_path)
    assert written.name == "filters.png"
    some = look.filters(classifier, maps=(5, 2))
    np.testing.assert_array_equal(some.arrays["filters"], view.arrays["filters"][[5, 2]])
    assert some.name != view.name


def test_deeper_filters_and_their_kernels(classifier, tmp_path):
    views = look.filters(classifier, "relu2", (3, 60)), look.kernels(classifier, "relu2", (3, 60))
    assert [view.name for view in views] == ["filters-relu2-map3-60", "kernels-relu2-map3-60"]
    for view in views:
        np.testing.assert_array_equal(view.arrays["numbers"], [3, 60])
        (path,) = view.save(tmp_path)
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
    filters, kernels = views
    np.testing.assert_array_equal(filters.arrays["filters"], kernels.arrays["filters"])
    assert "what its maps would weigh the pixels by" in filters.plot().get_suptitle()
    assert "the kernels of conv2 behind maps given" in kernels.plot().get_suptitle()


def test_unasked_the_kernels_behind_the_largest_filters_are_shown(classifier):
    view = look.kernels(classifier, "relu2")
    composites = arrays.composite_filters(classifier.model, "relu2", 16)
    norms = np.linalg.norm(composites.reshape(64, -1), axis=1)
    assert set(view.arrays["numbers"]) == set(np.argsort(-norms)[:16])
    assert "the 16 maps of the largest filters" in view.plot().get_suptitle()


@pytest.mark.parametrize("view", [look.filters, look.kernels])
@pytest.mark.parametrize(
    ("layer", "maps", "sentence"),
    [
        ("relu9", (), "LeNet5 has no layer 'relu9'"),
        ("relu1", (32,), "layer relu1 has no map 32; choose from 0 to 31"),
        ("fc1", (), "layer fc1 gives no maps"),
    ],
)
def test_a_layer_or_map_that_is_not_there_is_told(classifier, view, layer, maps, sentence):
    with pytest.raises(UserError, match=sentence):
        view(classifier, layer, maps)


def test_a_filter_that_the_first_convolution_does_not_have_is_told(classifier):
    with pytest.raises(UserError, match="the first convolution has no map 32"):
        look.filters(classifier, maps=(32,))


@pytest.fixture
def quickly(monkeypatch):
    """Images are made in two steps: these tests ask which, not how good they are."""
    from convlens.look.views import of_network

    def visualize(classifier, layer, maps):
        ascent = arrays.Ascent(steps=2)
        return arrays.feature_visualization(classifier, layer, maps, ascent=ascent)

    monkeypatch.setattr(of_network, "visualize", visualize)


@pytest.mark.parametrize(
    ("asked", "name", "numbers", "shown"),
    [
        ({"target": "red_cross"}, "for-red_cross", [3], "red_cross"),
        ({"maps": (3,)}, "for-red_cross", [3], "red_cross"),
        ({}, "classes", [0, 1, 2, 3, 4], "blue_disc"),
        ({"maps": (4, 1)}, "classes-map4-1", [4, 1], "yellow_ring"),
        ({"layer": "relu2", "maps": (3, 60)}, "relu2-map3-60", [3, 60], "map 3"),
        ({"layer": "relu2"}, "relu2", list(range(24)), "map 0"),
        ({"layer": "fc1", "maps": (1000,)}, "fc1-map1000", [1000], "map 1000"),
    ],
)
def test_images_are_made_for_classes_and_for_maps(classifier, quickly, asked, name, numbers, shown):
    view = look.feature_visualization(classifier, **asked)
    assert view.name == f"feature-visualization-{name}"
    assert view.arrays["numbers"].tolist() == numbers
    assert view.arrays["images"].shape == (len(numbers), 16, 16, 3)
    assert view.plot().axes[0].get_title().startswith(f"{shown}\n")


@pytest.mark.parametrize(
    ("layer", "maps", "target", "sentence"),
    [
        (None, (5,), None, "LeNet5 has no class 5; choose from 0 to 4"),
        (None, (), "zzz", "LeNet5 was not trained on a class 'zzz'"),
        ("relu1", (32,), None, "layer relu1 has no map 32; choose from 0 to 31"),
        ("relu9", (), None, "LeNet5 has no layer 'relu9'"),
    ],
)
def test_what_no_image_can_be_made_for_is_told(classifier, layer, maps, target, sentence):
    with pytest.raises(UserError, match=sentence):
        look.feature_visualization(classifier, layer, maps, target)
