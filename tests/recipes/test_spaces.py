import pytest

from convlens.fields import replace
from convlens.recipes import RECIPES
from convlens.recipes.spaces import SPACES, Range, own_setting


def test_every_recipe_has_a_space():
    assert SPACES.keys() == RECIPES.keys()


@pytest.mark.parametrize("name", SPACES)
def test_a_space_holds_the_recipes_own_setting(name):
    recipe = RECIPES[name]()
    for option, value in own_setting(recipe, SPACES[name]).items():
        choice = SPACES[name][option]
        if isinstance(choice, Range):
            assert choice.low <= value <= choice.high, option
        else:
            assert value in choice, option


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("end", [0, -1])
def test_the_ends_of_a_space_make_sense(name, end):
    options = {
        option: (choice.low, choice.high)[end] if isinstance(choice, Range) else choice[end]
        for option, choice in SPACES[name].items()
    }
    replace(RECIPES[name](), options).check()
