"""Notifications on a real socket, and the journal's records."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_kit import ROOT, private_run

from device import notify
from device.notify import RECORDS, WARNING, Event, Journal, Notifier, datagram

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
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent")
    notifier = Notifier()
    notifier.ready()
    notifier.alive(0.0)
    assert capsys.readouterr().err == ""


@pytest.fixture
def no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without systemd; that of this one, if any, is left alone."""
    monkeypatch.setattr(notify, "JOURNAL_SOCKET", str(tmp_path / "absent"))


@pytest.mark.usefixtures("no_journal")
def test_without_a_journal_the_log_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal()
    journal.record("hello")
    journal.close()
    assert capsys.readouterr().err == "kws-pi: hello\n"


JOURNALD = """
import os, socket, sys, time
os.makedirs("/run/systemd/journal")
journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journald.bind("/run/systemd/journal/socket")
from device.notify import RECORDS, Event, Journal
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
journal = Journal()
"""
"""A socket in journald's place, and a journal that writes to it."""

RECORD = """
journal.record("detected 'sheila'", event=Event.DETECTED, KEYWORD="sheila", LATENCY_MS="1.25")
journal.close()
sys.stdout.buffer.write(journald.recv(65536))
"""


def in_a_private_run(code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with a /run of its own, in a mount namespace."""
    return subprocess.run(
        [*private_run(), sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_detection_is_one_structured_record() -> None:
    """The record as journald receives it, on a socket in a mount namespace of the test's own."""
    run = in_a_private_run(JOURNALD + RECORD)
    fields = run.stdout.splitlines()
    assert "MESSAGE=detected 'sheila'" in fields, run.stderr
    assert {"KEYWORD=sheila", "LATENCY_MS=1.25", "PRIORITY=6"} <= set(fields)
    assert f"MESSAGE_ID={Event.DETECTED}" in fields
    # Where stderr is the journal, the record is not doubled by a line.
    assert run.stderr == ""


def test_a_record_keeps_lines_and_odd_bytes() -> None:
    """A line's end takes the form with a length; a file's name need not be UTF-8."""
    sent = datagram({"MESSAGE": "two\nlines", "FILE": "\udcff.onnx"})
    assert sent == b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nFILE=\\udcff.onnx\n"


FULL = """
began = time.monotonic()
for number in range(3 * RECORDS + 1000):
    journal.record(f"record {number}")
assert time.monotonic() - began < 5, "it waited for the journal"
journald.settimeout(2)
heard = 0
try:
    while True:
        journald.recv(65536)
        heard += 1
except TimeoutError:
    pass
journal.record("last")
journal.close()
while True:
    record = journald.recv(65536).decode().splitlines()
    print(record[0])
    if record[0] == "MESSAGE=last":
        break
print(heard)
"""


def test_a_full_journal_holds_nobody_up_and_loses_records_by_count() -> None:
    run = in_a_private_run(JOURNALD + FULL)
    assert run.returncode == 0, run.stderr
    *records, heard = run.stdout.splitlines()
    sent = 3 * RECORDS + 1000
    assert RECORDS <= int(heard) < sent
    # On a busy machine the loss is told in several records.
    *lost, last = records
    told = [
        re.fullmatch(r"MESSAGE=the journal did not take (\d+) records of kws-pi", r) for r in lost
    ]
    assert sum(int(match[1]) for match in told if match) == sent - int(heard)
    assert last == "MESSAGE=last"


def test_every_event_has_an_id_of_its_own() -> None:
    assert all(re.fullmatch("[0-9a-f]{32}", event) for event in Event)
    assert len(set(Event)) == len(Event.__members__)


@pytest.mark.usefixtures("no_journal")
def test_records_come_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal()
    for number in range(RECORDS):
        journal.record(str(number), WARNING)
    journal.close()
    assert capsys.readouterr().err == "".join(f"kws-pi: {number}\n" for number in range(RECORDS))
