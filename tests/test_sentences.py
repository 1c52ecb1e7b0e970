"""What ssh, sudo, apt and Ansible say, told in one sentence."""

import pytest

from deploy.playbook import Event
from deploy.sentences import explain

UNREACHABLE = "Failed to connect to the host via ssh: "
DISK = (
    "Get:1 /tmp/x/kws-pi.deb kws-pi all 0.1.0 [300 kB]\ndpkg: error processing archive "
    "/tmp/x/kws-pi.deb (--unpack):\n cannot copy extracted data for './usr/bin/kws-pi' to "
    "'/usr/bin/kws-pi.dpkg-new': failed to write (No space left on device)\n"
    "E: Sub-process /usr/bin/dpkg returned an error code (1)"
)
OFFLINE = (
    "Err:1 http://deb.debian.org/debian trixie InRelease\n  Temporary failure resolving "
    "'deb.debian.org'\nkws-pi: lacks python3-alsaaudio python3-numpy\n"
    "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?"
)
NO_LISTS = (
    "kws-pi: no package lists\r\nThe following packages have unmet dependencies:\r\n kws-pi : "
    "Depends: python3-numpy (>= 2) but it is not installable\r\n          Depends: python3-systemd "
    "but it is not installable\r\nkws-pi: lacks\r\nE: Unable to correct problems"
)
DEAD = (
    "Job for kws-pi.service failed because the control process exited with error code.\n"
    "kws-pi: does not start\nkws-pi: /var/lib/kws-pi/config.toml: unknown key 'volume'\n"
)


@pytest.mark.parametrize(
    ("kind", "task", "text", "words"),
    [
        (
            "unreachable",
            "look at the system",
            UNREACHABLE + "pi@one.local: Permission denied (publickey,password).",
            "ssh-copy-id pi@one.local",
        ),
        (
            "unreachable",
            "look at the system",
            UNREACHABLE + "ssh: Could not resolve hostname one.local: Name or service not known",
            "no machine is known by the name one.local",
        ),
        (
            "unreachable",
            "look at the system",
            UNREACHABLE + "ssh: connect to host one.local port 22: Connection refused",
            "takes no ssh connections",
        ),
        (
            "unreachable",
            "install",
            UNREACHABLE + "ssh: connect to host one.local port 22: No route to host",
            "does not answer",
        ),
        (
            "unreachable",
            "look at the system",
            UNREACHABLE + "@@@\r\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\n@@@",
            "ssh-keygen -R one.local",
        ),
        ("failed", "become root", "sudo: a password is required", "ASK_PASS=1"),
        ("failed", "become root", "Missing sudo password", "ASK_PASS=1"),
        ("failed", "become root", "Incorrect sudo password", "type it anew"),
        ("failed", "become root", "pi is not in the sudoers file.", "may not become root"),
        ("failed", "become root", "/bin/sh: 1: sudo: not found", "there is no sudo"),
        ("failed", "become root", "/bin/sh: line 1: sudo: command not found", "there is no sudo"),
        ("failed", "install", DISK, "its disk is full"),
        (
            "unreachable",
            "copy the package",
            "Failed to create temporary directory. ... mkdir: cannot create directory "
            "'/home/pi/.ansible': No space left on device",
            "its disk is full",
        ),
        (
            "failed",
            "install",
            "E: You don't have enough free space in /var/cache/apt/archives/.",
            "its disk is full",
        ),
        ("failed", "install", NO_LISTS, "fetch the packages python3-numpy python3-systemd from"),
        ("failed", "install", OFFLINE, "no internet to fetch the packages python3-alsaaudio"),
        (
            "failed",
            "install",
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 17 (apt)",
            "another program is installing",
        ),
        ("failed", "install", DEAD, "does not start (/var/lib/kws-pi/config.toml: unknown key"),
        (
            "failed",
            "install",
            "dpkg: unrecoverable\nE: broken packages\nbye",
            "(E: broken packages)",
        ),
        ("failed", "copy the package", "Read-only file system", "read-only"),
        ("failed", "make a folder", "", "it said nothing"),
    ],
)
def test_one_sentence(kind: str, task: str, text: str, words: str) -> None:
    said = explain(Event(kind, "one", task, trouble=text), "pi@one.local")
    assert words in said
    assert "\n" not in said
    assert len(said) < 220
