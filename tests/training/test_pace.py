"""How long a run is, with changes on the way, counted by hand."""

import pytest

from convlens.errors import UserError
from convlens.training.pace import Pace, check_changes, read_change


def test_a_run_that_is_not_replanned_is_epochs_of_equal_steps():
    pace = Pace(4, 5)
    assert pace.total == 20
    assert [pace.progress(step) for step in (0, 2.5, 10, 20)] == [0, 0.125, 0.5, 1]
    assert [pace.epoch_of(step) for step in (0, 4, 5, 19)] == [0, 0, 1, 3]
    assert [step for step in range(1, 21) if pace.ends_epoch(step)] == [5, 10, 15, 20]
    assert str(pace) == "0:4x5"


def test_a_change_spreads_the_rest_of_the_schedule_over_the_rest_of_the_steps():
    pace = Pace(4, 5).changed(since=2, left=3, steps=2)
    assert (pace.epochs, pace.total) == (5, 16)
    assert pace.progress(10) == 0.5  # where it was, so that no learning rate jumps
    assert pace.progress(13) == 0.75
    assert pace.progress(16) == 1
    assert [pace.epoch_of(step) for step in (10, 11, 12, 15)] == [2, 2, 3, 4]
    assert [pace.steps_until(epoch) for epoch in (2, 3, 5)] == [10, 12, 16]
    assert pace.ends_epoch(12) and not pace.ends_epoch(13)


def test_changes_are_written_and_read_again():
    once = Pace(4, 5).changed(1, 6, 3)
    twice = once.changed(3, 1, 2)
    assert (str(once), str(twice)) == ("1:6x3", "3:1x2")
    assert Pace(4, 5).after([str(once), str(twice)], most=5) == twice
    assert Pace(4, 5).after(["1:6x9"], most=5) == Pace(4, 5).changed(1, 6, 5)


@pytest.mark.parametrize("text", ["", "4", "4:6", "4:0x5", "4:6x0", "-1:2x3", "4:6x5 ", "４:6x5"])
def test_what_is_no_change_is_told(text):
    with pytest.raises(UserError, match="is no change of plan; 4:6x50 means"):
        read_change(text)


@pytest.mark.parametrize("changes", [["4:1x1"], ["2:3x1", "2:3x1"], ["1:1x9", "2:1x9"]])
def test_changes_after_the_end_or_out_of_order_are_told(changes):
    with pytest.raises(UserError, match="comes after the run's end or before an earlier change"):
        check_changes(changes, epochs=4)


def test_changes_may_lengthen_a_run():
    check_changes(["3:9x5", "11:1x2"], epochs=4)
