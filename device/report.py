"""The daemon's report of its health: systemd's STATUS line, and a file for `kws-pi status`.

The file lies in the service's runtime directory, which is memory: it is
written anew each second and gone with the service. It carries the process and
the moment, so that one that was left behind by SIGKILL is known for what it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from pathlib import Path

from device.errors import NotRunning
from device.health import Figures, Health, State, status_line
from device.notify import Notifier

FOLDER = Path("/run/kws-pi")
"""The runtime directory of kws-pi.service."""
FILE = "health.json"
FILE_EVERY_S = 1.0
STATUS_EVERY_S = 10.0


class Reporter:
    """Reports when it is due, and at once when the state has changed."""

    def __init__(self, health: Health, notifier: Notifier, folder: Path | None) -> None:
        """`folder`: where the file goes; None for no file."""
        self._health = health
        self._notifier = notifier
        self._path = folder / FILE if folder else None
        self._told: tuple[State, bool] | None = None
        self._file_at = self._status_at = float("-inf")
        self.latest = health.figures()
        """The last figures reported."""

    def tick(self, now: float) -> None:
        """`now`: monotonic clock, in seconds."""
        state = (self._health.state, self._health.only_zeros)
        changed = state != self._told
        if not changed and now < self._file_at:
            return
        self._told = state
        self._file_at = now + FILE_EVERY_S
        self.latest = self._health.figures()
        if changed or now >= self._status_at:
            self._status_at = now + STATUS_EVERY_S
            self._notifier.status(status_line(self.latest))
        # Without the file, a full or read-only disk, the listening goes on.
        with contextlib.suppress(OSError):
            self._write()

    def close(self) -> None:
        """The daemon ends: removes the file."""
        if self._path:
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _write(self) -> None:
        if self._path is None:
            return
        part = self._path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(self.latest), file)
            # Everyone may read it, as everyone may read the unit's status.
            os.fchmod(file.fileno(), 0o644)
        part.replace(self._path)


def runtime_folder() -> Path | None:
    """The folder that systemd has given to this process, if it has."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(given) if given else None


def read_figures(folder: Path) -> Figures:
    """What the daemon that is running has last reported.

    Raises NotRunning when there is none, or it has ended without a word.
    """
    path = folder / FILE
    try:
        figures = Figures(**json.loads(path.read_text(encoding="utf-8")))
        os.kill(figures.pid, 0)
    except FileNotFoundError as error:
        raise NotRunning("kws-pi is not running; start it: systemctl start kws-pi") from error
    except ProcessLookupError as error:
        raise NotRunning(
            "kws-pi was killed and is not running; systemd starts it again, else start it: "
            "systemctl start kws-pi"
        ) from error
    except PermissionError:
        pass  # another user's process, so it is there
    except OSError as error:
        raise NotRunning(f"{path}: cannot be read ({error.strerror}); ask its owner") from error
    except (ValueError, TypeError) as error:
        raise NotRunning(
            f"{path}: not a report of this version of kws-pi; restart it: systemctl restart kws-pi"
        ) from error
    return figures


def silent_for(figures: Figures) -> float:
    """Seconds since the daemon's last report."""
    return max(0.0, time.monotonic() - figures.at_s)
