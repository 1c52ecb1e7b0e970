"""Figures from traces whose every detection is known, pooled and swept."""

from pathlib import Path

import numpy as np
import pytest

from device.errors import ExportError
from device.manifest import Detection
from train_host.evaluation_figures import (
    Evaluation,
    Run,
    Swept,
    read_evaluation,
    summarise,
    threshold_for,
    working,
)
from train_host.evaluation_table import explanations, tables
from train_host.listening import Heard
from train_host.tape import Event
from train_host.tape_conditions import CLEAN, NEGATIVES, QUIET

STEP_S = 0.1
DETECTION = Detection(threshold=0.6, smoothing_steps=1, rearm=0.3, refractory_s=0.5, mute_steps=0)


def heard(name: str, seconds: float, peaks: dict[float, float], events=()) -> Heard:
    """A tape whose probability is 0 but for one step at each of the times."""
    trace = np.zeros(round(seconds / STEP_S), np.float32)
    for at, probability in peaks.items():
        trace[round(at / STEP_S) - 1] = probability
    return Heard(name, seconds, tuple(events), trace, STEP_S, cpu_s=seconds / 1000)


def said(start_s: float, speaker: str = "ann", kind: str = "real") -> Event:
    return Event(start_s, start_s + 0.5, speaker, kind, f"{start_s}.wav")


def run(seed: int = 0) -> Run:
    events = [said(10), said(20, "bob"), said(30, "voice", "synthetic")]
    return Run(
        DETECTION,
        (
            heard(NEGATIVES, 3600, {5.0: 0.9, 900.0: 0.7, 1000.0: 0.5}),
            heard(NEGATIVES, 3600, {5.0: 0.8}),
            heard(CLEAN, 60, {10.7: 0.95, 20.6: 0.5, 31.0: 0.7, 50.0: 0.9}, events),
            heard(QUIET, 1800, {}),
        ),
    )


def test_figures_at_the_model_s_own_threshold() -> None:
    found = working([run()], None)
    assert (found.negatives.count, found.negatives.hours) == (3, 2.0)
    assert (found.quiet.count, found.quiet.hours) == (0, 0.5)
    assert found.among_keywords.count == 1
    real, synthetic = found.row(CLEAN, "real"), found.row(CLEAN, "synthetic")
    assert real is not None
    assert synthetic is not None
    assert (real.missed, real.keywords, real.speakers, real.clips) == (1, 2, 2, 2)
    assert real.latency_s == pytest.approx((0.2, 0.2))
    assert synthetic.latency_s == pytest.approx((0.5, 0.5))
    assert found.row("reverberation", "real") is None


def test_a_lower_threshold_finds_more_and_fires_more() -> None:
    found = working([run()], 0.4)
    real = found.row(CLEAN, "real")
    assert real is not None
    assert (real.missed, found.negatives.count) == (0, 4)


def test_folds_are_pooled_by_their_counts() -> None:
    strict = Run(Detection(0.92, 1, 0.46, 0.5, 0), run().heard)
    found = summarise("pooled", [run(), strict])
    assert found.thresholds == (0.6, 0.92)
    assert found.own.threshold is None
    assert (found.own.negatives.count, found.own.negatives.hours) == (3 + 0, 4.0)
    row = found.own.row(CLEAN, "synthetic")
    assert row is not None
    assert (row.missed, row.keywords) == (1, 2)
    # At common thresholds both folds do the same.
    one = summarise("one", [run()])
    assert [p.false_accepts for p in found.curve] == [2 * p.false_accepts for p in one.curve]
    assert [p.missed for p in found.curve] == [p.missed for p in one.curve]
    assert found.cpu_ms_per_second == pytest.approx(1.0)


def test_the_swept_threshold_is_the_lowest_that_keeps_to_the_rate() -> None:
    curve = [Swept(t, false, {}) for t, false in ((0.2, 1), (0.4, 5), (0.6, 2), (0.8, 1), (0.9, 0))]
    # 0.2 keeps to it by chance: above it stands a threshold that does not.
    assert threshold_for(curve, 1.0, 2.0) == 0.6
    assert threshold_for(curve, 0.5, 2.0) == 0.8
    assert threshold_for(curve, 5.0, 2.0) == 0.2
    assert threshold_for(curve, 0.95, 1.08) == 0.8
    assert threshold_for(curve, 0.5, 1.08) is None, "one in 1.08 h is not 0.5 an hour"
    assert threshold_for(curve, 0.2, 2.0) is None, "of two hours, 0.2 an hour cannot be told"
    assert threshold_for(curve[:2], 1.0, 2.0) is None


def test_rates_that_the_hours_cannot_tell_are_left_out() -> None:
    found = summarise("one", [run()])
    assert set(found.at_rates) == {"0.5", "1", "2", "5"}
    assert found.at_rates["1"].negatives.count <= 2


def test_an_evaluation_survives_its_file(tmp_path: Path) -> None:
    origins = {"positives": "a", "negatives": "b", "noise": "c", "impulses": "d"}
    systems = (summarise("one", [run()]), summarise("two", [run(), run()], peak_mib=40.0))
    evaluation = Evaluation("sheila", "2026-01-01", "machine", origins, ("note",), systems)
    evaluation.write(tmp_path / "new" / "evaluation.json")
    assert read_evaluation(tmp_path / "new" / "evaluation.json") == evaluation
    assert read_evaluation(tmp_path / "evaluation.json") is None
    for text in ("{}", "[", '{"systems": [{}]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ExportError, match="make evaluate"):
            read_evaluation(tmp_path / "bad.json")


def test_the_tables_say_every_figure() -> None:
    origins = {"positives": "a", "negatives": "b", "noise": "c", "impulses": "d"}
    evaluation = Evaluation("sheila", "", "", origins, (), (summarise("one", [run()]),))
    found = tables(evaluation)
    cells = {row.label: row.cells[0] for table in found for row in table.rows}
    assert cells["threshold"] == "0.6"
    assert cells["false accepts in running speech"] == "3 in 2.00 h"
    assert cells["  an hour"] == "1.50 (0.31 to 4.38)"
    assert cells["clean, real"] == "200 / 200"
    real = next(table for table in found if table.title.startswith("Real keywords"))
    assert real.rows[0].cells[0].startswith("1 of 2: 50.0 % (")
    assert any(row.label == "clean, 1 an hour" for table in found for row in table.rows)
    assert "Positives: a." in explanations(evaluation)[0]
