"""`kws-pi run`: the daemon that keeps the spotter listening.

It opens the microphone, waits and tries again while there is none, runs the
loop, starts anew after a gap, and tells systemd that it is alive only while
that is true: when audio advanced, or while it waits for a microphone and the
time of the next attempt has not been missed.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from device.actions import Action, actions_of
from device.errors import (
    MicrophoneAbsent,
    MicrophoneBusy,
    MicrophoneError,
    MicrophoneStalled,
)
from device.microphone import Microphone, alsa
from device.model import default_manifest, load_model
from device.notify import ERROR, WARNING, Journal, Notifier
from device.ring import Block
from device.settings import read_settings
from device.spotter import Hit, Spotter

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 10.0
SLICE_S = 0.2
"""Nothing waits longer than this at a time, so signals and the LED are served promptly."""
GRACE_S = 1.0
"""An attempt to open the microphone may come so much later than planned."""
LOSSES_EVERY_S = 60.0
"""Lost samples are reported at once, then at most this often: a slow Pi loses some each second."""


class Source(Protocol):
    """An open microphone, as the supervisor sees it."""

    name: str
    rate: int
    overruns: int

    def read(self, timeout: float) -> Block | None: ...

    def close(self) -> bool: ...


class Supervisor:
    """The daemon's states: waiting for a microphone, and listening."""

    def __init__(
        self,
        spotter: Spotter,
        open_microphone: Callable[[], Source],
        actions: Sequence[Action],
        notifier: Notifier,
        journal: Journal,
    ) -> None:
        self._spotter = spotter
        self._open_microphone = open_microphone
        self._actions = actions
        self._notifier = notifier
        self._journal = journal
        self._stopping = False
        self._wait_s = FIRST_WAIT_S
        self._complaint = ""
        self._failures: dict[Action, str] = {}
        self._unreported = 0
        self._report_at = float("-inf")

    def stop(self, signal_number: int = 0, frame: FrameType | None = None) -> None:
        """Ends `run` soon; may be called from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Listens until stopped."""
        self._tick(time.monotonic())
        self._notifier.ready()
        while not self._stopping:
            try:
                microphone = self._open_microphone()
            except MicrophoneError as error:
                self._complain(error)
                self._wait()
                continue
            self._listen(microphone)
        self._notifier.stopping()

    def _listen(self, microphone: Source) -> None:
        """The listening state, until stopped or the stream has ended."""
        self._journal.record(f"listening to {microphone.name} at {microphone.rate} Hz")
        self._spotter.gap()
        try:
            try:
                while not self._stopping:
                    block = microphone.read(SLICE_S)
                    self._tick(time.monotonic())
                    if block is not None:
                        self._hear(block)
                    if time.monotonic() >= self._report_at:
                        self._report_losses(microphone)
            finally:
                # The next microphone counts from nought.
                self._report_losses(microphone)
        except MicrophoneStalled as error:
            self._complain(error)
            self._notifier.status("microphone is silent, opening it again")
            self._close_stalled(microphone)
            # No sign of life in this wait: what is open and silent is not well.
            self._pause(time.monotonic() + FIRST_WAIT_S, lambda now: None)
        except (MicrophoneError, EOFError) as error:
            self._complain(error)
            microphone.close()
            self._wait()
        else:
            microphone.close()

    def _hear(self, block: Block) -> None:
        if block.after_gap:
            self._unreported += 1
            self._spotter.gap()
        self._act(lambda action: action.heard(block.samples, block.after_gap))
        for hit in self._spotter.push(block.samples, block.taken_at):
            self._detected(hit)
        self._wait_s = FIRST_WAIT_S
        self._complaint = ""
        self._notifier.status("listening")
        self._notifier.alive(time.monotonic())

    def _detected(self, hit: Hit) -> None:
        now = time.monotonic()
        self._act(lambda action: action.detected(hit, now))
        self._journal.detection(hit.keyword, hit.probability, hit.latency_ms)

    def _tick(self, now: float) -> None:
        self._act(lambda action: action.tick(now))

    def _act(self, call: Callable[[Action], None]) -> None:
        """Calls every action; what goes wrong in one does not touch the others."""
        for action in self._actions:
            try:
                call(action)
            except Exception as error:  # whatever an action does, the listening goes on
                text = f"{type(action).__name__} failed ({error!r}); carrying on without it"
                if self._failures.get(action) != text:
                    self._failures[action] = text
                    self._journal.record(text, ERROR)

    def _report_losses(self, microphone: Source) -> None:
        """Writes down the losses since the last report, if there are any."""
        if self._unreported:
            self._journal.record(
                f"samples were lost (since the last report: {self._unreported} times, since the "
                f"microphone was opened: {microphone.overruns} times); started anew after each",
                WARNING,
            )
            self._unreported = 0
            self._report_at = time.monotonic() + LOSSES_EVERY_S

    def _close_stalled(self, microphone: Source) -> None:
        """Closes it; if its thread is stuck in the driver, only systemd's watchdog helps."""
        if not microphone.close():
            self._journal.record(
                f"the driver of {microphone.name} does not return; restart kws-pi "
                "(systemd's watchdog does)",
                ERROR,
            )
            self._notifier.status("microphone driver is stuck")
            while not self._stopping and not microphone.close():
                self._tick(time.monotonic())

    def _wait(self) -> None:
        """The waiting state, until the next attempt is due; each wait is longer, up to a limit."""
        self._notifier.status("waiting for microphone")
        retry_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

        def alive(now: float) -> None:
            if now <= retry_at + GRACE_S:
                self._notifier.alive(now)

        self._pause(retry_at, alive)

    def _pause(self, until: float, each: Callable[[float], None]) -> None:
        while not self._stopping:
            now = time.monotonic()
            self._tick(now)
            each(now)
            if now >= until:
                return
            time.sleep(min(SLICE_S, until - now))

    def _complain(self, error: Exception) -> None:
        """Says the same only once until audio has advanced again."""
        text = str(error) or "the stream has ended"
        if text != self._complaint:
            self._complaint = text
            known = isinstance(error, (MicrophoneAbsent, MicrophoneBusy))
            self._journal.record(text, WARNING if known else ERROR)


def run_daemon(config: Path | None, manifest: Path | None) -> None:
    """Runs the daemon until SIGTERM or SIGINT.

    Raises SettingsError, ManifestError or SetupError before it starts.
    """
    settings = read_settings(config)
    path = manifest or (Path(settings.model) if settings.model else default_manifest())

    def make_spotter() -> Spotter:
        return Spotter(load_model(path), settings.detection.threshold or None)

    spotter = make_spotter()
    alsa()  # a missing package will not turn up by waiting
    journal = Journal()
    journal.record(
        f"loaded {path} for {spotter.keyword!r}, threshold {spotter.detection.threshold:.3f}"
    )

    def open_microphone() -> Microphone:
        return Microphone(
            settings.microphone.device,
            spotter.sample_rate,
            spotter.step_samples,
            settings.microphone.deadline_s,
        )

    actions = actions_of(
        settings, spotter, make_spotter, lambda text: journal.record(text, WARNING)
    )
    supervisor = Supervisor(spotter, open_microphone, actions, Notifier(), journal)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    try:
        supervisor.run()
    finally:
        for action in actions:
            action.close()
    journal.record("stopped")
