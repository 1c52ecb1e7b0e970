"""What the daemon tells systemd and the journal.

Notifications go through systemd-python; where it is absent there is nobody to
notify. Records are written to journald's socket, and to stderr where there is
none.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import os
import socket
import struct
import sys
import time
from typing import Any

from device.worker import Worker

INFO, WARNING, ERROR = 6, 4, 3
"""Priorities as in syslog(3)."""


class Event(enum.StrEnum):
    """What happened: the MESSAGE_ID of a record in the journal, the same for ever."""

    DETECTED = "6f6a8a0e2f7b4f0f9d0b5c1de1a7c3b4"
    STARTED = "3e65898da3b54530b9f08c69dd16c03d"
    LISTENING = "f6bd7d870bd74a0b931554aec80b2b35"
    MICROPHONE = "a8ef465f3f824a1e9ad0093ef8307c50"
    """The microphone is absent, busy, refused, suspended or silent; MICROPHONE_STATE says which."""
    STUCK = "0f12e3ca498d49358089e58a00ca38f5"
    LOST = "70bed22434214dfeb152c5ae4da3b378"
    """Samples were lost or passed over."""
    ZEROS = "612b5e70680e43cd94a701f5cdfbd7d6"
    SOUND = "84dfada9611c4be7b1b45e8a54cafc06"
    """The microphone delivers sound again after zeros."""
    RELOADED = "77b5e39a1746497492805436e2928a59"
    REFUSED = "6060c88965a642a28174b3a5c338c97c"
    """New settings were wrong, and the old ones stay in force."""
    ACTION = "505c08d60e96423ea390910742e4b8d7"
    """An action, the LED among them, failed or works again."""
    RECORDS_LOST = "9004fd18b7674961b3a99a6ce96e3845"
    STOPPED = "d6e9f68e711b42539f9f611d66a4dbc2"


RECORDS = 100
"""So many records wait for a journal that does not take them; later ones are counted as lost."""
FLUSH_S = 1.0
"""At the end the journal gets so long to take the last of them."""
LONGEST_WATCHDOG_PERIOD_S = 1.0


JOURNAL_SOCKET = "/run/systemd/journal/socket"


def _systemd_daemon() -> Any:
    try:
        return importlib.import_module("systemd.daemon")
    except ImportError:
        return None


class Notifier:
    """Notifications to the service manager (sd_notify(3)); without one they go nowhere."""

    def __init__(self) -> None:
        self._daemon = _systemd_daemon() if os.environ.get("NOTIFY_SOCKET") else None
        self._status = ""
        self._alive_at = float("-inf")
        self._period_s = LONGEST_WATCHDOG_PERIOD_S
        asked = os.environ.get("WATCHDOG_USEC", "")
        if asked.isdigit():
            # The manual recommends half; a quarter bears one that comes late.
            self._period_s = min(self._period_s, int(asked) / 4e6)

    def ready(self) -> None:
        """Model and settings are loaded, and the supervisor runs."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line of state, sent when it changes."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self, now: float) -> None:
        """A sign of life for the watchdog, at most four in its time. `now`: monotonic clock."""
        if now - self._alive_at >= self._period_s:
            self._alive_at = now
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """The settings are being read anew; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._daemon is None:
            return
        with contextlib.suppress(OSError):  # a manager that is gone must not stop the listening
            self._daemon.notify(message)


Record = dict[str, str]


class Journal:
    """The log: structured records in the journal, and lines on stderr where that is not it.

    A thread writes them, since a journal that is full, stopped or hung may
    hold up whoever writes to it, and the listening must not wait. systemd-python
    would hold up every thread with its own (docs/decisions/0031-daemon.md).
    """

    def __init__(self) -> None:
        self._journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._to_stderr = not _stderr_is_journal()
        self._worker = Worker("journal", self._write, RECORDS, lambda text: None)
        self._lost = 0

    def record(
        self, message: str, priority: int = INFO, event: Event | None = None, **fields: str
    ) -> None:
        """One record, with fields in capital letters beside the message. Returns at once."""
        if self._lost and self._worker.offer(_lost(self._lost)):
            self._lost = 0
        if self._lost or not self._worker.offer(_record(message, priority, event, **fields)):
            self._lost += 1

    def close(self) -> None:
        """Waits a little for the last records to be written."""
        self._worker.close(FLUSH_S)

    def _write(self, record: Record) -> None:
        try:
            self._journald.sendto(datagram(record), JOURNAL_SOCKET)
        except OSError:  # no journal, or one that is gone
            self._print(record)
            return
        if self._to_stderr:
            self._print(record)

    def _print(self, record: Record) -> None:
        with contextlib.suppress(OSError):
            print(f"kws-pi: {record['MESSAGE']}", file=sys.stderr, flush=True)


def _record(message: str, priority: int, event: Event | None, **fields: str) -> Record:
    identity = {"MESSAGE_ID": event.value} if event else {}
    return {
        "MESSAGE": message,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "kws-pi",
        **identity,
        **fields,
    }


def _lost(count: int) -> Record:
    text = f"the journal did not take {count} records of kws-pi"
    return _record(text, WARNING, Event.RECORDS_LOST)


def datagram(record: Record) -> bytes:
    """A record as journald takes it: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""
    return b"".join(_field(name, text) for name, text in record.items())


def _field(name: str, text: str) -> bytes:
    # A file's name may hold bytes that are not UTF-8; stderr shows them so, too.
    content = text.encode(errors="backslashreplace")
    if b"\n" in content:
        return name.encode() + b"\n" + struct.pack("<Q", len(content)) + content + b"\n"
    return name.encode() + b"=" + content + b"\n"


def _stderr_is_journal() -> bool:
    """systemd names the stream that it connected to the journal, as device:inode."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
