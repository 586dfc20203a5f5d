"""t-SNE: places in two dimensions, near each other for what is alike in many (van der Maaten and
Hinton 2008, Visualizing Data using t-SNE), exact and the same at every call.
"""

import numpy as np

PERPLEXITY = 30.0  # neighbors that count, about
ITERATIONS = 400
EXAGGERATED = 100  # of these, in which groups come together (section 3.4)
EXAGGERATION = 12.0
DIMENSIONS = 50  # of the features, by principal components, as in section 4.2
HALVINGS = 40  # in the search for a point's neighborhood


def tsne(vectors: np.ndarray, iterations: int = ITERATIONS) -> np.ndarray:
    """Places of N points, float32, (N, 2), centered; time and memory grow with N².

    vectors: float, (N, features), finite. Distances between far groups mean nothing.
    """
    count = len(vectors)
    if count < 4:
        return np.zeros((count, 2), np.float32)
    centered = (vectors - vectors.mean(axis=0)).astype(np.float64)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    reduced = u[:, :DIMENSIONS] * s[:DIMENSIONS]
    near = _neighborhoods(_squared_distances(reduced), min(PERPLEXITY, (count - 1) / 3))
    near = np.maximum((near + near.T) / (2 * count), 1e-12).astype(np.float32)
    start = np.pad(reduced, ((0, 0), (0, 2)))[:, :2]
    places = (start / (start.std(axis=0) + 1e-12) * 1e-4).astype(np.float32)
    rate = max(count / EXAGGERATION / 4, 50.0)  # Belkina et al. 2019
    step, gains = np.zeros_like(places), np.ones_like(places)
    for iteration in range(iterations):
        early = iteration < EXAGGERATED
        slope = _slope(places, near * EXAGGERATION if early else near)
        gains = np.where((slope > 0) != (step > 0), gains + 0.2, gains * 0.8).clip(min=0.01)
        step = (0.5 if early else 0.8) * step - rate * gains * slope
        places = places + step
        places -= places.mean(axis=0)
    return places.astype(np.float32)


def _slope(places: np.ndarray, near: np.ndarray) -> np.ndarray:
    """How the divergence of both neighborhoods grows with each place (equation 5)."""
    alike = 1 / (1 + _squared_distances(places))
    np.fill_diagonal(alike, 0)
    pull = (near - alike / alike.sum()) * alike
    return 4 * (pull.sum(axis=1, keepdims=True) * places - pull @ places)


def _squared_distances(points: np.ndarray) -> np.ndarray:
    squares = (points**2).sum(axis=1)
    return np.maximum(squares[:, None] + squares - 2 * (points @ points.T), 0)


def _neighborhoods(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Of each point how near the others are, (N, N), rows that sum to 1: a normal distribution as
    wide as `perplexity` asks for (equation 1)."""
    distances = distances / (np.median(distances) + 1e-12)
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(axis=1, keepdims=True)  # the nearest counts whatever the width

    def shares(narrowness: np.ndarray) -> np.ndarray:
        found = np.exp(-distances * np.exp(narrowness)[:, None])
        return found / found.sum(axis=1, keepdims=True)

    low, high = np.full(len(distances), -20.0), np.full(len(distances), 20.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        near = shares(middle)
        entropy = -(near * np.log(np.maximum(near, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return shares((low + high) / 2)
