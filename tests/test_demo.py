"""The demonstration: its timeline, its count and its exit status."""

from pathlib import Path

import pytest
from device_kit import LOUD, bursts, loud_spotter, write_wav

from device import demo
from device.demo import Item, Play, judge, play, read_items, summary, timeline
from device.errors import AudioFileError
from device.spotter import Hit

TABLE = """start_s,end_s,text,voice,is_keyword
1.0,1.4,loud,anna,1
3.0,3.5,cloud,ben,0
12.0,12.4,loud,ben,1
"""


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    (tmp_path / "tape.csv").write_text(TABLE)
    return write_wav(tmp_path / "tape.wav", bursts(14.0, (1.0, 12.0)))


def item(start_s: float, is_keyword: bool = True) -> Item:
    return Item(start_s, start_s + 0.5, "loud", "anna", is_keyword)


def hit(time_s: float) -> Hit:
    return Hit("loud", time_s, 0.9, 1.0)


def test_each_keyword_once(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main([str(tape), "--model", str(LOUD)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "2 of 2 keywords, 0 false"
    assert "'loud' (anna): detected at 1.28 s, -0.12 s after its end" in said


def test_missed_and_false_are_told(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(tape, bursts(14.0, (1.0, 7.0)))
    assert demo.main([str(tape), "--model", str(LOUD)]) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "1 of 2 keywords, 1 false"
    assert "12.00 s  'loud' (ben): MISSED" in said
    assert "FALSE detection" in said


def test_led_is_lit_from_the_detection_for_its_time(tape: Path) -> None:
    played = play(loud_spotter(), tape)
    assert played.length_s == pytest.approx(14.0, abs=0.08)
    assert len(played.lit) == len(played.hits) == 2
    for hit, (lit_from, lit_to) in zip(played.hits, played.lit, strict=True):
        assert lit_from == hit.time_s
        assert lit_to - lit_from == pytest.approx(demo.LED_ON_S, abs=0.081)


def test_a_second_detection_of_one_keyword_is_false() -> None:
    verdict = judge([item(1.0), item(5.0)], [hit(1.4), hit(1.9), hit(5.2)])
    assert [found is not None for _, found in verdict.found] == [True, True]
    assert [false.time_s for false in verdict.false] == [1.9]
    assert not verdict.right
    assert summary(verdict).endswith("2 of 2 keywords, 1 false")


def test_a_near_word_is_no_keyword() -> None:
    verdict = judge([item(1.0), item(3.0, is_keyword=False)], [hit(1.4), hit(3.4)])
    assert [false.time_s for false in verdict.false] == [3.4]


def test_too_early_and_too_late_are_false() -> None:
    late = 5.5 + demo.LATE_S
    verdict = judge([item(5.0)], [hit(4.99), hit(late + 0.01)])
    assert len(verdict.false) == 2
    assert judge([item(5.0)], [hit(late)]).right


def test_timeline_puts_everything_in_its_column() -> None:
    items = [item(1.0), Item(3.0, 3.5, "a long name", "ben", False), item(4.0, False), item(11.0)]
    played = Play(13.0, (hit(1.4), hit(3.4)), ((1.4, 2.4), (9.5, 10.5)))
    first, second = timeline(items, played, judge(items, played.hits)).split("\n\n")[:2]
    ruler, said, detected, led = (line[10:] for line in first.splitlines())
    assert ruler[10:12] == "1 "
    assert (said[10:14], said[30:39], said[40:44]) == ("LOUD", "a long na", "loud")
    assert (detected.index("^"), detected.index("X")) == (13, 33)
    assert led == " " * 14 + "#" * 10 + " " * 71 + "#" * 5
    ruler, said, detected, led = (line[10:] for line in second.splitlines())
    assert ruler[:2] == "10"
    assert said[10:14] == "LOUD"
    assert led == "#" * 5


def test_table_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "tape.csv").write_text("start,end\n1,2\n")
    with pytest.raises(AudioFileError, match="not a table of what is said"):
        read_items(tmp_path / "tape.csv")


def test_absent_tape_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main([str(tmp_path / "tape.wav")]) == 1
    assert capsys.readouterr().err.startswith(f"demo: {tmp_path / 'tape.csv'}: not a table")
