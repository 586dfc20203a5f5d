import dataclasses
import resource
import shlex
import time

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens import formats
from convlens.cli.train_options import parse_train
from convlens.data.augment import Augment
from convlens.errors import UserError
from convlens.fields import flatten
from convlens.recipes import RECIPES
from convlens.training.config import BESIDE, RunConfig, absolute, make_config


def repeated(command):
    """What the command line makes of a recorded command."""
    program, verb, *arguments = shlex.split(command)
    assert (program, verb) == ("convlens", "train")
    asked, _ = parse_train(arguments)
    return asked.config


configs = st.builds(
    lambda name, changes, recipe, augment: dataclasses.replace(
        RunConfig(
            dataclasses.replace(
                RECIPES[name](),
                augment=dataclasses.replace(RECIPES[name]().augment, **augment),
                **recipe,
            )
        ),
        **changes,
        **({"weights": "w.safetensors"} if RECIPES[name]().follows_weights else {}),
    ),
    name=st.sampled_from(sorted(RECIPES)),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**31),
            "split_seed": st.integers(0, 99),
            "holdout": st.floats(0, 0.9),
            "max_train_images": st.none() | st.integers(1, 10**6),
            "device": st.sampled_from(["auto", "cpu", "cuda:0"]),
            "precision": st.sampled_from(["auto", "fp32", "bf16"]),
            "skip_bad": st.booleans(),
            "snapshots": st.booleans(),
            "data": st.none() | st.just("/data/photos"),
        },
    ),
    recipe=st.fixed_dictionaries(
        {},
        optional={
            "epochs": st.integers(1, 10**4),
            "crop_pct": st.floats(0.5, 1),
            "learning_rate": st.floats(1e-9, 1e3),
            "optimizer": st.sampled_from(["adamw", "sgd", "muon"]),
            "temperature": st.floats(0.05, 20),
            "swa_fraction": st.floats(0, 0.9),
        },
    ),
    augment=st.fixed_dictionaries({}, optional={"flip": st.floats(0, 1), "color": st.floats(0, 1)}),
)


@settings(deadline=None, max_examples=25)
@given(config=configs)
def test_the_recorded_command_asks_for_the_run_again(config):
    again = repeated(config.command())
    assert again.differs_from(config) == config.differs_from(again) == []


def test_teachers_folds_and_the_networks_options_are_in_the_command_too(tmp_path):
    (tmp_path / "a run").mkdir()
    recipe = dataclasses.replace(
        RECIPES["convnet"](),
        distillation=0.5,
        model_options={"dropout": 0.3, "squeeze_excite": True},
    )
    teachers = absolute([tmp_path / "a run", tmp_path])
    config = RunConfig(recipe, teachers=teachers, folds=3, fold=2, device="cpu", precision="fp32")
    command = config.command()
    assert "--device cpu --precision fp32" in command
    assert "--model-options.squeeze-excite" in command
    again = repeated(command)
    assert again.differs_from(config) == config.differs_from(again) == []
    assert again.teachers == teachers


def test_a_command_names_what_differs_from_the_recipe_and_nothing_else():
    assert RunConfig(RECIPES["lenet5"]()).command() == "convlens train lenet5"
    config = RunConfig(RECIPES["resnet18"](), "/data", holdout=0.1, seed=3, device="cpu")
    assert config.command() == "convlens train resnet18 --seed 3 --holdout 0.1 --device cpu"


@settings(deadline=None, max_examples=25)
@given(config=configs)
def test_a_configuration_comes_back_from_yaml_as_it_was(config):
    text = yaml.safe_dump(config.as_dict(), sort_keys=False)
    assert yaml.safe_load(text)["format"] == formats.FORMAT
    assert RunConfig.from_dict(yaml.safe_load(text)) == config


def test_options_of_the_run_and_of_the_recipe_are_told_apart():
    config = make_config(
        "lenet5plus",
        {"seed": 3, "epochs": 2, "augment": {"flip": 0.25}, "augment.color": 0.1, "data": "/d"},
    )
    assert (config.seed, config.data, config.recipe.epochs) == (3, "/d", 2)
    plain = RECIPES["lenet5plus"]()
    assert config.recipe == dataclasses.replace(
        plain, epochs=2, augment=dataclasses.replace(plain.augment, flip=0.25, color=0.1)
    )
    assert make_config(config, {}) == config
    assert make_config(plain, {}) == RunConfig(plain)


def test_a_recipe_in_a_file_is_one_too(tmp_path):
    (tmp_path / "best.yaml").write_text("recipe: lenet5\nlearning_rate: 1e-4\n")
    config = make_config(tmp_path / "best.yaml", {"epochs": 3})
    assert config.recipe == dataclasses.replace(RECIPES["lenet5"](), learning_rate=1e-4, epochs=3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": 0}, "`epochs` 0 is out of range; give 1 up"),
        ({"batch_size": 0}, "`batch_size` 0 is out of range"),
        ({"size": 9999}, "`size` 9999 is out of range; give 8 to 1024"),
        ({"learning_rate": -1.0}, r"`learning_rate` -1\.0 is out of range; give 0 up"),
        ({"learning_rate": float("nan")}, "`learning_rate` nan is out of range"),
        ({"train_size": 48}, "must be 64 as `size` is: LeNet5"),
        ({"model_options": {"dropuot": 0.1}}, "dropuot"),
        ({"size": 12, "train_size": 12, "early_size": 12}, "at least 16×16"),
        ({"size": 8}, "`size` 8 is too small: LeNet5 needs images of at least 16×16 pixels"),
        ({"seed": -1}, "`seed` -1 is out of range"),
        ({"holdout": 0.95}, "`holdout` 0.95 is out of range"),
        ({"max_train_images": 0}, "`max_train_images` 0 is out of range"),
        ({"folds": 1, "fold": 1}, "`fold` 1 of `folds` 1 is out of range"),
        ({"folds": 3, "fold": 4}, "`fold` 4 of `folds` 3 is out of range"),
        ({"fold": 1}, "`fold` 1 of `folds` 0 is out of range"),
        ({"folds": 3, "fold": 1, "holdout": 0.1}, "`holdout` and `folds` do not go together"),
        ({"distillation": 0.5}, "`distillation` and `teachers` go together"),
        ({"teachers": ["run"]}, "`distillation` and `teachers` go together"),
        ({"precision": "fp16"}, "`precision` is 'fp16'; choose from auto, fp32, bf16"),
        ({"epoch": 3}, "there is no option `epoch`; did you mean `epochs`?"),
        ({"augment": {"mixup": 0.6, "cutmix": 0.6}}, "`augment.mixup` and `augment.cutmix` are"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_their_names(options, sentence):
    with pytest.raises(UserError, match=sentence) as told:
        make_config("lenet5plus", options)
    for option in told.value.options:
        assert f"`{option}`" in str(told.value)
    assert told.value.options


PLAIN = RunConfig(RECIPES["convnet"]()).as_dict()


def damaged(**changes):
    return {**PLAIN, **changes}


def damaged_recipe(**changes):
    return {**PLAIN, "recipe": {**PLAIN["recipe"], **changes}}


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        "recipe",
        {},
        {"recipe": None},
        {"recipe": "convnet"},
        {"format": 2, "recipe": {"name": "convnet"}},
        damaged(recipe=[]),
        damaged(epochs=3),
        damaged_recipe(epochs=2.5),
        damaged_recipe(epochs="three"),
        damaged_recipe(epochs=float("inf")),
        damaged_recipe(epochs=True),
        damaged_recipe(model="VGG"),
        damaged_recipe(model=["ConvNet"]),
        damaged_recipe(model_options={1: 2}),
        damaged_recipe(model_options=[]),
        damaged_recipe(model_options={"depths": [1, 1, 1, None]}),
        damaged_recipe(augment={"flip": [0.5]}),
        damaged_recipe(augment=None),
        damaged_recipe(learning_rate={}),
        damaged_recipe(temperature=float("nan")),
        damaged(seed="abc"),
        damaged(seed=None),
        damaged(fold=7),
        damaged(folds=2, fold=3),
        damaged(teachers="run"),
        damaged(teachers=[1]),
        damaged(data=7),
        damaged(skip_bad="no"),
        damaged(precision="fp64"),
        damaged(convolutions=[]),
        damaged(convolutions={"conv1": "dense"}),
        damaged(convolutions={"conv1": {"8x8": 3}}),
        damaged(convolutions={1: {}}),
        {**PLAIN, 5: 6},
    ],
    ids=range(36),
)
def test_a_damaged_configuration_is_refused(values):
    with pytest.raises(UserError):
        RunConfig.from_dict(values)


def test_a_run_of_other_options_differs_and_auto_asks_for_nothing():
    kept = RunConfig(RECIPES["lenet5"](), "/here", device="cpu", precision="bf16", digest="abc")
    kept = dataclasses.replace(kept, convolutions={"conv1": {"8x8": "patches"}})
    assert RunConfig(RECIPES["lenet5"](), "/there").differs_from(kept) == []
    for name, value in {
        "device": "cuda",
        "precision": "fp32",
        "skip_bad": True,
        "snapshots": True,
        "seed": 1,
        "split_seed": 1,
        "holdout": 0.1,
        "max_train_images": 100,
        "teachers": ("run",),
    }.items():
        asked = dataclasses.replace(RunConfig(RECIPES["lenet5"]()), **{name: value})
        assert asked.differs_from(kept) == [name]
    for name, value in {"epochs": 3, "optimizer": "sgd", "augment": Augment(flip=0.5)}.items():
        recipe = dataclasses.replace(RECIPES["lenet5"](), **{name: value})
        [other] = RunConfig(recipe).differs_from(kept)
        assert other.startswith(f"recipe.{name}")
    options = {**kept.recipe.model_options, "dropout": 0.5}
    recipe = dataclasses.replace(kept.recipe, model_options=options)
    assert RunConfig(recipe).differs_from(kept) == ["recipe.model_options.dropout"]


def test_what_follows_from_the_size_may_be_written_or_left_open():
    plain = RunConfig(dataclasses.replace(RECIPES["convnet"](), size=128))
    assert plain.recipe.train_size is plain.recipe.early_size is None
    assert (plain.recipe.size_at(0), plain.recipe.training_sizes) == (128, {128})
    assert plain.command() == "convlens train convnet --size 128"
    written = RunConfig(plain.recipe.resolved())
    assert (written.recipe.train_size, written.recipe.early_size) == (128, 128)
    assert written.recipe.model_options["stem_stride"] == 2
    assert plain.differs_from(written) == written.differs_from(plain) == []
    again = repeated(written.command())
    assert again.differs_from(plain) == []
    assert again.recipe.model_options == written.recipe.model_options
    smaller = RunConfig(dataclasses.replace(plain.recipe, train_size=96))
    assert smaller.differs_from(written) == ["recipe.train_size"]


def test_at_the_usual_size_nothing_is_added_to_a_recipe():
    for recipe in RECIPES.values():
        assert recipe().network_options == recipe().model_options


def test_no_option_is_left_out_of_the_comparison():
    """Every field but those that are found, not asked for, is told when it differs."""
    plain = RunConfig(RECIPES["convnet"]())
    for name in flatten(plain):
        if name in BESIDE or name.startswith("recipe.model_options"):
            continue
        group = plain
        *path, last = name.split(".")
        for part in path:
            group = getattr(group, part)
        changed = dataclasses.replace(group, **{last: "something else"})
        for part in reversed(path):
            parents = plain if part == "recipe" else plain.recipe
            changed = dataclasses.replace(parents, **{part: changed})
        assert name in changed.differs_from(plain)


@pytest.mark.parametrize(
    "options",
    [
        {"depths": [100_000, 1, 1, 1]},
        {"depths": [1, 1, 1, 10**9]},
        {"widths": [10**6, 10**6, 10**6, 10**6]},
        {"widths": [8192, 8192, 8192, 8192]},
        {"dropout": 0.1},
    ],
)
def test_reading_a_configuration_neither_draws_nor_makes_a_network(options):
    values = damaged_recipe(model_options=options)
    before, memory = torch.random.get_rng_state(), resource.getrusage(resource.RUSAGE_SELF)
    started = time.process_time()
    try:
        RunConfig.from_dict(values)
    except UserError as problem:
        assert "`model_options` do not fit ConvNet: " in str(problem)
    assert time.process_time() - started < 2
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_maxrss - memory.ru_maxrss < 100_000  # KB
    assert torch.equal(torch.random.get_rng_state(), before)


def test_checking_every_recipe_draws_nothing():
    before = torch.random.get_rng_state()
    for recipe in RECIPES.values():
        recipe().check()
    assert torch.equal(torch.random.get_rng_state(), before)
