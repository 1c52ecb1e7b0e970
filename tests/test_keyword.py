"""Keywords as they are said and as files are named."""

# ruff: noqa: RUF001  (letters that look like others are the matter here)

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.errors import KeywordError
from train_host.keyword import main, slug, spoken


@pytest.mark.parametrize(
    ("text", "words", "name"),
    [
        ("sheila", "sheila", "sheila"),
        ("Hey, Marvin!", "hey marvin", "hey-marvin"),
        ("hey_marvin", "hey marvin", "hey-marvin"),
        ("  Café   Olé ", "cafe ole", "cafe-ole"),
        ("she’ll ask", "she'll ask", "she-ll-ask"),
        ("R2-D2", "r2 d2", "r2-d2"),
    ],
)
def test_words_and_file_names(text: str, words: str, name: str) -> None:
    assert spoken(text) == words
    assert slug(words) == name


@pytest.mark.parametrize("text", ["", "   ", "?!", "'", "компьютер", "コンピュータ", "a" * 41])
def test_what_cannot_be_said_ends_in_one_sentence(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeywordError, match="KEYWORD="):
        spoken(text)
    assert main([text]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@given(st.text(max_size=30))
def test_what_is_said_stays_the_same_and_makes_a_plain_file_name(text: str) -> None:
    try:
        words = spoken(text)
    except KeywordError:
        return
    assert spoken(words) == words
    assert slug(words).replace("-", "").isalnum()
    assert slug(words).isascii()


def test_the_makefile_s_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "train_host.keyword", "Hey Marvin"], capture_output=True, text=True
    )
    assert run.stdout == "hey-marvin\n"
