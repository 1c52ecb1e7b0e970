"""Words near a keyword, and the sounds by which they are found."""

# ruff: noqa: RUF001  (letters that look like others are the matter here)

import importlib.util
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.errors import SetupError
from train_host import phonemes
from train_host.phonemes import confusable, distance, sounds

needs_voices = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("piper", "spellchecker"))),
    reason="the packages of the group voices are not installed",
)
WORDS = st.lists(st.sampled_from("abcd"), max_size=6).map(tuple)


def test_sounds_of_a_line() -> None:
    assert sounds("dʒˈɑːɹvɪs") == ("dʒ", "ɑː", "r", "v", "ə", "s")
    assert sounds("hˈeɪ mˈɑːvɪn") == ("h", "eɪ", "m", "ɑː", "v", "ə", "n")
    assert sounds("kəmpjˈuːɾɚ") == ("k", "ə", "m", "p", "j", "uː", "t", "ə")


@given(WORDS, WORDS, WORDS)
def test_distance_is_a_metric(a, b, c) -> None:
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert abs(len(a) - len(b)) <= distance(a, b) <= max(len(a), len(b))


@needs_voices
@pytest.mark.parametrize(
    ("keyword", "other", "same"),
    [
        ("jarvis", "jarvus", True),
        ("jarvis", "this is jarvis", True),
        ("computer", "computers", True),
        ("computer", "come pewter", True),
        ("alexa", "lexa", True),
        ("alexa", "alex", False),
        ("alexa", "alexander", False),
        ("alexa", "alexis", True),
        ("jarvis", "jar of", False),
        ("hey marvin", "marvin", False),
    ],
)
def test_what_sounds_like_the_keyword_is_no_near_word(keyword: str, other: str, same: bool) -> None:
    a, b = phonemes.read([keyword, other])
    assert confusable(a, b) == same


@needs_voices
def test_near_words_of_a_phrase_and_of_a_word() -> None:
    from train_host.near import invent

    for keyword, part, respelt, common in (
        ("hey marvin", "marvin", "hey martin", "hey garden"),
        ("computer", "comp", "conputer", "compete"),
    ):
        groups = invent(keyword)
        assert list(groups) == ["parts", "respelt", "common", "joined"]
        assert part in groups["parts"]
        assert respelt in groups["respelt"]
        assert common in groups["common"]
        (whole,) = phonemes.read([keyword])
        every = [text for texts in groups.values() for text in texts]
        assert len(every) > 100
        for text, reading in zip(every, phonemes.read(every), strict=True):
            assert not confusable(whole, reading), text
            assert re.fullmatch(r"[a-z' ]+", text)
        assert invent(keyword) == groups


def test_without_the_packages_one_sentence_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "piper.phonemize_espeak", None)
    phonemes._espeak.cache_clear()
    with pytest.raises(SetupError, match="pip install piper-tts"):
        phonemes.read(["jarvis"])
    phonemes._espeak.cache_clear()
