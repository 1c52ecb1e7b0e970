"""Follows the journal of one or several Raspberry Pis at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from typing import IO

from deploy.errors import DeployError
from deploy.inventory import Host

JOURNAL = "journalctl --unit kws-pi --lines 50 --follow"


def follow(hosts: list[Host]) -> None:
    """Prints new records as they are written, until all connections have ended.

    Of several hosts each line begins with the name of its own. Raises DeployError when ssh is
    missing or a connection fails.
    """
    if shutil.which("ssh") is None:
        raise DeployError("ssh is missing; install it: apt-get install openssh-client")
    running = {}
    for host in hosts:
        process = subprocess.Popen(
            [*_ssh(host), JOURNAL], stdout=subprocess.PIPE, text=True, errors="replace"
        )
        assert process.stdout is not None
        prefix = f"{host.name}: " if len(hosts) > 1 else ""
        thread = threading.Thread(target=_copy, args=(process.stdout, prefix), daemon=True)
        thread.start()
        running[host.name] = (process, thread)
    try:
        for process, thread in running.values():
            process.wait()
            thread.join()
    finally:
        for process, _ in running.values():
            process.terminate()
    failed = [name for name, (process, _) in running.items() if process.returncode == 255]
    if failed:
        raise DeployError(f"the connection to {', '.join(failed)} failed; ssh said why above")


def _ssh(host: Host) -> list[str]:
    """The command that logs in as Ansible does."""
    command = ["ssh", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=20"]
    command += ["-o", "StrictHostKeyChecking=accept-new"]
    for variable, option in (("ansible_port", "-p"), ("ansible_ssh_private_key_file", "-i")):
        if variable in host.variables:
            command += [option, str(host.variables[variable])]
    return [*command, host.address]


def _copy(lines: IO[str], prefix: str) -> None:
    for line in lines:
        sys.stdout.write(prefix + line)
        sys.stdout.flush()
