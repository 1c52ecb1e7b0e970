"""The ring: samples in order, none twice, gaps and times where they belong."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.ring import Ring


def ramp(start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count, dtype=np.float32)


writes = st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=40)


@settings(deadline=None)
@given(writes, st.integers(90, 120), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_everything_comes_out_once_and_in_order(
    chunks: list[tuple[int, bool]], capacity: int, counts: list[int]
) -> None:
    ring = Ring(capacity)
    gaps, times, written = set(), {}, 0
    plan = []
    for size, gap in chunks:
        plan.append((ramp(written, size), float(len(plan)), gap))
        if gap:
            gaps.add(written)
        for position in range(written, written + size):
            times[position] = float(len(plan) - 1)
        written += size

    def write() -> None:
        for samples, taken_at, gap in plan:
            assert ring.write(samples, taken_at, gap)
        ring.close()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    position, seen_gaps = 0, set()
    with pytest.raises(EOFError):
        for turn in range(10000):
            count = counts[turn % len(counts)]
            block = ring.read(count, 5.0)
            assert block is not None
            assert 0 < len(block.samples) <= count
            np.testing.assert_array_equal(block.samples, ramp(position, len(block.samples)))
            if block.after_gap:
                seen_gaps.add(position)
            position += len(block.samples)
            assert not any(position - len(block.samples) < gap < position for gap in gaps)
            assert block.taken_at == times[position - 1]
            if len(block.samples) < count:
                assert position in gaps or position == written
    writer.join()
    assert position == written
    assert seen_gaps == gaps


def test_reader_waits_no_longer_than_it_said() -> None:
    ring = Ring(10)
    started = time.monotonic()
    assert ring.read(1, 0.05) is None
    assert 0.04 < time.monotonic() - started < 1.0


def test_full_ring_makes_the_writer_wait() -> None:
    ring = Ring(10)
    ring.write(ramp(0, 10), 0.0)
    done = threading.Event()
    threading.Thread(target=lambda: (ring.write(ramp(10, 4), 1.0), done.set()), daemon=True).start()
    assert not done.wait(0.05)
    block = ring.read(4, 1.0)
    assert block is not None
    np.testing.assert_array_equal(block.samples, ramp(0, 4))
    assert done.wait(1.0)


def test_close_frees_a_waiting_writer() -> None:
    ring = Ring(4)
    ring.write(ramp(0, 4), 0.0)
    answers: list[bool] = []
    writer = threading.Thread(
        target=lambda: answers.append(ring.write(ramp(4, 1), 0.0)), daemon=True
    )
    writer.start()
    ring.close()
    writer.join(1.0)
    assert answers == [False]


def test_error_comes_after_what_was_written_before_it() -> None:
    ring = Ring(10)
    ring.write(ramp(0, 3), 0.5)
    ring.close(ValueError("unplugged"))
    block = ring.read(5, 1.0)
    assert block is not None
    assert len(block.samples) == 3
    with pytest.raises(ValueError, match="unplugged"):
        ring.read(5, 1.0)


def test_more_than_the_capacity_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Ring(4).write(ramp(0, 5), 0.0)


@settings(deadline=None)
@given(writes, st.lists(st.integers(1, 40), min_size=1, max_size=5), st.sets(st.integers(0, 40)))
def test_skipping_goes_on_with_what_is_newest(
    chunks: list[tuple[int, bool]], counts: list[int], skips: set[int]
) -> None:
    """Written and skipped in turns, everything since the last skip is read, after one gap."""
    ring, written, expected, gap = Ring(3000), 0, 0, False
    for turn, (size, after_gap) in enumerate(chunks):
        ring.write(ramp(written, size), float(turn), after_gap)
        written += size
        if turn in skips:
            ring.skip()
            assert ring.read(1, 0.0) is None
            expected, gap = written, True
        elif turn % 3 == 2:
            block = ring.read(counts[turn % len(counts)], 0.0)
            if block is not None:
                assert block.samples[0] == expected
                assert block.after_gap or not gap
                expected, gap = expected + len(block.samples), False
    ring.close()
    while expected < written:
        block = ring.read(50, 0.0)
        assert block is not None
        np.testing.assert_array_equal(block.samples, ramp(expected, len(block.samples)))
        expected += len(block.samples)
    with pytest.raises(EOFError):
        ring.read(1, 0.0)
