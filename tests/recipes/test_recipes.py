import dataclasses

from convlens.recipes import RECIPES, Recipe


def test_every_recipe_says_how_to_run_it_and_what_to_expect():
    for name, recipe in RECIPES.items():
        assert recipe().name == name
        assert f"convlens train {name}" in recipe.__doc__
        assert "seed" in recipe.__doc__


def test_a_recipe_is_plain_data():
    assert dataclasses.is_dataclass(Recipe)
    assert RECIPES["resnet18_stride2"]() == dataclasses.replace(
        RECIPES["resnet18"](), name="resnet18_stride2", model_options={"conv2_stride": 2}
    )
