"""The daemon's settings: a TOML file, checked key by key into frozen dataclasses.

`config.toml` beside this module documents every key with its default.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.engine import DEFAULT_ENGINE, ROLES
from device.errors import SettingsError

CONFIG = Path("/etc/kws-pi/config.toml")
DEVICE_CONFIG = Path("/var/lib/kws-pi/config.toml")
"""What was set for this device alone (`make deploy` writes it): it outweighs CONFIG, key by key,
so that CONFIG stays as the package brings it and an upgrade never has to ask about it."""
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
    """How long the LED stays lit or blinks, in seconds."""
    blink_s: float = 0.0
    """It is lit and dark in turns of so many seconds; 0 for lit all the time."""
    active_high: bool = True
    """The LED lights up when the pin is high; false for one that lights up when it is low."""


@dataclass(frozen=True)
class CommandSettings:
    """A program that a detection starts."""

    arguments: tuple[str, ...] = ()
    """The program and its arguments, without a shell; empty for none."""
    limit_s: float = 10.0
    """It is killed after so many seconds."""


@dataclass(frozen=True)
class MqttSettings:
    """The broker that is told of detections."""

    host: str = ""
    """Name or address of the broker; empty for none."""
    port: int = 1883
    username: str = ""
    """Empty for none."""
    password_file: str = ""
    """A file whose first line is the password; empty for none."""
    tls: bool = False
    """Encrypts the connection and checks the broker's certificate."""
    ca_file: str = ""
    """Certificates that the broker's is checked against; empty for the system's."""
    name: str = ""
    """This device in topics and in Home Assistant; empty for the host's name."""
    discovery: str = "homeassistant"
    """Home Assistant's discovery prefix; empty for no discovery."""


@dataclass(frozen=True)
class WyomingSettings:
    """The wake-word service for Home Assistant."""

    uri: str = ""
    """`tcp://ADDRESS:PORT` or `unix:///PATH` to serve at; empty for no service."""


@dataclass(frozen=True)
class CaptureSettings:
    """Recordings of what was heard around each detection."""

    enabled: bool = False
    before_s: float = 2.0
    """Seconds before the detection."""
    after_s: float = 1.0
    """Seconds after it."""
    files: int = 50
    """The oldest recordings are removed when there are more."""
    megabytes: float = 10.0
    """The oldest are removed when they take more (1 MB is a million bytes)."""
    folder: str = "/var/lib/kws-pi/captures"


@dataclass(frozen=True)
class MetricsSettings:
    """The daemon's figures for Prometheus."""

    listen: str = ""
    """Path of a unix socket, or ADDRESS:PORT of this machine alone; empty for none."""


@dataclass(frozen=True)
class Settings:
    """All settings of the daemon."""

    model: str = ""
    """Path of the model's manifest; empty for the shipped one."""
    engine: str = DEFAULT_ENGINE
    """What computes the network: `numpy` or `onnxruntime`."""
    microphone: MicrophoneSettings = field(default_factory=MicrophoneSettings)
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    indicator: IndicatorSettings = field(default_factory=IndicatorSettings)
    command: CommandSettings = field(default_factory=CommandSettings)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    wyoming: WyomingSettings = field(default_factory=WyomingSettings)
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)


def read_settings(path: Path | None) -> Settings:
    """Reads the file, or those of CONFIG and DEVICE_CONFIG that exist, or else the defaults.

    Raises SettingsError, one sentence that names the file and the key, when a
    file cannot be read or a key is unknown or wrong.
    """
    settings, table = Settings(), dict[str, Any]()
    for file in [path] if path else [each for each in (CONFIG, DEVICE_CONFIG) if each.exists()]:
        table = overlay(table, read_table(file))
        try:
            settings = _fill(Settings, table, "")
            _check(settings)
        except _WrongError as error:
            raise SettingsError(f"{file}: {error}") from error
    return settings


def read_table(path: Path) -> dict[str, Any]:
    """The keys of a TOML file, unchecked. Raises SettingsError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: the settings cannot be read ({error.strerror}); give the path of a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not text in UTF-8; save it as such") from error
    except (ValueError, RecursionError) as error:
        # The parser also raises a plain ValueError, for a number of 5000 digits.
        raise SettingsError(f"{path}: not valid TOML ({error}); correct it") from error


def overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both tables in one; where both have a key, that of `above` counts."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            value = overlay(under, value)
        merged[key] = value
    return merged


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
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise _WrongError(f"{name!r} must be true or false")
        return value
    if isinstance(default, tuple):
        if not isinstance(value, list) or any(
            not isinstance(entry, str) or "\0" in entry for entry in value
        ):
            raise _WrongError(
                f'{name!r} must be a list of text; write {name.split(".")[-1]} = ["...", "..."]'
            )
        return tuple(value)
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise _WrongError(f"{name!r} must be a {'whole ' if whole else ''}number")
    if not whole and not abs(value) <= sys.float_info.max:
        raise _WrongError(f"{name!r} must be a finite number")
    return value if whole else float(value)


def _check(settings: Settings) -> None:
    if settings.engine not in ROLES:
        raise _WrongError(f"'engine' must be one of {', '.join(ROLES)}")
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
    if not (settings.indicator.blink_s == 0 or 0.02 <= settings.indicator.blink_s <= 10):
        raise _WrongError("'indicator.blink_s' must be 0 or lie between 0.02 and 10 seconds")
    _check_command(settings.command)
    _check_mqtt(settings.mqtt)
    _check_wyoming(settings.wyoming)
    _check_capture(settings.capture)
    _check_metrics(settings.metrics.listen)


def _check_command(command: CommandSettings) -> None:
    if command.arguments and not command.arguments[0]:
        raise _WrongError("'command.arguments' must begin with a program, not with empty text")
    if not 0.1 <= command.limit_s <= 3600:
        raise _WrongError("'command.limit_s' must lie between 0.1 and 3600 seconds")


def _check_mqtt(mqtt: MqttSettings) -> None:
    # An address of IPv6 has two colons at least, a name with a port has one.
    if not re.fullmatch(r"[\w.:%-]*", mqtt.host) or mqtt.host.count(":") == 1:
        raise _WrongError(
            "'mqtt.host' must be a name or an address alone, such as 'homeassistant.local'"
        )
    if not 1 <= mqtt.port <= 65535:
        raise _WrongError("'mqtt.port' must lie between 1 and 65535")
    if mqtt.password_file and not mqtt.username:
        raise _WrongError("'mqtt.password_file' needs a 'mqtt.username'")
    if mqtt.ca_file and not mqtt.tls:
        raise _WrongError("'mqtt.ca_file' needs 'mqtt.tls' = true")
    if mqtt.name and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", mqtt.name):
        raise _WrongError("'mqtt.name' must consist of 1 to 64 of A-Z, a-z, 0-9, _ and -")
    if mqtt.discovery and not re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", mqtt.discovery):
        raise _WrongError("'mqtt.discovery' must be a topic such as 'homeassistant'")


def _check_wyoming(wyoming: WyomingSettings) -> None:
    tcp = re.fullmatch(r"tcp://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", wyoming.uri)
    unix = re.fullmatch(r"unix:///[^?#]+", wyoming.uri)
    if wyoming.uri and not unix and not (tcp and 1 <= int(tcp[1]) <= 65535):
        raise _WrongError(
            "'wyoming.uri' must be like 'tcp://0.0.0.0:10400' or 'unix:///run/kws-pi/wyoming'"
        )


def _check_capture(capture: CaptureSettings) -> None:
    if not 0.1 <= capture.before_s <= 10:
        raise _WrongError("'capture.before_s' must lie between 0.1 and 10 seconds")
    if not 0 <= capture.after_s <= 10:
        raise _WrongError("'capture.after_s' must lie between 0 and 10 seconds")
    if not 1 <= capture.files <= 10000:
        raise _WrongError("'capture.files' must lie between 1 and 10000")
    # The longest recording takes 0.64 MB.
    if not 1 <= capture.megabytes <= 10000:
        raise _WrongError("'capture.megabytes' must lie between 1 and 10000")
    if not capture.folder.startswith("/"):
        raise _WrongError("'capture.folder' must be a path that begins with /")


def _check_metrics(listen: str) -> None:
    port = re.fullmatch(r"(?:localhost|127\.0\.0\.1|\[::1\]):(\d{1,5})", listen)
    if not (listen == "" or listen.startswith("/") or (port and 1 <= int(port[1]) <= 65535)):
        raise _WrongError("'metrics.listen' must be like '/run/kws-pi/metrics' or '127.0.0.1:9718'")
