"""`kws-pi status`: shows the health of the daemon that is running."""

from __future__ import annotations

import dataclasses
import json

from device.health import Figures, State, duration
from device.report import FOLDER, read_figures, runtime_folder, silent_for

HUNG_S = 5.0
"""The daemon reports each second; after so many without a report it hangs."""


def show_status(as_json: bool) -> bool:
    """Prints the figures; returns whether the daemon is well: it listens, and sound advances.

    Raises NotRunning when there is no daemon.
    """
    figures = read_figures(runtime_folder() or FOLDER)
    silent = silent_for(figures)
    healthy = (
        figures.state == State.LISTENING
        and silent < HUNG_S
        and figures.heard_s_ago is not None
        and figures.heard_s_ago < HUNG_S
    )
    if as_json:
        told = dataclasses.asdict(figures)
        print(json.dumps({"healthy": healthy, "silent_for_s": round(silent, 3), **told}))
    else:
        print("\n".join(f"{name:<12}{value}" for name, value in _rows(figures, silent)))
    return healthy


def _rows(figures: Figures, silent: float) -> list[tuple[str, str]]:
    state = figures.state
    if figures.only_zeros:
        state += " to nothing but zeros: is the microphone switched off or muted?"
    if silent >= HUNG_S:
        state = f"hangs: no report for {duration(silent)} (its last: {figures.state})"
    heard = "no sound yet"
    if figures.heard_s_ago is not None:
        ago = figures.heard_s_ago + silent
        heard = f"{figures.level_dbfs:.1f} dB of full scale, last sound {ago:.1f} s ago"
    microphone = f"{figures.device} at {figures.rate} Hz" if figures.device else "none so far"
    return [
        ("state", state),
        ("keyword", f"{figures.keyword}, threshold {figures.threshold:.3f}"),
        ("microphone", microphone),
        ("input", heard),
        ("uptime", f"{duration(figures.uptime_s)}, {duration(figures.audio_s)} of sound heard"),
        ("detections", str(figures.detections)),
        ("overruns", f"{figures.overruns}, and {figures.late} times slower than the sound"),
        ("reopenings", f"{figures.reopenings} (opened {figures.openings} times)"),
        ("reloads", str(figures.reloads)),
        ("CPU", f"{100 * figures.cpu_share:.1f} % of one core"),
        ("latency", f"{figures.latency_ms:.1f} ms from the sound device to the decision"),
        ("version", f"{figures.version}, process {figures.pid}"),
    ]
