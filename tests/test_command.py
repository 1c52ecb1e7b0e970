"""The command, with real programs."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device.command import Command
from device.settings import CommandSettings
from device.spotter import Hit

HIT = Hit("sheila", 1.0, 0.91234, 5.0)


class Started:
    """A command, and what it has said."""

    def __init__(self, limit_s: float, *arguments: str) -> None:
        self.said: list[str] = []
        self.command = Command(CommandSettings(arguments, limit_s), self.said.append)

    def detected(self) -> float:
        """One detection; returns the seconds that it took the loop."""
        began = time.monotonic()
        self.command.detected(HIT, began)
        return time.monotonic() - began


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    started: list[Started] = []

    def start(*arguments: str, limit_s: float = 10.0) -> Started:
        started.append(Started(limit_s, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.command.close()


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not holds():
        time.sleep(0.01)
    return holds()


def runs(pid: int) -> bool:
    """Whether the process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def number_in(path: Path) -> int:
    assert until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_it_runs_without_a_shell_and_is_told_of_the_detection(
    start: Callable[..., Started], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    code = "import os, sys; open(sys.argv[1], 'w').write(repr((sys.argv[2], dict(os.environ))))"
    done = tmp_path / "done"
    each = start(sys.executable, "-c", code, str(done), "$HOME; touch x && `id`")
    each.detected()
    assert until(lambda: done.exists() and done.read_text().endswith("})"))
    argument, environment = eval(done.read_text())
    assert argument == "$HOME; touch x && `id`"
    assert environment["KWS_PI_KEYWORD"] == "sheila"
    assert environment["KWS_PI_PROBABILITY"] == "0.9123"
    assert environment["PATH"] == os.environ["PATH"]
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(environment)
    assert each.said == []


def test_a_slow_one_takes_no_time_of_the_loop_and_runs_alone(
    start: Callable[..., Started], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    each = start("/bin/sh", "-c", f"echo x >> {log}; exec sleep 60")
    times = [each.detected()]
    assert until(log.exists)
    times += [each.detected() for _ in range(3)]
    assert max(times) < 0.5  # it sleeps for a minute
    assert log.read_text() == "x\n"
    assert len(each.said) == 3
    assert "still runs, so this detection did not start it" in each.said[0]


def test_it_is_killed_at_the_limit_with_all_that_it_started(
    start: Callable[..., Started], tmp_path: Path
) -> None:
    child = tmp_path / "child"
    # The child ignores everything that can be ignored.
    script = f"trap '' TERM HUP INT; sleep 60 & echo $! > {child}; wait"
    each = start("/bin/sh", "-c", script, limit_s=0.5)
    each.detected()
    pid = number_in(child)
    assert runs(pid)
    assert until(lambda: bool(each.said))
    assert each.said == ["the command '/bin/sh' was killed after 0.5 s (command.limit_s)"]
    assert until(lambda: not runs(pid))
    each.detected()
    assert until(lambda: len(each.said) == 2)
    assert each.said[1] == each.said[0]


def test_what_it_leaves_behind_ends_with_it(start: Callable[..., Started], tmp_path: Path) -> None:
    child = tmp_path / "child"
    each = start("/bin/sh", "-c", f"sleep 60 & echo $! > {child}")
    each.detected()
    pid = number_in(child)
    assert until(lambda: not runs(pid))
    assert each.said == []


def test_failures_are_said_and_do_not_end_it(start: Callable[..., Started], tmp_path: Path) -> None:
    each = start("/bin/sh", "-c", "exit 3")
    each.detected()
    assert until(lambda: len(each.said) == 1)
    assert each.said == ["the command '/bin/sh' failed: it ended with status 3"]
    # The next may come a moment too early, while the first is put away.
    again = each.said[0]
    assert until(lambda: each.detected() < 1 and each.said.count(again) >= 2)
    killed = start("/bin/sh", "-c", "kill -SEGV $$")
    killed.detected()
    assert until(lambda: bool(killed.said))
    assert killed.said == [f"the command '/bin/sh' failed: it ended by signal {signal.SIGSEGV}"]
    absent = start(str(tmp_path / "absent"))
    absent.detected()
    assert until(lambda: bool(absent.said))
    assert "cannot be started (No such file or directory)" in absent.said[0]


def test_the_end_of_the_daemon_is_its_end(start: Callable[..., Started], tmp_path: Path) -> None:
    child = tmp_path / "child"
    each = start("/bin/sh", "-c", f"echo $$ > {child}; exec sleep 60")
    each.detected()
    pid = number_in(child)
    began = time.monotonic()
    each.command.close()
    assert time.monotonic() - began < 1
    assert not runs(pid)
    assert each.said == []
