"""The daemon's settings: a TOML file, checked key by key into frozen dataclasses.

`config.toml` beside this module documents every key with its default.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.errors import SettingsError

CONFIG = Path("/etc/kws-pi/config.toml")
BACKENDS = ("gpio", "mock", "none")


@dataclass(frozen=True)
class MicrophoneSettings:
    """Where the sound comes from."""

    device: str = ""
    """ALSA name of the device; empty for the first capture card."""
    deadline_s: float = 2.0
    """An open stream that is silent for so many seconds is opened again."""


@dataclass(frozen=True)
class DetectionSettings:
    """What the user changes of the model's detection."""

    threshold: float = 0.0
    """The probability at which the keyword counts as said; 0 for the model's own."""


@dataclass(frozen=True)
class IndicatorSettings:
    """What lights up."""

    backend: str = "gpio"
    """`gpio`, `mock` or `none`."""
    pin: int = 17
    """BCM number of the LED's pin."""
    on_s: float = 1.0
    """How long the LED stays lit, in seconds."""


@dataclass(frozen=True)
class Settings:
    """All settings of the daemon."""

    model: str = ""
    """Path of the model's manifest; empty for the shipped one."""
    microphone: MicrophoneSettings = field(default_factory=MicrophoneSettings)
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    indicator: IndicatorSettings = field(default_factory=IndicatorSettings)


def read_settings(path: Path | None) -> Settings:
    """Reads the file, or /etc/kws-pi/config.toml if there is one, or else the defaults.

    Raises SettingsError, one sentence that names the key, when the file
    cannot be read or a key is unknown or wrong.
    """
    if path is None:
        if not CONFIG.exists():
            return Settings()
        path = CONFIG
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: the settings cannot be read ({error.strerror}); give the path of a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not text in UTF-8; save it as such") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid TOML ({error}); correct it") from error
    try:
        settings: Settings = _fill(Settings, table, "")
        _check(settings)
    except _WrongError as error:
        raise SettingsError(f"{path}: {error}") from error
    return settings


class _WrongError(Exception):
    """What is wrong, without the path."""


def _fill(kind: type, table: dict[str, Any], prefix: str) -> Any:
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        if key not in fields:
            known = ", ".join(prefix + known for known in fields)
            raise _WrongError(f"unknown key {name!r}; the keys here are {known}")
        default = fields[key].default
        if default is dataclasses.MISSING:
            if not isinstance(value, dict):
                raise _WrongError(f"{name!r} must be a table; write [{name}]")
            factory = fields[key].default_factory
            assert isinstance(factory, type)
            values[key] = _fill(factory, value, f"{name}.")
        else:
            values[key] = _value(name, value, default)
    return kind(**values)


def _value(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, str):
        if not isinstance(value, str) or "\0" in value:
            raise _WrongError(f'{name!r} must be text; write {name.split(".")[-1]} = "..."')
        return value
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise _WrongError(f"{name!r} must be a {'whole ' if whole else ''}number")
    if not whole and not math.isfinite(value):
        raise _WrongError(f"{name!r} must be a finite number")
    return value if whole else float(value)


def _check(settings: Settings) -> None:
    if not 0.1 <= settings.microphone.deadline_s <= 60:
        raise _WrongError("'microphone.deadline_s' must lie between 0.1 and 60 seconds")
    if not 0 <= settings.detection.threshold <= 1:
        raise _WrongError("'detection.threshold' must lie between 0 and 1")
    if settings.indicator.backend not in BACKENDS:
        raise _WrongError(f"'indicator.backend' must be one of {', '.join(BACKENDS)}")
    if not 0 <= settings.indicator.pin <= 27:
        raise _WrongError("'indicator.pin' must be a BCM number between 0 and 27")
    if not 0 < settings.indicator.on_s <= 60:
        raise _WrongError("'indicator.on_s' must lie between 0 and 60 seconds")
