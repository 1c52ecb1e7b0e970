"""What tapes are made of: folders of any layout, folds, the embedded corpus, bad input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device.errors import CorpusError
from train_host import folds
from train_host.corpus import Clip
from train_host.split import split_of_speaker
from train_host.tape import RATE
from train_host.tape_material import deal_out, gather, read_fold, rooms_in


def write(path: Path, seconds: float = 0.5, level: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    soundfile.write(
        path, rng.normal(0, level, round(seconds * RATE)) if level else np.zeros(8000), RATE
    )
    return path


def test_without_folders_the_embedded_corpus_serves() -> None:
    material = gather("sheila")
    assert {clip.word for clip in material.keywords} == {"sheila"}
    assert "sheila" not in {clip.word for clip in material.speech}
    assert {clip.split for clip in (*material.keywords, *material.speech, *material.noise)} == {
        "validation"
    }
    assert "embedded" in material.origins["positives"]
    with pytest.raises(CorpusError, match="POSITIVES"):
        gather("rutabaga")


def test_clips_are_found_in_every_layout(tmp_path: Path) -> None:
    write(tmp_path / "words/sheila/ann_nohash_0.wav")
    write(tmp_path / "words/cat/ann_nohash_0.wav")
    write(tmp_path / "own/12.wav")
    rows = [
        ("sheila", "v1", "training"),
        ("sheila", "v2", "validation"),
        ("cat", "v3", "validation"),
    ]
    with (tmp_path / "index.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["file", "word", "engine", "voice", "licence", "role", "from", "to"])
        for word, voice, role in rows:
            name = f"voices/{word}/{voice}.wav"
            write(tmp_path / "synth" / name)
            out.writerow([name, word, "engine", voice, "", role, "", ""])
    (tmp_path / "index.csv").rename(tmp_path / "synth/index.csv")
    found = gather("sheila", [tmp_path / "words", tmp_path / "own", tmp_path / "synth"]).keywords
    assert [(c.speaker, c.kind) for c in found] == [
        ("ann", "real"),
        ("12", "real"),
        ("v2", "synthetic"),
    ]
    write(tmp_path / "words/hey-marvin/bob_nohash_0.wav")
    (phrase,) = gather("hey marvin", [tmp_path / "words"]).keywords
    assert phrase.speaker == "bob"
    # The folder of the word itself will do.
    assert gather("sheila", [tmp_path / "words/sheila"]).keywords == found[:1]


def test_held_out_leaves_out_the_speakers_of_training(tmp_path: Path) -> None:
    speakers = {split_of_speaker(str(n)): str(n) for n in range(200)}
    for speaker in speakers.values():
        write(tmp_path / f"{speaker}-1-0001.wav")
    every = gather("sheila", negatives=[tmp_path]).speech
    held = gather("sheila", negatives=[tmp_path], held_out=True).speech
    assert len(every) == 3
    assert {c.speaker for c in held} == {speakers["validation"], speakers["testing"]}
    for split in ("validation", "testing"):
        (tmp_path / f"{speakers[split]}-1-0001.wav").unlink()
    with pytest.raises(CorpusError, match="belongs to training"):
        gather("sheila", negatives=[tmp_path], held_out=True)


@pytest.mark.parametrize("option", ["positives", "negatives", "noise", "impulses"])
def test_an_absent_or_empty_folder_is_one_sentence(tmp_path: Path, option: str) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(CorpusError) as raised:
            gather("sheila", **{option: [folder]})
        assert str(folder) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_clips_without_a_word_are_left_out_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "good.wav")
    write(tmp_path / "long.wav", seconds=11)
    write(tmp_path / "silent.wav", level=0)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    warnings: list[str] = []
    (kept,) = gather("sheila", [tmp_path], warn=warnings.append).keywords
    assert kept.path.name == "good.wav"
    assert len(warnings) == 3
    (tmp_path / "good.wav").unlink()
    with pytest.raises(CorpusError, match="no clip of the keyword can be used"):
        gather("sheila", [tmp_path], warn=warnings.append)


def test_rooms_begin_with_the_direct_sound_and_keep_the_energy(tmp_path: Path) -> None:
    late = np.zeros(8000, np.float32)
    late[[100, 400, 900]] = 0.05, 0.5, 0.25
    soundfile.write(tmp_path / "room.wav", late, RATE)
    (own,) = rooms_in([tmp_path])
    assert own[0] == own.max()
    assert own[500] == pytest.approx(own[0] / 2, rel=1e-3)
    for response in (own, *rooms_in([])):
        assert np.sum(np.square(response)) == pytest.approx(1, rel=1e-4)
        assert np.argmax(np.abs(response)) == 0
    assert len(rooms_in([])) > 1


def test_a_fold_is_what_was_held_out(tmp_path: Path) -> None:
    def clip(name: str, **more) -> Clip:
        path = write(tmp_path / f"{name}.wav")
        fields = {"word": "x", "split": "validation", "kind": "real", **more}
        return Clip(speaker=name, path=path, **fields)

    keywords = (clip("ann"), clip("voice", kind="synthetic"))
    folds.HeldOut((clip("speech"),), (clip("noise"),), keywords).write(tmp_path)
    material = read_fold(tmp_path)
    assert [(c.path, c.speaker, c.kind) for c in material.keywords] == [
        (c.path, c.speaker, c.kind) for c in keywords
    ]
    assert [c.path.name for c in material.speech] == ["speech.wav"]
    assert [c.path.name for c in material.noise] == ["noise.wav"]


def test_further_keywords_are_shared_by_the_folds_of_a_name(tmp_path: Path) -> None:
    clips = [write(tmp_path / f"own/{who}_nohash_{n}.wav") for who in "abcde" for n in (0, 1)]
    material = gather("sheila")
    names = ["small", "large", "small", "large"]
    dealt = deal_out([material] * 4, names, [tmp_path / "own"], "sheila")
    shares = [each.keywords[len(material.keywords) :] for each in dealt]
    for first, second in ((0, 2), (1, 3)):
        assert {c.speaker for c in shares[first]} == set("ace")
        assert {c.speaker for c in shares[second]} == set("bd")
        assert sorted(c.path for c in (*shares[first], *shares[second])) == clips
    for each in dealt:
        assert each.keywords[: len(material.keywords)] == material.keywords
        assert each.origins["positives"].endswith("those in own, shared among the folds")


def test_a_further_keyword_that_a_fold_held_out_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "own/ann_nohash_0.wav")
    material = gather("sheila", [tmp_path / "own"])
    with pytest.raises(CorpusError, match="trained with it; leave it out of POSITIVES"):
        deal_out([material], ["small"], [tmp_path / "own"], "sheila")


def test_a_fold_that_cannot_be_judged_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="held-out"):
        read_fold(tmp_path)
    path = tmp_path / folds.FILE
    sound = str(write(tmp_path / "a.wav"))
    keyword = {"path": sound, "speaker": "a", "kind": "real"}
    for content, said in (
        ("not json", "train the fold again"),
        ({"speech": [], "noise": []}, "train the fold again"),
        ({"speech": [3], "noise": [sound], "keywords": [keyword]}, "train the fold again"),
        ({"speech": [sound], "noise": [], "keywords": [keyword]}, "no noise"),
        ({"speech": [sound], "noise": [sound + "x"], "keywords": [keyword]}, "no such recording"),
        (
            {"speech": [sound], "noise": [sound], "keywords": [keyword | {"kind": "odd"}]},
            "train the fold again",
        ),
    ):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(CorpusError, match=said):
            read_fold(tmp_path)
