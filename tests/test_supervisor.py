"""The supervisor's states, by played microphones."""

import re
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from device_kit import loud_spotter
from supervisor_kit import PlayedMicrophone, Rehearsal, block

from device import supervisor as module
from device.actions import Action
from device.errors import (
    MicrophoneAbsent,
    MicrophoneBusy,
    MicrophoneStalled,
    MicrophoneSuspended,
    SettingsError,
)
from device.indicator import Indicator
from device.notify import Event
from device.ring import Block
from device.settings import IndicatorSettings
from device.spotter import Hit
from device.supervisor import Setup, Source, Supervisor


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_WAIT_S", 0.04)


def run(*outcomes: object, actions: Sequence[Action] = ()) -> list[str]:
    """What a rehearsal tells."""
    return Rehearsal(*outcomes, actions=actions).run()


def test_listens_and_detects() -> None:
    microphone = PlayedMicrophone([block(0, 2), None, block(2, 4)])
    rehearsal = Rehearsal(microphone)
    assert rehearsal.run() == [
        "starting",
        "ready",
        "log: listening to played at 16000 Hz",
        "log: detected 'loud'",
        "listening",
        "alive",
        "log: detected 'loud'",
        "alive",
        "log: unplugged",
        "waiting for microphone",
        "alive",
        "log: none left",
        "stopping",
        "told to be stopping",
    ]
    assert microphone.closed == 1
    figures = rehearsal.health.figures()
    assert (figures.detections, figures.openings, figures.reopenings) == (2, 1, 1)
    assert (figures.audio_s, figures.device, figures.overruns) == (4.0, "played", 3)


def test_every_change_of_state_has_a_record_with_an_id_of_its_own() -> None:
    rehearsal = Rehearsal(
        MicrophoneBusy("in use"),
        PlayedMicrophone(
            [block(0, 2), block(2, 2.1, True), block(2, 4), MicrophoneSuspended("slept")]
        ),
        PlayedMicrophone([MicrophoneStalled("silent")], closes=[False, True]),
    )
    rehearsal.run()
    events = [event for event, _ in rehearsal.told.records]
    assert events == [
        Event.MICROPHONE,
        Event.LISTENING,
        Event.DETECTED,
        Event.LOST,
        Event.DETECTED,
        Event.MICROPHONE,
        Event.LISTENING,
        Event.MICROPHONE,
        Event.STUCK,
        Event.MICROPHONE,
    ]
    named = [fields["MICROPHONE_STATE"] for _, fields in rehearsal.told.records if len(fields) == 1]
    assert named == ["busy", "suspended", "stalled", "absent"]
    assert {"KEYWORD", "PROBABILITY", "LATENCY_MS"} == set(rehearsal.told.records[2][1])


def test_absent_and_busy_wait_alive_and_say_the_same_once() -> None:
    absent, busy = MicrophoneAbsent("no device"), MicrophoneBusy("in use")
    events = run(absent, absent, busy, absent)
    assert events[1:5] == ["ready", "log: no device", "waiting for microphone", "alive"]
    assert [e for e in events if e.startswith("log")] == [
        "log: no device",
        "log: in use",
        "log: no device",
        "log: none left",
    ]
    # The first stands for two waits, between which there is nothing to tell.
    assert events.count("alive") == 3


def test_waits_grow_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 10.0)
    monkeypatch.setattr(module, "LONGEST_WAIT_S", 40.0)
    waits: list[float] = []
    monkeypatch.setattr(
        Supervisor,
        "_pause",
        lambda self, until, each: waits.append(until - time.monotonic()),
    )
    run(*[MicrophoneAbsent("no device")] * 5)
    assert waits[:5] == pytest.approx([10, 20, 40, 40, 40], abs=5)


def test_a_gap_forgets_what_was_heard() -> None:
    # The burst at 1.0 s comes within the muted steps after the gap.
    events = run(PlayedMicrophone([block(0.0, 1.0), block(1.0, 1.3, after_gap=True)]))
    assert losses(events) == [(1, 3)]
    assert "log: detected 'loud'" not in events
    assert "log: detected 'loud'" in run(PlayedMicrophone([block(0.0, 1.0), block(1.0, 1.3)]))


def losses(events: list[str]) -> list[tuple[int, int]]:
    """What each report of lost samples counts: since the last one, and since the opening."""
    pattern = r"log: samples were lost \(since the last report: (\d+) times, since the microphone "
    pattern += r"was opened: (\d+) times in the device and 0 times because the network was slower "
    pattern += r"than the sound\); started anew after each"
    found = (re.fullmatch(pattern, event) for event in events)
    return [(int(match[1]), int(match[2])) for match in found if match]


class OverloadedMicrophone(PlayedMicrophone):
    """Loses samples before each block that is marked so, and counts it as the real one does."""

    def __init__(self, script: list[object]) -> None:
        super().__init__(script)
        self.overruns = 0

    def read(self, timeout: float) -> Block | None:
        block = super().read(timeout)
        self.overruns += block is not None and block.after_gap
        return block


def test_losses_are_reported_at_once_then_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOSSES_EVERY_S", 0.5)

    def later() -> Block:
        time.sleep(0.6)
        return block(0, 0.1)

    def lost() -> Block:
        return block(0, 0.1, after_gap=True)

    # At once; two kept until the time is up, though nothing is lost then; two at the end.
    script = [lost, lost, lost, later, lost, lost]
    events = run(OverloadedMicrophone([*script]), OverloadedMicrophone([lost]))
    assert losses(events) == [(1, 1), (2, 3), (2, 5), (1, 1)]
    at = events.index("log: unplugged")
    assert losses(events[:at]) == [(1, 1), (2, 3), (2, 5)]


def test_losses_each_second_are_reported_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    began, heard = time.monotonic(), 0
    clock = SimpleNamespace(monotonic=lambda: began + heard, sleep=lambda s: None)

    def lost() -> Block:
        nonlocal heard
        heard += 1
        return block(0, 0.1, after_gap=True)

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(Supervisor, "_wait", lambda self: None)
    events = run(OverloadedMicrophone([lost] * 150))
    assert losses(events) == [(1, 1), (60, 61), (60, 121), (29, 150)]


def test_stalled_stream_is_reopened_without_a_sign_of_life() -> None:
    stalled = [block(0, 0.5), MicrophoneStalled("silent")]
    events = run(PlayedMicrophone(list(stalled)), PlayedMicrophone([MicrophoneStalled("silent")]))
    at = events.index("log: silent")
    assert events[at - 1] == "alive"
    assert events[at : at + 3] == [
        "log: silent",
        "microphone is silent, opening it again",
        "log: listening to played at 16000 Hz",
    ]
    assert "alive" not in events[at:-3]


def test_driver_that_does_not_return_is_not_opened_twice() -> None:
    microphone = PlayedMicrophone([MicrophoneStalled("silent")], closes=[False, False, True])
    events = run(microphone)
    assert microphone.closed == 3
    assert "microphone driver is stuck" in events
    assert "alive" not in events[: events.index("log: none left")]


def test_stuck_inference_gives_no_sign_of_life() -> None:
    spotter = loud_spotter()
    stuck, stop = threading.Event(), threading.Event()

    def push(samples: np.ndarray, taken_at: float) -> list[object]:
        stuck.set()
        stop.wait(5.0)
        return []

    spotter.push = push  # type: ignore
    microphone = PlayedMicrophone([block(0, 0.5)])
    rehearsal = Rehearsal(microphone, spotter=spotter)
    supervisor, told = rehearsal.supervisor, rehearsal.told
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    assert stuck.wait(5.0)
    time.sleep(0.3)
    assert told.events == ["starting", "ready", "log: listening to played at 16000 Hz"]
    supervisor.stop()
    stop.set()
    thread.join(5.0)


def test_an_action_that_fails_stops_neither_the_listening_nor_the_others() -> None:
    class Broken(Action):
        def tick(self, now: float) -> None:
            raise OSError("no broker")

    class Counting(Action):
        hits, blocks = 0, 0

        def detected(self, hit: Hit, now: float) -> None:
            self.hits += 1

        def heard(self, samples: np.ndarray, after_gap: bool) -> None:
            self.blocks += 1

    counting = Counting()
    events = run(PlayedMicrophone([block(0, 2), block(2, 4)]), actions=[Broken(), counting])
    assert (counting.hits, counting.blocks) == (2, 2)
    assert [e for e in events if "Broken" in e] == [
        "log: Broken failed (OSError('no broker')); carrying on without it"
    ]


def test_led_is_lit_at_a_detection_and_goes_out_while_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.2)
    seen: list[bool] = []

    class Led:
        value = property(None, lambda self, on: seen.append(bool(on)))

        def close(self) -> None:
            seen.append(False)

    led = Indicator(IndicatorSettings(on_s=0.05), pytest.fail, lambda settings: Led())
    run(PlayedMicrophone([block(0, 2)]), actions=[led])
    # Out after its time, and again at the end.
    assert seen == [True, False, False, False]


def test_new_settings_come_into_force_without_a_restart() -> None:
    class Closing(Action):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    old, new = Closing(), Closing()
    second = PlayedMicrophone([block(0, 2)])

    def reload() -> None:
        rehearsal.supervisor.reload()

    first = PlayedMicrophone([block(0, 0.5), reload, block(0.5, 2)])

    def read_anew() -> Setup:
        return Setup(loud_spotter(), lambda: opened.pop(0), [new])

    opened: list[Source] = [second]
    rehearsal = Rehearsal(first, actions=[old], read_anew=read_anew)
    thread = threading.Timer(1.0, rehearsal.supervisor.stop)
    thread.start()
    with pytest.raises(IndexError):  # the second microphone is lost, and there is no third
        rehearsal.run()
    thread.cancel()
    events = rehearsal.told.events
    at = events.index("reloading")
    assert events[at : at + 4] == [
        "reloading",
        "log: new settings are in force",
        "ready",
        "log: listening to played at 16000 Hz",
    ]
    assert (first.closed, old.closed, new.closed) == (1, 1, 1)
    assert rehearsal.health.reloads == 1
    assert events.count("log: detected 'loud'") == 1


def test_wrong_settings_change_nothing() -> None:
    def wrong() -> Setup:
        raise SettingsError("config.toml: unknown key 'pins'")

    def reload() -> None:
        rehearsal.supervisor.reload()

    microphone = PlayedMicrophone([block(0, 0.5), reload, block(0.5, 2)])
    rehearsal = Rehearsal(microphone, read_anew=wrong)
    events = rehearsal.run()
    at = events.index("reloading")
    # The stream goes on, so the burst after it is heard.
    assert events[at : at + 5] == [
        "reloading",
        "log: config.toml: unknown key 'pins'; the old settings stay in force",
        "ready",
        "log: detected 'loud'",
        "alive",
    ]
    assert rehearsal.health.reloads == 0
    assert Event.REFUSED in [event for event, _ in rehearsal.told.records]


def test_settings_can_be_read_anew_while_there_is_no_microphone() -> None:
    microphone = PlayedMicrophone([block(0, 2)])
    rehearsal = Rehearsal(MicrophoneAbsent("none"))
    rehearsal.supervisor._read_anew = lambda: Setup(loud_spotter(), rehearsal.open, [])
    rehearsal.outcomes.append(microphone)
    rehearsal.supervisor.reload()
    events = rehearsal.run()
    assert events[1:4] == ["ready", "reloading", "log: new settings are in force"]
    assert "log: detected 'loud'" in events


def test_zeros_alone_are_told_and_listened_to() -> None:
    zeros = Block(np.zeros(16000, np.float32), time.monotonic(), False)
    rehearsal = Rehearsal(PlayedMicrophone([zeros] * 7 + [block(0, 0.5), block(0.5, 2)]))
    events = rehearsal.run()
    at = events.index(
        "log: played delivers nothing but zeros; is it switched off or muted? Listening on"
    )
    assert events[at + 1 : at + 3] == [
        "alive",
        "listening to nothing but zeros (is the microphone switched off or muted?)",
    ]
    back = events.index("log: played delivers sound again")
    assert "alive" in events[at + 3 : back]
    assert events[back + 1 : back + 3] == ["alive", "listening"]
    assert "log: detected 'loud'" in events[back:]
    assert sum("zeros;" in event for event in events) == 1


def test_actions_are_told_where_the_sound_was_interrupted() -> None:
    class Ears(Action):
        def __init__(self) -> None:
            self.gaps: list[bool] = []

        def heard(self, samples: np.ndarray, after_gap: bool) -> None:
            self.gaps.append(after_gap)

    ears = Ears()
    first = PlayedMicrophone([block(0, 1), block(1, 2), block(2, 3, after_gap=True)])
    run(first, PlayedMicrophone([block(0, 1), block(1, 2)]), actions=[ears])
    assert ears.gaps == [True, False, True, True, False]
