"""Runs Ansible: one playbook at a time, its results as events, its own output in a log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import DeployError

FOLDER = Path(__file__).resolve().parent / "ansible"


@dataclass(frozen=True)
class Event:
    """What became of a task on a host, or that it began."""

    kind: str
    """`start`, `ok`, `failed` or `unreachable`."""
    host: str
    task: str
    output: str = ""
    """What the task wrote to stdout."""
    trouble: str = ""
    """Everything that it said, Ansible's own words included."""
    ignored: bool = False
    """It failed, and the playbook goes on all the same."""


class Playbooks:
    """Runs playbooks on the hosts of some inventories.

    `inventories`: files that Ansible reads, later ones above earlier ones; `log`: gets what
    Ansible prints; `password`: for sudo, empty for none. A context manager, since connections
    stay open between playbooks.
    """

    def __init__(self, inventories: list[Path], log: Path, password: str = "") -> None:
        self._inventories = inventories
        self._log = log
        self._password = password
        # Short, since the path of a socket is limited to some 100 characters.
        self._home = tempfile.TemporaryDirectory(prefix="kws-", dir="/tmp")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    def __enter__(self) -> Playbooks:
        return self

    def __exit__(self, *_: object) -> None:
        self._home.cleanup()

    def run(self, name: str, variables: Mapping[str, Any] | None = None) -> Iterator[Event]:
        """Runs `name`.yml; yields what happens as it happens.

        Raises DeployError when Ansible itself cannot run.
        """
        command = [*program("ansible-playbook"), str(FOLDER / f"{name}.yml")]
        for inventory in self._inventories:
            command += ["--inventory", str(inventory)]
        command += ["--extra-vars", json.dumps(dict(variables or {}))]
        if self._password:
            command += ["--become-password-file", "-"]
        read, write = os.pipe()
        environment = {**environment_of(Path(self._home.name)), "KWS_PI_EVENTS": str(write)}
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(write,),
            )
            os.close(write)
            assert process.stdin is not None
            process.stdin.write(self._password.encode())
            process.stdin.close()
            told = False
            try:
                with os.fdopen(read, encoding="utf-8") as lines:
                    for line in lines:
                        told = True
                        yield _event(json.loads(line))
                process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if process.returncode and not told:
            raise DeployError(f"Ansible could not run {name}.yml; {self._log} says why")


def _event(told: Mapping[str, Any]) -> Event:
    words = (told.get(key) for key in ("msg", "stdout", "stderr", "module_stdout", "module_stderr"))
    return Event(
        kind=str(told["kind"]),
        host=str(told["host"]),
        task=str(told["task"]),
        output=str(told.get("stdout", "")),
        trouble="\n".join(str(word) for word in words if word),
        ignored=bool(told.get("ignored", False)),
    )


def program(name: str) -> list[str]:
    """The command that starts a program of Ansible's, which set-up puts beside this Python.

    Its first line names the Python by the path that the checkout had then; this one is right.

    Raises DeployError when it is not there.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise DeployError("Ansible is missing; `train_host/setup.sh deploy` installs it")
    return [sys.executable, str(path)]


def environment_of(home: Path) -> dict[str, str]:
    """The environment of Ansible's programs; `home` takes what they write beside their output.

    Variables of the user's own that steer Ansible are left out: the same command does the same
    on every laptop.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return {
        **kept,
        "ANSIBLE_CONFIG": str(FOLDER / "ansible.cfg"),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_NOCOLOR": "1",
        # Ansible refuses to run in another than UTF-8.
        "LC_ALL": "C.UTF-8",
    }
