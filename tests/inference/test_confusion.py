"""What is confused with what, by hand and by properties."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convlens.inference.confusion import most_confused, row_shares, similarity_order


def test_shares_are_of_the_true_class_and_unknown_without_images():
    shares = row_shares(np.array([[3, 1], [0, 0]]))
    np.testing.assert_array_equal(shares, [[0.75, 0.25], [np.nan, np.nan]])


def test_most_confused_by_hand():
    matrix = np.array([[5, 2, 0, 0], [2, 0, 2, 0], [0, 0, 9, 1], [0, 0, 0, 0]])
    assert most_confused(matrix) == [
        (1, 0, 2, 2 / 4),  # of equal counts the larger share, of equal shares the first class
        (1, 2, 2, 2 / 4),
        (0, 1, 2, 2 / 7),
        (2, 3, 1, 1 / 10),
    ]
    assert most_confused(matrix, top=1) == [(1, 0, 2, 0.5)]
    assert most_confused(np.eye(3, dtype=int)) == []


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12).flatmap(lambda n: arrays(np.int64, (n, n), elements=st.integers(0, 4))))
def test_order_is_a_permutation(matrix):
    assert sorted(similarity_order(matrix)) == list(range(len(matrix)))


def test_order_puts_confused_classes_side_by_side():
    matrix = np.eye(9, dtype=int) * 10
    matrix[0, 7] = matrix[7, 0] = 9
    matrix[7, 4] = 3
    matrix[2, 5] = 5
    order = list(similarity_order(matrix))
    assert order[:3] in ([0, 7, 4], [4, 7, 0])
    assert order[3:5] in ([2, 5], [5, 2])
    assert order[5:] == [1, 3, 6, 8]
