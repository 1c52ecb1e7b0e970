"""What Ansible, ssh, sudo and apt say when something fails, as one sentence for the user."""

from __future__ import annotations

import re

from deploy.playbook import Event

FULL = re.compile(
    r"No space left on device|enough free space|disk full|"
    r"Could not write to output|error creating symbolic link.*space",
    re.IGNORECASE,
)
OFFLINE = re.compile(
    r"kws-pi: no package lists|Temporary failure resolving|Failed to fetch|Unable to fetch|"
    r"Could not connect|Network is unreachable|Could not resolve host"
)
PASSWORD_WANTED = re.compile(
    r"a password is required|Missing sudo password|Timeout .*waiting for privilege escalation|"
    r"premature end of stream waiting for become|interactive authentication is required",
    re.IGNORECASE,
)
PASSWORD_WRONG = re.compile(r"Incorrect sudo password|incorrect password attempt|Sorry, try again")
NO_RIGHT = re.compile(r"not in the sudoers file|not allowed to (execute|run)|may not run sudo")
NO_SUDO = re.compile(r"sudo:? (command )?not found|sudo: No such file")
UNKNOWN = re.compile(r"Depends: (\S+) .*but it is not installable")
READ_ONLY = re.compile(r"Read-only file system")
LOCKED = re.compile(r"Could not get lock|is locked by another process|dpkg frontend lock")


def explain(event: Event, address: str) -> str:
    """One sentence about an event of kind `failed` or `unreachable`, without the host's name.

    `address`: user@host as ssh takes it, for commands that the sentence proposes.
    """
    text = event.trouble
    common = _common(text)
    if common:
        return common
    if event.kind == "unreachable":
        return _unreachable(text, address)
    if event.task == "become root":
        return (
            f"this user may not become root there ({_last(text)}); allow it sudo, or log in as "
            "another"
        )
    if event.task in ("install", "put the previous version back"):
        return _install(text)
    if event.task == "remove the package":
        return f"the package could not be removed ({_last(text)})"
    return f"the step '{event.task}' failed ({_last(text)})"


def _common(text: str) -> str:
    """What may go wrong at any step."""
    if FULL.search(text):
        return (
            "its disk is full; make room there (`sudo apt-get clean` often does) and run this again"
        )
    if READ_ONLY.search(text):
        return (
            "its file system is read-only; make it writable, or have its SD card checked if nobody "
            "made it so, and run this again"
        )
    if PASSWORD_WRONG.search(text):
        return "its sudo does not take this password; run this again and type it anew"
    if PASSWORD_WANTED.search(text):
        return "its sudo asks for a password; run this again with ASK_PASS=1"
    if NO_RIGHT.search(text):
        return "this user may not become root there; allow it sudo, or log in as another"
    if NO_SUDO.search(text):
        return "there is no sudo; install it there, or log in as root"
    return ""


def _unreachable(text: str, address: str) -> str:
    host = address.rpartition("@")[2]
    if "Permission denied" in text or "Too many authentication failures" in text:
        return (
            f"it accepts no ssh key of this machine; put one there: ssh-copy-id {address} "
            "(ssh-keygen makes one)"
        )
    if "HOST IDENTIFICATION HAS CHANGED" in text or "Host key verification failed" in text:
        return (
            "it shows another ssh key than before; if it was set up anew, forget the old key: "
            f"ssh-keygen -R {host}"
        )
    if re.search(r"Could not resolve|Name or service not known|nodename nor servname", text):
        return f"no machine is known by the name {host}; check the spelling, or give its address"
    if "Connection refused" in text:
        return "it takes no ssh connections; switch ssh on there (sudo raspi-config)"
    if re.search(r"timed out|No route to host|unreachable: Network|Host is down", text, re.I):
        return "it does not answer; check that it is switched on and in this network"
    return f"it cannot be reached by ssh ({_last(text)})"


def _install(text: str) -> str:
    if "kws-pi: does not start" in text:
        words = text.split("kws-pi: does not start", 1)[1].split("\nShared connection")[0]
        return f"the service does not start ({_last(words).removeprefix('kws-pi: ')})"
    if LOCKED.search(text):
        return "another program is installing packages there; run this again when it is done"
    lacks = re.search(r"^kws-pi: lacks(.*)$", text, re.MULTILINE)
    named = lacks.group(1).split() if lacks else []
    names = " ".join(named or dict.fromkeys(UNKNOWN.findall(text)))
    if OFFLINE.search(text):
        wanted = f"the packages {names}" if names else "what kws-pi depends on"
        return f"it has no internet to fetch {wanted} from; connect it for this step"
    return f"apt could not install the package ({_last(text)})"


def _last(text: str) -> str:
    """The last line that says something, without what programs put before it."""
    lines = [line.strip() for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"(E:|error|dpkg: error|fatal)", line)]
    said = errors or [line for line in lines if line and line != "non-zero return code"]
    return said[-1].rstrip(".") if said else "it said nothing"
