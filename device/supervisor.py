"""The supervisor: keeps the spotter listening, whatever happens to the microphone.

It opens the microphone, waits and tries again while there is none, runs the
loop, starts anew after a gap, takes new settings, and tells systemd that it is
alive only while that is true: when audio advanced, or while it waits for a
microphone and the time of the next attempt has not been missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from device.actions import Action
from device.errors import (
    KwsPiError,
    MicrophoneAbsent,
    MicrophoneBusy,
    MicrophoneError,
    MicrophoneStalled,
    MicrophoneSuspended,
)
from device.health import Health, State
from device.notify import ERROR, INFO, WARNING, Event, Journal, Notifier
from device.report import Reporter
from device.ring import Block
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
    late: int

    def read(self, timeout: float) -> Block | None: ...

    def close(self) -> bool: ...


@dataclass(frozen=True)
class Setup:
    """What one reading of the settings makes."""

    spotter: Spotter
    open_microphone: Callable[[], Source]
    """Raises MicrophoneError."""
    actions: Sequence[Action]


class Supervisor:
    """The daemon's states: waiting for a microphone, and listening."""

    def __init__(
        self,
        setup: Setup,
        read_anew: Callable[[], Setup],
        health: Health,
        reporter: Reporter,
        notifier: Notifier,
        journal: Journal,
    ) -> None:
        """`read_anew`: reads the settings again; raises KwsPiError when they are wrong."""
        self._setup = setup
        self._read_anew = read_anew
        self._health = health
        self._reporter = reporter
        self._notifier = notifier
        self._journal = journal
        self._stopping = False
        self._reload_wanted = False
        self._fresh = True
        self._wait_s = FIRST_WAIT_S
        self._complaint = ""
        self._failures: dict[Action, str] = {}
        self._unreported = 0
        self._report_at = float("-inf")

    def stop(self, signal_number: int = 0, frame: FrameType | None = None) -> None:
        """Ends `run` soon; may be called from a signal handler."""
        self._stopping = True

    def reload(self, signal_number: int = 0, frame: FrameType | None = None) -> None:
        """Reads the settings anew soon; may be called from a signal handler."""
        self._reload_wanted = True

    def run(self) -> None:
        """Listens until stopped."""
        try:
            self._tick()
            self._notifier.ready()
            while not self._stopping:
                if self._interrupted():
                    continue
                try:
                    microphone = self._setup.open_microphone()
                except MicrophoneError as error:
                    self._complain(error)
                    self._wait()
                    continue
                self._listen(microphone)
            self._enter(State.STOPPING)
            self._notifier.stopping()
        finally:
            self._act(lambda action: action.close())

    def _listen(self, microphone: Source) -> None:
        """The listening state, until interrupted or the stream has ended."""
        self._journal.record(
            f"listening to {microphone.name} at {microphone.rate} Hz",
            event=Event.LISTENING,
            DEVICE=microphone.name,
            RATE=str(microphone.rate),
        )
        self._health.opened(microphone.name, microphone.rate)
        self._setup.spotter.gap()
        self._fresh = True
        counted = _Counted(microphone, self._health)
        try:
            try:
                while not self._interrupted():
                    block = microphone.read(SLICE_S)
                    counted.update()
                    if block is not None:
                        self._hear(block)
                    self._tick()
                    if time.monotonic() >= self._report_at:
                        self._report_losses(microphone)
            finally:
                # The next microphone counts from nought.
                counted.update()
                self._report_losses(microphone)
        except MicrophoneStalled as error:
            self._complain(error)
            self._enter(State.REOPENING)
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
        spotter = self._setup.spotter
        if block.after_gap:
            self._unreported += 1
            spotter.gap()
        # Nor does the first of a microphone follow on what was heard before.
        after_gap, self._fresh = block.after_gap or self._fresh, False
        self._act(lambda action: action.heard(block.samples, after_gap))
        for hit in spotter.push(block.samples, block.taken_at):
            self._detected(hit)
        latency_s = time.monotonic() - block.taken_at
        was_zeros = self._health.only_zeros
        self._health.heard(block.samples, spotter.sample_rate, latency_s)
        if self._health.only_zeros != was_zeros:
            self._report_zeros(self._health.only_zeros)
        self._wait_s = FIRST_WAIT_S
        self._complaint = ""
        self._enter(State.LISTENING)
        self._notifier.alive(time.monotonic())

    def _detected(self, hit: Hit) -> None:
        now = time.monotonic()
        self._act(lambda action: action.detected(hit, now))
        self._health.detections += 1
        self._journal.record(
            f"detected {hit.keyword!r} with probability {hit.probability:.3f}",
            event=Event.DETECTED,
            KEYWORD=hit.keyword,
            PROBABILITY=f"{hit.probability:.4f}",
            LATENCY_MS=f"{hit.latency_ms:.2f}",
        )

    def _report_zeros(self, only_zeros: bool) -> None:
        if only_zeros:
            self._journal.record(
                f"{self._health.device} delivers nothing but zeros; is it switched off or muted? "
                "Listening on",
                WARNING,
                Event.ZEROS,
            )
        else:
            self._journal.record(f"{self._health.device} delivers sound again", INFO, Event.SOUND)

    def _report_losses(self, microphone: Source) -> None:
        """Writes down the losses since the last report, if there are any."""
        if self._unreported:
            self._journal.record(
                f"samples were lost (since the last report: {self._unreported} times, since the "
                f"microphone was opened: {microphone.overruns} times in the device and "
                f"{microphone.late} times because the network was slower than the sound); started "
                "anew after each",
                WARNING,
                Event.LOST,
                OVERRUNS=str(self._health.overruns),
                LATE=str(self._health.late),
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
                Event.STUCK,
            )
            self._enter(State.STUCK)
            while not self._stopping and not microphone.close():
                self._tick()

    def _wait(self) -> None:
        """The waiting state, until the next attempt is due; each wait is longer, up to a limit."""
        self._enter(State.WAITING)
        retry_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

        def alive(now: float) -> None:
            if now <= retry_at + GRACE_S:
                self._notifier.alive(now)

        self._pause(retry_at, alive)

    def _pause(self, until: float, each: Callable[[float], None]) -> None:
        while not self._interrupted():
            self._tick()
            now = time.monotonic()
            each(now)
            if now >= until:
                return
            time.sleep(min(SLICE_S, until - now))

    def _interrupted(self) -> bool:
        """Whether what is going on shall end: stopped, or new settings have come into force."""
        if self._reload_wanted and not self._stopping:
            self._reload_wanted = False
            return self._reload()
        return self._stopping

    def _reload(self) -> bool:
        """Reads the settings anew; wrong ones change nothing. Returns whether they are new."""
        self._notifier.reloading()
        try:
            setup = self._read_anew()
        except KwsPiError as error:
            self._journal.record(f"{error}; the old settings stay in force", ERROR, Event.REFUSED)
            return False
        else:
            self._act(lambda action: action.close())
            self._setup = setup
            self._failures = {}
            self._complaint = ""
            self._wait_s = FIRST_WAIT_S
            self._health.reloads += 1
            self._health.keyword = setup.spotter.keyword
            self._health.threshold = setup.spotter.detection.threshold
            self._journal.record("new settings are in force", event=Event.RELOADED)
            self._tick()
            return True
        finally:
            self._notifier.ready()

    def _enter(self, state: State) -> None:
        if self._health.state != state:
            self._health.state = state
            self._reporter.tick(time.monotonic())

    def _tick(self) -> None:
        now = time.monotonic()
        self._act(lambda action: action.tick(now))
        self._reporter.tick(now)

    def _act(self, call: Callable[[Action], None]) -> None:
        """Calls every action; what goes wrong in one does not touch the others."""
        for action in self._setup.actions:
            try:
                call(action)
            except Exception as error:  # whatever an action does, the listening goes on
                text = f"{type(action).__name__} failed ({error!r}); carrying on without it"
                if self._failures.get(action) != text:
                    self._failures[action] = text
                    self._journal.record(text, ERROR, Event.ACTION)

    def _complain(self, error: Exception) -> None:
        """Says the same only once until audio has advanced again."""
        self._health.reopenings += self._health.state == State.LISTENING
        text = str(error) or "the stream has ended"
        if text != self._complaint:
            self._complaint = text
            known = isinstance(error, (MicrophoneAbsent, MicrophoneBusy, MicrophoneSuspended))
            self._journal.record(
                text,
                WARNING if known else ERROR,
                Event.MICROPHONE,
                MICROPHONE_STATE=type(error).__name__.removeprefix("Microphone").lower(),
            )


class _Counted:
    """Carries what one microphone counts over to the daemon's own counts."""

    def __init__(self, microphone: Source, health: Health) -> None:
        self._microphone = microphone
        self._health = health
        self._overruns, self._late = health.overruns, health.late

    def update(self) -> None:
        self._health.overruns = self._overruns + self._microphone.overruns
        self._health.late = self._late + self._microphone.late
