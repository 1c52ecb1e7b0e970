"""`make e2e`: what happens to a microphone, on the emulated Pi."""

from __future__ import annotations

import pytest
from target import Target, Word, emulated

from device.notify import Event

pytestmark = emulated

DRIVER = "/sys/bus/platform/drivers/snd_aloop"
UNPLUG = f"echo snd_aloop.0 >{DRIVER}/unbind"
"""It returns when the daemon has let go of the card."""
WAITING = "waiting for microphone"


def test_absent_at_boot(pi: Target, word: Word) -> None:
    pi.root("mv /etc/modules-load.d/lab.conf /root/lab.conf; sync")
    pi.machine.reboot()
    pi.root("mv /root/lab.conf /etc/modules-load.d/lab.conf")
    pi.until(f"kws-pi status --json | grep '{WAITING}'", otherwise="systemctl status kws-pi")
    assert pi.run("systemctl is-active kws-pi").strip() == "active"
    assert pi.led() != "hi"
    assert pi.run("systemctl show kws-pi -P StatusText").startswith(WAITING)
    pi.root("modprobe snd-aloop")
    after = pi.wait_until_it_hears()
    assert (after["openings"], after["reopenings"]) == (1, 0)
    assert pi.play(word).states[-2:] == ["hi", "lo"]


def test_unplugged_and_plugged_back_under_another_number(pi: Target, word: Word) -> None:
    since, before = pi.now(), pi.health()
    number = pi.run("readlink /proc/asound/Loopback").strip()
    pi.root(UNPLUG)
    record = pi.wait_for_record(Event.MICROPHONE, since)
    assert record["MICROPHONE_STATE"] == "absent", record["MESSAGE"]
    assert pi.health()["state"] == WAITING
    assert pi.led() != "hi"
    pi.root("modprobe -r snd-aloop && modprobe snd-aloop index=3")
    try:
        after = pi.wait_until_it_hears()
        assert pi.run("readlink /proc/asound/Loopback").strip() == "card3" != number
        assert after["pid"] == before["pid"]
        assert after["reopenings"] == before["reopenings"] + 1
        assert pi.play(word).states[-2:] == ["hi", "lo"]
    finally:
        pi.root(f"{UNPLUG}; modprobe -r snd-aloop; modprobe snd-aloop")


def test_in_use_by_a_named_program(pi: Target) -> None:
    """Every subdevice of the card's microphone has a holder."""
    since = pi.now()
    pi.root(
        "systemctl stop kws-pi; for number in 0 1 2 3 4 5 6 7; do arecord -q -f S16_LE -r 16000 "
        "-D hw:Loopback,0,$number /dev/null >/dev/null 2>&1 & done; sleep 5; "
        "systemctl start --no-block kws-pi"
    )
    try:
        record = pi.wait_for_record(Event.MICROPHONE, since)
        assert record["MICROPHONE_STATE"] == "busy"
        process = record["MESSAGE"].split("process ")[1].split(")")[0]
        assert record["MESSAGE"].startswith(f"arecord (process {process}) is using")
        assert pi.run(f"ps -o comm= -p {process}").strip() == "arecord"
    finally:
        pi.root("pkill -x arecord")


def test_zeros(pi: Target, word: Word) -> None:
    """The loopback card delivers nothing else while nothing is played into it."""
    since = pi.now()
    pi.root("systemctl restart kws-pi")
    pi.wait_for_record(Event.ZEROS, since)
    assert pi.wait_until_it_hears()["only_zeros"]
    assert pi.run("systemctl show kws-pi -P NRestarts").strip() == "0"
    assert pi.play(word).states[-2:] == ["hi", "lo"]
    pi.wait_for_record(Event.SOUND, since)


@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (44100, 1), (8000, 1)])
def test_a_card_of_another_rate_and_channel_count(
    pi: Target, word: Word, rate: int, channels: int
) -> None:
    """Whoever opens the loopback card first settles its rate and channels for the other side."""
    since = pi.now()
    pi.root("systemctl stop kws-pi")
    pi.root(
        f"aplay -q -D hw:Loopback,1,0 -t raw -f S16_LE -r {rate} -c {channels} "
        "/dev/zero >/dev/null 2>&1 & sleep 3; systemctl start kws-pi"
    )
    try:
        assert pi.wait_until_it_hears()["rate"] == rate
        pi.wait_for_record(Event.LISTENING, since, f"{rate} Hz")
    finally:
        pi.root("pkill -x aplay; systemctl restart kws-pi")
    assert pi.wait_until_it_hears()["rate"] == 16000


def test_asleep_with_the_machine(pi: Target) -> None:
    """The kernel's rehearsal of a suspend: processes and devices stop for five seconds.

    qemu's Pi has no clock that could wake it from a real one.
    """
    before = pi.health()
    pi.root(
        "echo devices >/sys/power/pm_test; echo freeze >/sys/power/state; "
        "echo none >/sys/power/pm_test",
        check=False,
    )
    log = pi.root("dmesg | grep -c 'PM: suspend exit'")
    assert int(log) >= 1
    after = pi.wait_until_it_hears()
    assert after["pid"] == before["pid"]
    lost = ("overruns", "late", "reopenings")
    assert sum(after[count] for count in lost) > sum(before[count] for count in lost)
