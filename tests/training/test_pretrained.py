"""What a run takes from trained weights, and what it begins anew."""

import hashlib
import shlex

import pytest
import torch
from torch import nn

from convlens.cli.train_options import parse_train
from convlens.data import open_dataset
from convlens.data.normalize import LUMA, Normalize
from convlens.errors import UserError
from convlens.inference import Classifier, Origin
from convlens.inference.foreign_weights import IMAGENET_MEAN, IMAGENET_STD
from convlens.models import ConvNet, build
from convlens.training.config import make_config
from convlens.training.device import Machine
from convlens.training.pretrained import Pretrained, begin_with_weights, freeze
from convlens.training.run import train, train_or_continue
from convlens.training.run_folder import RunFolder
from convlens.training.trainer import Trainer

FP32 = Machine(torch.device("cpu"), "fp32", "for the test")
CPU = {"device": "cpu", "precision": "fp32"}
TOY = ("blue_disc", "cyan_bar", "green_square", "red_cross", "yellow_ring")
NARROW = {"widths": (4, 4, 4, 8), "stem_stride": 2}
MEAN, STD = (0.25, 0.5, 0.375), (0.25, 0.125, 0.5)


def saved(path, network="ConvNet", options=NARROW, names=("cat", "dog"), size=16, **about):
    """A weights file of an untrained network whose batch norms have seen something."""
    torch.manual_seed(1)
    model = build(network, options, len(names), size)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    origin = Origin(network, dict(options), "somebody's")
    normalize = Normalize(about.pop("mean", MEAN), about.pop("std", STD))
    about = {"size": size, "crop_pct": 0.8, **about}
    return Classifier(model.eval(), names, normalize, origin=origin, **about).save(path)


@pytest.fixture
def weights(tmp_path):
    return saved(tmp_path / "w.safetensors")


@pytest.fixture
def dataset(toy_data):
    return open_dataset(toy_data, size=20)


def config_of(weights, toy_data, recipe="finetune", **options):
    options = {"epochs": 2, "batch_size": 16, **options}
    return begin_with_weights(
        make_config(recipe, {"weights": weights, "data": toy_data, **options})
    )


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_recipe_that_follows_its_weights_has_their_network_and_images(weights, toy_data):
    config = config_of(weights, toy_data)
    assert config.recipe.model == "ConvNet"
    assert config.recipe.model_options["widths"] == [4, 4, 4, 8]
    assert (config.recipe.size, config.recipe.crop_pct, config.recipe.channels) == (16, 0.8, 3)
    assert config.recipe.training_sizes == {16}
    assert (config.weights_mean, config.weights_std) == (MEAN, STD)
    assert config.weights == str(weights)
    assert begin_with_weights(config) == config
    other = config_of(weights, toy_data, size=32, crop_pct=0.75)
    assert (other.recipe.size, other.recipe.crop_pct) == (32, 0.75)


def test_weights_are_not_whitened(weights, toy_data, dataset):
    config = config_of(weights, toy_data, size=16, crop_pct=0.8, whitening=True)
    model = Trainer(config, dataset, FP32).start().model
    assert torch.equal(model.conv1.weight, Classifier.load(weights).model.conv1.weight)


def test_the_network_begins_with_the_weights_and_a_classifier_of_zeros(weights, toy_data, dataset):
    trainer = Trainer(config_of(weights, toy_data), dataset, FP32)
    model, begun = trainer.start().model.eval(), Classifier.load(weights)
    theirs = begun.model.state_dict()
    for name, tensor in model.state_dict().items():
        if name.startswith("fc."):
            assert tensor.shape[0] == 5
            assert not tensor.any()
        else:
            assert torch.equal(tensor, theirs[name]), name
    images = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    assert torch.equal(trainer.normalize(images), begun.normalize(images))


@pytest.mark.parametrize("names", [TOY, (*TOY[::-1], "a"), tuple(n.upper() for n in TOY)])
def test_rows_of_the_classifier_are_kept_by_their_names(names, tmp_path, toy_data, dataset):
    path = saved(tmp_path / "w", names=names)
    model = Trainer(config_of(path, toy_data), dataset, FP32).start().model
    theirs = Classifier.load(path).model.fc
    for row, name in enumerate(dataset.classes):
        if name in names:
            assert torch.equal(model.fc.weight[row], theirs.weight[names.index(name)])
            assert torch.equal(model.fc.bias[row], theirs.bias[names.index(name)])
        else:
            assert not model.fc.weight[row].any()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_frozen_layers_stay_to_the_last_bit_and_the_classifier_learns(
    optimizer, weights, toy_data, dataset
):
    config = config_of(
        weights, toy_data, freeze=True, optimizer=optimizer, weight_decay=0.1, ema_decay=0.9, l2=0.1
    )
    trainer = Trainer(config, dataset, FP32)
    state = trainer.start()
    before = state_of(state.model)
    trainer.fit(state)
    for model in state.model, state.ema.module:
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]) != name.startswith("fc."), name
    held = [p for o in state.optimizers for g in o.param_groups for p in g["params"]]
    assert {id(p) for p in held} == {id(p) for p in state.model.fc.parameters()}


def test_the_gradient_stops_at_the_classifier():
    model = build("ConvNet", NARROW, 3, 16)
    freeze(model, 16)
    model.eval()(torch.randn(2, 3, 16, 16)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == [
        "fc.weight",
        "fc.bias",
    ]


class Stop(Exception):
    pass


def stop(stats):
    raise Stop


@pytest.mark.parametrize("options", [{"backbone_lr_scale": 0.25}, {"freeze": True}])
def test_a_run_that_was_cut_ends_as_one_that_was_not_and_needs_the_weights_no_more(
    options, weights, toy_data, dataset, tmp_path
):
    config = config_of(weights, toy_data, **options)
    whole = Trainer(config, dataset, FP32)
    expected = whole.fit(whole.start()).ema.module.state_dict()
    cut = Trainer(config, dataset, FP32)
    folder = RunFolder(tmp_path / "cut")
    folder.begin(config)
    with pytest.raises(Stop):
        cut.fit(cut.start(), folder, stop)
    weights.unlink()
    again = Trainer(folder.read_config(), dataset, FP32)
    again.fit(again.restore(folder.read_state()), folder)
    found = folder.classifier()
    mine = found.model.state_dict()
    assert all(torch.equal(mine[name], expected[name]) for name in mine.keys() | expected.keys())
    assert found.normalize.mean.tolist() == list(MEAN)


def test_which_weights_they_were_is_kept_with_the_run(weights, toy_data, tmp_path):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    options = {**CPU, "data": toy_data, "epochs": 1, "batch_size": 16}
    train("finetune", out=tmp_path / "run", weights=weights, **options)
    folder = RunFolder(tmp_path / "run")
    assert folder.read_config().weights == str(weights)
    assert folder.read_config().weights_digest == digest
    assert folder.read_metrics()["weights_digest"] == digest
    assert folder.classifier().origin.begun_with == digest
    assert f"SHA-256 {digest[:12]}" in (tmp_path / "run" / "MODEL_CARD.md").read_text()
    # the same weights elsewhere are the same; others under the same name are not
    moved = weights.rename(tmp_path / "moved.safetensors")
    asked = make_config("finetune", {"weights": moved, **options})
    assert train_or_continue(asked, tmp_path / "run").folder == tmp_path / "run"
    saved(moved, names=("cat", "cow"))
    with pytest.raises(UserError, match=r"was trained with other settings.*\(weights\)"):
        train_or_continue(asked, tmp_path / "run")


def test_weights_that_changed_under_a_run_that_was_begun_are_refused(weights, toy_data, dataset):
    config = config_of(weights, toy_data)
    saved(weights, names=("cat", "cow"))
    with pytest.raises(UserError, match="has changed since the run was begun") as told:
        Trainer(config, dataset, FP32).start()
    assert told.value.options == ("weights",)


def test_a_run_folder_and_its_best_weights_are_the_same(tmp_path):
    saved(tmp_path / "last.safetensors", names=("a", "b"))
    best = saved(tmp_path / "best.safetensors", names=("c", "d"))
    folder, file = Pretrained.read(tmp_path), Pretrained.read(best)
    assert folder.digest == file.digest
    assert folder.class_names == file.class_names == ("c", "d")
    with pytest.raises(UserError, match="nowhere does not exist; give `weights` a run folder"):
        Pretrained.read(tmp_path / "nowhere")
    best.unlink()
    with pytest.raises(UserError, match=r"holds no best\.safetensors"):
        Pretrained.read(tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "recipe finetune begins with trained weights; name a run or a file"),
        ({"recipe": "quick", "freeze": True}, "`freeze` is about layers that are trained already"),
        ({"recipe": "quick", "backbone_lr_scale": 0.1}, "`backbone_lr_scale` is about layers"),
        ({"weights": "w", "pretraining": 1}, "`pretraining` and `weights` are two ways to begin"),
        ({"weights": "w", "backbone_lr_scale": 2.0}, "`backbone_lr_scale` 2.0 is out of range"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_is_read(options, sentence):
    options = dict(options)
    with pytest.raises(UserError, match=sentence):
        make_config(options.pop("recipe", "finetune"), options)


@pytest.mark.parametrize(
    ("network", "options", "recipe", "sentence"),
    [
        ("ConvNet", {"stem_stride": 2}, "convnet", r"is a ConvNet with stem_stride 2, and recipe "
         r"convnet trains a ConvNet with stem_stride 1; begin quick or finetune with these"),
        ("ConvNet", {}, "resnet18", "is a ConvNet, and recipe resnet18 trains a ResNet18; begin "
         "convnet or finetune with"),
        ("ResNet18", {"conv2_stride": 2}, "resnet18", "ResNet18 with conv2_stride 2, .* begin "
         "resnet18_stride2 or finetune with"),
        ("ConvNet", {"widths": (4, 4, 4, 4)}, "quick", "begin finetune with"),
        ("LeNet5", {"padding": 2}, "lenet5", "LeNet5 for images of 16 pixels.*set `size` to 16"),
    ],
)  # fmt: skip
def test_weights_of_another_network_name_the_recipe_that_takes_them(
    network, options, recipe, sentence, tmp_path
):
    path = saved(tmp_path / "w", network, options)
    with pytest.raises(UserError, match=sentence) as told:
        begin_with_weights(make_config(recipe, {"weights": path}))
    assert str(told.value).startswith(str(path))
    assert "weights" in told.value.options


def test_dropout_may_be_another_than_it_was(tmp_path):
    path = saved(tmp_path / "w", "ConvNet", {"stem_stride": 2})
    options = {"dropout": 0.5, "drop_path": 0.1, "stem_stride": 2}
    config = make_config("quick", {"weights": path, "model_options": options})
    assert begin_with_weights(config).recipe.model_options == options


def test_options_of_the_network_are_not_for_a_recipe_that_follows_its_weights(weights):
    config = make_config("finetune", {"weights": weights, "model_options": {"conv2_stride": 2}})
    with pytest.raises(UserError, match=r"takes the network as it is in .*`model_options`"):
        begin_with_weights(config)


def test_the_recorded_command_begins_with_the_same_weights(weights, toy_data):
    config = config_of(weights, toy_data, freeze=True, batch_size=64)
    command = config.command()
    assert f"--from {weights}" in command
    assert "--model" not in command
    asked, _ = parse_train(shlex.split(command)[2:])
    again = begin_with_weights(asked.config)
    assert again.differs_from(config) == config.differs_from(again) == []
    assert again.recipe == config.recipe


def gray_of(images):
    return sum(share * images[:, i : i + 1] for i, share in enumerate(LUMA)).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("network", ["ConvNet", "LeNet5", "ResNet18"])
def test_a_network_for_colors_says_the_same_of_gray_images_in_one_channel(network, tmp_path):
    """But for the margins, where padding is another gray; so a flat image of the mean's is told."""
    path = saved(tmp_path / "w", network, {}, mean=IMAGENET_MEAN, std=IMAGENET_STD, size=32)
    begun = Pretrained.read(path)
    gray = begun.for_channels(1)
    images = 255 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first = nn.functional.conv2d(
        Normalize(begun.mean, begun.std)(gray_of(images)), begun.tensors["conv1.weight"]
    )
    ours = nn.functional.conv2d(
        Normalize(gray.mean, gray.std)(images), gray.tensors["conv1.weight"]
    )
    if "conv1.bias" in begun.tensors:
        shift = gray.tensors["conv1.bias"] - begun.tensors["conv1.bias"]
    else:
        shift = begun.tensors["bn1.running_mean"] - gray.tensors["bn1.running_mean"]
    torch.testing.assert_close(ours + shift.view(-1, 1, 1), first, atol=1e-4, rtol=1e-4)


def test_a_network_for_gray_says_the_same_of_colors(tmp_path):
    images = 255 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = ConvNet(3, **NARROW, in_channels=1).eval()
    origin = Origin("ConvNet", NARROW)
    path = Classifier(
        model, "abc", Normalize([0.4], [0.25]), size=16, origin=origin
    ).save(tmp_path / "w")  # fmt: skip
    found = Pretrained.read(path).for_channels(3)
    colored = ConvNet(3, **NARROW)
    assert found.load_into(colored, "abc")
    torch.testing.assert_close(
        colored.eval()(Normalize(found.mean, found.std)(images)),
        model(Normalize([0.4], [0.25])(images)),
    )
