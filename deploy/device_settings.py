"""The settings of one Raspberry Pi: CONFIG= and, above it, its variables in the inventory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.errors import DeployError
from deploy.inventory import Host
from device.errors import SettingsError
from device.settings import overlay, read_settings, read_table

KEYS = {
    "kws_pi_microphone": ("microphone", "device"),
    "kws_pi_pin": ("indicator", "pin"),
    "kws_pi_threshold": ("detection", "threshold"),
}
"""Variables of a host, and the settings that they stand for."""
FILE = "kws_pi_config"
"""The variable that names a whole file of settings."""


def settings_of(host: Host, config: Path | None, folder: Path) -> str | None:
    """The text of the host's /var/lib/kws-pi/config.toml; None where nothing is set for it.

    `config`: settings for every host; `folder`: where a path in a variable begins. Raises
    SettingsError for a file or value that the daemon would refuse, and DeployError for an
    unknown variable.
    """
    own = {key: value for key, value in host.variables.items() if key.startswith("kws_pi_")}
    unknown = sorted(set(own) - set(KEYS) - {FILE})
    if unknown:
        raise DeployError(
            f"{host.name}: unknown variable {unknown[0]!r}; there are {', '.join([*KEYS, FILE])}"
        )
    if config is None and not own:
        return None
    table = dict[str, Any]()
    for path in [config, folder / str(own[FILE]) if FILE in own else None]:
        if path is not None:
            read_settings(path)  # so that a mistake is told with the name of the file
            table = overlay(table, read_table(path))
    for variable, (section, key) in KEYS.items():
        if variable in own:
            table = overlay(table, {section: {key: own[variable]}})
    text = "# What was set for this device when it was deployed to.\n" + to_toml(table)
    with tempfile.TemporaryDirectory(prefix="kws-") as scratch:
        path = Path(scratch) / "settings"
        path.write_text(text, encoding="utf-8")
        try:
            read_settings(path)
        except SettingsError as error:
            # Its own name says nothing to the user.
            reason = str(error).removeprefix(f"{path}: ")
            raise SettingsError(f"the settings for {host.name}: {reason}") from error
    return text


def to_toml(table: Mapping[str, Any]) -> str:
    """A table of the daemon's settings as TOML: keys first, then the tables in it."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for name, section in inner.items():
        lines.append(f"\n[{_key(name)}]")
        lines += [f"{_key(key)} = {_value(value)}" for key, value in section.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else _value(name)


def _value(value: Any) -> str:
    """JSON's texts, numbers, truths and lists are TOML's as well, but for one character."""
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
