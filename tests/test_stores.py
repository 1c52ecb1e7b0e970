"""What a run trains on, as the arguments say it."""

import csv
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")

from device.errors import CorpusError
from train_host import stores
from train_host.stores import add_corpus_arguments, describe, read_corpus

HUNDRED = [f"{n:08x}_nohash_0" for n in range(100)]


def arguments(*given: str) -> Namespace:
    parser = ArgumentParser()
    add_corpus_arguments(parser)
    return parser.parse_args(given)


def say(folder: Path, word: str, names: list[str]) -> None:
    (folder / word).mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(0).standard_normal(8000) * 0.1
    for name in names:
        soundfile.write(folder / word / f"{name}.wav", sound, 16000, subtype="PCM_16")


def speak(folder: Path, word: str) -> Path:
    """A folder as the synthesis writes it: the word by four voices of each role."""
    say(folder, "a", [f"{role}-{n}" for role in ("training", "validation") for n in range(4)])
    with (folder / "index.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["file", "word", "engine", "voice", "licence", "role", "from", "to"])
        for role in ("training", "validation"):
            for n in range(4):
                row = [f"a/{role}-{n}.wav", word, "e", f"{role}-{n}", "MIT", role, 0, 8000]
                out.writerow(row)
    return folder


def test_text_alone_takes_other_words_and_noise_of_the_embedded_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = speak(tmp_path / "synthetic", "hey marvin")
    args = arguments("--keyword", "Hey, Marvin!", "--synthetic", str(folder))
    corpus, kind = read_corpus(args)
    assert kind == "synthetic"
    assert len(corpus.of("training", "hey marvin")) == 4
    assert len(corpus.of("validation", "hey marvin")) == 4
    assert len(corpus.of("training")) > 1000
    assert corpus.noise
    assert "by a real voice" in capsys.readouterr().out
    assert str(tmp_path) not in describe(corpus, args)


def test_a_folder_with_the_keyword_alone_gets_other_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(tmp_path, "computer", [f"clip-{n}" for n in range(12)])
    corpus, kind = read_corpus(arguments("--keyword", "computer", "--data", str(tmp_path)))
    assert kind == "recordings"
    real = [c for c in corpus.clips if c.word == "computer"]
    assert len(real) == 12 and {c.kind for c in real} == {"real"}
    assert {"training", "validation"} <= {c.split for c in real}
    assert corpus.words()["alexa"] > 10
    assert corpus.noise
    assert "0 clips of other words" in " ".join(capsys.readouterr().out.split())


def test_a_folder_with_enough_other_words_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "OTHERS", 50)
    say(tmp_path, "computer", HUNDRED)
    say(tmp_path, "yes", HUNDRED)
    corpus, _ = read_corpus(arguments("--keyword", "computer", "--data", str(tmp_path)))
    assert corpus.words() == {"computer": 100, "yes": 100}


def test_own_recordings_join_whatever_there_is(tmp_path: Path) -> None:
    say(tmp_path / "recordings", "hey-marvin", [f"anna_nohash_{n}" for n in range(8)])
    own = ["--keyword", "hey marvin", "--recordings", str(tmp_path / "recordings")]
    corpus, kind = read_corpus(arguments(*own))
    assert kind == "recordings"
    assert len(corpus.of("training", "hey marvin")) == 6
    folder = speak(tmp_path / "synthetic", "hey marvin")
    args = arguments(*own, "--synthetic", str(folder))
    corpus, _ = read_corpus(args)
    assert len(corpus.of("training", "hey marvin")) == 10
    with pytest.raises(CorpusError, match="make record"):
        read_corpus(arguments("--keyword", "jarvis", "--recordings", str(tmp_path / "none")))


def test_a_keyword_that_nobody_has_said_names_the_words_that_are_there() -> None:
    with pytest.raises(CorpusError, match="alexa"):
        read_corpus(arguments("--keyword", "hey marvin"))


def test_a_keyword_that_cannot_be_said_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments("--keyword", "...")
    assert "nothing to say" in capsys.readouterr().err
