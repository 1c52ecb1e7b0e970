"""Other people's keyword spotters, as listeners beside ours.

They are microWakeWord and openWakeWord in the Python packages pymicro-wakeword
and pyopen-wakeword, with the models that these carry (group `peers`). What
stands for the probability of a step:

* microWakeWord: its network gives a probability every 30 ms, and the package
  compares the mean of the last `sliding_window_size` of them (5) with the
  `probability_cutoff` of its JSON file. That mean is the probability here. Its
  front end keeps back up to 20 ms of the audio, so that a step of ours, 30 ms
  of audio, brings one mean, known up to 10 ms earlier than is assumed here.
* openWakeWord: its networks give a probability every 80 ms, which the package
  compares as it is, with 0.5 unless told otherwise. Before the first samples
  it hears 8 s of silence; of all that comes with one step the highest counts.

Both report the keyword at every step for as long as they hear it, and their
users put a time to rest behind them. So that a word counts once here, the
device's detector stands behind them with the numbers that our models come with
(REARM, REFRACTORY_S), and without smoothing of its own.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import SetupError
from train_host.keyword import slug
from train_host.tape import RATE, Samples

if TYPE_CHECKING:
    from device.manifest import Detection
    from train_host.listening import Trace

# Imported where they are used, because they would count as a peer's memory: device.manifest and
# importlib.metadata, seven megabytes with what they import.

REARM = 0.5
"""A detector is armed again below this share of its threshold ..."""
REFRACTORY_S = 1.0
"""... and after this time."""
OPEN_THRESHOLD = 0.5
"""Default of `python -m pyopen_wakeword`."""


class Peer:
    """One package with its model of one word: a `Listener` that also takes a stream in pieces."""

    package: str
    """Its name in the registry."""
    step_samples: int
    files: tuple[Path, ...]
    """The models that it loads."""

    def __init__(self, name: str, threshold: float) -> None:
        """`threshold`: what the package asks its probabilities to exceed."""
        self._name = name
        self._threshold = threshold

    @property
    def name(self) -> str:
        return self._name

    @property
    def step_s(self) -> float:
        return self.step_samples / RATE

    @property
    def detection(self) -> Detection:
        from device.manifest import Detection

        # The packages ask for more than the threshold, the detector for as much.
        above = math.nextafter(self._threshold, 1.0)
        return Detection(above, 1, REARM * above, REFRACTORY_S, 0)

    @property
    def version(self) -> str:
        """The package and its version."""
        from importlib.metadata import version

        return f"{self.package} {version(self.package)}"

    def reset(self) -> None:
        """Returns to the initial state."""
        raise NotImplementedError

    def push(self, pcm: bytes) -> float:
        """The next samples, any number of them, as 16-bit PCM.

        Returns the highest probability that comes with them, 0 where none does.
        """
        raise NotImplementedError

    def probabilities(self, samples: Samples) -> Trace:
        self.reset()
        pcm = (samples * 32768).astype("<i2")
        whole = len(pcm) // self.step_samples * self.step_samples
        steps = pcm[:whole].reshape(-1, self.step_samples)
        return np.fromiter((self.push(step.tobytes()) for step in steps), np.float32, len(steps))


class MicroWakeWord(Peer):
    """Raises SetupError when the package is not installed."""

    package = "pymicro-wakeword"
    step_samples = RATE * 30 // 1000

    def __init__(self, word: str) -> None:
        module = _module(self.package)
        self._model = module.MicroWakeWord.from_builtin(module.Model(word))
        self._features = module.MicroWakeWordFeatures()
        self.files = (Path(self._model.tflite_model),)
        super().__init__("microWakeWord", self._model.probability_cutoff)

    def reset(self) -> None:
        self._model.reset()
        self._features.reset()

    def push(self, pcm: bytes) -> float:
        highest = 0.0
        for frame in self._features.process_streaming(pcm):
            highest = max(highest, self._model.process_streaming_prob(frame))
        return highest


class OpenWakeWord(Peer):
    """Raises SetupError when the package is not installed."""

    package = "pyopen-wakeword"
    step_samples = RATE * 80 // 1000

    def __init__(self, word: str) -> None:
        module = _module(self.package)
        self._model = module.OpenWakeWord.from_builtin(module.Model(word))
        self._features = module.OpenWakeWordFeatures.from_builtin()
        loaded = (self._features.mel_path, self._features.emb_path, self._model.tflite_model)
        self.files = tuple(map(Path, loaded))
        super().__init__("openWakeWord", OPEN_THRESHOLD)

    def reset(self) -> None:
        self._model.reset()
        self._features.reset()

    def push(self, pcm: bytes) -> float:
        highest = 0.0
        for embedding in self._features.process_streaming(pcm):
            for probability in self._model.process_streaming(embedding):
                highest = max(highest, probability)
        return highest


PEERS: dict[str, type[MicroWakeWord] | type[OpenWakeWord]] = {
    kind.package: kind for kind in (MicroWakeWord, OpenWakeWord)
}
"""By the packages' names."""


def words_of(package: str) -> set[str]:
    """The words that a package carries a model for, as files name them: `hey_jarvis`.

    Raises SetupError when it is not installed.
    """
    return {model.value for model in _module(package).Model}


def open_peer(package: str, keyword: str) -> Peer:
    """The package's model for a word that it carries.

    Raises SetupError when the package is not installed.
    """
    return PEERS[package](file_name(keyword))


def file_name(keyword: str) -> str:
    """A phrase as the packages name its model."""
    return slug(keyword).replace("-", "_")


def peers_for(keyword: str) -> list[str]:
    """The packages that carry a model for a keyword.

    Raises SetupError when one is not installed or none knows the word.
    """
    carried = {package: words_of(package) for package in PEERS}
    found = [package for package, words in carried.items() if file_name(keyword) in words]
    if not found:
        known = sorted({word.replace("_", " ") for words in carried.values() for word in words})
        raise SetupError(
            f"no peer carries a model for {keyword!r}; compare for one of their words "
            f"({', '.join(known)}) with KEYWORD="
        )
    return found


def _module(package: str) -> Any:
    try:
        return importlib.import_module(package.replace("-", "_"))
    except ImportError as error:
        raise SetupError(
            f"{package} cannot be imported ({error}); run `train_host/setup.sh peers`"
        ) from error
