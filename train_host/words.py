"""What to say besides the keyword: words that sound like it, and words that do not."""

from __future__ import annotations

import re

SPELLINGS: dict[str, tuple[str, ...]] = {"sheila": ("Sheila", "Sheela")}
"""Further spellings of a keyword that read the same, since engines stress them differently."""

_NEAR_SHEILA = """
she, sheep, shield, she'll, sheet, sheets, sheen, sheer, shiver, ship, shin, shilling, shelf,
shell, Shelley, Shayla, Sheena, Sheba, Shania, Shawna, Celia, Cecilia, Delia, Leila, Layla, Lila,
Leela, Lena, Lola, Stella, Julia, Ophelia, Amelia, Keelah, Mila, Nila, Tila, Bella, Ella, Ursula,
Sarah, Sophia, Sila, Asia, tequila, gorilla, vanilla, villa, feeler, dealer, sealer, healer,
peeler, wheeler, ceiling, sealing, feeling, shielding, sheltered, shielder, chiller, cheetah,
chief, cheese, seal, seals, shield a, she led, she left, she'll ask, she'll have, see Lena, see
love, she likes a, she loved, sheep are, sheet of, he led, the shield of, a sealer, shear a, she'd
allow, she leaves, she'll arrive, shielded, machine learning, seashell
"""
NEAR: dict[str, tuple[str, ...]] = {
    "sheila": tuple(" ".join(_NEAR_SHEILA.split()).split(", ")),
}
"""Words and phrases that share sounds with a keyword."""

_COMMON = """
yes no up down left right on off stop go one two three four five six seven eight nine zero house
dog cat bird bed tree happy wow marvin computer alexa jarvis hello please thanks music kitchen
lights water window morning evening coffee today tomorrow yesterday weather minute second hour
people number never always little letter open close louder quieter play pause next again because
before after around under over between woman children school garden summer winter money paper
table chair bottle doctor mother father sister brother river mountain orange banana apple yellow
purple silver golden animal elephant tiger lion monkey spider butter bread sugar chicken dinner
breakfast question answer remember believe together another different important beautiful probably
really maybe nothing something everything anybody follow forward backward visual learn sleep
listen speak talk read write travel station ticket office village city engine television radio
telephone camera battery button volume temperature timer alarm shopping list message mister missus
captain general history science nature picture pencil finger shoulder hammer basket blanket candle
carpet curtain feather forest island jacket ladder market needle pepper pillow planet pocket
rabbit saddle tunnel valley wagon weapon whisper wonder zebra
"""
COMMON: tuple[str, ...] = tuple(_COMMON.split())

PHRASES: tuple[str, ...] = (
    "she is here",
    "she sells sea shells",
    "sheep and goats",
    "a field of wheat",
    "I feel it",
    "what a deal",
    "he really did",
    "the ceiling fan",
    "turn on the light",
    "turn it off please",
    "what time is it",
    "how are you today",
    "put the kettle on",
    "see you later",
    "let me see",
    "is she leaving",
    "I will shield you",
    "the wheel of a car",
    "a piece of cheese",
    "show me the list",
    "call me back",
    "never mind",
    "it is cold outside",
    "a steel door",
)


def near_words(keyword: str) -> tuple[str, ...]:
    """Words that sound like a keyword: the list above, or neighbours by spelling."""
    return NEAR.get(keyword, _neighbours(keyword))


def other_words(keyword: str) -> tuple[str, ...]:
    """Common words and short phrases, none of which holds the keyword."""
    said = re.compile(rf"\b{re.escape(keyword)}\b", re.IGNORECASE)
    return tuple(w for w in (*COMMON, *PHRASES) if not said.search(w))


def spellings(keyword: str) -> tuple[str, ...]:
    """Ways to write the keyword for an engine, all of which read the same."""
    return SPELLINGS.get(keyword, (keyword,))


def _neighbours(keyword: str) -> tuple[str, ...]:
    """Pronounceable strings that share a stretch with the keyword but do not sound the same.

    Its beginnings and endings, two letters short or more, and its onset exchanged.
    """
    letters = re.sub(r"[^a-z ]", "", keyword.lower())
    found: list[str] = []
    for cut in range(3, len(letters) - 1):
        found += [letters[:cut], letters[-cut:]]
    onset, rest = re.fullmatch(r"([^aeiou]*)(.*)", letters).groups()  # type: ignore[union-attr]
    others = ("b", "d", "f", "h", "k", "l", "m", "p", "r", "s", "st", "t", "v", "w")
    found += [other + rest for other in others if other[0] != onset[:1].replace("c", "k")]
    readable = [w.strip() for w in found if re.search(r"[aeiouy]", w)]
    return tuple(dict.fromkeys(w for w in readable if len(w) > 1 and w != letters))
