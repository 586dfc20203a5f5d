"""A recipe in a file: the name of one that there is, and what differs from it."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.errors import UserError
from convlens.fields import flatten, replace
from convlens.formats import FORMAT
from convlens.recipes import RECIPES, find_recipe
from convlens.recipes.file import read_recipe, write_recipe


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("other", RECIPES)
def test_options_make_any_recipe_of_one_with_the_same_network(name, other):
    recipe, base = RECIPES[name](), RECIPES[other]()
    if recipe.model == base.model and recipe.model_options.keys() >= base.model_options.keys():
        assert replace(base, flatten(recipe)) == recipe


def test_nested_options_change_nothing_beside_them():
    recipe = RECIPES["lenet5plus"]()
    changed = replace(recipe, {"augment.rotate": 3.5, "model_options.dropout": 0.1})
    assert changed == dataclasses.replace(
        recipe,
        augment=dataclasses.replace(recipe.augment, rotate=3.5),
        model_options={**recipe.model_options, "dropout": 0.1},
    )


@given(
    rate=st.floats(1e-6, 1),
    epochs=st.integers(1, 999),
    flip=st.floats(0, 1),
    batch_norm=st.booleans(),
    optimizer=st.sampled_from(["sgd", "adamw", "muon"]),
)
def test_a_file_gives_back_the_recipe_that_was_written(
    tmp_path_factory, rate, epochs, flip, batch_norm, optimizer
):
    path = tmp_path_factory.mktemp("recipe") / "best.yaml"
    plain = RECIPES["lenet5plus"]()
    recipe = replace(
        plain,
        {
            "learning_rate": rate,
            "epochs": epochs,
            "augment.flip": flip,
            "model_options.batch_norm": batch_norm,
            "optimizer": optimizer,
        },
    )
    write_recipe(path, recipe, plain)
    assert read_recipe(path, RECIPES) == recipe


def test_a_file_holds_what_differs_and_nothing_else(tmp_path):
    plain = RECIPES["convnet"]()
    write_recipe(tmp_path / "a.yaml", replace(plain, {"augment.rotate": 3}), plain)
    assert (tmp_path / "a.yaml").read_text(
        encoding="utf-8"
    ) == f"format: {FORMAT}\nrecipe: convnet\naugment.rotate: 3.0\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.yaml"]


def test_numbers_may_be_written_as_yaml_reads_them(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("recipe: convnet\nlearning_rate: 1e-3\nweight_decay: 1\nepochs: 5.0\n")
    recipe = read_recipe(path, RECIPES)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.epochs) == (0.001, 1.0, 5)
    assert [type(n) for n in (recipe.learning_rate, recipe.weight_decay, recipe.epochs)] == [
        float,
        float,
        int,
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, r"a\.yaml cannot be read \(No such file or directory\)"),
        ("a: [", r"a\.yaml is no YAML"),
        ("", r"a\.yaml must say `recipe: NAME`"),
        ("recipe: convnett", "with one of lenet5, lenet5plus, convnet"),
        ("recipe: [convnet]", "must say `recipe: NAME`"),
        (
            "recipe: convnet\nlearning_rat: 1",
            "there is no option `learning_rat`; did you mean `learning_rate`?",
        ),
        ("recipe: convnet\nepochs: soon", "`epochs` is 'soon'; it must be of type int"),
        ("recipe: convnet\nepochs: 1.5", "`epochs` is 1.5; it must be of type int"),
        ("recipe: convnet\nepochs: yes", "`epochs` is True; it must be of type int"),
        ("recipe: convnet\nepochs: 0", "`epochs` 0 is out of range; give 1 up"),
        ("recipe: convnet\n3: 4", "there is no option `3`"),
        ("format: 3\nrecipe: convnet", "has format 3; this version of ConvLens does not read it"),
        ("recipe: convnet\naugment: 3", "`augment` is 3; it must be options by their names"),
        ("recipe: convnet\naugment: {rotat: 3}", "there is no option `augment.rotat`"),
        ("recipe: convnet\nmodel_options.width: 3", "`model_options` do not fit ConvNet"),
    ],
)
def test_a_file_that_is_no_recipe_is_told(text, sentence, tmp_path):
    path = tmp_path / "a.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence) as problem:
        read_recipe(path, RECIPES)
    assert str(problem.value).startswith(str(path))


def test_a_group_of_options_may_be_nested(tmp_path):
    path = tmp_path / "a.yaml"
    text = "format: 2\nrecipe: convnet\naugment:\n  rotate: 3\n  flip: 0\n"
    path.write_text(text, encoding="utf-8")
    plain = RECIPES["convnet"]()
    assert read_recipe(path, RECIPES) == replace(plain, {"augment.rotate": 3, "augment.flip": 0})


def test_a_file_of_version_0_1_is_read_in_todays_words(tmp_path):
    path = tmp_path / "a.yaml"
    words = (
        "recipe: lenet5plus\noptimiser: sgd\naverage: 0.9\nbalance: 0.5\nswa: 0.25\nzoom: 1.25\n"
        "early_share: 0.5\ninitialisation: xavier\naugment.colour: 0.3\naugment.grey: 0.1\n"
        "augment.trivial: 0.2\n"
    )
    path.write_text(words, encoding="utf-8")
    expected = {
        "optimizer": "sgd",
        "ema_decay": 0.9,
        "logit_adjust_tau": 0.5,
        "swa_fraction": 0.25,
        "crop_pct": 0.8,
        "early_fraction": 0.5,
        "initialization": "xavier",
        "augment.color": 0.3,
        "augment.grayscale": 0.1,
        "augment.trivial_augment": 0.2,
    }
    assert read_recipe(path, RECIPES) == replace(RECIPES["lenet5plus"](), expected)


def test_a_recipe_is_found_by_its_name_or_its_file(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("recipe: quick\n", encoding="utf-8")
    assert find_recipe(path) == find_recipe(str(path)) == find_recipe("quick") == RECIPES["quick"]()
    with pytest.raises(UserError, match="there is no recipe 'quik'; did you mean quick"):
        find_recipe("quik")
