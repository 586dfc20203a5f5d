"""Views of a data set: top-activating patches, what they hold, their growth, and the embedding."""

from dataclasses import replace

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


def test_without_images_to_make_it_of_a_view_says_so(classifier, data, image):
    nothing = replace(data, train=data.train.slice(0, 0), validation=data.validation.slice(0, 0))
    for view, which in (look.patches, "training"), (look.embedding, "validation"):
        with pytest.raises(UserError, match=f"has no {which} image, of which this view is made"):
            view(classifier, nothing)
    with pytest.raises(UserError, match="has no training image"):
        look.neighbors(classifier, image, nothing)


def colors(path) -> int:
    with Image.open(path) as picture:
        assert min(picture.size) > 300
        return len(picture.convert("RGB").getcolors(1 << 20))


def test_unasked_the_deepest_layer_that_sees_parts_is_shown(classifier, toy_data, tmp_path):
    # The second convolution's field is larger than these images of 16×16, the first one's is not.
    for view, name in (
        (look.patches(classifier, toy_data), "patches-relu1"),
        (look.deconvolution(classifier, toy_data), "deconvolution-relu1"),
    ):
        assert view.name == name
        assert "toy, 60 training images, fields of 5×5 pixels" in view.plot().get_suptitle()
        assert colors(view.save(tmp_path)[0]) > 1000


def test_the_patches_are_those_that_were_found(classifier, data):
    found = look.find_patches(classifier, data, "relu1")
    view = look.patches(classifier, data, "relu1", (3, 7))
    assert view.name == "patches-relu1-map3-7"
    np.testing.assert_array_equal(view.arrays["values"], found.values[[3, 7]])
    row, box = found.rows[7, 2], found.boxes[7, 2]
    patch = arrays.crop(data.train.images[row], box)
    np.testing.assert_array_equal(view.arrays["patches"][1, 2], patch)
    again = look.patches(classifier, data, maps=(3, 7), found=found)
    np.testing.assert_array_equal(again.arrays["patches"], view.arrays["patches"])
    assert again.name == view.name


def test_of_too_many_maps_the_strongest_are_shown_in_their_own_order(classifier, data):
    found = look.find_patches(classifier, data, "conv1")
    parts = found.values, found.rows, found.positions, found.boxes
    many = arrays.TopPatches("conv1", *(np.concatenate([part] * 4)[:100] for part in parts))
    many.values[17] -= 100
    view = look.patches(classifier, data, found=many)
    numbers = view.arrays["numbers"].tolist()
    assert len(numbers) == 96 and numbers == sorted(numbers) and 17 not in numbers
    assert "the strongest 96 of 100 maps" in view.plot().get_suptitle()


def test_projections_stand_beside_the_patches_that_they_explain(classifier, data):
    view = look.deconvolution(classifier, data, "relu2", (3, 60))
    assert view.name == "deconvolution-relu2-map3-60"
    patches = look.patches(classifier, data, "relu2", (3, 60)).arrays["patches"]
    np.testing.assert_array_equal(view.arrays["patches"], patches)
    found = look.find_patches(classifier, data, "relu2")
    x = classifier.inputs(data.train.images[found.rows[60, :1]])
    whole = arrays.deconvolution(classifier.model, x, "relu2", [60], found.positions[60, :1])
    np.testing.assert_allclose(
        view.arrays["projections"][1, 0],
        arrays.crop(whole[0], found.boxes[60, 0], 0),
        atol=1e-5 * np.abs(whole).max(),
    )


@pytest.mark.parametrize("view", [look.patches, look.deconvolution, look.find_patches])
@pytest.mark.parametrize(
    ("layer", "maps", "sentence"),
    [
        ("relu1", (32,), "layer relu1 has no map 32; choose from 0 to 31"),
        ("relu9", (), "LeNet5 has no layer 'relu9'"),
        ("fc2", (), "layer fc2 gives no maps"),
    ],
)
def test_a_layer_or_map_that_is_not_there_is_told(classifier, data, view, layer, maps, sentence):
    with pytest.raises(UserError, match=sentence):
        view(classifier, data, layer, maps)


def test_growth_follows_maps_through_the_snapshots(classifier, data, tmp_path):
    snapshots = {2: classifier, 10: classifier}
    view = look.growth(snapshots, data, "relu1", (3, 7))
    assert view.name == "growth-relu1-map3-7"
    assert view.arrays["epochs"].tolist() == [2, 10]
    found = look.find_patches(classifier, data, "relu1")
    np.testing.assert_array_equal(view.arrays["values"][0], found.values[[3, 7], 0])
    assert colors(view.save(tmp_path)[0]) > 100
    unasked = look.growth({1: classifier}, data)
    assert unasked.name == "growth-relu1"
    assert unasked.arrays["numbers"].tolist() == found.by_strength()[:8]


def test_without_snapshots_nothing_has_grown(data):
    with pytest.raises(UserError, match="`snapshots` holds no network; train with snapshots"):
        look.growth({}, data)


def test_the_embedding_places_every_validation_image(classifier, data, tmp_path):
    view = look.embedding(classifier, data)
    vectors = arrays.features(classifier, data.validation.images)
    places, share = arrays.embedding(vectors)
    np.testing.assert_allclose(view.arrays["places"], places, atol=1e-5)
    assert float(view.arrays["share"]) == pytest.approx(share)
    right = classifier.evaluate(data).predicted == data.validation.labels
    np.testing.assert_array_equal(view.arrays["right"], right)
    assert view.arrays["shown"].tolist() == list(range(20))
    np.testing.assert_array_equal(view.arrays["images"], data.validation.images)
    assert [path.name for path in view.save(tmp_path)] == ["embedding.png"]


def test_of_many_images_an_even_sample_has_thumbnails(classifier, data):
    many = data.validation.take(np.arange(1000) % 20)
    view = look.embedding(
        classifier, type(data)("toy", data.root, data.classes, 16, data.train, many)
    )
    shown = view.arrays["shown"]
    assert len(shown) == 400 and len(view.arrays["places"]) == 1000
    assert (shown[0], shown[-1]) == (0, 999) and set(np.diff(shown)) <= {2, 3}
    np.testing.assert_array_equal(view.arrays["images"], data.validation.images[shown % 20])
