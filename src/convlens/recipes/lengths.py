"""Which recipe is best in a given time: what `convlens train --time` chooses from."""

from dataclasses import dataclass, replace

from convlens.recipes.convnet import convnet
from convlens.recipes.quick import quick
from convlens.recipes.recipe import Recipe


@dataclass(frozen=True)
class Length:
    """A recipe, the images seen in training from which it beats those before it, and those at most
    that it is given; those after it are better then."""

    recipe: Recipe
    least_images: int
    most_images: int
    why: str


def lengths() -> tuple[Length, ...]:
    """The choices, in the order of what a step of them costs.

    From what was measured on Caltech-101 (7,766 training images; docs/LOG.md, results/ablation.md).
    `quick` at half its widths, whose steps take less than half as long, has 73.8 % of a hold-out
    after 7 epochs and 80.7 % after 28; at its own widths 68.3 % after 3 and 76.5 % after 6.
    convnet's augmentation on the coarse network needs 16 for 77.5 %; after 32 that has 82.5 %,
    after 48 84.3 %, and on flips alone no more than 81.5 %. The fine network, four times the work,
    has 85.2 % after 24 epochs and 89.7 % of `validation/` after 60. All at 64 pixels: 48 for half
    of the epochs saved an eighth of the time and cost 1.6 points.
    """
    short, fine = quick(), convnet()
    narrow = {**short.model_options, "widths": (32, 64, 128, 160)}
    coarse = {**fine.model_options, "stem_stride": 2}
    return (
        Length(replace(short, model_options=narrow), 0, 240_000, "half as wide sees twice as much"),
        Length(
            replace(fine, model_options=coarse),
            240_000,
            720_000,
            "there is time for stronger augmentation on coarse maps",
        ),
        Length(fine, 180_000, 460_000, "there is time for its fine maps, the most accurate"),
    )
