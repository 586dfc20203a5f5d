"""Which recipe is best in a given time: what `convlens train --time` chooses from."""

from dataclasses import dataclass, replace

from convlens.recipes.convnet import convnet
from convlens.recipes.quick import quick
from convlens.recipes.recipe import Recipe


@dataclass(frozen=True)
class Length:
    """A recipe, the images seen in training from which it beats those before it, and those at most
    that it is given; those after it are better then.

    work: What one of its images takes at least, in those of the first recipe, on any machine.
    """

    recipe: Recipe
    work: float
    least_images: int
    most_images: int
    why: str


def lengths(side: int = 64) -> tuple[Length, ...]:
    """The choices for images of that side, in the order of what a step of them costs.

    From what was measured on a hold-out of Caltech-101 (7,766 training images; docs/LOG.md).
    `quick` at half its widths, whose steps take half as long, has 73.8 % after 7 epochs and 77.7 %
    after 13; then it knows its images by heart and gains less, 78.6 % after 18. Of so few steps
    twice as many, on batches of 64, are worth more than what they take. With TrivialAugment
    and smaller crops that is 80.4 %; at its own widths 83.0 % after 16 epochs (79.6 % without) and
    84.2 % after 32; on fine maps, three and a half times the work, 82.7 % after 9 and 85.9 % after
    16. In the time of these 16 it has 86.9 % where the first 60 % of 22 epochs are on images of
    three quarters of the side, and 87.3 % after 32 such, when it knows 98.7 % of the augmented
    images. With CutMix on 0.3 of the images it has the same 87.3 % then, more of it in rare
    classes (80.7 against 79.9 % as the mean per class), and 86 % of the images still to learn from;
    so it has the longer runs. convnet's augmentation, with more of all, has 81.0 % after 26 epochs
    on coarse maps, 85.2 % after 24 on fine ones and 86.0 % after 32 with small images first, in the
    same time; 89.6 % of `validation/` after 60. Where the last two cross has not been measured.
    """
    short = quick()
    narrow = {**short.model_options, "widths": (32, 64, 128, 160)}
    longer = replace(short, augment=replace(short.augment, scale=0.5, trivial_augment=0.5))
    twice = "half as wide sees twice as much"
    fine = replace(
        longer,
        model_options={**short.model_options, "stem_stride": 1},
        early_size=max(min(side, 16), 3 * side // 4),
        early_fraction=0.6,
    )
    return (
        Length(replace(short, model_options=narrow, batch_size=64), 1.0, 0, 120_000, twice),
        Length(
            replace(longer, model_options=narrow),
            *(0.85, 110_000, 250_000, f"{twice}, so more augmentation"),
        ),
        Length(
            longer,
            *(1.1, 85_000, 330_000, "there is time for its own widths and more augmentation"),
        ),
        Length(fine, 2.2, 100_000, 300_000, "there is time for fine maps, with small images first"),
        Length(
            replace(fine, augment=replace(fine.augment, cutmix=0.3)),
            *(2.2, 230_000, 460_000, "there is time for CutMix too"),
        ),
        Length(convnet(), 3.0, 440_000, 460_000, "there is time for the most accurate"),
    )
