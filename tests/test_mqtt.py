"""MQTT with a real broker, mosquitto, and a subscriber in the place of Home Assistant."""

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

paho = pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt")

from device.mqtt import Mqtt  # noqa: E402
from device.settings import MqttSettings  # noqa: E402
from device.spotter import Hit  # noqa: E402

HIT = Hit("sheila", 1.0, 0.91234, 5.0)
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(
    MOSQUITTO is None, reason="needs a broker (Debian: apt-get install mosquitto)"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """mosquitto in a process of its own."""

    def __init__(self, folder: Path, options: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._folder = folder
        user = "user root\n" if os.geteuid() == 0 else ""
        (folder / "mosquitto.conf").write_text(f"{user}listener {self.port} 127.0.0.1\n{options}")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Broker":
        with (self._folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(MOSQUITTO), "-c", str(self._folder / "mosquitto.conf")], stdout=log, stderr=log
            )

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        assert until(answers), (self._folder / "broker.log").read_text()
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Subscriber:
    """Hears every message of a broker: (topic, payload, retained)."""

    def __init__(self, port: int) -> None:
        self._heard: queue.SimpleQueue[tuple[str, str, bool]] = queue.SimpleQueue()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *rest: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *rest: subscribed.set()
        self._client.on_message = lambda client, data, message: self._heard.put(
            (message.topic, message.payload.decode(), message.retain)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(10)

    def next(self, topic: str, timeout: float = 10) -> tuple[str, bool]:
        """The next message of a topic."""
        deadline = time.monotonic() + timeout
        while True:
            found, payload, retained = self._heard.get(timeout=deadline - time.monotonic())
            if found == topic:
                return payload, retained

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Kept:
    """An MQTT action, and what it has said."""

    def __init__(self, **settings: object) -> None:
        self.said: list[str] = []
        values = {"host": "127.0.0.1", "name": "kitchen", **settings}
        self.mqtt = Mqtt(MqttSettings(**values), "sheila", self.said.append)  # type: ignore
        self.times: list[float] = []
        self.mqtt.tick(0.0)

    def detected(self) -> None:
        began = time.monotonic()
        self.mqtt.detected(HIT, began)
        self.mqtt.tick(began)
        self.times.append(time.monotonic() - began)

    @property
    def held_up(self) -> bool:
        """Whether a detection has ever waited for the network, where each wait takes seconds.

        A busy machine may give a call its turn late, now and then.
        """
        ordered = sorted(self.times)
        return ordered[len(ordered) // 2] > 0.01 or ordered[-1] > 0.5

    @property
    def connected(self) -> bool:
        return bool(self.said) and self.said[-1].startswith("connected to the MQTT broker")


def connections(port: int) -> list[socket.socket]:
    """This process's connections to the broker."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - of numbers, not of paths
        with contextlib.suppress(OSError):
            mine = socket.socket(fileno=os.dup(int(name)))
            with contextlib.suppress(OSError):
                if mine.family == socket.AF_INET and mine.getpeername()[1] == port:
                    found.append(mine)
                    continue
            mine.close()
    return found


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not holds():
        time.sleep(0.02)
    return holds()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def keep() -> Iterator[Callable[..., Kept]]:
    made: list[Kept] = []

    def keep(**settings: object) -> Kept:
        made.append(Kept(**settings))
        return made[-1]

    yield keep
    for each in made:
        each.mqtt.close()


def test_home_assistant_finds_it_and_hears_of_detections(
    broker: Broker, keep: Callable[..., Kept]
) -> None:
    each = keep(port=broker.start().port)
    assert until(lambda: each.connected)
    subscriber = Subscriber(broker.port)
    try:
        payload, retained = subscriber.next("homeassistant/event/kitchen/keyword/config")
        assert retained
        entity = json.loads(payload)
        assert entity["event_types"] == ["detected"]
        assert entity["unique_id"] == "kws-pi-kitchen-keyword"
        assert entity["device"]["identifiers"] == ["kws-pi-kitchen"]
        subscriber.close()
        # A new one hears of the availability too; what is retained comes in any order.
        subscriber = Subscriber(broker.port)
        assert subscriber.next(entity["availability_topic"]) == ("online", True)
        each.detected()
        payload, retained = subscriber.next(entity["state_topic"])
        event = json.loads(payload)
        assert not retained
        assert event["event_type"] in entity["event_types"]
        assert (event["keyword"], event["probability"]) == ("sheila", 0.9123)
        assert event["time"].endswith("+00:00")
        each.mqtt.close()
        assert subscriber.next(entity["availability_topic"])[0] == "offline"
    finally:
        subscriber.close()
    assert each.said == [f"connected to the MQTT broker 127.0.0.1:{broker.port}"]


def test_without_discovery_nothing_is_announced(broker: Broker, keep: Callable[..., Kept]) -> None:
    each = keep(port=broker.start().port, discovery="")
    assert until(lambda: each.connected)
    subscriber = Subscriber(broker.port)
    assert subscriber.next("kws-pi/kitchen/availability")[0] == "online"
    with pytest.raises(queue.Empty):
        subscriber.next("homeassistant/event/kitchen/keyword/config", timeout=0.5)
    subscriber.close()


def test_a_broker_that_is_away_costs_nothing_and_is_found_when_it_comes(
    broker: Broker, keep: Callable[..., Kept]
) -> None:
    each = keep(port=broker.port)
    assert until(lambda: bool(each.said))
    assert each.said[0] == (
        f"the MQTT broker 127.0.0.1:{broker.port} cannot be reached (Connection refused); "
        "trying again"
    )
    each.detected()
    each.detected()
    subscriber_port = broker.start().port
    subscriber = Subscriber(subscriber_port)
    assert until(lambda: each.connected)
    assert each.said[1].endswith("; 2 detections were not sent")
    # Nothing comes late.
    with pytest.raises(queue.Empty):
        subscriber.next("kws-pi/kitchen/detection", timeout=0.5)
    each.detected()
    assert subscriber.next("kws-pi/kitchen/detection")
    subscriber.close()
    assert len(each.said) == 2
    assert not each.held_up


def test_a_broker_that_falls_and_rises_is_found_again(
    broker: Broker, keep: Callable[..., Kept]
) -> None:
    each = keep(port=broker.start().port)
    assert until(lambda: each.connected)
    broker.kill()
    assert until(lambda: len(each.said) >= 2 and not each.connected)
    for _ in range(20):
        each.detected()
    broker.start()
    assert until(lambda: each.connected)
    subscriber = Subscriber(broker.port)
    each.detected()
    assert subscriber.next("kws-pi/kitchen/detection")
    subscriber.close()
    assert not each.held_up
    assert len(each.said) <= 4, each.said  # lost, refused once, found


def test_a_broker_that_hangs_does_not_hold_up_the_loop(
    broker: Broker, keep: Callable[..., Kept]
) -> None:
    each = keep(port=broker.start().port)
    assert until(lambda: each.connected)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    for _ in range(2000):
        each.detected()
    began = time.monotonic()
    each.mqtt.close()
    assert time.monotonic() - began < 2
    assert not each.held_up
    broker.process.send_signal(signal.SIGCONT)


def test_the_broker_says_offline_when_the_device_vanishes(
    broker: Broker, keep: Callable[..., Kept]
) -> None:
    each = keep(port=broker.start().port)
    assert until(lambda: each.connected)
    (connection,) = connections(broker.port)
    subscriber = Subscriber(broker.port)
    assert subscriber.next("kws-pi/kitchen/availability")[0] == "online"
    connection.shutdown(socket.SHUT_RDWR)  # as a cable that is pulled
    connection.close()
    assert subscriber.next("kws-pi/kitchen/availability")[0] == "offline"
    # And it is back by itself.
    assert subscriber.next("kws-pi/kitchen/availability")[0] == "online"
    subscriber.close()


def test_name_and_password(tmp_path: Path, keep: Callable[..., Kept]) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("needs mosquitto_passwd")
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "pi", "secret"],
        check=True,
        capture_output=True,
    )
    passwords.chmod(0o600)
    broker = Broker(tmp_path, f"password_file {passwords}\n").start()
    try:
        (tmp_path / "right").write_text("secret\n")
        (tmp_path / "wrong").write_text("guess\n")
        right = keep(port=broker.port, username="pi", password_file=str(tmp_path / "right"))
        assert until(lambda: right.connected)
        wrong = keep(port=broker.port, username="pi", password_file=str(tmp_path / "wrong"))
        assert until(lambda: bool(wrong.said))
        time.sleep(2.5)  # and another attempt
        assert len(wrong.said) == 1
        assert "refuses the connection (" in wrong.said[0]
        assert "guess" not in wrong.said[0]
    finally:
        broker.kill()


def test_encrypted_and_the_certificate_is_checked(
    tmp_path: Path, keep: Callable[..., Kept]
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem"
    make += " -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    broker = Broker(
        tmp_path,
        f"allow_anonymous true\ncertfile {tmp_path}/cert.pem\nkeyfile {tmp_path}/key.pem\n",
    ).start()
    try:
        trusting = keep(port=broker.port, tls=True, ca_file=str(tmp_path / "cert.pem"))
        assert until(lambda: trusting.connected)
        # The system's certificates do not know this one.
        wary = keep(port=broker.port, tls=True)
        assert until(lambda: bool(wary.said))
        assert "cannot be reached (" in wary.said[0]
        assert "certificate" in wary.said[0].lower()
    finally:
        broker.kill()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"username": "pi", "password_file": "/nonexistent/secret"}, "/nonexistent/secret"),
        ({"tls": True, "ca_file": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem"),
        ({"tls": True, "ca_file": __file__}, __file__),
    ],
)
def test_files_that_cannot_be_used_are_named(
    keep: Callable[..., Kept], settings: dict[str, object], sentence: str
) -> None:
    each = keep(**settings)
    assert until(lambda: len(each.said) == 1)
    assert each.said[0].startswith(f"no MQTT: {sentence} cannot be used (")
    each.detected()
    each.mqtt.tick(1.0)
    assert len(each.said) == 1


def test_names_that_no_look_up_takes(keep: Callable[..., Kept]) -> None:
    odd = keep(host=f"{'a' * 70}.example")
    assert until(lambda: bool(odd.said))
    assert "cannot be reached" in odd.said[0]


def test_a_broker_that_never_answers_is_named(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.mqtt.KEEPALIVE_S", 1)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        each = keep(port=mute.getsockname()[1])
        assert until(lambda: bool(each.said))
        time.sleep(3)  # and another attempt
    assert len(each.said) == 1
    assert each.said[0].startswith("lost the MQTT broker")


def test_a_broker_lost_again_in_another_way_is_named_once(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.mqtt.KEEPALIVE_S", 1)
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))
        broker.listen()
        broker.settimeout(20)
        each = keep(port=broker.getsockname()[1])
        with broker.accept()[0]:  # the first never answers
            assert until(lambda: bool(each.said))
        for _ in range(2):  # and the next hang up
            broker.accept()[0].close()
        time.sleep(0.5)
    assert len(each.said) == 1
    assert each.said[0].startswith("lost the MQTT broker")
