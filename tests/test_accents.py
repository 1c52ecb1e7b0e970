"""English in the letters of other languages."""

# ruff: noqa: RUF001  (letters of other alphabets look like ours)

from __future__ import annotations

import pytest

pytest.importorskip("piper", reason="the phonemes are piper-tts's; run `make setup SYNTH=1`")

from train_host.accents import LETTERS, respelt
from train_host.words import CARRIERS, COMMON, NEAR, PHRASES, SENTENCES

ALPHABETS = {
    "ru": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "ky": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "mk": "абвгдѓежзѕијклљмнњопрстќуфхцчџш",
    "eo": "abcĉdefgĝhĥijĵklmnoprsŝtuŭvz",
}


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("ru", "Sheila!", "шила!"),
        ("uk", "Sheila", "шіла"),
        ("eo", "Sheila", "ŝila"),
        ("mk", "jarvis", "џарвис"),
        ("ky", "she said so", "ши сэд соу"),
    ],
)
def test_english_is_spelt_as_it_sounds(language, text, wanted):
    assert respelt(text, language) == wanted


@pytest.mark.parametrize("language", LETTERS)
def test_all_that_is_said_has_letters_that_the_language_has(language):
    said = [*NEAR["sheila"], *COMMON, *PHRASES, *SENTENCES, *(c.format("me") for c in CARRIERS)]
    spelt = "".join(respelt(text, language) for text in said)
    assert set(spelt) <= {*ALPHABETS[language], *" ,.!?'"}
