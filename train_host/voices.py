"""Text to speech: the engines that are installed, behind one small interface.

    for engine in installed():
        for voice in engine.voices():
            samples = engine.speak(voice, "Sheila!", Manner(tempo=1.1))

Every engine is optional. A voice has a fixed role, so that what is heard in
training is never heard in validation, and the demonstration's voices are
heard in neither. The roles go by the person (or, for espeak-ng, by the vocal
tract) behind a voice: the same person under two accents has one role.
"""

from __future__ import annotations

from collections.abc import Callable

from device.errors import SetupError
from train_host.tts import Engine
from train_host.tts_neural import Hibari, Kokoro, Piper
from train_host.tts_programs import EspeakNg, Festival, Flite, Pico, RHVoice

ENGINES: tuple[type[Engine], ...] = (
    EspeakNg,
    Flite,
    Festival,
    Pico,
    RHVoice,
    Piper,
    Hibari,
    Kokoro,
)


def installed(say: Callable[[str], None] = print) -> tuple[Engine, ...]:
    """The engines that are there; `say` hears one line about each that is not.

    Raises SetupError when there is none.
    """
    found = []
    for kind in ENGINES:
        engine = kind()
        if engine.is_installed():
            found.append(engine)
        else:
            say(f"{engine.name} is not installed, so its voices are left out ({engine.needs})")
    if not found:
        raise SetupError(
            "no text-to-speech engine is installed; install at least one: "
            + "; ".join(kind.needs for kind in ENGINES)
        )
    return tuple(found)
