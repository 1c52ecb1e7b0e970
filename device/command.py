"""The command: a program of the user's that a detection starts.

No shell takes part. The program is told of the detection by its environment,
runs within the service's own restrictions, and is alone: while it runs, a
further detection does not start it again.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time

from device.actions import Action, Say
from device.settings import CommandSettings
from device.spotter import Hit
from device.worker import Worker

KEPT_BACK = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd tells the daemon in its environment is not for its children."""
SLICE_S = 0.1
CLOSE_S = 1.0


class Command(Action):
    """Starts the program at a detection, and kills it at its time limit."""

    def __init__(self, settings: CommandSettings, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._closing = threading.Event()
        self._worker: Worker[Hit] = Worker("the command", self._run, 1, say)

    def detected(self, hit: Hit, now: float) -> None:
        """Starts the program, unless it still runs."""
        if not self._worker.offer(hit):
            self._say(
                f"the command {self._program!r} still runs, so this detection did not start it; "
                "make it shorter or lower command.limit_s"
            )

    def close(self) -> None:
        """Kills the program if it runs."""
        self._closing.set()
        self._worker.close(CLOSE_S)

    @property
    def _program(self) -> str:
        return self._settings.arguments[0]

    def _run(self, hit: Hit) -> None:
        """Runs the program to its end, by itself or at the limit (in the worker's thread)."""
        try:
            process = subprocess.Popen(
                self._settings.arguments,
                stdin=subprocess.DEVNULL,
                env=_environment(hit),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._say(
                f"the command {self._program!r} cannot be started "
                f"({getattr(error, 'strerror', None) or error}); correct command.arguments"
            )
            return
        ended = False
        try:
            ended = self._wait(process.pid)
        finally:
            # It is not reaped yet, so its group's number cannot be another's by now. What a
            # program that has ended left running in its group ends with it: one at a time. One
            # that took another user's rights cannot be killed, and is waited for.
            with contextlib.suppress(PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        if not ended and not self._closing.is_set():
            self._say(
                f"the command {self._program!r} was killed after "
                f"{self._settings.limit_s:g} s (command.limit_s)"
            )
        elif ended and status:
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            self._say(f"the command {self._program!r} failed: it ended {how}")

    def _wait(self, pid: int) -> bool:
        """Waits for the program's end; returns False when time is up or the daemon ends first."""
        until = time.monotonic() + self._settings.limit_s
        handle = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            while (left := until - time.monotonic()) > 0 and not self._closing.is_set():
                if poll.poll(1000 * min(SLICE_S, left)):
                    return True
        finally:
            os.close(handle)
        return False


def _environment(hit: Hit) -> dict[str, str]:
    """The daemon's own, and what was detected."""
    kept = {name: value for name, value in os.environ.items() if name not in KEPT_BACK}
    return {
        **kept,
        "KWS_PI_KEYWORD": hit.keyword,
        "KWS_PI_PROBABILITY": f"{hit.probability:.4f}",
    }
