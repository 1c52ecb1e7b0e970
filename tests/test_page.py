"""The report's page: complete, closed in itself, and the same in a real browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shapes import STUDENT  # noqa: E402

from device.errors import ExportError  # noqa: E402
from device.manifest import Detection, FrontEnd, Manifest, ModelFile  # noqa: E402
from train_host.evaluation_figures import Evaluation, Run, summarise  # noqa: E402
from train_host.listening import Heard  # noqa: E402
from train_host.metrics import bootstrap, miss_at, one_minus_auc  # noqa: E402
from train_host.network import BASE_32, BASE_64, Network, save_checkpoint  # noqa: E402
from train_host.page import main, write_page  # noqa: E402
from train_host.tape import Event  # noqa: E402

HOSTILE = '<script>console.log("loaded")</script><img src=x onerror="console.log(1)">&amp;'
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
SECTIONS = [
    "Quality against cost",
    "Result table",
    "Misses against false accepts (DET)",
    "Continuous audio",
    "Beside other spotters",
    "Training",
    "Every method by itself",
    "Tried, and did not help",
    "Search",
]


def quality(scores: np.ndarray, is_keyword: np.ndarray, rows: np.ndarray) -> dict:
    keywords, others = scores[rows & is_keyword], scores[rows & ~is_keyword]
    speakers = [str(i // 3) for i in np.flatnonzero(rows)]
    return {
        "keywords": len(keywords),
        "others": len(others),
        "one_minus_auc": one_minus_auc(keywords, others),
        "one_minus_auc_interval": bootstrap(scores[rows], is_keyword[rows], speakers, resamples=50),
        "au": 1e-3,
        "au_scaled": 1e-4,
        "miss_at_0.1%": miss_at(keywords, others, 0.001),
        "miss_at_1%": miss_at(keywords, others, 0.01),
    }


def make_build(folder: Path, keyword: str, corpus: str) -> Path:
    """A build folder after `make report`, its scores drawn at random."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    curve = [(50 * i, 3 / (i + 1)) for i in range(1, 20)]
    for name, shape in (("student", STUDENT), ("base", BASE_32)):
        save_checkpoint(Network(shape), folder / f"{name}.pt", curve=curve)
    save_checkpoint(Network(BASE_64), folder / "teacher.pt", origin="published.pth")
    is_keyword = np.arange(240) % 4 == 0
    is_real = np.arange(240) < 120
    scores = {
        name: rng.normal(is_keyword * strength).astype(np.float32)
        for name, strength in (("teacher", 2.5), ("base", 2), ("base int8", 1.9), ("student", 2.2))
    }
    np.savez(folder / "scores.npz", is_keyword=is_keyword, is_real=is_real, **scores)
    groups = {"real": is_real, "synthetic": ~is_real}
    sizes = {"teacher": (932_224, 283_566), "base": (432_672, 103_330)}
    sizes |= {"base int8": (432_672, 30_650), "student": (26_000, 5_000)}
    columns = {
        name: {
            "parameters": 1234,
            "macs_clip": macs,
            "macs_stream_second": macs * 1.1,
            "bytes_state_dict": None if name == "base int8" else 4 * size,
            "bytes_weights": size,
            "bytes_onnx": size,
            "microseconds_per_step": 30.5,
            "quality": {
                group: quality(scores[name], is_keyword, rows) for group, rows in groups.items()
            },
        }
        for name, (macs, size) in sizes.items()
    }
    exports = {
        "onnx": {"file": "word.onnx", "bytes": 5_000},
        "ts_buffer_1": {
            "file": "word.buffer_1.ts",
            "bytes": 80_000,
            "quality": columns["student"]["quality"],
        },
        "dynamic_ts": {
            "file": "word.dynamic.ts",
            "bytes": 90_000,
            "quality": columns["base"]["quality"],
        },
    }
    figures = {
        "keyword": keyword,
        "corpus": {"name": corpus, "kind": "recordings"},
        "date": "2026-01-02",
        "teacher": "published.pth",
        "columns": columns,
        "exports": exports,
        "front_end_macs_clip": 469_145,
        "resamples": 50,
        "machine": "x86_64, Python 3.11.7",
    }
    (folder / "word.table.json").write_text(json.dumps(figures))
    (folder / "word.onnx").write_bytes(b"")
    Manifest(
        keyword=keyword,
        front_end=FrontEnd(),
        step_samples=1280,
        states=(),
        detection=Detection(0.83, 2, 0.4, 1.0, 3),
        files={"onnx": ModelFile("word.onnx", "0", 0)},
        training={
            "expected": {
                "negatives": "running speech",
                "hours": 0.94,
                "false_accepts": 1,
                "noise_hours": 0.61,
                "keywords": 744,
                "missed": 35,
            }
        },
    ).write(folder / "word.json")
    return folder


def make_models(folder: Path, text: str) -> Path:
    """Findings of a laboratory and a search that never were."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    groups = ["start", *["pruning"] * 4, *["distillation"] * 4, *["quantization"] * 3]
    rows = [
        {
            "method": f"method {i} {text if i == 1 else ''}",
            "group": group,
            "setting": text,
            "parameters": 3000 - 100 * i,
            "macs_clip": 40_000 - 1500 * i,
            "bytes_onnx": 16_000 - 900 * i,
            "one_minus_auc": {
                "real": rng.uniform(0.01, 0.1, 3).tolist(),
                "synthetic": rng.uniform(0.02, 0.1, 3).tolist(),
            },
            "note": text,
        }
        for i, group in enumerate(groups)
    ]
    laboratory = {
        "machine": "a laptop",
        "steps": 1500,
        "seeds": [0, 1, 2],
        "corpus": text,
        "rows": rows,
        "did_not_help": [f"label smoothing {text}", "a wider window"],
    }
    trials = [
        {
            "number": i,
            "label": f"hidden {i} {text if i == 8 else ''}",
            "macs_clip": 10_000 + 2_000 * i,
            "bytes_onnx": 3_000 + 400 * i,
            "one_minus_auc": None if i % 5 == 4 else 0.08 / (i + 1),
            "front": i % 4 == 0,
            "state": "pruned" if i % 5 == 4 else "complete",
        }
        for i in range(20)
    ]
    search = {
        "machine": "a laptop",
        "corpus": text,
        "steps": 1000,
        "objective": "1 - AUC of held-out voices",
        "trials": trials,
    }
    (folder / "laboratory.json").write_text(json.dumps(laboratory))
    (folder / "search.json").write_text(json.dumps(search))
    return folder


class Page(HTMLParser):
    """What a test asks about a page."""

    VOID = frozenset({"meta", "br", "img", "input", "link", "hr", "base"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.labels: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open[-1:] == ["text"] and "label" in (self.tags[-1][1].get("class") or ""):
            self.labels.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    return make_build(tmp_path_factory.mktemp("page") / "word", "sheila", "a corpus")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return make_models(tmp_path_factory.mktemp("found") / "models", "half of them")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    path = write_page(
        make_build(folder / "word", HOSTILE, HOSTILE), make_models(folder / "models", HOSTILE)
    )
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(build: Path, models: Path) -> str:
    return write_page(build, models).read_text(encoding="utf-8")


def test_page_has_every_section_and_figure(text: str, build: Path):
    page = Page(text)
    assert page.headings == SECTIONS
    assert page.count("h1") == 1
    assert page.count("table") == 4
    assert page.count("figure") == 4 + 2 + 2  # fronts, errors, training of base and student
    student = json.loads((build / "word.table.json").read_text())["columns"]["student"]
    real = student["quality"]["real"]
    low, high = real["one_minus_auc_interval"]
    for words in (
        "reaches 0.83",
        "1 false accept in 0.94 h of running speech, none in 0.61 h of noise and music and missed",
        "missed 35 of 744 keywords",
        "432,672",
        f"{432_672 / 26_000:.2f} times fewer",
        f"{real['one_minus_auc']:.2e}",
        f"{low:.2e} to {high:.2e}",
        "50 bootstrap resamples of the speakers",
        "published.pth is a published one: it may have been trained on these very clips",
        "Measured 2026-01-02 on x86_64, Python 3.11.7",
        "word.dynamic.ts",
        "Teacher: not trained in this run",
    ):
        assert words in page.text, words


def test_page_shows_the_evaluation_of_its_keyword(tmp_path: Path, models: Path):
    made = make_build(tmp_path / "word-small", "sheila", "a corpus")
    assert (
        "Not measured: there is no evaluation.json"
        in Page(write_page(made, models).read_text(encoding="utf-8")).text
    )
    trace = np.zeros(45_000, np.float32)
    trace[[100, 200, 300]] = 0.9
    said = Event(7.5, 8.0, "ann", "real", "a.wav")
    heard = [
        Heard(n, 3600, e, trace, 0.08, 4.0) for n, e in (("negatives", ()), ("clean", (said,)))
    ]
    system = summarise("some model", [Run(Detection(0.83, 1, 0.4, 1.0, 3), tuple(heard))])
    origins = dict.fromkeys(("positives", "negatives", "noise", "impulses"), "folder")
    evaluation = Evaluation("sheila", "2026-01-03", "machine", origins, (), (system,))
    evaluation.write(tmp_path / "sheila" / "evaluation.json")
    page = Page(write_page(made, models).read_text(encoding="utf-8"))
    for words in ("some model", "3 in 1.00 h", "0 of 1: 0.0 %", "Measured 2026-01-03 on machine"):
        assert words in page.text, words
    assert page.count("figure") == 4 + 2 + 2 + 1


def test_front_labels_base_models_and_settings(text: str):
    labels = set(Page(text).labels)
    assert {"base, hidden 32", "base, hidden 32, int8", "teacher, hidden 64", "dynamic"} <= labels
    assert "student, buffer 1" in labels  # it falls on the student, whose MACs it shares
    assert {str(n) for n in range(1, 13)} <= labels  # each method has costs of its own here
    assert any(label.startswith("hidden 12") for label in labels)  # a trial on the front


def test_findings_say_where_they_were_measured(text: str):
    page = Page(text)
    conditions = "on half of them, 1,500 steps of training, 3 seeds, a laptop"
    assert page.text.count(conditions) == 3  # at the front, the methods and what did not help
    assert "label smoothing half of them" in page.text
    assert "1 - AUC of held-out voices, on half of them, 1,000 steps of training" in page.text
    assert "20 trials, 4 of them ended early" in page.text
    assert "compare their order, not their height" in page.text


def test_pruned_trials_are_not_drawn(text: str):
    titles = re.findall(r"<title>trial (\d+):", text)
    assert titles
    assert all(int(number) % 5 != 4 for number in titles)


def test_without_findings_the_page_says_so(build: Path, tmp_path: Path):
    page = Page(write_page(build, tmp_path).read_text(encoding="utf-8"))
    assert page.headings == SECTIONS
    assert "there is no laboratory.json (`make methods` writes it)" in page.text
    assert "there is no search.json (`make search` writes it)" in page.text
    assert page.count("table") == 2


def test_findings_of_the_build_come_before_those_of_models(
    build: Path, models: Path, tmp_path: Path
):
    copy = tmp_path / "word"
    shutil.copytree(build, copy)
    own = make_models(tmp_path / "own", "a corpus")  # that of the build, as its figures say
    shutil.copy(own / "laboratory.json", copy)
    page = Page(write_page(copy, models).read_text(encoding="utf-8"))
    assert page.text.count("on a corpus, 1,500 steps of training") == 3
    assert page.text.count("compare their order, not their height") == 1  # the search's, of models


@pytest.mark.parametrize("which", ["text", "hostile"])
def test_page_refers_to_nothing_outside_itself(which: str, request):
    page = request.getfixturevalue(which)
    parsed = Page(page)
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "a", "image"}
    for _, attributes in parsed.tags:
        assert not attributes.keys() & {"src", "href", "xlink:href", "srcset", "style", "action"}
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"https?:|//|url\(|@import", page.replace("</", ""))


def test_text_from_data_is_escaped(hostile: str):
    assert Page(hostile).headings == SECTIONS
    assert "<script" not in hostile
    assert "<img" not in hostile
    # In the heading's sentence, the corpus, the methods' settings, notes and conditions.
    assert hostile.count("&lt;script&gt;") > 10
    assert HOSTILE in Page(hostile).text


def test_command_makes_the_page_again(build: Path, models: Path, capsys):
    (build / "report.html").unlink(missing_ok=True)
    assert main(["--build", str(build), "--models", str(models)]) == 0
    assert (build / "report.html").is_file()


@pytest.mark.parametrize("missing", ["scores.npz", "word.table.json"])
def test_without_a_report_one_sentence(build: Path, tmp_path: Path, missing: str, capsys):
    copy = tmp_path / "word"
    shutil.copytree(build, copy)
    (copy / missing).unlink()
    with pytest.raises(ExportError, match="run `make report` first"):
        write_page(copy, tmp_path)
    assert main(["--build", str(copy)]) == 1
    assert "error:" in capsys.readouterr().out


def browse(page: Path, folder: Path) -> tuple[str, str]:
    """The page's elements as Chromium holds them, and what it wrote about them."""
    assert BROWSER
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={folder}", "--window-size=1200,3000", "--enable-logging=stderr",
            "--v=0", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@needs_browser
@pytest.mark.parametrize("which", ["text", "hostile"])
def test_browser_shows_the_page_without_complaint(which: str, request, tmp_path: Path):
    text = request.getfixturevalue(which)
    page = tmp_path / "report.html"
    page.write_text(text, encoding="utf-8")
    dom, log = browse(page, tmp_path / "profile")
    shown = Page(dom)
    assert shown.headings == SECTIONS
    for tag in ("table", "figure", "svg", "polyline", "td"):
        assert shown.count(tag) == Page(text).count(tag) > 0
    assert "CONSOLE" not in log


@needs_browser
def test_browser_lays_no_label_on_another(text: str, tmp_path: Path):
    """Measured with the browser's own font, and that the page is as wide as the window."""
    script = """<script>
    const boxes = svg => [...svg.querySelectorAll('text')].map(t => t.getBoundingClientRect());
    const hit = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
        && a.top < b.bottom - 3 && b.top < a.bottom - 3;
    let labels = 0, overlaps = 0, outside = 0;
    for (const svg of document.querySelectorAll('figure svg')) {
      const all = boxes(svg), frame = svg.getBoundingClientRect();
      labels += all.length;
      all.forEach((a, i) => {
        overlaps += all.slice(i + 1).filter(b => hit(a, b)).length;
        outside += a.left < frame.left - 1 || a.right > frame.right + 1;
      });
    }
    const wide = document.documentElement.scrollWidth > window.innerWidth;
    document.body.dataset.found = JSON.stringify({labels, overlaps, outside, wide});
    </script></body>"""
    page = tmp_path / "report.html"
    opened = re.sub(r"<meta http-equiv[^>]*>", "", text)  # the page itself lets no script run
    page.write_text(opened.replace("</body>", script), encoding="utf-8")
    dom, _ = browse(page, tmp_path / "profile")
    found = json.loads(dict(next(t for t in Page(dom).tags if t[0] == "body")[1])["data-found"])
    assert found.pop("labels") > 80
    assert found == {"overlaps": 0, "outside": 0, "wide": False}
