import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.errors import UserError
from convlens.recipes import RECIPES
from convlens.recipes.options import flatten, read_recipe, with_options, write_recipe


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("other", RECIPES)
def test_options_make_any_recipe_of_one_with_the_same_network(name, other):
    recipe, base = RECIPES[name](), RECIPES[other]()
    if recipe.model == base.model and recipe.model_options.keys() >= base.model_options.keys():
        assert with_options(base, flatten(recipe)) == recipe


def test_nested_options_change_nothing_beside_them():
    recipe = RECIPES["lenet5plus"]()
    changed = with_options(recipe, {"augment.rotate": 3.5, "model_options.dropout": 0.1})
    assert changed == dataclasses.replace(
        recipe,
        augment=dataclasses.replace(recipe.augment, rotate=3.5),
        model_options={**recipe.model_options, "dropout": 0.1},
    )


@given(
    rate=st.floats(1e-6, 1), epochs=st.integers(1, 999), flip=st.floats(0, 1),
    batch_norm=st.booleans(), optimizer=st.sampled_from(["sgd", "adamw", "muon"]),
)  # fmt: skip
def test_a_file_gives_back_the_recipe_that_was_written(
    tmp_path_factory, rate, epochs, flip, batch_norm, optimizer
):
    path = tmp_path_factory.mktemp("recipe") / "best.yaml"
    plain = RECIPES["lenet5plus"]()
    recipe = with_options(plain, {
        "learning_rate": rate, "epochs": epochs, "augment.flip": flip,
        "model_options.batch_norm": batch_norm, "optimizer": optimizer,
    })  # fmt: skip
    write_recipe(path, recipe, plain)
    assert read_recipe(path, RECIPES) == recipe


def test_a_file_holds_what_differs_and_nothing_else(tmp_path):
    plain = RECIPES["convnet"]()
    write_recipe(tmp_path / "a.yaml", with_options(plain, {"augment.rotate": 3}), plain)
    assert (tmp_path / "a.yaml").read_text() == "recipe: convnet\naugment.rotate: 3.0\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.yaml"]


def test_numbers_may_be_written_as_yaml_reads_them(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("recipe: convnet\nlearning_rate: 1e-3\nweight_decay: 1\nepochs: 5.0\n")
    recipe = read_recipe(path, RECIPES)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.epochs) == (0.001, 1.0, 5)
    assert [type(n) for n in (recipe.learning_rate, recipe.weight_decay, recipe.epochs)] == [
        float, float, int,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, r"a\.yaml cannot be read \(No such file or directory\)"),
        ("a: [", r"a\.yaml is no YAML"),
        ("", r"a\.yaml must say `recipe: NAME`"),
        ("recipe: convnett", "with one of lenet5, lenet5plus, convnet"),
        ("recipe: [convnet]", "must say `recipe: NAME`"),
        ("recipe: convnet\nlearning_rat: 1", "has no option learning_rat; did you mean learning_r"),
        ("recipe: convnet\nepochs: soon", "epochs is 'soon'; it must be of type int"),
        ("recipe: convnet\nepochs: 1.5", "epochs is 1.5; it must be of type int"),
        ("recipe: convnet\nepochs: yes", "epochs is True; it must be of type int"),
        ("recipe: convnet\n3: 4", "recipe convnet has no option 3"),
        ("recipe: convnet\naugment: {rotate: 3}", "has no option augment"),
    ],
)
def test_a_file_that_is_no_recipe_is_told(text, sentence, tmp_path):
    path = tmp_path / "a.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_recipe(path, RECIPES)
