"""Notifications on a real socket, and the journal's records."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_kit import ROOT

from device.notify import DETECTION_ID, Journal, Notifier

needs_systemd = pytest.mark.skipif(
    importlib.util.find_spec("systemd") is None, reason="systemd-python is not installed"
)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd would receive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        yield receiver


def received(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


@needs_systemd
def test_messages_arrive(manager: socket.socket) -> None:
    notifier = Notifier()
    notifier.ready()
    notifier.status("listening")
    notifier.alive(0.0)
    notifier.stopping()
    assert received(manager) == ["READY=1", "STATUS=listening", "WATCHDOG=1", "STOPPING=1"]


@needs_systemd
def test_same_status_is_sent_once(manager: socket.socket) -> None:
    notifier = Notifier()
    for text in ("listening", "listening", "waiting for microphone", "listening"):
        notifier.status(text)
    assert received(manager) == [
        "STATUS=listening",
        "STATUS=waiting for microphone",
        "STATUS=listening",
    ]


@needs_systemd
def test_watchdog_is_served_four_times_in_its_time(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    notifier = Notifier()
    messages = []
    for step in range(100):  # 8 s in steps of 80 ms
        notifier.alive(step * 0.08)
        messages += received(manager)
    assert 13 <= len(messages) <= 16


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready()


def test_without_systemd_python(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "systemd.daemon", None)
    monkeypatch.setitem(sys.modules, "systemd.journal", None)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent")
    notifier = Notifier()
    notifier.ready()
    notifier.alive(0.0)
    Journal().detection("sheila", 0.987654, 1.25)
    assert capsys.readouterr().err == "kws-pi: detected 'sheila' with probability 0.988\n"


def test_without_a_journal_the_log_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    if Path("/run/systemd/journal/socket").exists():
        pytest.skip("this machine has a journal, and a test shall not write to it")
    Journal().record("hello")
    assert capsys.readouterr().err == "kws-pi: hello\n"


RECORD = """
import os, socket, sys
os.makedirs("/run/systemd/journal")
journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journald.bind("/run/systemd/journal/socket")
from device.notify import Journal
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
Journal().detection("sheila", 0.987654, 1.25)
sys.stdout.buffer.write(journald.recv(65536))
"""


@needs_systemd
def test_detection_is_one_structured_record() -> None:
    """The record as journald receives it, on a socket in a mount namespace of the test's own."""
    private_run = [
        *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
        'mount -t tmpfs none /run && exec "$@"',
        "sh",
    ]
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    if subprocess.run([*private_run, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives a test no namespace of its own")
    run = subprocess.run(
        [*private_run, sys.executable, "-c", RECORD],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    fields = run.stdout.splitlines()
    assert "MESSAGE=detected 'sheila' with probability 0.988" in fields, run.stderr
    assert {"KEYWORD=sheila", "PROBABILITY=0.9877", "LATENCY_MS=1.25", "PRIORITY=6"} <= set(fields)
    assert f"MESSAGE_ID={DETECTION_ID.hex}" in fields
    # Where stderr is the journal, the record is not doubled by a line.
    assert run.stderr == ""
