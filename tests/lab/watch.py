"""Plays a recording on the Pi and watches the LED's line, as the kernel shows it; for root.

    watch.py RECORDING CARD SECONDS

Prints JSON: `started`, when the sound card began to play, and `line`, a list of [when, state] for
the first state of the line and every change of it: "hi", "lo", or "" while nobody drives it. Times
are of the monotonic clock. Ends when the line has been high and low again, or SECONDS after the
sound.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

GPIO = Path("/sys/kernel/debug/gpio")
PLAYING = Path(f"/proc/asound/{sys.argv[2]}/pcm1p/sub0/status")


def main() -> None:
    recording, card, rest = sys.argv[1], sys.argv[2], float(sys.argv[3])
    # A buffer of two seconds, so that a busy processor does not tear the sound.
    command = ["aplay", "-q", "-D", f"plughw:CARD={card},DEV=1", "--buffer-time=2000000"]
    player = subprocess.Popen([*command, recording])
    line: list[tuple[float, str]] = []
    starts: set[float] = set()
    end = float("inf")
    while time.monotonic() < end:
        found = re.search(r"GPIO17\b.*\bout (hi|lo)", GPIO.read_text())
        state = found[1] if found else ""
        if not line or line[-1][1] != state:
            line.append((time.monotonic(), state))
        began = re.search(r"trigger_time: ([0-9.]+)", PLAYING.read_text())
        if began and float(began[1]):
            starts.add(float(began[1]))
        if end == float("inf") and player.poll() is not None:
            end = time.monotonic() + rest
        if player.poll() is not None and [state for _, state in line[-2:]] == ["hi", "lo"]:
            break
        time.sleep(0.02)
    if player.returncode or len(starts) != 1:
        sys.exit(f"the sound was not played in one piece (status {player.returncode}, {starts})")
    print(json.dumps({"started": starts.pop(), "line": line}))


main()
