"""Which Raspberry Pis are meant: PI=, one or several, or an Ansible inventory."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.errors import DeployError
from deploy.playbook import environment_of, program

ADDRESS = re.compile(r"(?:[A-Za-z0-9_.][A-Za-z0-9_.-]*@)?[A-Za-z0-9_\[][A-Za-z0-9_.:%\[\]-]*")
"""USER@HOST or HOST, where HOST is a name, an address, or an alias of ssh's own configuration."""


@dataclass(frozen=True)
class Host:
    """One Raspberry Pi."""

    name: str
    """As the user calls it."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """As Ansible knows them: `ansible_host`, `kws_pi_threshold` and so on."""

    @property
    def address(self) -> str:
        """As ssh takes it."""
        user = self.variables.get("ansible_user")
        host = str(self.variables.get("ansible_host", self.name))
        return f"{user}@{host}" if user else host


def hosts_of(addresses: str, inventory: Path | None) -> list[Host]:
    """The hosts that were named. Raises DeployError when they cannot be told."""
    if inventory is not None:
        if addresses.strip():
            raise DeployError("say either PI= or INVENTORY=, not both")
        return _listed(inventory)
    names = list(dict.fromkeys(addresses.replace(",", " ").split()))
    if not names:
        raise DeployError(
            "say which Raspberry Pi: PI=pi@raspberrypi.local (user@host of ssh, several with "
            "commas between them), or INVENTORY=FILE"
        )
    for name in names:
        if not ADDRESS.fullmatch(name):
            raise DeployError(f"{name!r} is no user@host of ssh; say PI=pi@raspberrypi.local")
    return [Host(name, _parts(name)) for name in names]


def _parts(name: str) -> dict[str, Any]:
    user, _, host = name.rpartition("@")
    return {"ansible_host": host.strip("[]"), **({"ansible_user": user} if user else {})}


def _listed(inventory: Path) -> list[Host]:
    if not inventory.exists():
        raise DeployError(f"{inventory}: there is no such inventory; give the path of one")
    with tempfile.TemporaryDirectory(prefix="kws-") as home:
        done = subprocess.run(
            [*program("ansible-inventory"), "--inventory", str(inventory), "--list"],
            env=environment_of(Path(home)),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        reason = errors[0].split("]: ")[-1].strip(" .") if errors else "see its format"
        raise DeployError(f"{inventory}: not an inventory that Ansible can read ({reason})")
    listed = json.loads(done.stdout)
    variables = listed.get("_meta", {}).get("hostvars", {})
    names: list[str] = []
    waiting = ["all"]
    while waiting:
        group = listed.get(waiting.pop(0), {})
        names += [name for name in group.get("hosts", []) if name not in names]
        waiting += group.get("children", [])
    if not names:
        raise DeployError(f"{inventory}: names no host; write one a line")
    return [Host(name, variables.get(name, {})) for name in names]


def write_inventory(hosts: list[Host], path: Path) -> Path:
    """Writes hosts and their variables as an inventory that Ansible reads; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"all": {"hosts": {host.name: dict(host.variables) for host in hosts}}}
    path.write_text(json.dumps(table, indent=1), encoding="utf-8")
    return path
