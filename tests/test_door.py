"""What a person at a prompt or in a notebook does with `import convlens as cl`."""

import base64
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from nbclient import NotebookClient
from PIL import Image

import convlens as cl
from convlens.inference import Evaluation, Predictions
from convlens.inference.metrics import score
from convlens.training.folds import MEASURES, CrossValidation

HOSTILE = '<img src=x onerror="alert(1)">'
ESCAPED = "&lt;img src=x onerror="
TINY = {
    "epochs": 1,
    "batch_size": 16,
    "size": 16,
    "train_size": 16,
    "early_size": 16,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def run(toy_data, tmp_path_factory) -> cl.Run:
    """A run trained as the documentation has it."""
    folder = tmp_path_factory.mktemp("door")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(folder / "cache"))
        return cl.train("lenet5plus", data=toy_data, out=folder / "mine", snapshots=True, **TINY)


@pytest.fixture
def image(toy_data) -> Path:
    return toy_data / "validation/red_cross/image_0001.png"


def test_importing_takes_no_torch():
    code = (
        "import sys, convlens\n"
        "print(convlens.__version__, 'torch' in sys.modules, 'numpy' in sys.modules)\n"
        "assert 'train' in dir(convlens) and 'look' in dir(convlens)\n"
        "print('torch' in sys.modules)\n"
        "convlens.train\n"
        "print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [f"{cl.__version__} False False", "False", "True"]


def test_what_the_door_has_is_listed_and_nothing_else():
    assert dir(cl) == sorted(cl.__all__)
    assert {"train", "resume", "load", "ensemble", "open_dataset", "explore", "report"} < set(
        dir(cl)
    )
    with pytest.raises(AttributeError, match="module 'convlens' has no attribute 'trian'"):
        cl.trian  # noqa: B018
    with pytest.raises(ImportError):
        from convlens import trian  # noqa: F401


def test_a_run_is_trained_read_and_gone_on_with(run, tmp_path):
    assert isinstance(run, cl.Run)
    assert run.metrics["recipe"] == "lenet5plus"
    assert run.history["epoch"].tolist() == [1]
    assert (run.config.recipe.epochs, run.config.device, run.config.snapshots) == (1, "cpu", True)
    assert "curves" in run.figures
    folder = shutil.copytree(run.folder, tmp_path / "further")
    again = cl.resume(folder, epochs=2)
    assert again.history["epoch"].tolist() == [1, 2]


def test_a_classifier_measures_answers_and_is_exported(run, toy_data, image, tmp_path):
    classifier = cl.load(run.folder)
    assert isinstance(classifier, cl.Classifier)
    seen = classifier.evaluate(toy_data)
    assert seen.accuracy == run.metrics["validation_accuracy"]
    [prediction] = classifier.predict([image], top=3)
    assert len(prediction.classes) == 3
    dataset = cl.open_dataset(toy_data, size=classifier.loaded_size)
    assert classifier.evaluate(dataset.center_crop(16)).loss == seen.loss
    both = cl.ensemble([classifier, run.folder], tta=True)
    written = both.export(tmp_path / "model.pt2", layers=[])
    assert written.path == tmp_path / "model.pt2" and written.path.exists()
    assert written.outputs == ("logits", "probabilities")


def test_views_are_drawn_saved_and_shown(run, toy_data, image, tmp_path):
    classifier = run.classifier
    dataset = classifier.open_dataset(toy_data)
    with Image.open(image) as opened:
        pixels = np.asarray(opened)
    views = [
        cl.look.activations(classifier, image, layer="conv1"),
        cl.look.activations(classifier, pixels, maps=[0, 3]),
        cl.look.filters(classifier, layer="conv1"),
        cl.look.layers(classifier),
        cl.look.attribution(classifier, image, target="red_cross"),
        cl.look.occlusion(classifier, image),
        cl.look.neighbors(classifier, [image], dataset),
        cl.look.patches(classifier, dataset, layer="conv1", maps=[1]),
        cl.look.embedding(classifier, toy_data),
    ]
    for view in views:
        assert isinstance(view, cl.look.View)
        assert all(isinstance(array, np.ndarray) for array in view.arrays.values())
        assert isinstance(view.plot(), Figure)
        written = view.save(tmp_path)
        assert written[0].name == f"{view.name}.png"
        assert all(path.exists() for path in written)
    (smallest,) = (view for view in views if view.name == "filters-conv1")
    assert smallest._repr_png_().startswith(b"\x89PNG")
    assert "data:image/png;base64," in smallest._repr_html_()


def test_errors_speak_of_parameters_by_their_python_names(run, toy_data, tmp_path):
    with pytest.raises(cl.UserError, match="`epochs` 0 is out of range") as told:
        cl.train("lenet5", data=toy_data, out=tmp_path / "no", epochs=0)
    assert told.value.options == ("epochs",)
    with pytest.raises(cl.UserError, match="there is no option `epoch`; did you mean `epochs`"):
        cl.train("lenet5", epoch=3)
    with pytest.raises(cl.UserError, match="there is no recipe 'lenet'; did you mean lenet5"):
        cl.train("lenet")
    with pytest.raises(cl.UserError, match="does not exist"):
        cl.load(tmp_path / "nowhere")


def hostile_evaluation() -> Evaluation:
    logits = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    return score(logits, np.array([0, 0, 1]), (HOSTILE, "b"))


def test_no_name_of_a_class_is_markup(run, image, tmp_path):
    classifier = run.classifier
    names = (HOSTILE, *classifier.class_names[1:])
    hostile = classifier.with_model(classifier.model, class_names=names)
    folder = Path(shutil.copytree(run.folder, tmp_path / "hostile"))
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    metrics |= {"recipe": HOSTILE, "device": HOSTILE, "model": HOSTILE}
    (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    values = dict.fromkeys([n + s for n in MEASURES for s in ("", "_standard_error")], 0.5)
    shown = [
        cl.Run(folder)._repr_html_(),
        hostile.predict([image], top=5)._repr_html_(),
        hostile_evaluation()._repr_html_(),
        CrossValidation(recipe=HOSTILE, folds=3, **values)._repr_html_(),
        cl.look.neighbors(hostile, [image], _renamed(run, names))._repr_html_(),
    ]
    for page in shown:
        assert "<img src=x" not in page
    for page in shown[:4]:
        assert ESCAPED in page


def _renamed(run, names):
    return dataclasses.replace(run.classifier.open_dataset(run.config.data), classes=names)


CELLS = [
    "import convlens as cl\nrun = cl.Run({folder!r})\nrun",
    "predictions = run.classifier.predict([{image!r}], top=3)\npredictions",
    "run.classifier.evaluate({data!r})",
    "cl.look.activations(run.classifier, {image!r}, layer='conv1')",
    "run.figures['curves']",
    "run.classifier",
]


def test_a_real_notebook_shows_a_run_predictions_an_evaluation_and_a_view(
    run, toy_data, image, tmp_path
):
    folder, data = str(run.folder), str(toy_data)
    cells = [cell.format(folder=folder, image=str(image), data=data) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = []
    for cell in notebook.cells:
        [output] = cell.outputs  # and nothing is printed beside it
        assert output.output_type == "execute_result"
        outputs.append(output.data)
    run_shown, predicted, evaluated, view, curves, classifier = outputs
    assert "lenet5plus: LeNet5, 1 epochs" in run_shown["text/html"]
    assert predicted["text/html"].count("%") >= 3
    assert "accuracy" in evaluated["text/html"]
    for shown in run_shown, predicted, view:
        assert "data:image/png;base64," in shown["text/html"]
    for png in view["image/png"], curves["image/png"]:
        assert base64.b64decode(png).startswith(b"\x89PNG")
    assert "Classifier(" in classifier["text/plain"] and "size=16" in classifier["text/plain"]
    assert isinstance(cl.load(folder).predict([image]), Predictions)
