"""Settings: defaults, and wrong keys named."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device import settings as module
from device.errors import SettingsError
from device.settings import Settings, read_settings

fuzzed = hypothesis_settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DOCUMENTED = Path(module.__file__).with_name("config.toml")


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_documented_file_holds_the_defaults() -> None:
    assert read_settings(DOCUMENTED) == Settings()


def test_documented_file_shows_every_key() -> None:
    text = DOCUMENTED.read_text(encoding="utf-8")
    for name, default in vars(Settings()).items():
        keys = [name] if isinstance(default, str) else vars(default)
        for key in keys:
            assert f"\n{key} = " in text


def test_no_file_means_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIG", tmp_path / "absent.toml")
    monkeypatch.setattr(module, "DEVICE_CONFIG", tmp_path / "absent.toml")
    assert read_settings(None) == Settings()


def test_installed_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIG", write(tmp_path, "[indicator]\npin = 4\n"))
    monkeypatch.setattr(module, "DEVICE_CONFIG", tmp_path / "absent.toml")
    assert read_settings(None).indicator.pin == 4


def test_what_is_set_for_this_device_outweighs_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONFIG", write(tmp_path, "[indicator]\npin = 4\non_s = 3\n"))
    own = tmp_path / "own.toml"
    monkeypatch.setattr(module, "DEVICE_CONFIG", own)
    own.write_text("[indicator]\npin = 5\n[detection]\nthreshold = 0.9\n")
    settings = read_settings(None)
    assert (settings.indicator.pin, settings.indicator.on_s) == (5, 3)
    assert settings.detection.threshold == 0.9
    own.write_text("[indicator]\npin = 99\n")
    with pytest.raises(SettingsError, match=r"own\.toml: 'indicator\.pin'"):
        read_settings(None)
    # A file that is named is all there is.
    assert read_settings(tmp_path / "config.toml").indicator.pin == 4


def test_values_are_taken(tmp_path: Path) -> None:
    settings = read_settings(
        write(
            tmp_path,
            'model = "/srv/a.json"\n[microphone]\ndevice = "plughw:CARD=X,DEV=0"\n'
            'deadline_s = 5\n[detection]\nthreshold = 0.8\n[indicator]\nbackend = "none"\n',
        )
    )
    assert settings.model == "/srv/a.json"
    assert settings.microphone.device == "plughw:CARD=X,DEV=0"
    assert settings.microphone.deadline_s == 5.0
    assert settings.detection.threshold == 0.8
    assert settings.indicator.backend == "none"


@pytest.mark.parametrize(
    "text",
    [
        "[mqtt]\nhost = 'homeassistant.local'",
        "[mqtt]\nhost = '192.168.1.2'",
        "[mqtt]\nhost = 'fe80::1%eth0'",
        "[mqtt]\nhost = '::1'",
        "[mqtt]\ndiscovery = ''",
        "[wyoming]\nuri = 'tcp://0.0.0.0:10400'",
        "[wyoming]\nuri = 'tcp://[::]:10400'",
        "[wyoming]\nuri = 'unix:///run/kws-pi/wyoming'",
        "[command]\narguments = ['/usr/bin/aplay', '-q', '']",
    ],
)
def test_what_users_write_is_taken(tmp_path: Path, text: str) -> None:
    assert read_settings(write(tmp_path, text)) != Settings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("volume = 3", "unknown key 'volume'"),
        ("[microphone]\ndevise = 'x'", "unknown key 'microphone.devise'"),
        ("[microphone]\ndevice = 1", "'microphone.device' must be text"),
        ("[microphone]\ndeadline_s = 0", "'microphone.deadline_s' must lie between"),
        ("[microphone]\ndeadline_s = nan", "'microphone.deadline_s' must be a finite number"),
        ("microphone = 'x'", "'microphone' must be a table"),
        ("[detection]\nthreshold = 1.5", "'detection.threshold' must lie between 0 and 1"),
        ("[detection]\nthreshold = true", "'detection.threshold' must be a number"),
        ("[indicator]\nbackend = 'GPIO'", "'indicator.backend' must be one of gpio, mock, none"),
        ("[indicator]\npin = 17.0", "'indicator.pin' must be a whole number"),
        ("[indicator]\npin = 28", "'indicator.pin' must be a BCM number"),
        ("[indicator]\non_s = -1", "'indicator.on_s' must lie between"),
        ("[indicator]\nblink_s = 0.001", "'indicator.blink_s' must be 0 or lie between"),
        ("[indicator]\nactive_high = 1", "'indicator.active_high' must be true or false"),
        ("[command]\narguments = 'ls -l'", "'command.arguments' must be a list of text"),
        ("[command]\narguments = ['ls', 3]", "'command.arguments' must be a list of text"),
        ("[command]\narguments = ['']", "'command.arguments' must begin with a program"),
        ("[command]\nlimit_s = 0", "'command.limit_s' must lie between"),
        ("[mqtt]\nhost = 'mqtt://broker'", "'mqtt.host' must be a name or an address alone"),
        ("[mqtt]\nhost = 'broker:1883'", "'mqtt.host' must be a name or an address alone"),
        ("[mqtt]\nport = 0", "'mqtt.port' must lie between"),
        ("[mqtt]\npassword_file = '/x'", "'mqtt.password_file' needs a 'mqtt.username'"),
        ("[mqtt]\nca_file = '/x'", "'mqtt.ca_file' needs 'mqtt.tls' = true"),
        ("[mqtt]\nname = 'living room'", "'mqtt.name' must consist of"),
        ("[mqtt]\ndiscovery = 'a/#'", "'mqtt.discovery' must be a topic"),
        ("[wyoming]\nuri = 'tcp://0.0.0.0'", "'wyoming.uri' must be like"),
        ("[wyoming]\nuri = 'tcp://0.0.0.0:99999'", "'wyoming.uri' must be like"),
        ("[wyoming]\nuri = 'stdio://'", "'wyoming.uri' must be like"),
        ("[wyoming]\nuri = 'unix://run/x'", "'wyoming.uri' must be like"),
        ("[capture]\nenabled = 'yes'", "'capture.enabled' must be true or false"),
        ("[capture]\nbefore_s = 11", "'capture.before_s' must lie between"),
        ("[capture]\nafter_s = -1", "'capture.after_s' must lie between"),
        ("[capture]\nfiles = 0", "'capture.files' must lie between"),
        ("[capture]\nmegabytes = 0.5", "'capture.megabytes' must lie between"),
        ("[capture]\nfolder = 'captures'", "'capture.folder' must be a path"),
        ("model = ", "not valid TOML"),
    ],
)
def test_wrong_keys_are_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError, match=sentence) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "absent.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'model = "\xe4"')
    with pytest.raises(SettingsError, match="not text in UTF-8"):
        read_settings(tmp_path / "latin.toml")


@fuzzed
@given(
    st.text(max_size=60) | st.from_regex(r"(\[?[a-z_.]{1,12}\]?( = [0-9\"'{}a-z.]{1,8})?\n){1,4}")
)
def test_any_text_is_settings_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "config.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(read_settings(path), Settings)
    except SettingsError as error:
        assert "\n" not in str(error)


KEYS = [
    (name, key)
    for name, default in vars(Settings()).items()
    for key in ([""] if isinstance(default, str) else vars(default))
]
scalars = (
    st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=40)
    | st.lists(st.text(max_size=9) | st.integers(), max_size=3)
    | st.sampled_from(["127.0.0.1:9718", "/run/x", "gpio", "tcp://0.0.0.0:10400", 0.5, 17])
)


def toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    # JSON's way of writing these is TOML's, but for what is not finite.
    text = json.dumps(value, ensure_ascii=True)
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(text, text)


def read_or_refused(folder: Path, content: bytes) -> Settings | None:
    """The settings, or None when they are refused in one sentence that names the file."""
    path = folder / "fuzzed.toml"
    path.write_bytes(content)
    try:
        return read_settings(path)
    except SettingsError as error:
        assert str(error).startswith(f"{path}: ")
        return None


@fuzzed
@given(st.lists(st.tuples(st.sampled_from(KEYS), scalars), max_size=3))
def test_any_value_at_any_key_is_taken_or_refused(
    tmp_path: Path, entries: list[tuple[tuple[str, str], Any]]
) -> None:
    lines = [f"{name}{'.' if key else ''}{key} = {toml(value)}" for (name, key), value in entries]
    read_or_refused(tmp_path, "\n".join(lines).encode())


@fuzzed
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=3))
def test_a_damaged_file_is_taken_or_refused(tmp_path: Path, at: int, bytes_: bytes) -> None:
    content = DOCUMENTED.read_bytes()
    read_or_refused(tmp_path, content[:at] + bytes_ + content[at + len(bytes_) :])
    read_or_refused(tmp_path, content[:at])


@pytest.mark.parametrize(
    "content",
    [
        "x = " + "[" * 100000,
        "model = " + "9" * 5000,
        "detection.threshold = 1" + "0" * 400,
        "indicator.on_s = -1" + "0" * 400,
        "microphone.deadline_s = 1e999",
    ],
)
def test_numbers_of_any_size_are_refused(tmp_path: Path, content: str) -> None:
    assert read_or_refused(tmp_path, content.encode()) is None


@pytest.mark.parametrize(
    ("listen", "right"),
    [
        ("", True),
        ("/run/kws-pi/metrics", True),
        ("127.0.0.1:9718", True),
        ("localhost:1", True),
        ("[::1]:65535", True),
        ("0.0.0.0:9718", False),
        ("192.168.1.2:9718", False),
        ("127.0.0.1", False),
        ("127.0.0.1:0", False),
        ("127.0.0.1:65536", False),
        ("run/metrics", False),
        (":9718", False),
    ],
)
def test_figures_are_served_to_this_machine_alone(tmp_path: Path, listen: str, right: bool) -> None:
    found = read_or_refused(tmp_path, f'metrics.listen = "{listen}"'.encode())
    assert (found is not None) == right
