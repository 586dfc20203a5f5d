import pytest

from convlens.files import replacing


def test_the_new_file_takes_the_old_ones_place(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("old")
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path  # a rename must not cross file systems
        assert temporary.suffix == ".csv"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [ValueError, OSError, KeyboardInterrupt])
def test_a_block_that_does_not_end_leaves_the_old_file_and_nothing_else(stop, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with pytest.raises(stop), replacing(path) as temporary:
        temporary.write_bytes(b"ha")
        raise stop
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_was_there_and_none_is_left(tmp_path):
    with pytest.raises(ValueError), replacing(tmp_path / "a.json"):
        raise ValueError
    assert list(tmp_path.iterdir()) == []
