"""Scenes, features and the objectives on material made of tones."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from shapes import STUDENT  # noqa: E402

from device.manifest import FrontEnd  # noqa: E402
from train_host.corpus import Clip  # noqa: E402
from train_host.features import FeatureStore, active_frames, build_store  # noqa: E402
from train_host.fit import fit  # noqa: E402
from train_host.network import BASE_32, Network, StreamState  # noqa: E402
from train_host.objectives import (  # noqa: E402
    ClipObjective,
    Normalised,
    StreamObjective,
    Streams,
    max_pooling_loss,
)
from train_host.scenes import (  # noqa: E402
    DRIFT,
    ENOUGH_REAL,
    SCENE_STEPS,
    VOCAL_TRACT,
    Material,
    composer_for,
    hurry,
    warp,
)

RATE = 16000


def tone(frequency, seconds=1.0, word=(0.3, 0.7)):
    """Hiss with a tone as its word."""
    time = np.arange(int(seconds * RATE)) / RATE
    rng = np.random.default_rng(int(frequency))
    hiss = rng.standard_normal(len(time)) * 1e-3
    inside = (time >= word[0]) & (time < word[1])
    return (hiss + 0.3 * inside * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def clips_of(folder: Path, frequencies, name):
    found = []
    for index, frequency in enumerate(frequencies):
        path = folder / f"{name}_{index}.wav"
        sf.write(path, tone(frequency), RATE, subtype="PCM_16")
        found.append(Clip(name, f"s{index}", "training", "synthetic", path))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tones")


@pytest.fixture(scope="module")
def material(folder) -> Material:
    def store(frequencies, name):
        return build_store(
            clips_of(folder, frequencies, name), folder / "cache", front_end=FrontEnd()
        )

    return Material(
        keyword=[store([900, 950, 1000, 1050], "keyword")],
        others=[store([300, 400, 2500, 3000], "other")],
        speech=store([200, 350, 2800], "speech"),
        noise=store([150], "noise"),
    )


def test_active_frames_find_the_word(material):
    for begin, end in material.keyword[0].active:
        assert abs(begin - 30) <= 4
        assert abs(end - 70) <= 4


def test_active_frames_ignore_a_click():
    frames = np.full((100, 40), -12.0)
    frames[40:60] = 0
    frames[5] = -6  # within 30 dB, but one frame
    assert active_frames(frames)[0] >= 36


def test_store_is_read_from_the_cache(folder, material):
    clips = clips_of(folder, [900, 950, 1000, 1050], "keyword")
    done = []
    again = build_store(clips, folder / "cache2", front_end=FrontEnd(), progress=done.append)
    assert sum(done) == 4
    done.clear()
    cached = build_store(clips, folder / "cache2", front_end=FrontEnd(), progress=done.append)
    assert done == []
    assert np.array_equal(cached.frames, again.frames)


def test_of_two_that_want_the_same_store_one_makes_it(folder):
    clips = clips_of(folder, [900, 950, 1000], "shared")
    done = []

    def build(_):
        return build_store(clips, folder / "both", front_end=FrontEnd(), progress=done.append)

    with ThreadPoolExecutor(2) as two:
        one, other = two.map(build, range(2))
    assert sum(done) == 3
    assert np.array_equal(one.frames, other.frames)


def test_augmented_versions_differ_and_follow_the_seed(folder):
    clips = clips_of(folder, [900, 2000], "varied")
    first = build_store(clips, folder / "a", front_end=FrontEnd(), versions=2)
    again = build_store(clips, folder / "b", front_end=FrontEnd(), versions=2)
    assert len(first) == 6
    assert np.array_equal(first.frames, again.frames)
    assert any(not np.array_equal(first[i % 2], first[i]) for i in range(2, 6))


def test_select_keeps_order(material):
    chosen: FeatureStore = material.keyword[0].select(np.array([2, 0]))
    assert len(chosen) == 2
    assert np.array_equal(chosen[0], material.keyword[0][2])
    assert np.array_equal(chosen[1], material.keyword[0][0])


def test_batch_is_well_formed(material):
    network = Network(STUDENT)
    batch = composer_for(material, network, seed=1).batch(64, keyword_share=0.5)
    assert batch.mel.shape == (64, SCENE_STEPS * 8, 40)
    assert batch.mel.dtype == torch.float32
    assert torch.isfinite(batch.mel).all()
    assert batch.positive.sum() == 32
    assert batch.window.shape == (64, 100, 40)
    # Every keyword can be reported, and never while nothing may be.
    assert batch.focus[batch.positive].any(1).all()
    assert not (batch.focus & batch.quiet)[batch.positive].any()
    # Where the keyword is not, nothing may ever be reported.
    assert batch.quiet[~batch.positive].all()


def test_composer_follows_its_seed(material):
    network = Network(STUDENT)
    one, same, other = (composer_for(material, network, seed).batch(8) for seed in (1, 1, 2))
    assert torch.equal(one.mel, same.mel)
    assert not torch.equal(one.mel, other.mel)


def hertz(composer, row):
    """The frequency of the loudest band."""
    return 700 * (10 ** (composer.mel_of_band[row.argmax()] / 2595) - 1)


def test_warp_changes_tempo_and_vocal_tract(material):
    composer = composer_for(material, Network(STUDENT), seed=0)
    clip = np.full((60, 40), -9, np.float32)
    clip[:, 25] = 0
    same = warp(clip, 1.0, np.array([1.0]), composer.mel_of_band)
    assert np.allclose(same, clip, atol=1e-4)
    quick = warp(clip, 1.5, np.array([1.0, 1.0, 1.0]), composer.mel_of_band)
    assert quick.shape == (40, 40)
    # A longer tract from the middle on: its resonances lie lower there, and only there.
    drifting = warp(clip, 1.0, np.array([1.0, 1.0, 1.25]), composer.mel_of_band)
    assert np.allclose(drifting[:30], clip[:30], atol=1e-3)
    lower = hertz(composer, drifting[-1]) / hertz(composer, clip[-1])
    assert lower == pytest.approx(1 / 1.25, abs=0.06)


def test_vocal_tracts_drift_within_their_limits(material):
    composer = composer_for(material, Network(STUDENT), seed=0)
    lengths = np.stack([composer._vocal_tract() for _ in range(300)])
    assert lengths.min() >= VOCAL_TRACT[0] / DRIFT
    assert lengths.max() <= VOCAL_TRACT[1] * DRIFT
    assert (lengths.max(axis=1) / lengths.min(axis=1)).max() <= DRIFT**2
    assert (lengths.std(axis=1) > 0.01).mean() > 0.9


def test_recordings_get_their_share_of_the_keywords(material):
    (store,) = material.keyword
    quiet = FeatureStore(np.full_like(store.frames, -9), store.bounds, store.active)
    both = replace(material, keyword=[store, quiet])
    composer = composer_for(both, Network(STUDENT), seed=0)
    assert composer.real_share == len(store) / (len(store) + ENOUGH_REAL)
    composer.real_share = 0.25
    loud = [composer._clip(keyword=True)[0].max() > 1e-3 for _ in range(400)]
    assert 0.15 < np.mean(loud) < 0.35


def test_material_without_speech_and_noise(material):
    bare = Material(material.keyword, material.others, None, None)
    batch = composer_for(bare, Network(STUDENT), seed=0).batch(32)
    assert torch.isfinite(batch.mel).all()


def test_loop_learns_and_a_broken_run_carries_on(material, tmp_path, monkeypatch):
    """A run that stops at step 20 and starts again ends where an unbroken one ends."""
    monkeypatch.setattr("train_host.fit.SAVE_EVERY", 20)

    def train(stop_at=None):
        torch.manual_seed(0)
        network = Network(BASE_32)
        objective, calls = ClipObjective(network), 0

        def counted(batch):
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            return objective(batch)

        curve = fit(
            "base",
            network,
            counted,
            composer_for(material, network, 0),
            steps=60,
            batch=16,
            rate=3e-3,
            partial=tmp_path / "base.partial.pt",
        )
        return network, curve

    unbroken, curve = train()
    assert curve[-1][1] < curve[0][1]
    with pytest.raises(KeyboardInterrupt):
        train(stop_at=31)
    assert (tmp_path / "base.partial.pt").exists()
    resumed, _ = train()
    assert not (tmp_path / "base.partial.pt").exists()
    for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(one, other)


@given(st.integers(0, 60), st.integers(0, 40), st.floats(1.5, 4.0))
def test_a_moment_passes_more_quickly_and_the_rest_as_before(at, run, faster):
    times = np.arange(100, dtype=np.float32)
    clip = np.stack([times, -times], axis=1)
    found = hurry(clip, at, run, faster)
    kept = len(found) - (100 - run)
    assert kept == (max(1, round(run / faster)) if run else 0)
    assert (found[:, 1] == -found[:, 0]).all()
    assert found[:at, 0].tolist() == list(range(at))
    assert found[at + kept :, 0].tolist() == list(range(at + run, 100))
    # Within the moment time goes on evenly.
    assert ((found[at : at + kept, 0] >= at - 0.5) & (found[at : at + kept, 0] < at + run)).all()
    assert np.ptp(np.diff(found[at : at + kept, 0])) < 1e-3 if kept > 2 else True


def test_stream_objective_prefers_the_right_answer(material):
    """A network that is sure and right has a lower loss than one sure and wrong."""
    network = Network(STUDENT)
    model = Normalised(network, torch.zeros(40), torch.ones(40))
    batch = composer_for(material, network, 0).batch(32)

    def loss_when(margin):
        def trace(mel, state):
            logits = torch.stack([torch.zeros_like(margin), margin], 2)
            return network.trace(mel, state)._replace(logits=logits)

        model.trace = trace  # type: ignore[method-assign]
        return float(StreamObjective(model)(batch))

    right = torch.where(batch.focus & batch.positive[:, None], 8.0, -8.0)
    silent, eager = torch.full_like(right, -8.0), torch.full_like(right, 8.0)
    assert loss_when(right) < 0.05
    assert loss_when(silent) > 1
    assert loss_when(eager) > 1
    assert loss_when(-right) > loss_when(silent)


def test_the_worst_alignment_counts(material):
    network = Network(STUDENT)
    batch = composer_for(material, network, 0).batch(32)
    right = torch.where(batch.focus & batch.positive[:, None], 8.0, -8.0)
    silent, eager = torch.full_like(right, -8.0), torch.full_like(right, 8.0)
    missed, fired, good = (
        float(max_pooling_loss(torch.stack([right, other]), batch))
        for other in (silent, eager, right)
    )
    # The mean alone is softened by an alignment at which all is well.
    assert missed == pytest.approx(float(max_pooling_loss(silent[None], batch)), rel=0.01)
    assert fired > float(max_pooling_loss(eager[None], batch, mean_weight=0.0)) * 0.9
    assert good < 0.05


def test_each_alignment_is_a_stream_of_its_own(material):
    """From batch to batch each goes on with its own state, on the same scenes."""
    network = Network(STUDENT).eval()
    model = Normalised(network, torch.zeros(40), torch.ones(40))
    scenes, streams = composer_for(material, network, 0), Streams()
    first, second = scenes.batch(8), scenes.batch(8)
    for batch in (first, second):
        streams.begin(batch)
        found = {skipped: streams.run(model, batch, skipped).logits for skipped in (0, 2)}
    assert streams.turn is not None
    order, kept = streams.turn
    for skipped in (0, 2):

        def later(batch, skipped=skipped):
            ends = batch.mel[:, -1:].expand(-1, skipped, -1)
            return torch.cat([batch.mel[:, skipped:], ends], dim=1)

        before = network.trace(later(first), network.initial_state(8)).state
        went_on = StreamState(*(s.index_select(int(n == 1), order) for n, s in enumerate(before)))
        expected = torch.where(
            kept[:, None, None],
            network.trace(later(second), went_on).logits,
            network.trace(later(second), network.initial_state(8)).logits,
        )
        assert torch.allclose(found[skipped], expected, atol=1e-5)
    assert not torch.allclose(found[0], found[2])
