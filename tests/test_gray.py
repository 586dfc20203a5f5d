"""A network for gray images, `channels` 1, from its training to everything that looks into it."""

import numpy as np
import pytest
import torch
from PIL import Image

import convlens as cl
from convlens.data.normalize import LUMA, Normalize
from convlens.errors import UserError
from convlens.explorer.attribution import METHODS, draw
from convlens.explorer.network import Network
from convlens.explorer.pictures import largest, on_gray, png
from convlens.inference import Classifier, ensemble
from convlens.look import arrays
from convlens.models import LeNet5
from convlens.models.hooks import blank_image, image_channels
from convlens.training.criterion import load_teachers
from convlens.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(toy_data, tmp_path_factory):
    """A finished run of one epoch, at 16 pixels of which nothing but `size` was said."""
    folder = tmp_path_factory.mktemp("gray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(folder / "cache"))
        cl.train(
            "lenet5plus",
            out=folder / "run",
            data=toy_data,
            epochs=1,
            batch_size=16,
            size=16,
            channels=1,
            device="cpu",
            precision="fp32",
        )
    return folder / "run"


@pytest.fixture
def gray(run) -> Classifier:
    return cl.load(run)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_a_run_is_trained_on_the_gray_of_its_images_and_its_weights_say_so(run, gray, toy_data):
    config = RunFolder(run).read_config()
    assert (config.recipe.channels, config.recipe.size_at(0)) == (1, 16)
    assert gray.model.conv1.weight.shape == (32, 1, 5, 5)
    dataset = gray.open_dataset(toy_data)
    pixels = cl.open_dataset(toy_data, size=gray.loaded_size).train.images
    luma = np.asarray(pixels) @ np.array(LUMA) / 255
    np.testing.assert_allclose(gray.normalize.mean, [luma.mean()], rtol=1e-5)
    np.testing.assert_allclose(gray.normalize.std, [luma.std()], rtol=1e-4)
    assert RunFolder(run).read_metrics()["validation_accuracy"] == pytest.approx(
        gray.evaluate(dataset).accuracy
    )


def test_it_answers_the_same_for_an_image_and_for_its_gray(gray, image):
    colorless = np.asarray(Image.fromarray(image).convert("L").convert("RGB"))
    same = gray.logits(np.stack([image, colorless]))
    # Pillow rounds gray to whole numbers
    np.testing.assert_allclose(*gray.inputs([image, colorless]), atol=0.51 / 255 / 0.1)
    np.testing.assert_allclose(same[0], same[1], atol=0.02 * np.abs(same).max())
    np.testing.assert_allclose(gray.fast().logits(image[None]), same[:1], rtol=1e-4, atol=1e-5)


def test_a_file_and_an_export_hold_it(gray, image, tmp_path):
    again = cl.load(gray.save(tmp_path / "gray.safetensors"))
    assert torch.equal(again.normalize.std, gray.normalize.std)
    np.testing.assert_allclose(again.logits(image[None]), gray.logits(image[None]), rtol=1e-5)
    gray.export(tmp_path / "gray.pt2", layers=[])
    program = torch.export.load(tmp_path / "gray.pt2").module()
    whole = np.zeros((1, gray.loaded_size, gray.loaded_size, 3), np.uint8) + 99
    answer = program(torch.from_numpy(whole))["logits"].detach()
    np.testing.assert_allclose(answer, gray.logits(whole), rtol=1e-4, atol=1e-5)


def test_its_filters_and_what_is_carried_back_to_the_pixels_are_gray(gray, image):
    first = arrays.first_filters(gray.model)
    np.testing.assert_array_equal(first[..., 0], gray.model.conv1.weight[:, 0].detach())
    composite = arrays.composite_filters(gray.model, "conv1", 16)
    np.testing.assert_allclose(composite, first, atol=1e-6)
    x = gray.inputs([image])
    projected = arrays.deconvolution(gray.model, x, "relu1", [3])
    assert projected.shape == (1, 16, 16, 1)
    assert arrays.guided_backprop(gray.model, x).shape == (1, 1, 16, 16)
    assert arrays.occlusion(gray.model, x).probability.shape == (16, 16)
    pictures, _ = arrays.feature_visualization(gray, None, [0], ascent=arrays.Ascent(steps=2))
    assert pictures.shape == (1, 16, 16, 3)
    assert (np.ptp(pictures, axis=3) == 0).all()


def test_its_views_are_drawn(gray, toy_data, image):
    found = arrays.top_activating_patches(
        gray, gray.open_dataset(toy_data).train.images, "relu1", count=2
    )
    for view in (
        cl.look.filters(gray),
        cl.look.kernels(gray, "conv1", [0, 1]),
        cl.look.deconvolution(gray, toy_data, maps=[0], found=found),
        cl.look.growth({1: gray, 2: gray}, toy_data, "relu1", [0]),
    ):
        axes = [ax for ax in view.plot().get_axes() if ax.get_images()]
        shapes = {ax.get_images()[0].get_array().shape[2:] for ax in axes}
        assert (3,) in shapes  # no palette is given to what is gray
        assert shapes <= {(3,), ()}  # () is a kernel's, of either sign


def test_the_explorer_draws_it(gray, image):
    network = Network(gray, "gray")
    for method in METHODS:
        assert draw(network, method, "image", image, 0).pixels.shape[:2] == (16, 16)
    values = network.deconvolution(image, 0, [0])[0]
    pixels = on_gray(values, largest(values) or 1.0)
    assert pixels.shape == (16, 16, 3)
    assert png(pixels)
    [only] = network.filter(0, 5)["inputs"]
    np.testing.assert_allclose(
        only["weights"], gray.model.conv1.weight[5, 0].detach(), rtol=1e-3, atol=1e-6
    )


def test_an_ensemble_may_mix_it_with_one_that_reads_colors(gray, toy_weights, image):
    color = cl.load(toy_weights)
    other = gray.with_model(gray.model, class_names=color.class_names, crop_pct=1.0)
    for members in ([other, color], [color, other]):
        both = ensemble(members)
        expected = [m.probabilities(m.logits(image[None])) for m in members]
        answer = both.probabilities(both.logits(image[None]))
        np.testing.assert_allclose(answer, np.mean(expected, axis=0), rtol=1e-4)
        assert both.normalize.channels == image_channels(both.model) == 3
        assert image_channels(both.fast().model) == 3


def test_it_learns_from_gray_teachers_alone(toy_weights, gray, tmp_path):
    color = cl.load(toy_weights)
    with pytest.raises(UserError, match="reads colors, and with `channels` 1") as refused:
        load_teachers([str(toy_weights)], color.class_names, 1)
    assert refused.value.options == ("teachers", "channels")
    kept = str(gray.save(tmp_path / "gray.safetensors"))
    for channels in 1, 3:
        [teacher] = load_teachers([kept], gray.class_names, channels)
        assert teacher.normalize.channels == 1


def test_of_a_model_of_ones_own_the_first_convolution_says_what_it_reads():
    depthwise = torch.nn.Conv2d(8, 8, 3, groups=8)  # whose kernels read one map each
    own = torch.nn.Sequential(depthwise, torch.nn.Conv2d(1, 8, 3))
    assert blank_image(own, 5).shape == (1, 1, 5, 5)
    assert arrays.first_filters(own).shape == (8, 3, 3, 1)
    assert blank_image(torch.nn.Linear(3, 3), 5).shape == (1, 3, 5, 5)
    wrapped = Classifier(LeNet5(2, size=16, in_channels=1).eval(), "ab", Normalize([0.5], [0.2]))
    assert image_channels(wrapped.model) == 1
