"""What was not used for longest goes first, and never more than the bound is kept."""

from hypothesis import given
from hypothesis import strategies as st

from convlens.explorer.kept import Kept


def test_what_was_not_used_for_longest_is_forgotten():
    kept = Kept(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1  # used, so that b is now the older one
    assert kept.put("c", 3) == 3
    assert [kept.get(key) for key in "abc"] == [1, None, 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=40))), st.integers(1, 60))
def test_the_bound_holds_but_for_a_single_large_value(puts, most):
    kept = Kept(most, len)
    for key, value in puts:
        kept.put(key, value)
        held = [found for key in range(6) if (found := kept.get(key)) is not None]
        assert kept.get(key) == value
        assert kept.total == sum(map(len, held))
        assert kept.total <= most or len(held) == 1
