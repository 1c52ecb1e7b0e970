"""English as the voices of other languages read it: spelt by their letters, sound by sound."""

# ruff: noqa: RUF001  (letters of other alphabets look like ours)

from __future__ import annotations

import re
from functools import cache

from train_host.phonemes import transcribe

# Sounds of two letters stand here where they are not their parts one after the other.
_CYRILLIC = {
    **{"tʃ": "ч", "dʒ": "дж", "eɪ": "эй", "aɪ": "ай", "ɔɪ": "ой", "əʊ": "оу", "ɑ": "а", "ɜ": "ё"},
    **{"p": "п", "b": "б", "t": "т", "d": "д", "k": "к", "ɡ": "г", "f": "ф", "v": "в"},
    **{"θ": "т", "ð": "д", "s": "с", "z": "з", "ʃ": "ш", "ʒ": "ж", "h": "х", "m": "м"},
    **{"n": "н", "ŋ": "нг", "l": "л", "ɹ": "р", "r": "р", "j": "й", "w": "в", "ɾ": "д"},
    **{"ʔ": "т", "i": "и", "ɪ": "и", "ᵻ": "и", "e": "э", "ɛ": "э", "æ": "э", "a": "а"},
    **{"ə": "а", "ɐ": "а", "ʌ": "а", "ɒ": "о", "ɔ": "о", "o": "о", "ʊ": "у", "u": "у", "ɚ": "эр"},
}
_LATIN = {
    **{"tʃ": "ĉ", "dʒ": "ĝ", "eɪ": "ej", "aɪ": "aj", "ɔɪ": "oj", "oʊ": "oŭ", "əʊ": "oŭ"},
    **{"aʊ": "aŭ", "ɑ": "a", "ɜ": "e", "ɡ": "g", "θ": "t", "ð": "d", "ʃ": "ŝ", "ʒ": "ĵ"},
    **{"ŋ": "ng", "ɹ": "r", "w": "v", "ɾ": "d", "ʔ": "t", "ɪ": "i", "ᵻ": "i", "ɛ": "e", "æ": "e"},
    **{"ə": "a", "ɐ": "a", "ʌ": "a", "ɒ": "o", "ɔ": "o", "ʊ": "u", "ɚ": "er"},
}
LETTERS: dict[str, dict[str, str]] = {
    "ru": _CYRILLIC,
    "ky": _CYRILLIC,
    "uk": _CYRILLIC
    | {"i": "і", "e": "е", "ɛ": "е", "æ": "е", "ɜ": "е", "ɚ": "ер", "eɪ": "ей", "ɪə": "іа"}
    | {"ɡ": "ґ"},
    "mk": _CYRILLIC
    | {"e": "е", "ɛ": "е", "æ": "е", "ɜ": "е", "ɚ": "ер", "dʒ": "џ", "j": "ј"}
    | {"eɪ": "еј", "aɪ": "ај", "ɔɪ": "ој"},
    "eo": _LATIN,
}
"""Of each language: how it writes the sounds of English, as nearly as it can."""


@cache
def respelt(text: str, language: str) -> str:
    """English text in the letters of another language, one of `LETTERS`.

    Raises SetupError when piper-tts, which knows the sounds, is not installed.
    """
    letters = LETTERS[language]
    # The longest first, so that no sound is taken for the beginning of another.
    sound = re.compile("|".join(sorted(map(re.escape, letters), key=len, reverse=True)))
    plain = re.sub("[ˈˌʲ̩]", "", transcribe(text))
    return sound.sub(lambda found: letters[found.group()], plain).replace("ː", "")
