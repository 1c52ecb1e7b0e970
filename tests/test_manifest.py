"""The manifest's parser, given anything: a manifest or one sentence comes of it."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from device_kit import LOUD
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.errors import ManifestError
from device.manifest import Manifest, read_manifest
from device.model import load_model

anything = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
GOOD: dict[str, Any] = json.loads(LOUD.read_text(encoding="utf-8"))


def places(table: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value stands in a manifest, as the keys that lead to it."""
    found = [at] if at else []
    if isinstance(table, dict):
        entries = list(table.items())
    elif isinstance(table, list):
        entries = list(enumerate(table))
    else:
        return found
    for key, value in entries:
        found += places(value, (*at, key))
    return found


def read(folder: Path, content: str | bytes) -> Manifest | None:
    """The manifest, or None when it is refused in one sentence that names the file."""
    path = folder / "fuzzed.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    try:
        return read_manifest(path)
    except ManifestError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        return None


@anything
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_bytes_of_any_kind_are_no_manifest(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content) is None


@anything
@given(st.sampled_from(places(GOOD)), values)
def test_a_manifest_with_any_value_anywhere(
    tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    manifest = copy.deepcopy(GOOD)
    table = manifest
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = value
    found = read(tmp_path, json.dumps(manifest))
    if found is not None:
        assert json.loads(found.to_json()) == json.loads(json.dumps(manifest))


@anything
@given(st.sampled_from(places(GOOD)))
def test_a_manifest_without_a_key_is_refused_by_its_name(
    tmp_path: Path, place: tuple[Any, ...]
) -> None:
    manifest = copy.deepcopy(GOOD)
    table = manifest
    for key in place[:-1]:
        table = table[key]
    if (isinstance(table, dict) and place[0] not in ("training", "figures", "files")) or place in (
        ("training",),
        ("figures",),
        ("files",),
    ):
        del table[place[-1]]
        assert read(tmp_path, json.dumps(manifest)) is None


@anything
@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_damaged_manifest(tmp_path: Path, at: int, bytes_: bytes) -> None:
    content = LOUD.read_bytes()
    read(tmp_path, content[:at] + bytes_ + content[at + len(bytes_) :])
    read(tmp_path, content[:at])


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100000,
        '{"format": 1, "keyword": ' + "9" * 5000 + "}",
        json.dumps({**GOOD, "front_end": {**GOOD["front_end"], "floor": 10**400}}),
        json.dumps({**GOOD, "detection": {**GOOD["detection"], "refractory_s": 10**400}}),
        json.dumps({**GOOD, "step_samples": GOOD["front_end"]["hop"] * 10**12}),
        json.dumps({**GOOD, "front_end": {**GOOD["front_end"], "window": 10**12}}),
        json.dumps({**GOOD, "front_end": {**GOOD["front_end"], "mel_bands": 10**12}}),
        json.dumps({**GOOD, "detection": {**GOOD["detection"], "smoothing_steps": 10**12}}),
        json.dumps({**GOOD, "states": [{"name": "h", "shape": [1], "initial": 10**400}]}),
        json.dumps({**GOOD, "states": [{"name": "h", "shape": [1], "initial": math.nan}]}),
        json.dumps({**GOOD, "states": [{"name": "h", "shape": [1 << 19] * 4, "initial": 0.0}]}),
    ],
)
def test_numbers_that_would_fill_the_memory_are_refused(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) is None


def verifier(**changed: Any) -> dict[str, Any]:
    numbers = {"gate": 0.2, "steps": 14, "weight": 1.0, "alignments": 4}
    return {"states": GOOD["states"], **numbers, **changed}


def test_a_verifier_is_read_and_written(tmp_path: Path) -> None:
    cascade = {**GOOD, "verifiers": [verifier(), verifier(weight=0.5)]}
    manifest = read(tmp_path, json.dumps(cascade))
    assert manifest is not None
    assert json.loads(manifest.to_json()) == cascade
    assert [prefix for prefix, _ in manifest.stages] == ["", "verifier_1_", "verifier_2_"]


def test_a_verifier_of_older_models_hears_one_alignment(tmp_path: Path) -> None:
    older = verifier()
    del older["alignments"]
    manifest = read(tmp_path, json.dumps({**GOOD, "verifiers": [older]}))
    assert manifest is not None
    assert manifest.verifiers[0].alignments == 1


@pytest.mark.parametrize(
    "wrong",
    [
        [verifier(gate=0.0)],
        [verifier(gate=0.999)],
        [verifier(steps=0)],
        [verifier(steps=2.5)],
        [verifier(weight=0.0)],
        [verifier(alignments=0)],
        [verifier(alignments=3)],
        [verifier(alignments=1.0)],
        [verifier(weight=math.nan)],
        [verifier(states=3)],
        [verifier(what=1)],
        [{}],
        [3],
        {},
    ],
)
def test_a_wrong_verifier_is_refused(tmp_path: Path, wrong: Any) -> None:
    assert read(tmp_path, json.dumps({**GOOD, "verifiers": wrong})) is None


def test_the_unchanged_one_is_read_and_loads() -> None:
    assert json.loads(read_manifest(LOUD).to_json()) == GOOD
    load_model(LOUD)
