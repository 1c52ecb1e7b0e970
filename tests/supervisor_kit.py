"""A supervisor in rehearsal: played microphones, and what it tells of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from device_kit import bursts, loud_spotter

from device.actions import Action
from device.errors import MicrophoneAbsent, MicrophoneError
from device.health import Health
from device.notify import Event
from device.report import Reporter
from device.ring import Block
from device.spotter import Spotter
from device.supervisor import Setup, Source, Supervisor

SOUND = bursts(4.0, (1.0, 2.5)).astype(np.float32) / 32768


class Told:
    """In the place of notifier and journal: writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.records: list[tuple[Event | None, dict[str, str]]] = []

    def ready(self) -> None:
        self.events.append("ready")

    def status(self, text: str) -> None:
        text = text.split(";")[0]
        if self.events[-1:] != [text]:
            self.events.append(text)

    def alive(self, now: float) -> None:
        if self.events[-1:] != ["alive"]:
            self.events.append("alive")

    def reloading(self) -> None:
        self.events.append("reloading")

    def stopping(self) -> None:
        self.events.append("told to be stopping")

    def record(
        self, message: str, priority: int = 6, event: Event | None = None, **fields: str
    ) -> None:
        self.records.append((event, fields))
        self.events.append(f"log: {message.split(' with probability')[0]}")


class PlayedMicrophone:
    """Delivers blocks, raises errors, or does what else it is given, then ends with an error."""

    name, rate, overruns, late = "played", 16000, 3, 0

    def __init__(self, script: list[object], closes: list[bool] | None = None) -> None:
        self._script = script
        self._closes = closes or []
        self.closed = 0

    def read(self, timeout: float) -> Block | None:
        event = self._script.pop(0) if self._script else MicrophoneError("unplugged")
        if isinstance(event, Exception):
            raise event
        if callable(event):
            event = event()
        assert event is None or isinstance(event, Block)
        return event

    def close(self) -> bool:
        self.closed += 1
        return self._closes.pop(0) if self._closes else True


def block(start: float, end: float, after_gap: bool = False) -> Block:
    return Block(SOUND[round(start * 16000) : round(end * 16000)], time.monotonic(), after_gap)


class Rehearsal:
    """A supervisor over these results of opening the microphone; it stops when all are used up."""

    def __init__(
        self,
        *outcomes: object,
        actions: Sequence[Action] = (),
        spotter: Spotter | None = None,
        read_anew: Callable[[], Setup] | None = None,
    ) -> None:
        self.told = Told()
        self.outcomes = list(outcomes)
        self.spotter = spotter or loud_spotter()
        self.health = Health(self.spotter.keyword, self.spotter.detection.threshold)
        told: Any = self.told
        self.supervisor = Supervisor(
            Setup(self.spotter, self.open, actions),
            read_anew or self.fail,
            self.health,
            Reporter(self.health, told, None),
            told,
            told,
        )

    def open(self) -> Source:
        if not self.outcomes:
            self.supervisor.stop()
            raise MicrophoneAbsent("none left")
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, PlayedMicrophone)
        return outcome

    def fail(self) -> Setup:
        raise AssertionError("the settings are not to be read")

    def run(self) -> list[str]:
        self.supervisor.run()
        return self.told.events
