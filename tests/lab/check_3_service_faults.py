"""`make e2e`: what happens to the service and its system."""

from __future__ import annotations

from target import OWN_SETTINGS, Target, Word, emulated

from device.notify import Event

LIT = "[indicator]\non_s = 60.0\n"
"""The LED stays lit for as long as may be set."""
FILL = """
mkdir -p /filler
for size in 1G 256M 64M 16M 4M 1M 256K 64K 16K 4K; do
	number=0
	while fallocate -l $size /filler/$size.$number 2>/dev/null; do number=$((number + 1)); done
	rm -f /filler/$size.$number
done
"""


def test_sigterm(pi: Target) -> None:
    """systemd's own stop, and a stray signal, after which it is started again."""
    since, before = pi.now(), pi.health()
    pi.root("systemctl kill --kill-whom=main --signal=TERM kws-pi")
    pi.wait_for_record(Event.STOPPED, since)
    assert pi.wait_until_it_hears()["pid"] != before["pid"]
    pi.root("systemctl stop kws-pi")
    assert pi.run("systemctl show kws-pi -P Result").strip() == "success"
    assert pi.led() != "hi"
    pi.root("systemctl start kws-pi")


def test_sigkill(pi: Target) -> None:
    before = pi.health()
    pi.root("systemctl kill --kill-whom=main --signal=KILL kws-pi")
    assert pi.wait_until_it_hears()["pid"] != before["pid"]


@emulated
def test_sigkill_while_the_led_is_lit(pi: Target, word: Word) -> None:
    with pi.settings(LIT):
        assert pi.play(word, rest_s=2).states[-1] == "hi"
        pi.root("systemctl kill --kill-whom=main --signal=KILL kws-pi")
        pi.wait_until_it_hears()
        assert pi.led() != "hi"


@emulated
def test_sigterm_while_the_led_is_lit(pi: Target, word: Word) -> None:
    with pi.settings(LIT):
        assert pi.play(word, rest_s=2).states[-1] == "hi"
        pi.root("systemctl stop kws-pi")
        assert pi.led() != "hi"


def test_a_hang_is_ended_by_the_watchdog(pi: Target) -> None:
    before = pi.health()
    pi.root(f"kill -STOP {before['pid']}")
    pi.until(f"test ! -e /proc/{before['pid']}", otherwise="systemctl status kws-pi")
    assert pi.wait_until_it_hears()["pid"] != before["pid"]
    assert "Watchdog timeout" in pi.root("journalctl -u kws-pi -n 40 -o cat")


def test_sighup_with_a_good_file(pi: Target) -> None:
    since, before = pi.now(), pi.health()
    with pi.settings("[detection]\nthreshold = 0.77\n"):
        pi.wait_for_record(Event.RELOADED, since)
        after = pi.wait_until_it_hears()
        assert (after["pid"], after["threshold"]) == (before["pid"], 0.77)
        assert after["reloads"] == before["reloads"] + 1
    assert pi.wait_until_it_hears()["threshold"] == before["threshold"]


def test_sighup_with_a_bad_file_keeps_the_old_settings(pi: Target) -> None:
    since, before = pi.now(), pi.health()
    with pi.settings("volume = 3\n"):
        assert OWN_SETTINGS in pi.wait_for_record(Event.REFUSED, since, "volume")["MESSAGE"]
        after = pi.wait_until_it_hears()
        kept = ("pid", "threshold", "reloads", "openings")
        assert [after[name] for name in kept] == [before[name] for name in kept]


def test_held_up_it_counts_what_it_lost(pi: Target) -> None:
    before = pi.health()
    pi.root(f"kill -STOP {before['pid']}; sleep 5; kill -CONT {before['pid']}")
    after = pi.wait_until_it_hears()
    assert after["pid"] == before["pid"]
    assert after["overruns"] + after["late"] > before["overruns"] + before["late"]


def test_cpu_load(pi: Target) -> None:
    """Programs of a higher priority take every core."""
    since, before = pi.now(), pi.health()
    pi.root(
        "for n in 1 2 3 4 5 6 7 8; do nice -n -15 timeout 15 sh -c 'while :; do :; done' & done; "
        "wait"
    )
    after = pi.wait_until_it_hears()
    assert after["pid"] == before["pid"]
    assert after["audio_s"] > before["audio_s"]
    if after["overruns"] + after["late"] > before["overruns"] + before["late"]:
        pi.wait_for_record(Event.LOST, since)


def test_slower_than_real_time(pi: Target) -> None:
    """systemd gives it a quarter of the time that it needs."""
    since, before = pi.now(), pi.health()
    quota = max(1, round(100 * before["cpu_share"] / 4))
    pi.root(f"systemctl set-property --runtime kws-pi CPUQuota={quota}%; sleep 30")
    pi.root("systemctl set-property --runtime kws-pi CPUQuota=")
    after = pi.wait_until_it_hears()
    assert after["overruns"] + after["late"] > before["overruns"] + before["late"]
    pi.wait_for_record(Event.LOST, since)


def test_the_clock_jumps(pi: Target) -> None:
    before = pi.health()
    pi.root("date -s '+3 hours' >/dev/null")
    assert pi.wait_until_it_hears()["pid"] == before["pid"]
    pi.root("date -s '-3 hours' >/dev/null")
    after = pi.wait_until_it_hears()
    assert (after["pid"], after["openings"]) == (before["pid"], before["openings"])
    assert after["uptime_s"] - before["uptime_s"] < 3600


@emulated
def test_a_busy_pin_is_taken_when_it_is_free(pi: Target, word: Word) -> None:
    since = pi.now()
    pi.root("systemctl stop kws-pi; gpioset -c gpiochip0 17=0 >/dev/null 2>&1 & sleep 3")
    pi.root("systemctl start kws-pi")
    said = pi.wait_for_record(Event.ACTION, since)["MESSAGE"]
    assert "busy" in said, said
    pi.wait_until_it_hears()
    pi.root("pkill -x gpioset")
    pi.wait_for_record(Event.ACTION, since, "works now")
    assert pi.play(word).states[-2:] == ["hi", "lo"]


@emulated
def test_a_missing_pin(pi: Target, word: Word) -> None:
    """Without its pin it listens on, and takes it when it is there."""
    since = pi.now()
    pi.root("systemctl stop kws-pi; mv /dev/gpiochip0 /dev/absent; systemctl start kws-pi")
    pi.wait_for_record(Event.ACTION, since, "no LED on BCM 17")
    pi.wait_until_it_hears()
    pi.root("mv /dev/absent /dev/gpiochip0")
    pi.wait_for_record(Event.ACTION, since, "works now")
    assert pi.play(word).states[-2:] == ["hi", "lo"]


def test_the_journal_hangs(pi: Target) -> None:
    """journald takes nothing for half a minute, while there is much to write."""
    before = pi.health()
    pi.root(
        "systemctl kill --signal=STOP systemd-journald; "
        f"for n in $(seq 30); do kill -HUP {before['pid']}; sleep 1; done; "
        "systemctl kill --signal=CONT systemd-journald"
    )
    after = pi.wait_until_it_hears()
    assert after["pid"] == before["pid"]
    assert after["reloads"] > before["reloads"]


@emulated
def test_a_full_disk(pi: Target) -> None:
    """Neither the journal nor anything else can be written."""
    since, before = pi.now(), pi.health()
    pi.root(FILL)
    try:
        assert int(pi.run("df --output=avail / | tail -n 1")) == 0
        pi.root(f"kill -HUP {before['pid']}")
        after = pi.wait_until_it_hears()
        assert after["pid"] == before["pid"]
        pi.root("systemctl restart kws-pi")
        pi.wait_until_it_hears()
    finally:
        pi.root("rm -rf /filler")
    pi.root("systemctl reload kws-pi")
    pi.wait_for_record(Event.RELOADED, since)


@emulated
def test_a_read_only_root(pi: Target) -> None:
    """The kernel's own emergency: every disk is read-only, whoever is writing to it."""
    before = pi.health()
    pi.root("sync; echo u >/proc/sysrq-trigger; sleep 2")
    try:
        assert pi.root("touch /root/x 2>&1 || true").endswith("Read-only file system\n")
        assert pi.wait_until_it_hears()["pid"] == before["pid"]
        pi.root("systemctl restart kws-pi")
        pi.wait_until_it_hears()
    finally:
        pi.root("mount -o remount,rw /")
