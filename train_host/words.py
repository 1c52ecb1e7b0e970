"""What to say besides the keyword: words that sound like it, and words that do not."""

from __future__ import annotations

import re

from train_host.near import invent

SPELLINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("sheila", "en"): ("Sheila", "Sheela"),
    ("sheila", "de"): ("Schila", "Schiela"),
    ("sheila", "es"): ("Shila",),
    ("sheila", "fr"): ("Chila",),
    ("sheila", "it"): ("Scila",),
}
"""Keyword and language: spellings that read like the keyword. A voice of a language for which
there is none stays silent; in English the keyword itself is one."""
HURRIED: dict[tuple[str, str], tuple[str, ...]] = {("sheila", "en"): ("Shilla",)}
"""Likewise, spellings that read as the keyword sounds in a hurry, its vowel shorter and laxer."""

_NEAR_SHEILA = """
she, sheep, shield, she'll, sheet, sheets, sheen, sheer, shiver, ship, shin, shilling, shelf,
shell, Shelley, Shayla, Sheena, Sheba, Shania, Shawna, Celia, Cecilia, Delia, Leila, Layla, Lila,
Leela, Lena, Lola, Stella, Julia, Ophelia, Amelia, Keelah, Mila, Nila, Tila, Bella, Ella, Ursula,
Sarah, Sophia, Sila, Asia, tequila, gorilla, vanilla, villa, feeler, dealer, sealer, healer,
peeler, wheeler, ceiling, sealing, feeling, shielding, sheltered, shielder, chiller, cheetah,
chief, cheese, seal, seals, shield a, she led, she left, she'll ask, see Lena, see love, she likes
a, she loved, sheep are, sheet of, he led, the shield of, a sealer, shear a, she'd allow, she
leaves, shielded, machine learning, seashell, Keela, Geela, Zeela, Theela, Jeela, Cheela, Heela,
Weela, Yeela, Beela, Deela, Feela, Seela, Veela, Shola, Shoola, Shala, Shiloh, Shyla, Shella,
Shula, Sholla, Shawla, Sherla, Sheema, Sheeba, Sheeda, Sheeta, Sheeka, Sheera, Sheeva, Sheenah,
Sheesha, Shina, hello Sheena, Sheena is, Shima, Shira, Sheely, Sheelay, Shealing, Sheen, Sheem,
Sheeny, Sheeter, she loves, she lost, she lied, she lay, she needs, she means, she made, she gave
her, she never, he let her, feel a, deal a, real a, heal a, seal a, steal a, reel of, feel her, see
her, see a, see Laura, she runs, she saw a, she wore a
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


_CARRIERS = """
{} said so / hello {} / {} is my friend / give it to {} / good night {} / {} come here / where is {}
/ I saw {} today / call {} back / {} and her mother / this is {} / play {} again / ask {} please /
wait for {} / {}, are you there / I like {} / say {} again / it was {} / {} or nothing / no, {}
"""
CARRIERS: tuple[str, ...] = tuple(" ".join(_CARRIERS.split()).split(" / "))
"""What may stand around a near-word, since running speech changes how it sounds."""

_SENTENCES = """
I have to go to work now / the train leaves at nine / do you want some tea / it rains again / we
were late for school / he lost his keys / she found them later / what did you say / I do not know /
maybe we should leave / put it on the shelf / the soup is too hot / let us go home / they live next
door / can you hear me / this seat is taken / he needs a new shirt / wash your hands / bring me the
scissors / the shop is closed / I wish I could sleep / her shoes are wet / see what she made / we
feel really tired / the key is in the door / please be quiet / is there any milk / read it to me /
he is still asleep / leave it there / these are my keys / we need cheap seats / please feed the fish
/ three of them were here / I believe in you / keep the change / each of us has one / he cheated
again / a cheap machine / the green leaves fall / meet me at the beach / the evening was cool / I
mean it / he will be here soon / they will see / you are right / that was easy / it hurts a little /
are you sure / I should shave / she shut the shutters / the shadow of a ship / fresh fish and chips
/ wish her luck / a short show / sugar and shampoo / a special machine / push the chair / finish
your dinner / the ocean is near / a precious treasure / I am a little ill / still waiting / follow
the yellow line / all the people left / a lovely holiday / tell me a story / Ella called a while ago
/ a lot of luggage / look at that / the hall is full / yellow tulips / lemon and lime / the jelly is
ready / my lip hurts / the baby is asleep / who ate the salad / a pillow and a blanket / call it a
day / the vanilla ice cream / he went to Manila / the villa by the sea / Paula paid the bill /
Angela called the doctor / Carla has a cold / Pamela is here / the umbrella is broken / a formula
for success / an awful smell / nobody told me / what a pity / turn it up / make it louder / set a
timer / how long does it take / add eggs to the list / lock the door / is it cold outside / switch
the lamp off / stop the music / next song / tell me the news / good afternoon / see you tomorrow /
you are welcome / one moment / of course / no problem / happy birthday / well done / come on in /
sit down / watch out
"""
SENTENCES: tuple[str, ...] = tuple(" ".join(_SENTENCES.split()).split(" / "))


def near_words(keyword: str) -> dict[str, tuple[str, ...]]:
    """Groups of words that sound like a keyword: the list above, or invented ones.

    Raises SetupError when they must be invented and the packages for it are not installed.
    """
    return {"listed": NEAR[keyword]} if keyword in NEAR else invent(keyword)


def other_words(keyword: str) -> tuple[str, ...]:
    """Common words and short phrases, none of which holds the keyword."""
    said = re.compile(rf"\b{re.escape(keyword)}\b", re.IGNORECASE)
    return tuple(w for w in (*COMMON, *PHRASES, *SENTENCES) if not said.search(w))


def spellings(keyword: str, language: str = "en") -> tuple[str, ...]:
    """Ways to write the keyword for a voice of a language; none where they are not known."""
    return SPELLINGS.get((keyword, language), (keyword,) if language == "en" else ())
