"""One line for each check, and what holds after every one of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

from machine import start  # noqa: E402
from target import PI, Target, Word, find_word  # noqa: E402


@pytest.fixture(scope="session")
def pi() -> Iterator[Target]:
    target = Target()
    if PI:
        yield target
        return
    started = start(target.machine, keep=False)
    yield target
    if started:
        target.machine.shut_down()


@pytest.fixture(scope="session")
def word(tmp_path_factory: pytest.TempPathFactory) -> Word:
    return find_word(tmp_path_factory.mktemp("word") / "word.wav")


@pytest.fixture(autouse=True)
def it_listens_again(pi: Target, request: pytest.FixtureRequest) -> Iterator[None]:
    """After every check the service hears sound, without a hand on it, and the LED is dark."""
    yield
    if request.node.get_closest_marker("removed") is None:
        pi.wait_until_it_hears()
        assert pi.led() != "hi"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "removed: the service is gone after this check")


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    if report.when != "call" or not report.passed:
        return None
    told = "".join(f", {name} {value}" for name, value in report.user_properties)
    return "passed", ".", f"passed in {report.duration:.0f} s{told}"
