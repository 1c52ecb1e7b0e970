"""ALSA's sound cards: their devices' names, and who uses one.

A card's number changes when cards come and go; its ID ("Device" in
plughw:CARD=Device,DEV=0) belongs to the kind of card, and finds it again.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from device.errors import MicrophoneAbsent, SetupError


def alsa() -> Any:
    """The module alsaaudio. Raises SetupError when it is not installed."""
    try:
        module = importlib.import_module("alsaaudio")
    except ImportError as error:
        raise SetupError(
            f"pyalsaaudio cannot be imported ({error}); install the Debian package "
            "python3-alsaaudio, or run `pip install pyalsaaudio`"
        ) from error
    _silence_alsa()
    return module


@functools.cache
def _silence_alsa() -> None:
    """ALSA's library prints to stderr what it also returns as an error; one sentence is enough."""
    import ctypes

    try:
        library = ctypes.CDLL("libasound.so.2")
        # The handler must do nothing. One of the library's own functions that
        # ignores its arguments serves, and spares the writable and executable
        # memory that a Python callback might need.
        library.snd_lib_error_set_handler(library.snd_asoundlib_version)
    except (OSError, AttributeError):
        return


# ALSA lists these beside devices: converters that need a slave, and a server that
# prints to the terminal when it is asked.
_NOT_DEVICES = {
    *("null", "lavrate", "samplerate", "speexrate", "speex", "upmix", "vdownmix"),
    *("jack", "oss"),
}


def capture_devices() -> list[str]:
    """Names of the capture devices: each card's as plughw:CARD=ID,DEV=N, then others."""
    module = alsa()
    return listed_devices(module.pcms(module.PCM_CAPTURE))


def listed_devices(names: list[str]) -> list[str]:
    """From ALSA's list, which holds a dozen names for each card, one name for each device."""
    cards = [f"plug{name}" for name in names if name.startswith("hw:CARD=")]
    others = [name for name in names if "CARD=" not in name and name not in _NOT_DEVICES]
    return cards + others


def default_device() -> str:
    """The first capture card, by name. Raises MicrophoneAbsent when there is none."""
    cards = [name for name in capture_devices() if name.startswith("plughw:CARD=")]
    if not cards:
        raise MicrophoneAbsent("no microphone found; plug one in (`kws-pi devices` lists them)")
    return cards[0]


_BY_CARD = re.compile(
    r"(?P<kind>\w+):(?:CARD=)?(?P<card>[^,=]+)(?:,(?:DEV=)?(?P<number>\d+))?(?P<rest>,.*)?"
)


def lasting_name(device: str) -> str:
    """The name of a device by its card's ID, where it was named by the card's number.

    hw:1,0 becomes hw:CARD=Device,DEV=0 while card 1 is there. Any other name
    stays as it is.
    """
    named = _BY_CARD.fullmatch(device)
    if named is None or not named["card"].isdecimal():
        return device
    module = alsa()
    ids = dict(zip(module.card_indexes(), module.cards(), strict=False))
    identifier = ids.get(int(named["card"]))
    if identifier is None:
        return device
    return f"{named['kind']}:CARD={identifier},DEV={named['number'] or 0}{named['rest'] or ''}"


def holder(device: str, proc: Path = Path("/proc"), nodes: Path = Path("/dev/snd")) -> str:
    """The program that holds a capture device, as "NAME (process N)"; empty if that is unknown.

    The sound driver itself says which process has opened a stream; without it,
    the open files of those processes are searched that this one may look into.
    `proc`, `nodes`: where the kernel shows processes, and the device files.
    """
    named = _BY_CARD.fullmatch(device)
    card = _card_number(named["card"], proc) if named else None
    if named and card is None:
        return ""
    number = (named["number"] if named else None) or "0"
    for process in _owners(card, number, proc, nodes):
        try:
            # A thread of its may have opened the device.
            status = (proc / process / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended since
        leader = re.search(r"^Tgid:\s*(\d+)", status, re.MULTILINE)
        process = leader[1] if leader else process
        with contextlib.suppress(OSError):
            name = (proc / process / "comm").read_text(encoding="utf-8", errors="replace")
            return f"{name.strip()} (process {process})"
    return ""


def _card_number(card: str, proc: Path) -> str | None:
    if card.isdecimal():
        return card
    try:
        # The ID is a link to the folder of its number.
        return (proc / "asound" / card).readlink().name.removeprefix("card")
    except OSError:
        return None


def _owners(card: str | None, number: str, proc: Path, nodes: Path) -> Iterator[str]:
    """The processes that have a capture stream open; of any card when `card` is None."""
    streams = f"asound/card{card or '[0-9]*'}/pcm{number if card else '[0-9]*'}c/sub*/status"
    for status in sorted(proc.glob(streams)):
        try:
            owner = re.search(r"^owner_pid\s*:\s*(\d+)", status.read_text(), re.MULTILINE)
        except OSError:
            continue
        if owner:
            yield owner[1]
    node = re.compile(rf"{nodes}/pcmC{card or '[0-9]+'}D{number if card else '[0-9]+'}c")
    for descriptor in proc.glob("[0-9]*/fd/*"):
        try:
            if node.fullmatch(str(descriptor.readlink())):
                yield descriptor.parts[-3]
        except OSError:
            continue  # closed since, or another user's
