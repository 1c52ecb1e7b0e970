"""`make e2e`: deployed as to a real Pi, it hears, lights the LED and starts by itself.

A real Pi keeps its own microphone, so that what needs a sound played into it is left out there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from target import Target, Word, emulated

from device.model import default_manifest, load_model

Note = Callable[[str, object], None]


def test_deploy(pi: Target) -> None:
    assert "kws-pi listens on" in pi.fleet("deploy")


def test_status(pi: Target) -> None:
    shown = pi.fleet("status")
    assert "active (running)" in shown
    assert re.search(r"^state +listening", shown, re.MULTILINE), shown


@emulated
def test_a_played_keyword_lights_the_led_within_a_second(
    pi: Target, word: Word, record_property: Note
) -> None:
    before = pi.health()
    heard = pi.play(word)
    assert heard.record["KEYWORD"] == load_model(default_manifest()).manifest.keyword
    assert 0 < float(heard.record["PROBABILITY"]) <= 1
    assert float(heard.record["LATENCY_MS"]) < 1000
    record_property("line high after the word by", f"{heard.late_s:.2f} s")
    record_property("LATENCY_MS", heard.record["LATENCY_MS"])
    assert heard.late_s < 1.0
    assert heard.states[-2:] == ["hi", "lo"]
    assert pi.health()["detections"] == before["detections"] + 1


def test_the_service_is_shut_in(pi: Target, record_property: Note) -> None:
    shown = pi.root("systemd-analyze security --no-pager kws-pi.service | tail -n 1")
    exposure = re.search(r"exposure level for kws-pi.service: ([0-9.]+)", shown)
    assert exposure, shown
    record_property("exposure", exposure[1])
    assert float(exposure[1]) <= 1.5
    process = pi.health()["pid"]
    status = pi.root(f"cat /proc/{process}/status")
    assert re.search(r"^CapEff:\s*0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s*2$", status, re.MULTILINE)
    assert pi.run(f"ps -o user= -p {process}").strip() == "kws-pi"
    inside = f"nsenter --mount --net --target {process}"
    assert pi.root(f"{inside} ls /sys/class/net").split() == ["lo"]
    assert "fails" in pi.root(f"{inside} touch /var/lib/kws-pi/x 2>/dev/null || echo fails")


@emulated
def test_it_starts_by_itself_after_a_reboot(pi: Target, word: Word) -> None:
    pi.machine.reboot()
    pi.wait_until_it_hears()
    assert pi.play(word).states[-2:] == ["hi", "lo"]
