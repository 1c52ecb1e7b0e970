"""The Wyoming service, asked by the real client of the `wyoming` package."""

import asyncio
import json
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from device_kit import RATE, bursts, loud_spotter
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("wyoming", reason="needs wyoming")

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.wake import Detect, Detection, NotDetected

from device import wake_service as module
from device.pcm import decode
from device.settings import WyomingSettings
from device.spotter import Hit
from device.wake_service import WakeService

SOUND = bursts(4.0, (1.0, 2.5))
QUIET = bursts(2.0, ())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not holds():
        time.sleep(0.02)
    return holds()


class Served:
    """A service at an address, and what it has said."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.said: list[str] = []
        self.service = WakeService(WyomingSettings(uri), "loud", loud_spotter, self.said.append)
        self.service.tick(0.0)

    @property
    def is_up(self) -> bool:
        return f"serving Wyoming at {self.uri}" in self.said


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def serve(uri: str = "", wait: bool = True) -> Served:
        made.append(Served(uri or f"tcp://127.0.0.1:{free_port()}"))
        assert not wait or until(lambda: made[-1].is_up), made[-1].said
        return made[-1]

    yield serve
    for each in made:
        each.service.close()
        assert not each.service._thread.is_alive()


def ask(
    uri: str,
    *events: Event,
    stop: Callable[[Event], bool] = lambda event: False,
    timeout: float = 15,
) -> list[Event]:
    """Sends these, and returns what is answered until `stop` or the end of the connection."""

    async def talk() -> list[Event]:
        answers = []
        async with AsyncClient.from_uri(uri) as client:
            for event in events:
                await client.write_event(event)
            while (answer := await client.read_event()) is not None:
                answers.append(answer)
                if stop(answer):
                    break
        return answers

    return asyncio.run(asyncio.wait_for(talk(), timeout))


def stream(
    sound: np.ndarray, chunk: int = 1024, rate: int = RATE, width: int = 2, channels: int = 1
) -> list[Event]:
    """The messages of a stream of sound."""
    start = AudioStart(rate, width, channels, timestamp=0)
    data = sound.tobytes()
    frame = width * channels
    chunks = [
        AudioChunk(rate, width, channels, data[at : at + chunk * frame], at // frame * 1000 // rate)
        for at in range(0, len(data), chunk * frame)
    ]
    return [start.event(), *(each.event() for each in chunks), AudioStop().event()]


def is_last(event: Event) -> bool:
    """Of an answer: nothing follows until more is asked."""
    return NotDetected.is_type(event.type)


def detections(events: list[Event]) -> list[Detection]:
    return [Detection.from_event(e) for e in events if Detection.is_type(e.type)]


def second_detection() -> Callable[[Event], bool]:
    seen = iter((False, True))
    return lambda event: Detection.is_type(event.type) and next(seen)


def test_it_describes_itself_as_home_assistant_asks(serve: Callable[..., Served]) -> None:
    (answer,) = ask(serve().uri, Describe().event(), stop=lambda event: True)
    info = Info.from_event(answer)
    (program,) = info.wake
    assert program.installed and program.name == "kws-pi"
    (model,) = program.models
    assert (model.name, model.phrase, model.installed) == ("loud", "loud", True)
    assert not info.asr and not info.mic and info.satellite is None


@pytest.mark.parametrize("chunk", [77, 1024, 64000])
def test_it_detects_in_a_stream_however_that_is_cut(
    serve: Callable[..., Served], chunk: int
) -> None:
    asked = Detect(names=["loud"]).event()
    answers = ask(serve().uri, asked, *stream(SOUND, chunk), stop=second_detection())
    found = detections(answers)
    assert [each.name for each in found] == ["loud"] * len(answers)
    # The times of the stream, as the spotter itself finds them.
    spotter = loud_spotter()
    samples = SOUND.astype(np.float32) / 32768
    expected = [hit.time_s for hit in spotter.push(samples, 0.0)]
    assert len(expected) == len(found)
    for each, end_s in zip(found, expected, strict=True):
        assert each.timestamp is not None
        assert end_s - 0.25 <= each.timestamp / 1000 <= end_s


@given(st.lists(st.integers(0, 999), max_size=9))
def test_sound_may_be_cut_within_a_sample(cuts: list[int]) -> None:
    data = bytes(range(250)) * 4
    stream = module._Stream(loud_spotter(), AudioStart(RATE, 2, 2))
    edges = [0, *sorted(cuts), len(data)]
    pieces = [
        piece for start, end in pairwise(edges) for piece, _ in stream.pieces(data[start:end])
    ]
    assert np.array_equal(np.concatenate(pieces), decode(data, "S16_LE", 2))


def test_it_says_when_there_was_nothing(serve: Callable[..., Served]) -> None:
    answers = ask(serve().uri, Detect().event(), *stream(QUIET), stop=is_last)
    assert [event.type for event in answers] == ["not-detected"]


def test_one_connection_may_stream_again_from_the_start(serve: Callable[..., Served]) -> None:
    events = [Detect().event(), *stream(SOUND), *stream(QUIET)]
    answers = ask(serve().uri, *events, stop=is_last)
    assert [event.type for event in answers] == ["detection", "detection", "not-detected"]


def test_another_keyword_is_not_detected(serve: Callable[..., Served]) -> None:
    answers = ask(serve().uri, Detect(names=["alexa"]).event(), *stream(SOUND), stop=is_last)
    assert [event.type for event in answers] == ["not-detected"]


def test_other_formats_are_converted(serve: Callable[..., Served]) -> None:
    tripled = np.repeat(SOUND.astype("<i4") << 16, 3)
    stereo = np.stack([tripled, tripled], axis=1)
    answers = ask(
        serve().uri,
        Detect().event(),
        *stream(stereo, 4096, rate=48000, width=4, channels=2),
        stop=second_detection(),
    )
    assert len(detections(answers)) == 2


@pytest.mark.parametrize(
    ("rate", "width", "channels"), [(1000, 2, 1), (16000, 5, 1), (16000, 2, 0), (16000, 2, 99)]
)
def test_formats_that_are_none_are_refused_in_a_sentence(
    serve: Callable[..., Served], rate: int, width: int, channels: int
) -> None:
    (answer,) = ask(serve().uri, AudioStart(rate, width, channels).event())
    assert "16000 Hz" in Error.from_event(answer).text


def test_those_who_wait_are_told_of_the_own_microphone(serve: Callable[..., Served]) -> None:
    served = serve()
    hit = Hit("loud", 1.0, 0.9, 5.0)

    def say_it() -> None:
        assert until(lambda: any(client.waits for client in served.service.clients))
        served.service.detected(hit, 0.0)

    thread = threading.Thread(target=say_it)
    thread.start()
    (answer,) = ask(served.uri, Detect().event(), stop=lambda event: True)
    thread.join()
    assert Detection.from_event(answer).name == "loud"

    # Who sends sound hears of that alone, and who asked for another word of neither.
    async def others() -> None:
        async with (
            AsyncClient.from_uri(served.uri) as streaming,
            AsyncClient.from_uri(served.uri) as another,
        ):
            for event in [Detect().event(), *stream(QUIET)[:-1]]:
                await streaming.write_event(event)
            await another.write_event(Detect(names=["alexa"]).event())
            await another.write_event(Describe().event())
            assert (await another.read_event()).type == "info"  # type: ignore
            served.service.detected(hit, 0.0)
            await streaming.write_event(AudioStop().event())
            assert (await streaming.read_event()).type == "not-detected"  # type: ignore
            await another.write_event(Describe().event())
            assert (await another.read_event()).type == "info"  # type: ignore

    asyncio.run(asyncio.wait_for(others(), 15))


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"[]\n",
        b"{}\n",
        b'{"type": "audio-start"}\n',
        b'{"type": "audio-chunk", "data": {"rate": "x", "width": null, "channels": {}}}\n',
        b'{"type": "audio-chunk", "payload_length": 4000000000}\n' + bytes(100000),
        b'{"type": "audio-chunk", "payload_length": -1}\n',
        b'{"type": "detect", "data": {"names": 3}}\n',
        b'{"type": "detect", "data_length": 10}\nabc',
        b"x" * 200000,
        bytes(range(256)) * 10,
    ],
)
def test_nonsense_ends_that_connection_alone(serve: Callable[..., Served], sent: bytes) -> None:
    served = serve()
    host, port = served.uri.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(10)
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
        except OSError:  # it may have hung up while this was sent
            pass
    assert ask(served.uri, Describe().event(), stop=lambda event: True)
    assert len(served.said) <= 2
    assert all("\n" not in said for said in served.said)
    assert until(lambda: not served.service.clients)


def test_the_number_of_clients_is_bounded(serve: Callable[..., Served]) -> None:
    served = serve()
    host, port = served.uri.removeprefix("tcp://").split(":")
    held = [socket.create_connection((host, int(port))) for _ in range(module.MOST_CLIENTS)]
    assert until(lambda: len(served.service.clients) == module.MOST_CLIENTS)
    (answer,) = ask(served.uri)
    assert Error.from_event(answer).text == "too many clients; try again later"
    for each in held:
        each.close()
    assert until(lambda: not served.service.clients)
    assert ask(served.uri, Describe().event(), stop=lambda event: True)


def test_an_address_in_use_is_tried_again(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.1)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        uri = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        served = serve(uri, wait=False)
        assert until(lambda: bool(served.said))
        time.sleep(0.5)
        (said,) = served.said
        assert said.startswith(f"cannot serve Wyoming at {uri} (")
        assert "in use" in said
    assert until(lambda: served.is_up)


def test_a_unix_socket_is_for_the_group(serve: Callable[..., Served], tmp_path: Path) -> None:
    path = tmp_path / "wyoming"
    served = serve(f"unix://{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert ask(served.uri, Describe().event(), stop=lambda event: True)
    served.service.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    path = tmp_path / "precious"
    path.write_text("x")
    served = serve(f"unix://{path}", wait=False)
    assert until(lambda: bool(served.said))
    assert "this file is no socket" in served.said[0]
    assert path.read_text() == "x"


def test_a_client_that_floods_leaves_the_loop_its_time(serve: Callable[..., Served]) -> None:
    """One that sends as fast as it can, in a process of its own, against a loop of 80 ms steps."""
    served = serve()
    host, port = served.uri.removeprefix("tcp://").split(":")
    header = {"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 1}}
    message = json.dumps({**header, "payload_length": 64000}).encode() + b"\n" + bytes(64000)
    code = (
        "import socket, sys\n"
        f"client = socket.create_connection(({host!r}, {port}))\n"
        "message = sys.stdin.buffer.read()\n"
        "while True: client.sendall(message)\n"
    )
    flood = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        assert flood.stdin is not None
        flood.stdin.write(message)
        flood.stdin.close()
        assert until(lambda: bool(served.service.clients))
        spotter = loud_spotter()
        (client,) = served.service.clients
        step = np.zeros(spotter.step_samples, np.float32)
        took = []
        before = time.process_time()
        began = time.monotonic()
        while time.monotonic() - began < 3:
            time.sleep(0.02)
            at = time.monotonic()
            spotter.push(step, at)
            took.append(time.monotonic() - at)
        assert client._stream is not None
        flooded_s = client._stream.spotter.time_s
        share = (time.process_time() - before) / (time.monotonic() - began)
    finally:
        flood.kill()
        flood.wait()
    # A step every 80 ms; the service and this loop take no more than a processor together.
    assert np.percentile(took, 99) < 0.04, np.percentile(took, [50, 90, 99, 100])
    assert share < 0.9
    # And yet it was heard faster than anyone speaks.
    assert flooded_s > 6
