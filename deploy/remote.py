"""The Raspberry Pi at the other end of ssh."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from deploy.errors import DeployError


class Remote:
    """A machine reached by ssh as `user@host`; one connection serves every command.

    Used as a context manager, since the connection stays open between commands
    so that a password is asked for only once.
    """

    def __init__(self, address: str) -> None:
        if not address or address.startswith("-") or any(c.isspace() for c in address):
            raise DeployError(
                "say which Raspberry Pi: make deploy PI=pi@raspberrypi.local (user@host of ssh)"
            )
        for program in ("ssh", "scp"):
            if shutil.which(program) is None:
                raise DeployError(
                    f"{program} is missing; install it: apt-get install openssh-client"
                )
        self.address = address
        # Short, since the path of a socket is limited to some 100 characters.
        self._folder = tempfile.TemporaryDirectory(prefix="kws-", dir="/tmp")
        self._options = ["-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=20"]
        self._options += ["-o", "ControlMaster=auto"]
        self._options += ["-o", f"ControlPath={self._folder.name}/ssh", "-o", "ControlPersist=60"]

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run(
            ["ssh", *self._options, "-O", "exit", self.address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        self._folder.cleanup()

    def run(self, command: str, show: bool = False) -> str:
        """Runs a shell command there; returns what it prints, or shows it where `show`.

        Raises DeployError when the machine cannot be reached, and RemoteCommandError
        when the command fails.
        """
        done = subprocess.run(
            ["ssh", *self._options, self.address, command],
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode == 255:
            reason = " ".join((done.stderr or "").split()) or "ssh failed"
            raise DeployError(
                f"{self.address} cannot be reached by ssh ({reason}); check its name, that it is "
                "switched on, and that ssh is enabled there"
            )
        if done.returncode:
            raise RemoteCommandError(command, (done.stderr or "").strip())
        return done.stdout or ""

    def copy(self, file: Path, target: str) -> None:
        """Copies a file there. Raises DeployError when that fails."""
        done = subprocess.run(
            ["scp", "-q", *self._options, str(file), f"{self.address}:{target}"], check=False
        )
        if done.returncode:
            raise DeployError(
                f"{file.name} could not be copied to {self.address}; is its disk full?"
            )


class RemoteCommandError(DeployError):
    """A command on the Raspberry Pi ended with an error."""

    def __init__(self, command: str, text: str) -> None:
        super().__init__(f"the Raspberry Pi refused `{command}`" + (f": {text}" if text else ""))
