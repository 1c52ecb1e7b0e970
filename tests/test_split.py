"""The official split, on speakers whose side is published."""

from pathlib import Path

from train_host.split import read_lists, speaker_of, split_of, split_of_speaker


def test_speaker_is_what_stands_before_nohash() -> None:
    assert speaker_of("bed/0a7c2a8d_nohash_1.wav") == "0a7c2a8d"


def test_known_speakers() -> None:
    # From the archive's own lists: bed/026290a7_nohash_0.wav stands in
    # validation_list.txt, bed/0c40e715_nohash_0.wav in testing_list.txt.
    assert split_of("bed/026290a7_nohash_0.wav") == "validation"
    assert split_of("bed/0c40e715_nohash_0.wav") == "testing"
    assert split_of("bed/00176480_nohash_0.wav") == "training"


def test_shares_are_ten_percent_each() -> None:
    splits = [split_of_speaker(f"{n:08x}") for n in range(20000)]
    assert abs(splits.count("validation") / 20000 - 0.1) < 0.01
    assert abs(splits.count("testing") / 20000 - 0.1) < 0.01


def test_lists_come_before_the_hash(tmp_path: Path) -> None:
    (tmp_path / "validation_list.txt").write_text("bed/a_nohash_0.wav\n")
    assert read_lists(tmp_path) == {}, "one list alone is not used"
    (tmp_path / "testing_list.txt").write_text("cat/b_nohash_0.wav\n")
    lists = read_lists(tmp_path)
    assert split_of("bed/a_nohash_0.wav", lists) == "validation"
    assert split_of("cat/b_nohash_0.wav", lists) == "testing"
    assert split_of("bed/0c40e715_nohash_0.wav", lists) == "training"
