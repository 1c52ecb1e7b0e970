"""Cross-fitting: three folds cover everything once, and nothing of a source is split."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")


from train_host import folds  # noqa: E402
from train_host.corpus import Clip, Corpus  # noqa: E402


def clip(speaker: str, word: str = "sheila", **more) -> Clip:
    fields = {"split": "training", "kind": "real", "path": Path(f"/{word}/{speaker}.wav")}
    return Clip(word=word, speaker=speaker, **{**fields, **more})


@given(st.lists(st.text("abcdef", min_size=1, max_size=2), max_size=30))
def test_three_folds_cover_everything_once_and_part_no_source(speakers: list[str]):
    clips = [clip(speaker) for speaker in speakers]
    held = [folds.part(clips, fold)[1] for fold in range(folds.FOLDS)]
    assert sum(map(len, held)) == len(clips)
    for fold, own in enumerate(held):
        kept = folds.part(clips, fold)[0]
        assert not {c.speaker for c in kept} & {c.speaker for c in own}
        assert len(kept) + len(own) == len(clips)
    sizes = [len({c.speaker for c in own}) for own in held]
    assert max(sizes) - min(sizes) <= 1


def test_a_held_out_speaker_trains_no_word_and_the_others_clips_of_the_keyword_all_train():
    corpus = Corpus(
        "few",
        (
            clip("ann"),
            clip("ann", "cat"),
            clip("bob", split="testing"),
            clip("bob", "cat", split="testing"),
            clip("cid"),
            clip("voice", kind="synthetic", split="validation"),
        ),
    )
    out = folds.hold_out_keyword(corpus, "sheila", 0).clips
    splits = {(c.speaker, c.word): c.split for c in out}
    assert splits["ann", "sheila"] == splits["ann", "cat"] == "validation"
    assert splits["bob", "sheila"] == splits["cid", "sheila"] == "training"
    assert splits["bob", "cat"] == "testing"
    assert splits["voice", "sheila"] == "validation"


def test_held_out_names_each_file_once(tmp_path: Path):
    noise = [clip("hum", start=0, length=10), clip("hum", start=10, length=5)]
    folds.HeldOut((clip("ann"),), tuple(noise), (clip("bob"),)).write(tmp_path)
    content = json.loads((tmp_path / folds.FILE).read_text())
    assert content["noise"] == ["/sheila/hum.wav"]
    assert content["speech"] == ["/sheila/ann.wav"]
    assert content["keywords"] == [{"path": "/sheila/bob.wav", "speaker": "bob", "kind": "real"}]
