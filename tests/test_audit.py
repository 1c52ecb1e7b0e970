"""What is made of pip-audit's answers; its own output as version 2.10 gives it."""

import json
from pathlib import Path

import pytest

from deploy.audit import main

SAFE = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "wyoming", "skip_reason": "Dependency not found on PyPI: wyoming (1.10.2)"}
BROKEN = {
    "name": "pyyaml",
    "version": "5.3",
    "vulns": [{"id": "PYSEC-2020-96", "fix_versions": ["5.3.1"], "aliases": [], "description": ""}],
}


def tool(folder: Path, answer: str) -> Path:
    """A program in the place of pip-audit that answers so, with its status."""
    path = folder / "pip-audit"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\necho 'no network' >&2\nexit 1\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("packages", "status", "told", "warned"),
    [
        ([SAFE], 0, "x.txt: 1 packages checked, 0 vulnerabilities\n", ""),
        ([SAFE, SKIPPED], 0, "1 packages checked", "not known there: wyoming"),
        ([SKIPPED], 0, "", "nothing of x.txt and what follows it was checked: the registry's"),
        (
            [SAFE, BROKEN],
            1,
            "x.txt: pyyaml 5.3: PYSEC-2020-96, mended in 5.3.1\nx.txt: 2 packages checked, 1 ",
            "",
        ),
    ],
)
def test_answers(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    packages: list[object],
    status: int,
    told: str,
    warned: str,
) -> None:
    program = tool(tmp_path, json.dumps({"dependencies": packages, "fixes": []}))
    assert main(["--tool", str(program), str(tmp_path / "x.txt")]) == status
    output = capsys.readouterr()
    assert output.out.startswith(told) or told in output.out
    assert bool(output.out) == bool(told)
    assert warned in output.err and bool(output.err) == bool(warned)


@pytest.mark.parametrize("answer", ["", "{}", "[]x"])
def test_no_answer_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    assert main(["--tool", str(tool(tmp_path, answer)), str(tmp_path / "x.txt")]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("audit: nothing of x.txt was checked (no network);")
    assert output.err.count("\n") == 1


def test_no_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tool", str(tmp_path / "absent"), str(tmp_path / "x.txt")]) == 0
    assert "pip-audit cannot be run" in capsys.readouterr().err
