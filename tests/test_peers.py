"""The peers: what they hear is what their packages detect, at any chunking and again."""

import numpy as np
import pytest

from device.errors import SetupError
from train_host import peers
from train_host.corpus import load, read_embedded
from train_host.listening import detections, hear, judge
from train_host.peers import MicroWakeWord, OpenWakeWord, Peer, file_name, open_peer, peers_for
from train_host.tape import Event, Tape, make_tape, word_span

RATE = 16000
WORDS = 6


@pytest.fixture(params=[MicroWakeWord, OpenWakeWord])
def peer(request: pytest.FixtureRequest) -> Peer:
    pytest.importorskip(
        request.param.package.replace("-", "_"), reason="run `train_host/setup.sh peers`"
    )
    return open_peer(request.param.package, "alexa")


@pytest.fixture(scope="module")
def tape() -> Tape:
    """Six synthetic "alexa" and as many other words, with pauses."""
    corpus = read_embedded()
    others = [clip for clip in corpus.clips if clip.word in ("house", "seven", "happy")]
    pieces, events, at = [], [], 0
    for clip in [
        clip
        for pair in zip(corpus.of("validation", "alexa")[:WORDS], others[:WORDS], strict=True)
        for clip in pair
    ]:
        samples = load(clip)
        if clip.word == "alexa":
            start, stop = word_span(samples)
            events.append(
                Event((at + start) / RATE, (at + stop) / RATE, clip.speaker, "synthetic", "")
            )
        silence = np.random.default_rng(at).normal(0, 1e-4, RATE)
        pieces += [samples, silence]
        at += len(samples) + len(silence)
    return make_tape("words", np.concatenate(pieces), tuple(events))


def pcm_of(tape: Tape) -> bytes:
    return (tape.samples * 32768).astype("<i2").tobytes()


def reported_by_micro_wakeword(pcm: bytes) -> list[float]:
    """When the package says yes, in seconds, given 10 ms at a time as its README does."""
    package = pytest.importorskip("pymicro_wakeword")
    model = package.MicroWakeWord.from_builtin(package.Model.ALEXA)
    features = package.MicroWakeWordFeatures()
    found = []
    for start in range(0, len(pcm), 320):
        for frame in features.process_streaming(pcm[start : start + 320]):
            if model.process_streaming(frame):
                found.append((start + 320) / 2 / RATE)
    return found


def reported_by_open_wakeword(pcm: bytes) -> list[float]:
    """The same for openWakeWord, whose command line asks for more than 0.5."""
    package = pytest.importorskip("pyopen_wakeword")
    model = package.OpenWakeWord.from_builtin(package.Model.ALEXA)
    features = package.OpenWakeWordFeatures.from_builtin()
    found = []
    for start in range(0, len(pcm), 2560):
        for embedding in features.process_streaming(pcm[start : start + 2560]):
            if any(probability > 0.5 for probability in model.process_streaming(embedding)):
                found.append((start + 2560) / 2 / RATE)
    return found


def test_reports_when_the_package_does(peer: Peer, tape: Tape) -> None:
    plainly = {
        "pymicro-wakeword": reported_by_micro_wakeword,
        "pyopen-wakeword": reported_by_open_wakeword,
    }[peer.package](pcm_of(tape))
    trace = peer.probabilities(tape.samples)
    above = np.flatnonzero(trace >= peer.detection.threshold)
    # The step during which the package said yes, counted from its end.
    expected = sorted({int(np.ceil(t / peer.step_s - 1e-9)) for t in plainly})
    assert len(plainly) >= WORDS
    assert (above + 1).tolist() == expected
    # Each run of steps is one detection.
    fired = detections(trace, peer.detection, peer.step_s)
    assert 1 <= len(fired) <= len(plainly)
    assert fired[0] == pytest.approx(expected[0] * peer.step_s)


def test_finds_at_least_half_of_the_words(peer: Peer, tape: Tape) -> None:
    heard = hear(peer, tape)
    assert heard.step_s == {"microWakeWord": 0.03, "openWakeWord": 0.08}[peer.name]
    assert len(heard.trace) == int(tape.seconds / heard.step_s)
    found = judge(tape.events, detections(heard.trace, peer.detection, heard.step_s))
    assert sum(delay is not None for delay in found.delays_s) >= WORDS // 2


def test_starts_anew_with_every_tape(peer: Peer, tape: Tape) -> None:
    samples = tape.samples[: 4 * RATE]
    np.testing.assert_array_equal(peer.probabilities(samples), peer.probabilities(samples))


def test_names_the_files_that_it_loads(peer: Peer) -> None:
    assert all(file.suffix == ".tflite" and file.stat().st_size > 10_000 for file in peer.files)
    assert peer.version.startswith(f"{peer.package} ")


def test_a_word_that_no_peer_knows_is_one_sentence() -> None:
    for package in peers.PEERS:
        pytest.importorskip(package.replace("-", "_"), reason="run `train_host/setup.sh peers`")
    with pytest.raises(SetupError, match=r"no peer carries .* 'sheila'.*alexa.*hey jarvis"):
        peers_for("sheila")
    assert peers_for("alexa") == ["pymicro-wakeword", "pyopen-wakeword"]
    assert peers_for("hey rhasspy") == ["pyopen-wakeword"]


def test_an_absent_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = type("Absent", (MicroWakeWord,), {"package": "py-no-such-wakeword"})
    monkeypatch.setattr(peers, "PEERS", {absent.package: absent})
    for ask in (lambda: peers_for("alexa"), lambda: open_peer(absent.package, "alexa")):
        with pytest.raises(SetupError, match=r"py-no-such-wakeword cannot be imported.*setup.sh"):
            ask()


@pytest.mark.parametrize("keyword", ["Hey Jarvis", "hey-jarvis", "hey jarvis"])
def test_phrases_are_named_as_the_packages_name_them(keyword: str) -> None:
    assert file_name(keyword) == "hey_jarvis"
