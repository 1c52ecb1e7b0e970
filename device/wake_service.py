"""The Wyoming service: the keyword spotter for Home Assistant, which sends the sound.

A client asks `describe`, or sends `detect` and a stream of sound, and is told
of each detection in it, or at its end that there was none. A client that has
sent `detect` and no sound is told of what this device's own microphone hears.

The service has a thread of its own. It gives clients' sound half of a
processor at most, all together, and bounds their number and the length of
their messages: whatever they do, the loop that listens is not held up.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Attribution, Describe, Info, WakeModel, WakeProgram
from wyoming.server import AsyncEventHandler, AsyncServer
from wyoming.wake import Detect, Detection, NotDetected

from device import __version__
from device.actions import Action, Say
from device.errors import KwsPiError
from device.network import is_refused
from device.pcm import decode
from device.resample import Resampler
from device.settings import WyomingSettings
from device.spotter import Hit, Spotter

FORMATS = {1: "U8", 2: "S16_LE", 3: "S24_3LE", 4: "S32_LE"}
"""Of samples by their bytes."""
RATES = (8000, 192000)
MOST_CHANNELS = 8
MOST_CLIENTS = 8
LONGEST_MESSAGE = 1 << 20
SEND_S = 5.0
"""A client that does not take a message for so long is disconnected."""
RETRY_S = 30.0
CLOSE_S = 1.0


class WakeService(Action):
    """The server, in its thread."""

    def __init__(
        self, settings: WyomingSettings, keyword: str, make_spotter: Callable[[], Spotter], say: Say
    ) -> None:
        """`make_spotter`: a new spotter for a client's stream."""
        self.keyword = keyword
        self.make_spotter = make_spotter
        self.say = say
        self.clients: set[Client] = set()
        self.idle: list[Spotter] = []
        """Spotters of streams that have ended, for the next."""
        self._uri = settings.uri
        self.turn = asyncio.Lock()
        """Held by the client whose sound is heard."""
        self._complaint = ""
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="wyoming", daemon=True)
        self._began = False

    def tick(self, now: float) -> None:
        """Begins to serve, once."""
        if not self._began:
            self._began = True
            self._thread.start()

    def detected(self, hit: Hit, now: float) -> None:
        """Tells the clients that wait for this device's own microphone."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._announce)

    def close(self) -> None:
        """Disconnects every client and stops serving."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(CLOSE_S)
        elif not self._began:
            self._loop.close()

    # What follows runs in the service's thread.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        while not self._closing.is_set():
            wait: float | None = None
            server = AsyncServer.from_uri(self._uri)
            try:
                _check_address(self._uri)
                await server.start(lambda reader, writer: Client(self, reader, writer))
                _open_to_group(self._uri)
            except OSError as error:
                self._complain(error)
                wait = RETRY_S
            else:
                self._complaint = ""
                self.say(f"serving Wyoming at {self._uri}")
            try:
                await asyncio.wait_for(self._closing.wait(), wait)
            except TimeoutError:
                continue
            await server.stop()

    def _complain(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if self._uri.startswith("tcp:") and is_refused(error):
            reason += (
                "; only /usr/share/kws-pi/drop-ins/wyoming.conf lets the service serve, at its port"
            )
        complaint = f"cannot serve Wyoming at {self._uri} ({reason}); trying again"
        if complaint != self._complaint:
            self._complaint = complaint
            self.say(complaint)

    def _announce(self) -> None:
        for client in self.clients:
            if client.waits:
                client.announce()

    def info(self) -> Info:
        """What `describe` is answered with."""
        attribution = Attribution(name="kws-pi", url="")
        model = WakeModel(
            name=self.keyword,
            attribution=attribution,
            installed=True,
            description=self.keyword,
            version=__version__,
            languages=[],
            phrase=self.keyword,
        )
        program = WakeProgram(
            name="kws-pi",
            attribution=attribution,
            installed=True,
            description="A small keyword spotter",
            version=__version__,
            models=[model],
        )
        return Info(wake=[program])


class Client(AsyncEventHandler):
    """One connection."""

    def __init__(
        self, service: WakeService, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(_Bounded(reader), writer)  # type: ignore[arg-type]
        self._service = service
        self._wanted = True
        self.waits = False
        """It has sent `detect` for this keyword, and never any sound."""
        self._has_streamed = False
        self._stream: _Stream | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serves the client until it goes, or sends what cannot be understood."""
        service = self._service
        try:
            if len(service.clients) >= MOST_CLIENTS:
                await self.write_event(Error("too many clients; try again later").event())
                return
            service.clients.add(self)
            _notice_loss(self.writer)
            await super().run()
        except Exception as error:  # what it sends may be anything, and break off anywhere
            if not isinstance(error, (OSError, EOFError)):
                service.say(f"a Wyoming client sent what cannot be understood ({error!r})")
        finally:
            service.clients.discard(self)
            self._end_stream()
            self.writer.close()

    async def handle_event(self, event: Event) -> bool:
        """Answers one message; returns False to disconnect."""
        if Describe.is_type(event.type):
            await self.write_event(self._service.info().event())
        elif Detect.is_type(event.type):
            names = Detect.from_event(event).names
            self._wanted = not names or self._service.keyword in names
            self.waits = self._wanted and not self._has_streamed
        elif AudioStart.is_type(event.type):
            self._end_stream()
            return await self._start(AudioStart.from_event(event))
        elif AudioChunk.is_type(event.type):
            return await self._hear(AudioChunk.from_event(event))
        elif AudioStop.is_type(event.type):
            if self._stream is not None and not self._stream.detections:
                await self.write_event(NotDetected().event())
            self._end_stream()
        return True

    async def write_event(self, event: Event) -> None:
        """Sends a message. Raises TimeoutError, an OSError, when the client does not take it."""
        await asyncio.wait_for(super().write_event(event), SEND_S)

    def announce(self) -> None:
        """Tells of a detection by this device's own microphone."""

        async def tell() -> None:
            try:
                await self.write_event(Detection(name=self._service.keyword).event())
            except OSError:
                self.writer.close()

        task = asyncio.get_running_loop().create_task(tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, start: Any) -> bool:
        self._has_streamed, self.waits = True, False
        fits = (
            start.width in FORMATS
            and 1 <= start.channels <= MOST_CHANNELS
            and RATES[0] <= start.rate <= RATES[1]
        )
        if not fits:
            wanted = "16 bits, one channel and 16000 Hz fit best"
            await self.write_event(Error(f"sound in this format is not taken; {wanted}").event())
            return False
        try:
            spotter = self._service.idle.pop() if self._service.idle else None
            self._stream = _Stream(spotter or self._service.make_spotter(), start)
        except KwsPiError as error:
            await self.write_event(Error(str(error)).event())
            return False
        return True

    async def _hear(self, chunk: AudioChunk) -> bool:
        # Some clients send chunks without a start.
        if self._stream is None and not await self._start(chunk):
            return False
        stream = self._stream
        assert stream is not None
        start_ms = chunk.timestamp
        for piece, at_s in stream.pieces(chunk.audio):
            # One client at a time, and a rest as long as the work: half a processor at most.
            async with self._service.turn:
                began = time.monotonic()
                hits = stream.spotter.push(piece, began)
                await asyncio.sleep(time.monotonic() - began)
            for _ in hits if self._wanted else ():
                stream.detections += 1
                timestamp = None if start_ms is None else start_ms + round(1000 * at_s)
                detection = Detection(name=self._service.keyword, timestamp=timestamp)
                await self.write_event(detection.event())
        return True

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._service.idle.append(self._stream.spotter)
            self._stream = None


class _Stream:
    """One stream of sound, and the spotter that hears it."""

    def __init__(self, spotter: Spotter, start: Any) -> None:
        self.spotter = spotter
        self.detections = 0
        self._format = FORMATS[start.width]
        self._width = start.width * start.channels
        self._channels = start.channels
        self._rate = start.rate
        self._resampler = Resampler(start.rate, spotter.sample_rate)
        self._rest = b""
        spotter.gap()

    def pieces(self, audio: bytes) -> Any:
        """The sound in pieces of at most a step, each with the seconds at which it begins."""
        audio = self._rest + audio
        whole = len(audio) // self._width * self._width
        audio, self._rest = audio[:whole], audio[whole:]
        size = self._width * max(
            1, self._rate * self.spotter.step_samples // self.spotter.sample_rate
        )
        for at in range(0, whole, size):
            samples = decode(audio[at : at + size], self._format, self._channels)
            yield self._resampler.push(samples), at / self._width / self._rate


class _Bounded:
    """A stream reader that refuses long messages, which would fill the memory."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.feed_eof = reader.feed_eof

    async def readline(self) -> bytes:
        """A line; ValueError, which ends the connection, for one longer than 64 KiB."""
        return await self._reader.readline()

    async def readexactly(self, count: int) -> bytes:
        """So many bytes; ValueError, which ends the connection, for too many."""
        if count > LONGEST_MESSAGE:
            raise ValueError(f"a message of {count} bytes")
        return await self._reader.readexactly(count)


def _check_address(uri: str) -> None:
    """Raises OSError for what the libraries overlook.

    wyoming removes a file in its socket's place, and asyncio serves at no
    address at all where it may not make a socket.
    """
    if uri.startswith("unix://"):
        path = Path(uri.removeprefix("unix://"))
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(errno.EEXIST, "this file is no socket")
    else:
        family = socket.AF_INET6 if "[" in uri else socket.AF_INET
        socket.socket(family, socket.SOCK_STREAM).close()


def _open_to_group(uri: str) -> None:
    """A unix socket is for the owner and the group, kws-pi."""
    if uri.startswith("unix://"):
        Path(uri.removeprefix("unix://")).chmod(0o660)


def _notice_loss(writer: asyncio.StreamWriter) -> None:
    """A client whose machine has gone is missed within minutes, and does not take a place."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
