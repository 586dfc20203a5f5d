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

    From what was measured on a hold-out of Caltech-101 (7,766 training images; docs/LOG.md).
    `quick` at half its widths, whose steps take half as long, has 73.8 % after 7 epochs, 77.7 %
    after 13 and 80.7 % after 28; at its own widths 76.5 % after 6 and 79.0 % after 9, and no more
    than 79.6 % after 16, for it knows its images by heart then. With TrivialAugment and smaller
    crops that is 77.7 % after 9, 83.0 % after 16 and 84.2 % after 32; on fine maps, three and a
    half times the work, 82.7 % after 9 and 85.4 % after 16. convnet's augmentation, with CutMix
    and erasing, needs more than that: 81.0 % after 26 epochs on coarse maps, 85.2 % after 24 on
    fine ones, 89.7 % of `validation/` after 60.
    """
    short = quick()
    narrow = {**short.model_options, "widths": (32, 64, 128, 160)}
    longer = replace(short, augment=replace(short.augment, scale=0.5, trivial_augment=0.5))
    return (
        Length(replace(short, model_options=narrow), 0, 190_000, "half as wide sees twice as much"),
        Length(longer, 85_000, 330_000, "there is time for its own widths and more augmentation"),
        Length(
            replace(longer, model_options={**short.model_options, "stem_stride": 1}),
            110_000,
            190_000,
            "there is time for fine maps",
        ),
        Length(convnet(), 180_000, 460_000, "there is time for the most accurate"),
    )
