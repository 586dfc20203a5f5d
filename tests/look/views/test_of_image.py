"""Views of images: the right numbers, titles and names."""

import csv

import matplotlib
import numpy as np
import pytest
from PIL import Image

from convlens import look
from convlens.data import open_dataset
from convlens.errors import UserError
from convlens.look import arrays


@pytest.fixture
def data(toy_data):
    return open_dataset(toy_data, size=16)


def texts(figure) -> list[str]:
    figure.draw_without_rendering()
    found = figure.findobj(matplotlib.text.Text)
    return [text.get_text() for text in found if text.get_visible() and text.get_text()]


def is_drawn(path) -> bool:
    with Image.open(path) as picture:
        return min(picture.size) > 100 and len(picture.convert("RGB").getcolors(1 << 20)) > 50


# One probability, whoever tells it


def test_every_view_says_of_an_image_what_predict_says(classifier, image, data):
    assert classifier.temperature != 1
    ((path, names, shares),) = (
        (p.path, p.classes, p.probabilities) for p in classifier.predict(image, top=5)
    )
    untempered = arrays.invariance(
        classifier.model, classifier.inputs([classifier.decode(image)]), [0], "rotation", [0]
    ).probability
    assert abs(float(untempered[0, 0]) - shares[names.index(classifier.class_names[0])]) > 1e-3
    best = f"{names[0]} {shares[0]:.1%}"
    titled = [
        look.activations(classifier, image),
        look.activations(classifier, image, "relu2"),
        *look.first_activations(classifier, image),
        look.attribution(classifier, image),
        look.attribution(classifier, image, names[3]),
        look.occlusion(classifier, image),
    ]
    for view in titled:
        assert view.plot().get_suptitle().endswith(f"{path}, predicted {best}"), view.name
    beside = look.neighbors(classifier, image, data).plot().axes[0].get_title()
    assert beside == f"red_cross/image_0003\n{best}"

    for name, share in zip(names, shares, strict=True):  # of every class, to the last digit shown
        hidden = look.occlusion(classifier, image, target=name).arrays["whole"]
        moved = look.invariance(classifier, image, target=name).arrays
        told = [float(hidden)]
        for change, nothing in ("translation", 0), ("scale", 1), ("rotation", 0):
            (column,) = np.flatnonzero(moved[change] == nothing)
            told.append(float(moved[f"{change}/probability"][0, column]))
        assert [f"{value:.6f}" for value in told] == [f"{share:.6f}"] * 4
        np.testing.assert_allclose(told, share, rtol=1e-6)


def test_the_places_of_the_square_are_at_the_same_temperature(classifier, image):
    """A square that hides nothing that counts leaves the probability as predict says it."""
    for parameter in classifier.model.conv1.parameters():
        parameter.data.zero_()
    seen = look.occlusion(classifier, image).arrays
    (share,) = classifier.predict(image)[0].probabilities
    np.testing.assert_allclose(seen["probability"], share, rtol=1e-6)


# Activations


def test_unasked_the_first_convolution_is_shown_after_its_relu(classifier, image, tmp_path):
    view = look.activations(classifier, image)
    x = classifier.inputs([classifier.decode(image)])
    expected = arrays.activations(classifier.model, x, ["relu1"])["relu1"][0]
    np.testing.assert_array_equal(view.arrays["maps"], expected)
    assert view.plot().get_suptitle().startswith("LeNet5, relu1: after the ReLU of convolution 1\n")
    (written,) = view.save(tmp_path)
    assert written.name == "activations-red_cross-image_0003-conv1.png" and is_drawn(written)


def test_the_assignment_s_two_convolutions_have_a_view_each(classifier, image):
    first, second = look.first_activations(classifier, image)
    assert [view.name for view in (first, second)] == [
        "activations-red_cross-image_0003-conv1",
        "activations-red_cross-image_0003-conv2",
    ]
    assert first.arrays["maps"].shape == (32, 16, 16)
    assert second.arrays["maps"].shape == (64, 4, 4)
    assert "percentile 99.5 of all maps" in "\n".join(texts(second.plot()))


def test_any_layer_has_its_maps_sorted_and_their_statistics_beside_the_picture(
    classifier, image, tmp_path
):
    picture, table = look.activations(classifier, image, "conv2").save(tmp_path)
    assert picture.name == "activations-red_cross-image_0003-conv2.png" and is_drawn(picture)
    assert table.name == "activations-red_cross-image_0003-conv2.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    x = classifier.inputs([classifier.decode(image)])
    maps = arrays.activations(classifier.model, x, ["conv2"])["conv2"][0]
    assert sorted(int(row["map"]) for row in rows) == list(range(64))
    means = [float(row["mean"]) for row in rows]
    assert means == sorted(means, reverse=True)
    for row in rows:
        one = maps[int(row["map"])]
        assert float(row["mean"]) == pytest.approx(one.mean(), rel=1e-4)
        assert float(row["maximum"]) == pytest.approx(one.max(), rel=1e-4)
        assert float(row["share_active"]) == pytest.approx((one > 0).mean(), rel=1e-4)


def test_a_linear_layer_and_chosen_maps_are_drawn_too(classifier, image, tmp_path):
    decided = look.activations(classifier, image, "fc3")
    assert decided.name == "activations-red_cross-image_0003-fc3"
    assert decided.arrays["maps"].shape == (5, 1, 1)
    assert is_drawn(decided.save(tmp_path)[0])
    chosen = look.activations(classifier, image, "relu1", (3, 30))
    assert chosen.name == "activations-red_cross-image_0003-relu1-map3-30"
    assert {row[0] for row in chosen.table.rows} == {"3", "30"}
    assert set(chosen.arrays["numbers"]) == {3, 30}
    assert "relu1: maps given, the one with the largest mean" in chosen.plot().get_suptitle()
    without = look.activations(classifier, image, maps=(3, 30))
    assert without.name == chosen.name


@pytest.mark.parametrize(
    ("layer", "maps", "sentence"),
    [
        ("relu9", (), "LeNet5 has no layer 'relu9'"),
        ("relu1", (32,), "layer relu1 has no map 32; choose from 0 to 31"),
    ],
)
def test_a_layer_or_map_that_is_not_there_is_told(classifier, image, layer, maps, sentence):
    with pytest.raises(UserError, match=sentence):
        look.activations(classifier, image, layer, maps)


# Attribution and occlusion


@pytest.mark.parametrize("view", ["attribution", "occlusion"])
def test_another_target_gives_another_picture_beside_it(view, classifier, image, tmp_path):
    own, *others = (
        getattr(look, view)(classifier, image, target)
        for target in (None, "cyan_bar", "yellow_ring")
    )
    assert own.name == f"{view}-red_cross-image_0003"
    assert [other.name for other in others] == [
        f"{view}-red_cross-image_0003-for-cyan_bar",
        f"{view}-red_cross-image_0003-for-yellow_ring",
    ]
    ours, theirs = (path for other in others for path in other.save(tmp_path))
    assert ours.read_bytes() != theirs.read_bytes()
    with Image.open(ours) as picture:
        assert picture.width > 1000


def test_the_title_of_an_attribution_names_its_target(classifier, image):
    view = look.attribution(classifier, image, "cyan_bar")
    assert view.plot().get_suptitle().startswith("LeNet5: what speaks for the target, cyan_bar\n")
    x, number = classifier.inputs([classifier.decode(image)]), classifier.label("cyan_bar")
    expected = arrays.grad_cam(classifier.model, x, number)[0]
    np.testing.assert_array_equal(view.arrays["grad_cam"], expected)


@pytest.mark.parametrize("view", ["attribution", "occlusion", "invariance"])
@pytest.mark.parametrize(
    ("name", "hint"),
    [("cyan_bra", "did you mean cyan_bar"), ("zzz", "choose a class of its data set")],
)
def test_a_class_that_the_network_does_not_know(classifier, image, view, name, hint):
    with pytest.raises(UserError, match=f"LeNet5 was not trained on a class '{name}'; {hint}"):
        getattr(look, view)(classifier, image, target=name)


# Several images


def test_all_images_share_one_picture_of_invariance(classifier, image):
    view = look.invariance(classifier, [image, image.with_name("image_0001.png")])
    assert view.name == "invariance"
    assert view.arrays["rotation/distance/relu1"].shape == (2, 24)
    predicted = classifier.predict([image])[0].classes[0]
    assert f"red_cross/image_0003: {predicted}" in texts(view.plot())


def test_more_lines_than_can_be_told_apart_are_left_out(classifier, image):
    assert len(look.invariance(classifier, image.parent).arrays["images"]) == 6


def test_neighbors_are_the_training_images_whose_features_are_nearest(classifier, data):
    training = data.train
    image = look.NamedImage("train/x/y.png", np.array(training.images[7]))
    view = look.neighbors(classifier, image, data)
    mine, all_of_them = (
        arrays.features(classifier, images) for images in (training.images[7:8], training.images)
    )
    found = arrays.nearest(mine, all_of_them, 8)
    assert found.rows[0, 0] == 7
    np.testing.assert_array_equal(view.arrays["rows"], found.rows[:, 1:])
    np.testing.assert_array_equal(view.arrays["similarity"], found.similarity[:, 1:])
    np.testing.assert_array_equal(view.arrays["neighbors"][0], training.images[found.rows[0, 1:]])
    shown = view.plot().axes[1].get_title().splitlines()
    assert shown[0] == data.classes[training.labels[found.rows[0, 1]]]
    assert "toy, 60 training images" in view.plot().get_suptitle()


def test_a_second_copy_in_the_training_set_is_a_neighbor(classifier, data):
    row, copies = 7, [7, 7, 7]
    doubled = data.train.take(np.array([*range(len(data.train)), *copies]))
    view = look.neighbors(
        classifier,
        [np.array(data.train.images[row]), np.array(data.validation.images[0])],
        type(data)("toy", data.root, data.classes, 16, doubled, data.validation),
    )
    assert view.arrays["rows"].shape == (2, 7)
    np.testing.assert_allclose(view.arrays["similarity"][0, :3], 1, atol=1e-6)
    assert row not in view.arrays["rows"][0]
