"""The command line: `kws-pi run | status | listen | score | devices | off`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from device import __version__
from device.engine import DEFAULT_ENGINE, ROLES
from device.errors import AudioFileError, KwsPiError, MicrophoneAbsent, MicrophoneError
from device.formats import FORMATS

if TYPE_CHECKING:
    from device.spotter import Hit, Spotter

# numpy and ONNX Runtime take their time and memory to import: each command
# imports what it needs.


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status. Errors end in one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except KwsPiError as error:
        print(f"kws-pi: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kws-pi", description="Spots a keyword in what a microphone hears."
    )
    parser.add_argument("--version", action="version", version=f"kws-pi {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    model = argparse.ArgumentParser(add_help=False)
    model.add_argument(
        "--model", type=Path, metavar="FILE", help="the model's manifest (default: the shipped one)"
    )

    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument(
        "--engine",
        choices=list(ROLES),
        default=DEFAULT_ENGINE,
        help="what computes the network (default: %(default)s)",
    )

    config = argparse.ArgumentParser(add_help=False)
    config.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings (default: /etc/kws-pi/config.toml and, above it, "
        "/var/lib/kws-pi/config.toml, if there are any)",
    )

    run = commands.add_parser(
        "run",
        parents=[model, config],
        help="the daemon: listens, lights the LED, writes to the journal",
        description="Listens until SIGTERM; SIGHUP reads the settings anew.",
    )
    run.set_defaults(command=_run)

    status = commands.add_parser(
        "status",
        help="shows what the running daemon hears and counts",
        description="Shows the figures of the daemon that is running. The exit status is 0 when "
        "it listens and sound advances, else 1.",
    )
    status.add_argument("--json", action="store_true", help="one JSON object")
    status.set_defaults(command=_status)

    off = commands.add_parser(
        "off", parents=[config], help="puts the LED out that a daemon that was killed left lit"
    )
    off.set_defaults(command=_off)

    listen = commands.add_parser(
        "listen",
        parents=[model, engine],
        help="prints the detections in a recording or from a sound device",
        description="Prints the detections in a recording, as fast as it can be read, or those "
        "from a sound device until Ctrl-C.",
    )
    listen.add_argument("source", metavar="SOURCE", help="an audio file or an ALSA device name")
    listen.add_argument("--json", action="store_true", help="one JSON object a line")
    listen.add_argument(
        "--format",
        type=str.upper,
        choices=sorted(FORMATS),
        help="sample format of raw PCM or of the device (default S16_LE)",
    )
    listen.add_argument("--rate", type=_positive, metavar="HZ", help="its sample rate")
    listen.add_argument("--channels", type=_positive, metavar="N", help="its channels (default 1)")
    listen.add_argument(
        "--chunk", type=_positive, metavar="FRAMES", help="frames to read at a time (default 80 ms)"
    )
    listen.set_defaults(command=_listen)

    score = commands.add_parser(
        "score",
        parents=[model, engine],
        help="writes the probability of every 80 ms step of recordings",
        description="Writes one float32 array per recording, named by its stem: the raw "
        "probability of every 80 ms step, each recording from the initial state and followed by "
        "0.5 s of quiet noise.",
    )
    score.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a recording")
    score.add_argument("--output", type=Path, required=True, metavar="NPZ", help="e.g. scores.npz")
    score.set_defaults(command=_score)

    devices = commands.add_parser(
        "devices", parents=[model], help="lists capture devices and the rates they take"
    )
    devices.set_defaults(command=_devices)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _warn(message: str) -> None:
    print(f"kws-pi: {message}", file=sys.stderr)


def _run(options: argparse.Namespace) -> int:
    from device.daemon import run_daemon

    run_daemon(options.config, options.model)
    return 0


def _status(options: argparse.Namespace) -> int:
    from device.status import show_status

    return 0 if show_status(options.json) else 1


def _off(options: argparse.Namespace) -> int:
    from device.indicator import put_out

    put_out(options.config)
    return 0


def _listen(options: argparse.Namespace) -> int:
    from device.model import default_manifest, load_model
    from device.spotter import Spotter

    path = Path(options.source)
    # ALSA names hold no slash, and those with a dot hold a colon before it.
    named_like_a_file = "/" in options.source or (path.suffix and ":" not in options.source)
    is_file = named_like_a_file or (path.exists() and not path.is_dir())
    if is_file and path.is_dir():
        raise AudioFileError(f"{path}: is a folder; give one recording")
    spotter = Spotter(load_model(options.model or default_manifest(), options.engine))
    if is_file:
        _listen_to_file(spotter, path, options)
    else:
        _listen_to_device(spotter, options)
    return 0


def _listen_to_file(spotter: Spotter, path: Path, options: argparse.Namespace) -> None:
    from device.audiofile import AudioFile

    recording = AudioFile(
        path,
        spotter.sample_rate,
        options.chunk or spotter.step_samples,
        options.format,
        options.rate,
        options.channels,
    )
    detections = 0
    with recording:
        for samples in recording:
            for hit in spotter.push(samples, time.monotonic()):
                _show(hit, options.json)
                detections += 1
    _warn(f"{spotter.time_s:.1f} s of audio, {detections} detections")


def _listen_to_device(spotter: Spotter, options: argparse.Namespace) -> None:
    from device.microphone import Microphone

    microphone = Microphone(
        options.source,
        spotter.sample_rate,
        spotter.step_samples,
        sample_format=options.format or "S16_LE",
        rate=options.rate,
        channels=options.channels or 1,
        chunk=options.chunk,
    )
    try:
        _warn(f"listening to {microphone.name} at {microphone.rate} Hz; Ctrl-C ends it")
        while True:
            block = microphone.read(timeout=0.2)
            if block is None:
                continue
            if block.after_gap:
                _warn("some samples were lost; starting anew")
                spotter.gap()
            for hit in spotter.push(block.samples, block.taken_at):
                _show(hit, options.json)
    finally:
        microphone.close()


def _show(hit: Hit, as_json: bool) -> None:
    if as_json:
        line = json.dumps(
            {
                "keyword": hit.keyword,
                "time_s": round(hit.time_s, 3),
                "probability": round(hit.probability, 4),
                "latency_ms": round(hit.latency_ms, 3),
            }
        )
    else:
        line = (
            f"{hit.time_s:10.2f} s  {hit.keyword}  probability {hit.probability:.3f}"
            f"  latency {hit.latency_ms:.1f} ms"
        )
    print(line, flush=True)


def _score(options: argparse.Namespace) -> int:
    from device.model import default_manifest, load_model
    from device.score import score_files

    model = load_model(options.model or default_manifest(), options.engine)
    tally = score_files(model, options.files, options.output, _warn)
    _warn(f"{tally.scored} recordings scored, {tally.skipped} skipped; wrote {options.output}")
    return 0


def _devices(options: argparse.Namespace) -> int:
    from device.manifest import FrontEnd, read_manifest
    from device.microphone import device_rates, native_rate
    from device.soundcard import capture_devices

    front_end = read_manifest(options.model).front_end if options.model else FrontEnd()
    listed = False
    for index, name in enumerate(capture_devices()):
        try:
            rates = device_rates(name)
        except MicrophoneError as error:
            # What is no card may be a server that does not run.
            if name.startswith("plughw:"):
                print(f"{name}\n    {error}")
                listed = True
            continue
        if isinstance(rates, int):
            text = f"{rates}"
        elif isinstance(rates, tuple):
            text = "any" if rates[0] <= 1000 and rates[1] > 768000 else f"{rates[0]} to {rates[1]}"
        else:
            text = ", ".join(str(rate) for rate in rates)
        first = " (the default)" if index == 0 and name.startswith("plughw:") else ""
        asked = native_rate(rates, front_end.sample_rate)
        print(f"{name}{first}\n    rates: {text} Hz; kws-pi asks for {asked} Hz")
        listed = True
    if not listed:
        raise MicrophoneAbsent(
            "no microphone found; plug one in and check that `arecord -l` shows its card"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
