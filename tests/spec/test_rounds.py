"""Frames of streams, and how they are taken in rounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdht.spec.errors import SpecError
from fdht.spec.protocol import target_id
from fdht.spec.rounds import NOBODY, Frame, check_streams, closed, framed, in_turn, rounds
from fdht.spec.target import FRAME_FLAGS, TARGETS, Target

FRAMES = st.lists(
    st.one_of(st.builds(Frame, st.integers(0, 4), st.booleans(), st.booleans(), st.booleans()), st.just(NOBODY)),
    max_size=12,
)


@given(FRAMES)
def test_words_and_rounds(frames):
    assert [Frame.of(frame.word) for frame in frames] == frames
    taken = rounds(frames, 5)
    kept = [frame for each in taken for frame in each.values()]
    assert kept == [frame for frame in frames if frame != NOBODY], "every frame once, in order"
    for each in taken:
        assert list(each) == sorted(each) and not any(frame.closes for frame in [*each.values()][:-1])
    again = rounds(closed(frames, 5), 5)
    assert [list(each) for each in again] == [list(each) for each in taken], "and said so, the same rounds"
    assert all([*each.values()][-1].closes for each in again if each)


def test_examples():
    assert Frame(2, begins=True, closes=True).word == 2 << FRAME_FLAGS | 0b101
    assert [list(each) for each in rounds([Frame(0), Frame(2), Frame(1), Frame(1)], 3)] == [[0, 2], [1], [1]]
    assert [list(each) for each in rounds([Frame(0, closes=True), Frame(2), NOBODY, NOBODY], 4)] == [[0], [2], []]
    assert [list(each) for each in rounds([Frame(2), NOBODY, NOBODY], 3)] == [[2], [], []], "none comes after the last"
    assert [(frame.stream, frame.begins, frame.ends) for frame in in_turn([2, 1])] == [
        (0, True, False),
        (1, True, True),
        (0, False, True),
    ]
    x = np.arange(6).reshape(2, 3)
    beats = framed(x, [Frame(1), NOBODY, Frame(0)], 3)
    assert [beat.tolist() for beat in beats] == [[8, 0, 0], [0, 1, 2], [-1, 0, 0], [0, 0, 0], [3, 4, 5]]


def test_refusals():
    with pytest.raises(SpecError, match="a frame of stream 3; the image serves streams 0 to 2"):
        rounds([Frame(3)], 3)
    with pytest.raises(SpecError, match="serves one sequence; for 1 streams take one with a field streams"):
        check_streams(1, TARGETS["icebreaker"])
    with pytest.raises(SpecError, match=r"32 is outside 1\.\.31"):
        Target("t", 2, 2, streams=32)
    with pytest.raises(SpecError, match="frames of 2 streams cannot be told apart by words of 4 bits, 3 of which"):
        Target("t", 2, 2, streams=2, input_width=4)
    with pytest.raises(SpecError, match="gates = 3 must be a power of two"):
        Target("t", 2, 4, streams=4, gates=3)
    with pytest.raises(SpecError, match="gates = 2 must be a power of two, and divide hidden = 256 and columns = 3"):
        Target("t", 2, 3, streams=4, gates=2)
    with pytest.raises(SpecError, match=r"gates = 4 is outside 1\.\.2"):
        Target("t", 2, 2, streams=4, gates=4)


def test_engines_for_one_sequence_are_called_as_they_were():
    """Images of before are still for them."""
    assert target_id(TARGETS["icebreaker"]) == 0x61478C3F
    assert target_id(Target("t", 2, 2, streams=2)) != target_id(Target("t", 2, 2))
