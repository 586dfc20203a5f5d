"""Every path gives what the views say, and a path that is none gives one sentence."""

import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from asked import shown, told
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data import open_dataset
from convlens.data.dataset import Dataset
from convlens.errors import UserError
from convlens.explorer.answers import ROUTES, NotThere, answer, as_json, page_files, slow
from convlens.explorer.attribution import METHODS
from convlens.explorer.inside import Explorer
from convlens.explorer.network import Network
from convlens.explorer.pictures import short
from convlens.explorer.survey import NotYet
from convlens.inference import Classifier, Origin
from convlens.look import arrays
from convlens.models import LeNet5
from convlens.training.run_folder import RunFolder


def test_the_site_tells_what_there_is_to_see(explorer: Explorer):
    site = told(explorer, "api/site.json")
    (run,) = site["runs"]
    assert (run["name"], run["network"], run["size"]) == ("toy", "LeNet5", 16)
    assert len(run["classes"]) == 5
    assert [layer["name"] for layer in run["layers"]] == [
        "relu1",
        "pool1",
        "relu2",
        "pool2",
        "relu3",
        "relu4",
        "fc3",
    ]
    assert run["layers"][0] == {
        "name": "relu1",
        "kind": "conv 5×5, ReLU",
        "shape": [32, 16, 16],
        "field": [5, 5],
        "stride": [1, 1],
        "start": [-2, -2],
        "parameters": 2432,
        "multiply_adds": 614400,
        "filters": True,
        "reads": [-1],
        "shortcut": None,
    }
    assert [layer["reads"] for layer in run["layers"][1:]] == [[n] for n in range(6)]
    assert run["layers"][6]["field"] is None
    assert site["data"] == {"name": "toy", "train": 60, "validation": 20}
    assert len(site["images"]) == 20
    assert site["images"][4] == {
        "id": "v4",
        "path": "validation/cyan_bar/image_0001.png",
        "label": 1,
    }
    assert site["examples"] == ["v0", "v4", "v8", "v12", "v16"]
    assert {method["id"] for method in site["methods"]} == set(METHODS)


def test_an_image_s_answers_are_what_the_views_say(explorer: Explorer):
    network, image = explorer.networks[0], explorer.dataset.validation.images[7]
    x = network.normalized(np.array(image))
    np.testing.assert_array_equal(shown(explorer, "images/0/v7.png"), image)
    with torch.no_grad():
        expected = network.model(x).softmax(dim=1)[0].numpy()
    prediction = told(explorer, "api/0/v7/prediction.json")
    np.testing.assert_allclose(prediction["probabilities"], expected, rtol=1e-5)
    assert prediction["label"] == 1
    statistics = told(explorer, "api/0/v7/layers.json")
    assert len(statistics) == 7
    maps = arrays.activations(network.model, x, ["relu1"])["relu1"][0]
    first = statistics[0]
    np.testing.assert_allclose(first["max"], maps.max(axis=(1, 2)), rtol=1e-3)
    np.testing.assert_allclose(first["mean"], maps.mean(axis=(1, 2)), rtol=1e-3)
    np.testing.assert_allclose(first["active"], (maps > 0).mean(axis=(1, 2)), rtol=1e-3)
    np.testing.assert_allclose(first["scale"], np.percentile(maps, 99.5), rtol=1e-3)
    highest = np.array(first["max"])[first["order"]]
    assert (np.diff(highest) <= 0).all()
    sprite = shown(explorer, "api/0/v7/layer-0.png")
    row, column = divmod(9, first["columns"])
    cell = sprite[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
    np.testing.assert_allclose(
        cell, np.clip(255 * maps[9] / np.percentile(maps, 99.5), 0, 255), atol=1.01
    )


def test_an_image_s_probabilities_are_the_same_wherever_they_are_told(
    toy_weights, toy_data, tmp_path
):
    classifier = Classifier.load(toy_weights)
    plain = classifier.probabilities(np.ones((1, 5)) * np.arange(5))
    classifier.temperature = 0.31
    assert not np.allclose(classifier.probabilities(np.ones((1, 5)) * np.arange(5)), plain)
    classifier.save(tmp_path / "sure.safetensors")
    explorer = Explorer.open([tmp_path / "sure.safetensors"], toy_data)
    (expected,) = classifier.predict(toy_data / explorer.dataset.validation.paths[7], top=5)
    shares = dict(zip(expected.classes, expected.probabilities, strict=True))
    prediction = told(explorer, "api/0/v7/prediction.json")["probabilities"]
    assert prediction == short([shares[name] for name in classifier.class_names], 6)
    for number, probability in enumerate(prediction):
        assert told(explorer, f"api/0/v7/occlusion-{number}.json")["whole"] == probability
    explorer.surveyor.run()
    evaluation = told(explorer, "api/0/evaluation.json")
    # asked in batches there, so equal but for rounding
    assert evaluation["probability"][7] == pytest.approx(max(prediction), rel=2e-4)
    assert evaluation["of_label"][7] == pytest.approx(prediction[1], rel=2e-4)


def test_a_square_that_hides_nothing_leaves_the_probability_as_it_is(own, vgg):
    explorer = own(vgg)
    file = io.BytesIO()
    network = explorer.networks[0]  # whose gray square is of this color
    network.classifier.normalize.mean[:] = torch.tensor([51, 102, 153]) / 255
    Image.new("RGB", (24, 24), (51, 102, 153)).save(file, "png")
    name = explorer.images.add(file.getvalue()).name
    prediction = told(explorer, f"api/0/{name}/prediction.json")["probabilities"]
    for number, probability in enumerate(prediction):
        caption = told(explorer, f"api/0/{name}/occlusion-{number}.json")
        assert caption["whole"] == probability
        np.testing.assert_allclose(caption["probability"], probability, atol=6e-5)
        assert np.all(np.array(caption["predicted"]) == np.argmax(prediction))


def test_a_deconvolution_is_gray_where_it_is_0(explorer: Explorer):
    network = explorer.networks[0]
    x = network.normalized(np.array(explorer.dataset.validation.images[2]))
    strongest = told(explorer, "api/0/v2/layers.json")[2]["order"][0]
    (expected,) = arrays.deconvolution(network.model, x, "relu2", [strongest])
    found = shown(explorer, f"api/0/v2/deconvolution-2-{strongest}.png").astype(float)
    np.testing.assert_allclose((found - 128) / 127.5, expected / np.abs(expected).max(), atol=0.012)


def test_what_needs_the_data_set_waits_for_it_and_is_then_what_the_views_say(explorer: Explorer):
    paths = [
        "api/0/patches-0.json",
        "api/0/evaluation.json",
        "api/0/embedding.json",
        "api/0/v0/neighbors.json",
        "api/0/dead.json",
    ]
    for path in paths:
        with pytest.raises(NotYet):
            answer(explorer, path)
    assert told(explorer, "api/progress.json")["tasks"][1] == {
        "name": "toy: train images",
        "done": 0,
        "total": 60,
    }
    explorer.surveyor.run()
    patches = told(explorer, "api/0/patches-2.json")
    network, data = explorer.networks[0], explorer.dataset
    expected = arrays.top_activating_patches(network.classifier, data.train.images, "relu2")
    assert len(patches["maps"]) == 64
    for number, (of_map, values) in enumerate(zip(patches["maps"], expected.values, strict=True)):
        np.testing.assert_allclose([p["value"] for p in of_map], values, rtol=1e-3, atol=1e-6)
        assert (number in patches["dead"]) == (values[0] <= 0)
        for patch in of_map:
            assert patch["label"] == data.train.labels[int(patch["image"][1:])]
    dead = told(explorer, "api/0/dead.json")["dead"]
    assert (len(dead), dead[2]) == (7, patches["dead"])
    evaluation = told(explorer, "api/0/evaluation.json")
    assert evaluation["labels"] == data.validation.labels.tolist()
    probability = [
        told(explorer, f"api/0/v{row}/prediction.json")["probabilities"] for row in range(20)
    ]
    assert evaluation["predicted"] == np.argmax(probability, axis=1).tolist()
    np.testing.assert_allclose(evaluation["probability"], np.max(probability, axis=1), rtol=1e-3)
    np.testing.assert_allclose(
        evaluation["of_label"], np.array(probability)[range(20), evaluation["labels"]], rtol=1e-3
    )
    assert 0 <= evaluation["train"] <= 1
    seen = network.classifier.evaluate(data)
    told_measures, measures = evaluation["measures"], seen.measures()
    assert told_measures.keys() == measures.keys() and told_measures["top5_accuracy"] is None
    for name, value in measures.items():
        assert told_measures[name] == pytest.approx(value, abs=1e-6), name
    for name in "precision", "f1", "roc_auc", "recall_interval", "f1_interval":
        numbers = np.array(evaluation["per_class"][name], dtype=float)  # null is NaN
        np.testing.assert_allclose(numbers, getattr(seen, name), rtol=1e-3)
    embedding = told(explorer, "api/0/embedding.json")
    assert np.shape(embedding["points"]) == (20, 2)
    assert embedding["share"] is None  # for it is t-SNE's


def test_neighbors_are_the_nearest_and_never_the_image_itself(explorer: Explorer):
    explorer.surveyor.run()
    found = told(explorer, "api/0/t5/neighbors.json")
    assert len(found) == 8
    assert "t5" not in [each["image"] for each in found]
    similarity = [each["similarity"] for each in found]
    assert similarity == sorted(similarity, reverse=True)
    vectors = explorer.surveys[0].seen("train").features
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit[5]
    np.testing.assert_allclose(similarity, np.sort(np.delete(cosine, 5))[::-1][:8], atol=1e-3)


def test_all_thumbnails_are_in_one_picture(explorer: Explorer):
    sprite = shown(explorer, "images/validation.png")
    assert sprite.shape == (32, 32 * 32, 3)
    image = explorer.dataset.validation.images[19]  # 16×16, so each pixel is 2×2
    np.testing.assert_array_equal(sprite[::2, 19 * 32 : 20 * 32 : 2], image)


@pytest.mark.parametrize("which", ["vgg", "unet"])
def test_a_user_s_own_module_is_explored_in_all_views(own, which, request):
    explorer = own(request.getfixturevalue(which))
    explorer.surveyor.run()
    site = told(explorer, "api/site.json")
    (run,) = site["runs"]
    for number, layer in enumerate(run["layers"]):
        channels = layer["shape"][0]
        sprite = shown(explorer, f"api/0/v1/layer-{number}.png")
        assert sprite.size >= np.prod(layer["shape"])
        assert len(told(explorer, f"api/0/patches-{number}.json")["maps"]) == channels
        if layer["filters"]:
            assert told(explorer, f"api/0/filter-{number}-{channels - 1}.json")["kernel"] == [3, 3]
        if len(layer["shape"]) == 3:
            assert shown(explorer, f"api/0/v1/deconvolution-{number}-0.png").shape == (24, 24, 3)
    for method in run["methods"]:
        assert shown(explorer, f"api/0/v1/{method}-4.png").shape[:2] == (24, 24)
        scale = told(explorer, f"api/0/v1/{method}-4.json")
        assert scale["low"] <= 0 <= scale["high"]
    assert len(told(explorer, "api/0/v1/invariance-4.json")) == 3
    for number in range(len(run["layers"]) + 1):  # the last is the class
        assert shown(explorer, f"api/0/visualization-{number}-0.png").shape == (24, 24, 3)
    assert told(explorer, "api/0/history.json") == {"columns": [], "rows": []}
    assert len(told(explorer, "api/0/v1/neighbors.json")) == 8
    assert told(explorer, "api/0/evaluation.json")["labels"] == [n // 4 for n in range(20)]


def test_two_runs_are_asked_about_the_same_image_each_by_its_own_classes(
    own, vgg, unet, toy_weights, toy_data
):
    explorer = own(vgg, unet)
    other = explorer.networks[1].classifier
    other.class_names = ("yellow_ring", "zebra", "blue_disc", "a", "b")
    explorer.surveyor.run()
    assert [told(explorer, f"api/{run}/v17/prediction.json")["label"] for run in (0, 1)] == [4, 0]
    assert told(explorer, "api/1/v5/prediction.json")["label"] is None
    labels = told(explorer, "api/1/evaluation.json")["labels"]
    assert labels == [2] * 4 + [None] * 12 + [0] * 4
    assert told(explorer, "api/1/patches-0.json")["maps"][0][0]["label"] in (None, 0, 2)


def test_what_a_run_does_not_know_is_neither_right_nor_wrong(own, vgg):
    """Of 60 training images it was taught the classes of 24, and of 20 others of 8."""
    explorer = own(vgg)
    (network,) = explorer.networks
    network.classifier.class_names = ("yellow_ring", "zebra", "blue_disc", "a", "b")
    explorer.surveyor.run()
    found = told(explorer, "api/0/evaluation.json")
    for split, accuracy in (
        ("train", found["train"]),
        ("validation", found["measures"]["accuracy"]),
    ):
        survey = explorer.surveys[0]
        predicted, truth = survey.seen(split).logits.argmax(axis=1), survey.labels(split)
        known = truth >= 0
        assert known.sum() == {"train": 24, "validation": 8}[split]
        assert accuracy == pytest.approx((predicted == truth)[known].mean(), abs=1e-5)
    network.classifier.class_names = tuple("abcde")
    assert told(explorer, "api/0/evaluation.json")["train"] is None


def test_a_run_that_had_other_images_or_split_them_otherwise_is_not_at_home(
    finished_run, toy_weights, toy_data, tmp_path
):
    other = RunFolder(shutil.copytree(finished_run, tmp_path / "other"))
    config = other.read_config()

    def at_home(**changes) -> list[bool | None]:
        other.write_config(replace(config, **changes))
        runs = [finished_run, other.path]
        return [run["home"] for run in told(Explorer.open(runs), "api/site.json")["runs"]]

    assert at_home() == [True, True]
    assert at_home(split_seed=1) == [True, False]
    assert at_home(digest="of others") == [True, False]
    assert at_home(digest="") == [True, None]  # an old run, of which nobody knows
    runs = told(Explorer.open([toy_weights], toy_data), "api/site.json")["runs"]
    assert [run["home"] for run in runs] == [None]
    moved = shutil.copytree(toy_data, tmp_path / "moved" / "toy")
    (run,) = told(Explorer.open([finished_run], moved), "api/site.json")["runs"]
    assert run["home"]  # the same images, wherever they lie


def test_runs_of_other_sizes_read_the_same_files(toy_weights, toy_data, own, vgg):
    small, large = Explorer.open([toy_weights], toy_data), own(vgg)
    datasets = [small.dataset, large.dataset]
    both = Explorer([*small.networks, *large.networks], datasets)
    for run, alone in enumerate((small, large)):
        path = f"{run}/v3/layers.json"
        assert answer(both, f"api/{path}") == answer(alone, "api/0/v3/layers.json")


def test_runs_that_crop_are_shown_what_they_are_given(toy_weights, toy_data, tmp_path):
    plain = Classifier.load(toy_weights)
    for name, crop_pct in ("near", 1 / 1.5), ("large", 0.8):
        plain.with_model(plain.model, crop_pct=crop_pct).save(tmp_path / f"{name}.safetensors")
    runs = [tmp_path / "near.safetensors", tmp_path / "large.safetensors", toy_weights]
    explorer = Explorer.open(runs, toy_data)
    explorer.surveyor.run()
    name = explorer.images.add((toy_data / "train/red_cross/image_0001.png").read_bytes()).name
    for run in range(3):
        classifier = explorer.networks[run].classifier
        dataset = classifier.open_dataset(toy_data)
        seen = shown(explorer, f"images/{run}/v3.png")
        np.testing.assert_array_equal(seen, dataset.validation.images[3])
        path = toy_data / dataset.validation.paths[3]
        np.testing.assert_array_equal(seen, classifier.decode(path))
        uploaded = shown(explorer, f"images/{run}/{name}.png")
        path = toy_data / "train/red_cross/image_0001.png"
        np.testing.assert_array_equal(uploaded, classifier.decode(path))
        logits = classifier.logits(dataset.validation.images)
        survey = explorer.surveys[run].seen("validation")
        np.testing.assert_allclose(survey.logits, logits, atol=1e-5)


def test_without_a_data_set_images_can_still_be_uploaded(toy_weights, toy_data, tmp_path):
    other = tmp_path / "other"
    for split in "train", "validation":
        for name in "one", "two":
            folder = other / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (20, 20)).save(folder / "a.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_DATA", str(other))
        explorer = Explorer.open([toy_weights])
    site = told(explorer, "api/site.json")
    assert (site["data"], site["images"], site["examples"]) == (None, [], [])
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "png")
    name = explorer.images.add(file.getvalue()).name
    assert len(told(explorer, f"api/0/{name}/prediction.json")["probabilities"]) == 5
    assert told(explorer, f"api/0/{name}/prediction.json")["label"] is None
    assert (shown(explorer, f"images/0/{name}.png") == [255, 0, 0]).all()
    for path in f"api/0/{name}/neighbors.json", "api/0/evaluation.json", "images/validation.png":
        with pytest.raises(NotThere, match="--data DIR"):
            answer(explorer, path)
    with pytest.raises(NotThere, match="no image v0"):
        answer(explorer, "api/0/v0/prediction.json")


def test_a_data_set_that_cannot_be_read_is_told_and_not_left_out(toy_weights, monkeypatch):
    monkeypatch.setenv("CONVLENS_DATA", "/nowhere/at/all")
    with pytest.raises(UserError, match="/nowhere/at/all does not exist"):
        Explorer.open([toy_weights])


def test_a_data_set_that_was_asked_for_must_have_the_run_s_classes(toy_data, tmp_path):
    path = tmp_path / "other.safetensors"
    other = Classifier(LeNet5(2, size=24), ("one", "two"), size=24, origin=Origin("LeNet5"))
    other.save(path)
    with pytest.raises(UserError, match="was not trained on the class blue_disc"):
        Explorer.open([path], toy_data)


def test_the_history_of_a_hold_out_bears_its_name(holdout_run: Path):
    explorer = Explorer.open([holdout_run])
    history = told(explorer, "api/0/history.json")
    assert [epoch for epoch, *_ in history["rows"]] == [1, 2]
    measured = {name.partition("_")[0] for name in history["columns"] if "accuracy" in name}
    assert measured == {"train", "holdout"}
    (run,) = told(explorer, "api/site.json")["runs"]
    column = [row[history["columns"].index("holdout_accuracy")] for row in history["rows"]]
    assert run["summary"]["holdout_accuracy"] == pytest.approx(max(column))
    assert column[run["summary"]["best_epoch"] - 1] == max(column)
    assert not any(name.startswith("validation") for name in run["summary"])


def test_what_json_has_no_word_for_is_null(explorer: Explorer):
    explorer.networks[0].history = {"columns": ["loss"], "rows": [[0.5], [float("nan")]]}
    assert told(explorer, "api/0/history.json")["rows"] == [[0.5], [None]]
    assert short(np.array([1.23456, np.inf, np.nan], np.float32)) == [1.235, None, None]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("api/1/history.json", "no run 1"),
        ("api/0/v20/prediction.json", "no image v20"),
        ("images/0/t60.png", "no image t60"),
        ("images/0/u0123456789abcdef.png", "no longer kept"),
        ("api/0/v0/layer-7.png", "no layer 7"),
        ("api/0/v0/deconvolution-0-32.png", "no map 32; its last is 31"),
        ("api/0/v0/deconvolution-6-0.png", "no maps to project"),
        ("api/0/filter-1-0.json", "no filters"),
        ("api/0/v0/grad-cam-5.png", "no class 5"),
        ("api/0/v0/magic-0.png", "no view magic"),
        ("api/0/v0/prediction.png", "nothing at"),
        ("../../etc/passwd", "nothing at"),
        ("images/../server.py", "nothing at"),
        ("images/0/v٣.png", "nothing at"),
        ("", "nothing at"),
    ],
)
def test_what_is_not_there_is_told_in_one_sentence(explorer: Explorer, path, sentence):
    with pytest.raises(NotThere, match=sentence):
        answer(explorer, path)


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_no_path_but_those_of_the_routes_is_answered(path):
    if not any(pattern.fullmatch(path) for pattern, _ in ROUTES):
        with pytest.raises(NotThere):
            answer(None, path)


def test_only_what_takes_long_is_slow():
    assert slow("api/0/v0/occlusion-3.png")
    assert slow("api/1/u0123456789abcdef/integrated-gradients-3.json")
    assert slow("api/0/embedding.json")
    assert not slow("api/0/v0/grad-cam-3.png")
    assert not slow("api/0/v0/layers.json")


def test_the_page_is_whole():
    files = page_files()
    assert {"index.html", "icon.svg"} <= set(files)
    assert files["index.html"].kind == "text/html; charset=utf-8"


# Numbers that are none, and names that are no text

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


def no_number(name: str) -> float:
    return pytest.fail(f"{name} is no JSON")


@given(ANYTHING)
def test_json_is_always_strict_json_in_utf_8(content):
    found = json.loads(as_json(content).body.decode("utf-8"), parse_constant=no_number)

    def is_same(found, content) -> bool:
        if isinstance(content, float) and not math.isfinite(content):
            return found is None
        if isinstance(content, list):
            return all(map(is_same, found, content))
        if isinstance(content, str):
            surrogates = any("\ud800" <= character <= "\udfff" for character in content)
            return surrogates or found == content
        return isinstance(content, dict) or found == content

    assert is_same(found, content)


def paths_of(explorer: Explorer) -> list[str]:
    """All that the page may ask of the first image."""
    (network,) = explorer.networks
    paths = ["api/site.json", "api/progress.json", "images/validation.png", "images/0/v0.png"]
    for name in "prediction", "layers", "neighbors":
        paths.append(f"api/0/v0/{name}.json")
    for name in "dead", "history", "evaluation", "embedding":
        paths.append(f"api/0/{name}.json")
    for number in range(len(network.stages)):
        paths += [f"api/0/v0/layer-{number}.png", f"api/0/v0/deconvolution-{number}-0.png"]
        paths += [f"api/0/filter-{number}-0.json", f"api/0/patches-{number}.json"]
    for method in METHODS:
        paths += [f"api/0/v0/{method}-1.png", f"api/0/v0/{method}-1.json"]
    return paths


@settings(max_examples=3, deadline=None)
@given(
    st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, 1e-40]),
    st.sampled_from([0, 1, 2, -2, -1]),
    st.integers(1, 3),
)
def test_a_network_gone_wild_is_answered_for(dataset_16, number, parameter, count):
    """Its activations are infinite or no numbers; each answer is JSON or a picture all the same."""
    torch.manual_seed(0)
    model = LeNet5(5, size=16).eval()
    with torch.no_grad():
        list(model.parameters())[parameter].view(-1)[:count] = number
    classifier = Classifier(model, dataset_16.classes, size=16)
    history = {"columns": ["epoch", "train_loss"], "rows": [[1.0, float(number)]]}
    summary = {"validation_loss": float("nan"), "more": [float("inf")]}
    network = Network(classifier, "caf\udce9", history, summary)
    explorer = Explorer([network], [dataset_16])
    explorer.surveyor.run()
    for path in paths_of(explorer):
        try:
            found = answer(explorer, path)
        except NotThere as reason:
            assert re.search("no filters|no maps|not finite|no number", str(reason))
            continue
        if found.kind == "application/json":
            json.loads(found.body.decode("utf-8"), parse_constant=no_number)
        else:
            Image.open(io.BytesIO(found.body)).load()


@pytest.fixture(scope="module")
def dataset_16(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The toy data in a cache of this module's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_dataset(toy_data, size=16)
