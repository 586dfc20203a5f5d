"""What is made for one map when it is asked for is what the views say."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from asked import shown, told
from small_runs import small_run

from convlens import look
from convlens.data import open_dataset
from convlens.explorer.answers import NotThere, answer, slow
from convlens.explorer.inside import Explorer
from convlens.explorer.pictures import scale_of
from convlens.inference import Classifier
from convlens.look import arrays
from convlens.models import LeNet5
from convlens.training.run_folder import RunFolder


def test_invariance_is_that_of_the_view_at_the_network_s_temperature(explorer: Explorer):
    network = explorer.networks[0]
    network.classifier.temperature = 0.5
    pixels = explorer.pixels("v3", network)
    view = look.invariance(network.classifier, pixels, target=network.classifier.class_names[2])
    found = told(explorer, "api/0/v3/invariance-2.json")
    assert list(found) == ["translation", "scale", "rotation"]
    whole = network.classifier.probabilities(network.look("v3", pixels).logits)[0, 2]
    for change, seen in found.items():
        np.testing.assert_allclose(seen["values"], view.arrays[change], rtol=1e-3)
        expected = view.arrays[f"{change}/probability"][0]
        np.testing.assert_allclose(seen["probability"], expected, rtol=1e-4)
        assert list(seen["distances"]) == ["relu1", "relu2"]
        for layer, distance in seen["distances"].items():
            expected = view.arrays[f"{change}/distance/{layer}"][0]
            np.testing.assert_allclose(distance, expected, rtol=1e-3, atol=1e-6)
        unchanged = seen["values"].index(seen["unchanged"])
        assert seen["probability"][unchanged] == pytest.approx(whole, rel=1e-4)
        assert {distance[unchanged] for distance in seen["distances"].values()} == {0}


@pytest.mark.parametrize(
    ("path", "layer", "number"), [("2-7", "relu2", 7), ("6-1", "fc3", 1), ("7-4", None, 4)]
)
def test_an_image_is_made_for_a_map_a_feature_or_a_class(explorer, path, layer, number):
    classifier = explorer.networks[0].classifier
    images, values = arrays.feature_visualization(classifier, layer, [number])
    made = shown(explorer, f"api/0/visualization-{path}.png")
    np.testing.assert_array_equal(made, np.rint(255 * images[0]))
    assert told(explorer, f"api/0/visualization-{path}.json")["value"] == pytest.approx(
        values[0], rel=1e-3
    )
    # without any change to the network that answers meanwhile
    assert all(p.requires_grad for p in classifier.model.parameters())


@pytest.fixture(scope="module")
def grown(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that kept its weights after each epoch."""
    out = tmp_path_factory.mktemp("grown") / "run"
    return small_run(out, toy_data, epochs=3, snapshots=True)


def test_a_map_is_shown_as_it_was_after_each_epoch_that_was_kept(grown, toy_data):
    explorer = Explorer.open([grown], toy_data)
    epochs = RunFolder(grown).snapshots()
    assert told(explorer, "api/site.json")["runs"][0]["snapshots"] == list(epochs) == [1, 2, 3]
    pixels = open_dataset(toy_data, size=16).validation.images[3]
    maps = np.stack(
        [arrays.activations(c.model, c.inputs(pixels[None]), ["relu1"])["relu1"][0, 5]
         for c in epochs.values()]
    )  # fmt: skip
    found = told(explorer, "api/0/v3/growth-0-5.json")
    assert found["epochs"] == [1, 2, 3]
    np.testing.assert_allclose(found["max"], maps.max(axis=(1, 2)), rtol=1e-3)
    assert found["scale"] == pytest.approx(scale_of(maps), rel=1e-3)
    shares = [c.probabilities(c.logits(pixels[None]))[0] for c in epochs.values()]
    assert found["class"] == shares[-1].argmax()
    np.testing.assert_allclose(
        found["probability"], [share[found["class"]] for share in shares], rtol=1e-3
    )
    row = shown(explorer, "api/0/v3/growth-0-5.png")
    assert row.shape == (16, 3 * 16)
    expected = np.clip(np.hstack(maps) * 255 / scale_of(maps), 0, 255)
    np.testing.assert_allclose(row, expected, atol=1.01)


def test_weights_of_another_network_among_the_snapshots_are_refused(grown, toy_data, tmp_path):
    shutil.copytree(grown, run := tmp_path / "run")
    other = Classifier(LeNet5(2, size=16), ["a", "b"], size=16)
    other.save(run / "snapshots" / "epoch-0002.safetensors")
    with pytest.raises(NotThere, match=r"epoch-0002\.safetensors is of another network"):
        answer(Explorer.open([run], toy_data), "api/0/v3/growth-0-5.json")
    (run / "snapshots" / "epoch-0002.safetensors").write_bytes(b"{}")
    with pytest.raises(NotThere, match=r"epoch-0002\.safetensors"):
        answer(Explorer.open([run], toy_data), "api/0/v3/growth-0-5.json")


def test_a_run_without_snapshots_says_how_to_keep_some(explorer: Explorer, grown):
    assert told(explorer, "api/site.json")["runs"][0]["snapshots"] == []
    with pytest.raises(NotThere, match="--snapshots"):
        answer(explorer, "api/0/v3/growth-0-5.json")
    (grown / "snapshots" / "epoch-x.safetensors").touch()  # is none of ours
    assert list(RunFolder(grown).snapshot_files()) == [1, 2, 3]


@pytest.mark.parametrize(
    "path",
    [
        "v3/invariance-5.json",
        "v99/invariance-0.json",
        "visualization-8-0.png",
        "visualization-7-5.png",
        "visualization-0-32.json",
    ],
)
def test_what_is_not_there_is_told_and_never_in_the_quick_lane(explorer: Explorer, path):
    with pytest.raises(NotThere):
        answer(explorer, f"api/0/{path}")
    assert slow(f"api/0/{path}")
