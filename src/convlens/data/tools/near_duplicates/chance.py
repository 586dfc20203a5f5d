"""Which similar images are more alike than different images of the same set are.

In a set of little variety, such as digits, glyphs or X-rays, different images reach the similarity
of a copy. No fixed threshold tells them apart; the set itself does. Around every image stand the
ones most similar to it, and a copy is far nearer than they are. Were there no copies, the images
around one would lie as points spread at random in as many dimensions d as the set varies in: of
those within the distance R of the K-th nearest, a share of (r / R)**d lies within r. The squared
distance is 1 - similarity, and d follows from the distances of the second to the K-th nearest,
which copies hardly touch (Levina and Bickel 2004). So every pair has a probability of being that
near by chance, and pairs count down to that probability at which one in a hundred of them is
expected to be there by chance (Benjamini and Hochberg 1995). Where images differ in many ways, as
photographs do, that is nearly every pair; among digits it is hardly one but the same pixels.
"""

import numpy as np

IDENTICAL = 0.998  # from this similarity on, two images are one, however alike the set
BY_CHANCE = 0.01  # the share of the pairs that may be there by chance
UNSEEN = 0.5  # the similarity of others in a set too small to have them
USUAL = 6.0  # dimensions, where there are no distances to tell; as much weight as six of them


def beyond_chance(
    similarity: np.ndarray, first: np.ndarray, second: np.ndarray, nearest: np.ndarray
) -> np.ndarray:
    """Tell which of P pairs are more alike than different images are.

    Args:
        similarity: Of the pairs, (P,), at most 1.
        first: Rows of `nearest`, (P,).
        second: The same for the pairs' other images.
        nearest: The similarities of each image to the K most similar ones, (N, K), descending;
            NaN where there are no more.

    Returns:
        bool, (P,).
    """
    distance = 1 - np.asarray(nearest, dtype=np.float64)
    usual = np.nan_to_num(distance[:, -1], nan=1 - UNSEEN).clip(min=1 - IDENTICAL)
    ratio = (1 - similarity) / np.minimum(usual[first], usual[second])
    by_chance = ratio.clip(0, 1) ** (_dimensions(distance) / 2)
    order = np.argsort(by_chance)
    expected = by_chance[order] * len(order) / np.arange(1, len(order) + 1)
    least = np.flatnonzero(expected <= BY_CHANCE)
    known = similarity >= IDENTICAL
    known[order[: least[-1] + 1 if len(least) else 0]] = True
    return known


def _dimensions(distance: np.ndarray) -> float:
    """In how many dimensions points lie whose K nearest have these squared distances, (N, K)."""
    rank = np.arange(2, distance.shape[1])
    nearer, farther = (squared.clip(min=1e-4) for squared in (distance[:, 1:-1], distance[:, 2:]))
    steps = rank * np.log(farther / nearer) / 2
    # Of points spread at random, steps have an exponential distribution of the mean 1 / d. Where
    # the farther one is missing, one more copy, or a copy of the nearer one, there is none.
    steps = steps[(farther > 1 - IDENTICAL) & (steps > 0.01)]
    half = np.log(2) / USUAL
    return np.log(2) / np.median([*steps, *[half] * int(USUAL)])
