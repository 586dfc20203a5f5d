"""What a confusion matrix tells: shares, the commonest mistakes, and which classes are alike."""

import numpy as np


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Each row of a confusion matrix (C, C) divided by its sum; NaN rows where the sum is 0."""
    total = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, total, out=np.full(matrix.shape, np.nan), where=total > 0)


def similarity_order(matrix: np.ndarray) -> np.ndarray:
    """A permutation of the classes, int64, shape (C,), that puts confused classes side by side.

    matrix: int, shape (C, C), rows true. Greedy: pairs are taken by falling mutual confusion (the
    sum of both shares), and the two chains that hold the pair are joined with it as close as
    chains allow. Long chains come first; classes confused with nothing keep their order at the end.
    """
    shares = np.nan_to_num(row_shares(matrix))
    mutual = np.triu(shares + shares.T, k=1)
    chains = {c: [c] for c in range(len(matrix))}  # by class, shared between a chain's members
    for flat in np.argsort(-mutual, axis=None, kind="stable")[: np.count_nonzero(mutual)]:
        first, second = map(int, divmod(flat, len(matrix)))
        left, right = chains[first], chains[second]
        if left is right:
            continue
        if left.index(first) < len(left) / 2:
            left = left[::-1]
        if right.index(second) >= len(right) / 2:
            right = right[::-1]
        joined = left + right
        chains.update(dict.fromkeys(joined, joined))
    distinct = {id(chain): chain for chain in chains.values()}.values()
    return np.array([c for chain in sorted(distinct, key=len, reverse=True) for c in chain])


def most_confused(matrix: np.ndarray, top: int = 20) -> list[tuple[int, int, int, float]]:
    """The commonest mistakes: (true, predicted, count, share of the true class's images).

    matrix: int, shape (C, C), rows true. By falling count, then share, then class; at most `top`.
    """
    shares = row_shares(matrix)
    pairs = [
        (int(i), int(j), int(matrix[i, j]), float(shares[i, j]))
        for i, j in np.argwhere(matrix)
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3], pair[:2]))[:top]
