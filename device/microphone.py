"""The microphone: an ALSA capture device read by its own thread into a bounded ring.

Every way in which a stream ends has a name: absent, busy, suspended, stalled
(open, but silent past its deadline), refused. An error in the thread is handed
to the reader, so the thread never dies alone.
"""

from __future__ import annotations

import errno
import math
import os
import select
import threading
import time
from typing import Any

from device.errors import (
    MicrophoneAbsent,
    MicrophoneBusy,
    MicrophoneError,
    MicrophoneStalled,
    MicrophoneSuspended,
)
from device.formats import FORMATS
from device.losses import LossClock
from device.pcm import decode
from device.resample import Resampler
from device.ring import Block, Ring
from device.soundcard import alsa, default_device, holder

PERIOD_S = 0.02
BUFFER_S = 0.5
RING_S = 2.0
POLL_S = 0.1
"""The thread looks this often whether it shall end."""
JOIN_S = 1.0
LATE_S = 1.0
"""What was taken so long ago is not worth hearing: whoever reads it is slower than the sound."""
LOWEST_RATE = 8000
"""Below, a telephone's, too little is left of speech."""

Rates = int | tuple[int, int] | list[int]
"""As pyalsaaudio gives them: one rate, a range, or a list."""


def device_rates(device: str) -> Rates:
    """The sample rates that a device takes by itself, without ALSA's conversion.

    Raises MicrophoneError (absent, busy, refused).
    """
    pcm = _open(device, hardware=True)
    try:
        rates: Rates = pcm.getrates()
        return rates
    except alsa().ALSAAudioError as error:
        raise _named(error, device) from error
    finally:
        pcm.close()


def native_rate(rates: Rates, wanted: int) -> int:
    """The rate to ask of a device: the wanted one if it takes it, else the best to decimate.

    That is its lowest rate above the wanted one, whole multiples first, or
    else its highest.
    """
    if isinstance(rates, int):
        return rates
    if isinstance(rates, tuple):
        low, high = rates
        if low <= wanted <= high:
            return wanted
        multiple = wanted * math.ceil(low / wanted)
        if low > wanted:
            return multiple if multiple <= high else low
        return high
    if wanted in rates:
        return wanted
    above = [rate for rate in rates if rate > wanted]
    if above:
        return min(above, key=lambda rate: (rate % wanted != 0, rate))
    return max(rates)


class Microphone:
    """An open capture device. Its blocks come at `sample_rate`, mono, with gaps marked.

    Raises MicrophoneAbsent, MicrophoneBusy or MicrophoneError when it cannot
    be opened.
    """

    def __init__(
        self,
        device: str = "",
        sample_rate: int = 16000,
        step_samples: int = 1280,
        deadline_s: float = 2.0,
        sample_format: str = "S16_LE",
        rate: int | None = None,
        channels: int = 1,
        chunk: int | None = None,
    ) -> None:
        """`device`: an ALSA name, empty for the first capture card.

        `deadline_s`: an open stream without a sample for so long is stalled.
        `sample_format`, `rate` and `channels` are asked of the device;
        without a rate, a `plughw` device is asked for one that its hardware
        takes. `chunk`: frames to read at a time.
        """
        self.name = device or default_device()
        self.overruns = 0
        """How often samples were lost because the device was not read in time."""
        self.late = 0
        """How often samples were passed over because `read` was called too late."""
        if rate is None:
            rate = sample_rate
            if self.name.startswith("plughw:"):
                # ALSA's plug would convert by linear interpolation, which folds
                # what lies above 8 kHz back into speech.
                rate = native_rate(device_rates(self.name), sample_rate)
        self._pcm = _open(self.name, sample_format, rate, channels, chunk)
        try:
            self._take_parameters(sample_rate)
        except BaseException:
            self._pcm.close()
            raise
        # At the model's own rate one read is one step; else the filter's
        # blocks and the steps do not meet, and short reads keep it prompt.
        self._count = step_samples if self.rate == sample_rate else self._period
        self._count = chunk or self._count
        self._ring = Ring(max(round(RING_S * self.rate), 4 * self._count, 4 * self._period))
        self._deadline_s = deadline_s
        self._silent_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._capture, name="microphone", daemon=True)
        self._thread.start()

    def read(self, timeout: float) -> Block | None:
        """The next samples, float32 at `sample_rate`, or None if none came within `timeout` s.

        What has waited for longer than LATE_S is passed over, with everything
        else that waits: a loop that is slower than the sound hears the newest.
        Raises MicrophoneStalled once the stream has been silent past its
        deadline, and what ended the stream when it has ended.
        """
        began = time.monotonic()
        block = self._ring.read(self._count, timeout)
        now = time.monotonic()
        if block is None:
            # A program that was held up itself has not waited for so long.
            self._silent_s += min(now - began, timeout + POLL_S)
            if self._silent_s > self._deadline_s:
                raise MicrophoneStalled(
                    f"{self.name} is open but has delivered no sound for "
                    f"{self._silent_s:.1f} s; unplug it and plug it in again"
                )
            return None
        self._silent_s = 0.0
        if now - block.taken_at > LATE_S:
            self.late += 1
            self._ring.skip()
            return None
        if block.after_gap:
            self._resampler.reset()
        return Block(self._resampler.push(block.samples), block.taken_at, block.after_gap)

    def close(self) -> bool:
        """Closes the device. Returns False if the thread is stuck in the sound driver."""
        self._stop.set()
        self._ring.close()
        self._thread.join(JOIN_S)
        return not self._thread.is_alive()

    def _take_parameters(self, sample_rate: int) -> None:
        """ALSA may give other parameters than those asked for."""
        info = self._pcm.info()
        self._format: str = info["format_name"]
        self.channels: int = info["channels"]
        self.rate: int = info["rate"]
        self._period: int = info["period_size"]
        self._buffer_s = info["buffer_size"] / self.rate
        if self._format not in FORMATS:
            raise MicrophoneError(
                f"{self.name} gives samples as {self._format}, which kws-pi does not read; "
                f"use its plughw: name or choose one of {', '.join(FORMATS)}"
            )
        if self.rate < LOWEST_RATE:
            raise MicrophoneError(
                f"{self.name} gives {self.rate} samples a second, too few to understand speech; "
                f"choose a device that takes {LOWEST_RATE} Hz or more"
            )
        self._resampler = Resampler(self.rate, sample_rate)

    def _capture(self) -> None:
        """The thread: from the device into the ring until it is told to stop, or an error."""
        error: Exception | None = None
        try:
            self._capture_until_stopped()
        except alsa().ALSAAudioError as reason:
            error = _named(reason, self.name)
        except Exception as reason:  # the thread must not die alone: the reader gets all
            error = MicrophoneError(f"reading {self.name} failed ({reason!r}); restart kws-pi")
        finally:
            self._pcm.close()
            self._ring.close(error)

    def _capture_until_stopped(self) -> None:
        poll = select.poll()
        for descriptor, events in self._pcm.polldescriptors():
            poll.register(descriptor, events)
        losses = LossClock(self.rate, self._buffer_s / 2)
        after_gap = False
        while not self._stop.is_set():
            frames, data = self._pcm.read()
            now = time.monotonic()
            # Only this clock counts the time that the machine is suspended.
            passed = time.clock_gettime(time.CLOCK_BOOTTIME)
            if frames < 0:
                # An overrun (-EPIPE); pyalsaaudio has prepared the stream again.
                self.overruns += 1
                after_gap = True
                losses = LossClock(self.rate, self._buffer_s / 2)
            elif frames:
                losses.took(frames)
                samples = decode(data, self._format, self.channels)
                if not self._ring.write(samples, now, after_gap):
                    return
                after_gap = False
            else:
                # The device's buffer is empty, so what is missing now is lost.
                # pyalsaaudio 0.10 recovers from an overrun without a word.
                if losses.lost(passed):
                    self.overruns += 1
                    after_gap = True
                poll.poll(1000 * POLL_S)


def _open(
    device: str,
    sample_format: str = "S16_LE",
    rate: int = 16000,
    channels: int = 1,
    chunk: int | None = None,
    hardware: bool = False,
) -> Any:
    """Opens a capture device without blocking, or the hardware that its plughw: name stands for.

    Raises MicrophoneError or a kind of it.
    """
    module = alsa()
    opened = device.removeprefix("plug") if hardware and device.startswith("plughw:") else device
    period = chunk or round(PERIOD_S * rate)
    try:
        return module.PCM(
            module.PCM_CAPTURE,
            module.PCM_NONBLOCK,
            device=opened,
            rate=rate,
            channels=channels,
            format=getattr(module, f"PCM_FORMAT_{sample_format}"),
            periodsize=period,
            periods=max(4, round(BUFFER_S * rate / period)),
        )
    except module.ALSAAudioError as error:
        raise _named(error, device) from error


def _named(error: Exception, device: str) -> MicrophoneError:
    """ALSA's error by its kind. pyalsaaudio gives only its text, with the device at the end."""
    text = str(error).rsplit(" [", 1)[0]

    def means(*codes: int) -> bool:
        return text in {os.strerror(code) for code in codes}

    if means(errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return MicrophoneAbsent(
            f"there is no sound device {device!r}; plug it in, or choose one that "
            "`kws-pi devices` lists"
        )
    if means(errno.EBUSY, errno.EAGAIN):
        user = holder(device) or "another program"
        return MicrophoneBusy(f"{user} is using {device!r}; end it or choose another device")
    if means(errno.ESTRPIPE):
        return MicrophoneSuspended(f"{device!r} was suspended; opening it again")
    if means(errno.EACCES, errno.EPERM):
        return MicrophoneError(
            f"no permission to open {device!r}; add the user to the group audio and log in again"
        )
    return MicrophoneError(
        f"{device!r} cannot be used ({text}); try its plughw: name from `kws-pi devices`"
    )
