"""The networks that keywords begin with: what they hear, what they are to know, how they learn."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

torch = pytest.importorskip("torch")

from shapes import PRUNED, STUDENT  # noqa: E402

from device.errors import SetupError  # noqa: E402
from device.manifest import FrontEnd  # noqa: E402
from train_host import pretrain, speech_embedding  # noqa: E402
from train_host.corpus import RATE, Clip  # noqa: E402
from train_host.features import FeatureStore  # noqa: E402
from train_host.fit import fit  # noqa: E402
from train_host.network import Network, load_checkpoint  # noqa: E402
from train_host.pretrain import DELAY, SCENE_STEPS, EmbeddingObjective, Kind, Scenes  # noqa: E402

STEP = 8
BANDS = FrontEnd().mel_bands
SCALE = 1 / 64
NOISE = FeatureStore(np.zeros((400, BANDS), np.float16), np.array([0, 400]), np.zeros((1, 2)))


def counting(lengths: list[int], offset: int) -> Kind:
    """Recordings whose frames and embeddings hold the number of their step, times SCALE."""
    mel, embeddings, first = [], [], offset
    for steps in lengths:
        number = np.arange(first, first + steps, dtype=np.float32) * SCALE
        mel.append(np.repeat(number, STEP)[:, None].repeat(BANDS, 1).astype(np.float16))
        embeddings.append(number[:, None].repeat(speech_embedding.SIZE, 1))
        first += steps
    bounds = np.cumsum([0, *map(len, mel)])
    store = FeatureStore(np.concatenate(mel), bounds, np.zeros((len(mel), 2), np.int64))
    return Kind(store, embeddings)


def bare(kinds: list[Kind], monkeypatch: pytest.MonkeyPatch) -> Scenes:
    """Scenes whose sound is left as it is."""
    scenes = Scenes(kinds, NOISE, FrontEnd(), STEP, seed=1)
    monkeypatch.setattr(scenes.surroundings, "colour", lambda track: track)
    monkeypatch.setattr(scenes.surroundings, "background", lambda track, frames: track)
    monkeypatch.setattr(scenes.surroundings, "hide", lambda log_mel: None)
    return scenes


def test_a_step_is_to_know_what_began_as_long_ago_as_a_window_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = counting([SCENE_STEPS + 3, SCENE_STEPS, SCENE_STEPS + 40], -10)
    scenes = bare([kind], monkeypatch)
    batch = scenes.batch(64)
    assert batch.mel.shape == (64, SCENE_STEPS * STEP, BANDS)
    assert batch.embedding.shape == (64, SCENE_STEPS - DELAY, speech_embedding.SIZE)
    of_step = batch.mel[:, ::STEP, 0].numpy()
    known = batch.embedding.numpy()[:, :, 0] * scenes.std[0] + scenes.mean[0]
    np.testing.assert_allclose(known, of_step[:, : SCENE_STEPS - DELAY], atol=SCALE / 8)
    # No scene goes from one recording into the next, and the one without room for two is left out.
    first = np.round(of_step[:, 0] / SCALE) + 10
    assert {bool(f < 3) for f in first} == {True, False}
    assert not np.any((first >= 3) & (first < 2 * SCENE_STEPS + 3))


def test_each_kind_gets_the_same_share(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [counting([200, 300], -100), counting([SCENE_STEPS + 1], 1000)]
    batch = bare(kinds, monkeypatch).batch(20)
    assert int((batch.mel[:, 0, 0] > 900 * SCALE).sum()) == 10


def test_the_same_batches_follow_from_a_state() -> None:
    scenes = Scenes([counting([90], -5)], NOISE, FrontEnd(), STEP, seed=1)
    scenes.batch(3)
    state = scenes.state
    expected = scenes.batch(3)
    scenes.state = state
    again = scenes.batch(3)
    assert torch.equal(again.mel, expected.mel)
    assert torch.equal(again.embedding, expected.embedding)


def test_the_network_learns_the_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    level = rng.normal(0, 2, 400).astype(np.float32)
    mel = np.repeat(level, STEP)[:, None].repeat(BANDS, 1).astype(np.float16)
    told = level[:, None].repeat(speech_embedding.SIZE, 1)
    store = FeatureStore(mel, np.array([0, len(mel)]), np.zeros((1, 2), np.int64))
    # An embedding of its own step only, so that a small network can know it DELAY steps later.
    network = Network(STUDENT)
    objective = EmbeddingObjective(network)
    scenes = bare([Kind(store, [np.roll(told, -DELAY, axis=0)])], monkeypatch)
    curve = fit(
        "start",
        network,
        objective,
        scenes,
        steps=150,
        batch=16,
        rate=1e-2,
        partial=tmp_path / "partial.pt",
        quiet=True,
    )
    assert curve[-1][1] < 0.3 * curve[0][1]


def test_single_words_become_recordings_of_one_loudness(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = []
    for number in range(20):
        path = tmp_path / f"{number}.wav"
        loud = 10.0 ** -(number % 4)
        sf.write(path, loud * 0.3 * rng.standard_normal(RATE), RATE, subtype="FLOAT")
        clips.append(Clip("word", str(number), "training", "real", path))
    chains = list(pretrain.chained(clips, rng))
    assert [len(chain) for chain in chains] == [pretrain.CHAIN_S * RATE] * 2
    for chain in chains:
        levels = np.sqrt(np.mean(chain.reshape(-1, RATE) ** 2, axis=1))
        np.testing.assert_allclose(levels, pretrain.LEVEL, rtol=0.5)


def test_without_its_packages_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"setup\.sh pretrain"):
        speech_embedding.SpeechEmbedding()


def test_the_embedding_of_a_recording_is_that_of_its_windows() -> None:
    pytest.importorskip("ai_edge_litert", reason="train_host/setup.sh pretrain installs it")
    pytest.importorskip("pyopen_wakeword", reason="train_host/setup.sh pretrain installs it")
    embed = speech_embedding.SpeechEmbedding()
    samples = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    whole = embed(samples)
    assert whole.shape[1] == speech_embedding.SIZE
    later = embed(samples[5 * 1280 :])
    np.testing.assert_allclose(whole[5 : 5 + len(later)], later, atol=1e-2)
    assert len(embed(samples[:8000])) == 0


def test_the_command_writes_every_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real files in the layout of the corpora, and a stand-in for the embedding."""
    monkeypatch.setattr(pretrain, "SHAPES", {"listener": STUDENT, "small-listener": PRUNED})
    monkeypatch.setattr(
        pretrain,
        "SpeechEmbedding",
        lambda: lambda samples: np.resize(samples, (len(samples) // 1280 - 9, 96)),
    )
    rng = np.random.default_rng(0)
    for folder, count, seconds in (("speech", 8, 6), ("noise", 2, 20)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            sound = 0.1 * rng.standard_normal(seconds * RATE)
            sf.write(tmp_path / folder / f"{number}.wav", sound, RATE)
    (tmp_path / "words" / "yes").mkdir(parents=True)
    for number in range(40):
        sound = 0.1 * rng.standard_normal(RATE)
        sf.write(tmp_path / "words" / "yes" / f"{number:08x}_nohash_0.wav", sound, RATE)
    output = tmp_path / "models" / "listeners"
    status = pretrain.main(
        f"--data {tmp_path}/words --speech {tmp_path}/speech --noise {tmp_path}/noise "
        f"--cache {tmp_path}/cache --output {output} --steps 4".split()
    )
    assert status == 0
    for name, shape in (("listener", STUDENT), ("small-listener", PRUNED)):
        network, record = load_checkpoint(output / f"{name}.pt")
        assert network.shape == shape
        assert len(record["hours"]) == 3
    assert "of the variance" in capsys.readouterr().out


def test_it_asks_for_the_recordings_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain.main(["--data", "words", "--output", "listeners"]) == 1
    assert "give DATA=DIR, SPEECH=DIR and NOISE=DIR" in capsys.readouterr().out
