"""Training from end to end on a handful of embedded clips, and its refusals."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from shapes import STUDENT, few_embedded_clips  # noqa: E402

from device.manifest import FrontEnd  # noqa: E402
from train_host import corpus as corpora  # noqa: E402
from train_host import listeners, stores, train  # noqa: E402
from train_host.calibrate import calibrate, detection_for, lowest  # noqa: E402
from train_host.evaluate import QUIET_LOG_MEL, clip_scores, stream_scores  # noqa: E402
from train_host.features import FeatureStore  # noqa: E402
from train_host.frontend import LogMel  # noqa: E402
from train_host.listening import detections  # noqa: E402
from train_host.network import BASE_64, Network, load_checkpoint  # noqa: E402
from train_host.recipe import FOLDER, read_recipe  # noqa: E402
from train_host.teacher import load_published  # noqa: E402

TINY = train.Effort(base=4, teacher=4, tutor=4, student=6, verifier=4)


def said(capsys) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def few_clips(monkeypatch):
    """The embedded corpus with a few clips of each split."""
    small = few_embedded_clips()
    monkeypatch.setattr(corpora, "read_embedded", lambda: small)
    monkeypatch.setattr(train, "QUICK", TINY)
    monkeypatch.setattr(train, "BATCH", 8)
    monkeypatch.setattr(stores, "KEYWORD_VERSIONS", {"embedded": 1})
    monkeypatch.setattr(stores, "OTHER_VERSIONS", 0)
    return small


def test_embedded_corpus_trains_all_networks(few_clips, tmp_path: Path, capsys):
    arguments = ["--output", str(tmp_path / "sheila"), "--cache", str(tmp_path / "features")]
    assert train.main(arguments) == 0
    assert "Corpus: embedded corpus, synthetic voices" in said(capsys)
    for name in ("base", "teacher", "student"):
        load_checkpoint(tmp_path / "sheila" / f"{name}.pt")
    student, record = load_checkpoint(tmp_path / "sheila" / "student.pt")
    assert student.shape == read_recipe(FOLDER / "tiny.toml").shape
    assert (record["size"], record["recipe"]) == ("tiny", "tiny")
    assert record["corpus"]["kind"] == "embedded"
    assert record["keyword_clips"] == {"training": 6, "validation": 6}
    assert 0 < record["detection"]["threshold"] < 1
    assert not list(tmp_path.glob("sheila/*.partial.pt"))


def test_same_seed_same_student(few_clips, tmp_path: Path):
    students = []
    for name in ("a", "b"):
        arguments = ["--output", str(tmp_path / name), "--cache", str(tmp_path / "features")]
        assert train.main([*arguments, "--seed", "7"]) == 0
        students.append(load_checkpoint(tmp_path / name / "student.pt")[0])
    for one, other in zip(*(s.parameters() for s in students), strict=True):
        assert torch.equal(one, other)


def test_teachers_of_another_build_are_taken_over(few_clips, tmp_path: Path, capsys):
    cache = ["--cache", str(tmp_path / "features")]
    assert train.main([*cache, "--output", str(tmp_path / "a")]) == 0
    small = ["--size", "small", "--teachers", str(tmp_path / "a"), "--output", str(tmp_path / "b")]
    assert train.main([*cache, *small]) == 0
    for name in ("base", "teacher", "tutor"):
        one, other = (load_checkpoint(tmp_path / f / f"{name}.pt")[0] for f in ("a", "b"))
        assert all(
            torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True)
        )
    student, record = load_checkpoint(tmp_path / "b" / "student.pt")
    assert student.shape == read_recipe(FOLDER / "small.toml").shape
    assert record["size"] == "small"
    missing = [*cache, "--teachers", str(tmp_path / "none"), "--output", str(tmp_path / "c")]
    assert train.main(missing) == 1
    assert "not a checkpoint" in said(capsys)


def test_unknown_keyword_names_the_words_there_are(few_clips, tmp_path: Path, capsys):
    assert train.main(["--keyword", "xylophone", "--output", str(tmp_path)]) == 1
    text = said(capsys)
    assert "there is no recording of 'xylophone'" in text
    assert "sheila" in text
    assert "Traceback" not in text


def test_missing_folder_is_one_sentence(tmp_path: Path, capsys):
    assert train.main(["--data", str(tmp_path / "none"), "--output", str(tmp_path / "o")]) == 1
    assert "no such folder" in said(capsys)


def test_wrong_teacher_is_one_sentence(few_clips, tmp_path: Path, capsys):
    (tmp_path / "kws.pth").write_bytes(b"no archive")
    arguments = ["--output", str(tmp_path / "o"), "--cache", str(tmp_path / "features")]
    assert train.main([*arguments, "--teacher", str(tmp_path / "kws.pth")]) == 1
    assert "not a TorchScript archive" in said(capsys)


def test_published_teacher_is_read_by_its_names(tmp_path: Path):
    """An archive with the published names gives the same network."""
    torch.manual_seed(0)
    network = Network(BASE_64).eval()

    class Conv(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Sequential(network.convolution.conv, torch.nn.Flatten(1, 2))
            self.gru = network.gru
            self.attention = torch.nn.Module()
            self.attention.energy = network.energy
            self.classifier = network.classifier

        def forward(self, x):
            return x

    class Published(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.m = Conv()

        def forward(self, x):
            return self.m(x)

    torch.jit.save(torch.jit.trace(Published(), torch.zeros(1)), tmp_path / "kws.pth")
    again = load_published(tmp_path / "kws.pth")
    mel = torch.randn(2, 100, 40)
    with torch.no_grad():
        assert torch.equal(again.clip(mel), network.clip(mel))


def store_of(pieces) -> FeatureStore:
    frames = np.concatenate(pieces).astype(np.float16)
    bounds = np.cumsum([0, *map(len, pieces)])
    return FeatureStore(frames, bounds, np.array([[10, 50]] * len(pieces)))


def test_scores_do_not_depend_on_the_neighbours():
    torch.manual_seed(0)
    network = Network(STUDENT).eval()
    rng = np.random.default_rng(0)
    pieces = [rng.normal(-6, 3, (n, 40)) for n in (60, 100, 140)]
    together = stream_scores(network, store_of(pieces))
    alone = [stream_scores(network, store_of([piece]))[0] for piece in pieces]
    assert np.allclose(together, alone, atol=1e-6)
    assert clip_scores(network, store_of(pieces)).shape == (3,)


def test_quiet_noise_is_about_what_the_device_appends():
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 10 ** (-70 / 20)
    mel = LogMel(FrontEnd()).whole(torch.from_numpy(noise)[None])
    assert abs(float(mel.mean()) - QUIET_LOG_MEL) < 1.5


def test_calibration_keeps_to_the_false_accepts(monkeypatch):
    """Of a stream whose peaks are known, the threshold lets through one an hour at most."""
    network = Network(STUDENT)
    hour = 45_000
    stream = np.full(2 * hour, 0.01, np.float32)
    for index, peak in enumerate((0.95, 0.85, 0.75, 0.65, 0.55)):
        stream[1000 + 10_000 * index :][:4] = peak
    monkeypatch.setattr("train_host.calibrate.stream_probabilities", lambda *_: stream)
    traces = [np.array([0, 0, 0, 0, p, p, p, 0], np.float32) for p in (0.99, 0.9, 0.3)]
    monkeypatch.setattr("train_host.calibrate.stream_traces", lambda *_: traces)
    clips = store_of([np.zeros((80, 40))] * 4)
    is_keyword = np.array([True, True, True, False])
    detection, expected = calibrate(network, clips, is_keyword, None)
    assert 0.75 < detection.threshold <= 0.85
    assert expected["false_accepts"] == 2
    assert (expected["keywords"], expected["missed"]) == (3, 1)
    # Nothing may fire at what is quiet, however often speech may.
    loud = np.full(hour, 0.01, np.float32)
    loud[1000:1004] = 0.92
    louder, _ = lowest(network, [[stream]], 1.0, [[loud]])
    assert 0.92 < louder.threshold <= 0.93
    seldom, _ = lowest(network, [[stream]], 0.5)
    assert 0.85 < seldom.threshold <= 0.86
    stricter = detection_for(network, 0.9)
    assert len(detections(stream, stricter, 0.08)) == 1


@pytest.mark.parametrize(
    ("size", "listener"), [("medium", "small-listener"), ("large", "listener")]
)
def test_the_larger_sizes_are_cascades(size, listener, few_clips, tmp_path: Path, capsys):
    build = tmp_path / f"sheila-{size}"
    cache = ["--cache", str(tmp_path / "features")]
    assert train.main([*cache, "--size", size, "--output", str(build)]) == 0
    student, record = load_checkpoint(build / "student.pt")
    assert student.shape == read_recipe(FOLDER / f"{size}.toml").shape
    tutor, _ = load_checkpoint(build / "tutor.pt")
    verifier, _ = load_checkpoint(build / "verifier_1.pt")
    assert len(record["verifiers"]) == 1
    assert verifier.shape == listeners.SHAPES[listener]
    if size == "large":  # the tutor as it is
        for one, other in zip(verifier.parameters(), tutor.parameters(), strict=True):
            assert torch.equal(one, other)


def recordings(folder: Path) -> Path:
    """Two seconds of coloured noise by each of six people."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for person in range(6):
        sound = np.cumsum(rng.standard_normal(32000)) * 0.01
        sound -= np.convolve(sound, np.ones(200) / 200, "same")
        soundfile.write(folder / f"{person}-1-0000.wav", sound * 0.3, 16000)
    return folder


def test_a_cross_fitting_gives_the_threshold(few_clips, tmp_path: Path, capsys):
    common = ["--cache", str(tmp_path / "features"), "--size", "large"]
    common += ["--speech", str(recordings(tmp_path / "speech"))]
    common += ["--noise", str(recordings(tmp_path / "noise"))]
    folds = [str(tmp_path / f"fold{fold}") for fold in (0, 1)]
    for number, fold in enumerate(folds):
        assert train.main([*common, "--fold", str(number), "--output", fold]) == 0
    everything = [*common, "--every-recording", "--folds", *folds]
    assert train.main([*everything, "--output", str(tmp_path / "all")]) == 0
    _, record = load_checkpoint(tmp_path / "all" / "student.pt")
    assert record["expected"]["negatives"].endswith("each fold of a cross-fitting held out")
    # Two people of six in each fold, two seconds each.
    assert record["expected"]["hours"] == pytest.approx(8 / 3600, abs=3e-4)
    # Those two people's noise in each fold, and that of the embedded corpus.
    assert record["expected"]["noise_hours"] > 8 / 3600
    assert train.main([*common, "--folds", str(tmp_path), "--output", str(tmp_path / "b")]) == 1
    assert "student.pt: not a checkpoint" in said(capsys)
