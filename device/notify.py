"""What the daemon tells systemd and the journal.

Both go through systemd-python. Where it is absent there is nobody to notify,
and the log goes to stderr alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import uuid
from typing import Any

INFO, WARNING, ERROR = 6, 4, 3
"""Priorities as in syslog(3)."""

DETECTION_ID = uuid.UUID("6f6a8a0e2f7b4f0f9d0b5c1de1a7c3b4")
"""MESSAGE_ID of a detection's record in the journal."""

LONGEST_WATCHDOG_PERIOD_S = 1.0


def _systemd(module: str) -> Any:
    try:
        return importlib.import_module(f"systemd.{module}")
    except ImportError:
        return None


class Notifier:
    """Notifications to the service manager (sd_notify(3)); without one they go nowhere."""

    def __init__(self) -> None:
        self._daemon = _systemd("daemon") if os.environ.get("NOTIFY_SOCKET") else None
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

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._daemon is None:
            return
        with contextlib.suppress(OSError):  # a manager that is gone must not stop the listening
            self._daemon.notify(message)


class Journal:
    """The log: structured records in the journal, and lines on stderr where that is not it."""

    def __init__(self) -> None:
        self._journal = _systemd("journal")
        self._to_stderr = self._journal is None or not _stderr_is_journal()

    def record(self, message: str, priority: int = INFO, **fields: str) -> None:
        """One record, with fields in capital letters beside the message."""
        if self._journal is not None:
            try:
                self._journal.send(
                    message, PRIORITY=str(priority), SYSLOG_IDENTIFIER="kws-pi", **fields
                )
            except OSError:
                # A full or vanished journal must not stop the listening.
                self._print(message)
                return
        if self._to_stderr:
            self._print(message)

    def detection(self, keyword: str, probability: float, latency_ms: float) -> None:
        """The record of one detection."""
        self.record(
            f"detected {keyword!r} with probability {probability:.3f}",
            MESSAGE_ID=DETECTION_ID.hex,
            KEYWORD=keyword,
            PROBABILITY=f"{probability:.4f}",
            LATENCY_MS=f"{latency_ms:.2f}",
        )

    def _print(self, message: str) -> None:
        try:
            print(f"kws-pi: {message}", file=sys.stderr, flush=True)
        except OSError:
            return


def _stderr_is_journal() -> bool:
    """systemd names the stream that it connected to the journal, as device:inode."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
