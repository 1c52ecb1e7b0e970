"""A keyword as it is said, and as it is written in the names of files.

python -m train_host.keyword "Hey, Marvin!"     prints hey-marvin
"""

from __future__ import annotations

import re
import sys
import unicodedata

from device.errors import KeywordError

LONGEST = 40
"""Letters of a keyword; more cannot be said within the two seconds that a model looks back."""


def spoken(text: str) -> str:
    """The words of a keyword: "Hey, Marvin!" -> "hey marvin", "Café" -> "cafe".

    Raises KeywordError, one sentence, when nothing is left to say, when a
    letter is not one of a to z (accents are dropped), or when it is too long.
    """
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", text.casefold()).replace("\u2019", "'")
        if not unicodedata.combining(letter)
    )
    foreign = sorted({c for c in plain if c.isalnum() and not c.isascii()})
    if foreign:
        raise KeywordError(
            f"KEYWORD={text!r}: {''.join(foreign)} cannot be spoken by the English voices; "
            "spell it with the letters a to z, as an English reader would say it"
        )
    words = re.findall(r"[a-z0-9]+(?:'[a-z]+)*", plain)
    if not words:
        raise KeywordError(f"KEYWORD={text!r}: holds nothing to say; give a word or a phrase")
    said = " ".join(words)
    if len(said) > LONGEST:
        raise KeywordError(
            f"KEYWORD={text!r}: too long to be said within two seconds; "
            f"give at most {LONGEST} letters"
        )
    return said


def slug(words: str) -> str:
    """Words as the name of a folder or file: "she'll ask" -> "she-ll-ask"."""
    return "-".join(re.findall(r"[^\W_]+", words.lower()))


def main(arguments: list[str]) -> int:
    try:
        print(slug(spoken(" ".join(arguments))))
    except KeywordError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
