"""What is said where systemd lets the service use no network, by a kernel that refuses it."""

import os
import platform

import pytest
from device_kit import python
from no_network import SOCKET

from device.network import is_refused

BEGIN = """
import sys, time
sys.path.insert(0, "tests")
from no_network import shut_off
said = []
"""
END = """
shut_off()
action.tick(0.0)
while not said:
    time.sleep(0.01)
action.close()
print(*said, sep="\\n")
"""

pytestmark = pytest.mark.skipif(
    platform.machine() not in SOCKET, reason="seccomp's filter is written for x86-64 and aarch64"
)


@pytest.mark.parametrize("host", ["127.0.0.1", "broker.example"])
def test_mqtt_names_its_drop_in(host: str) -> None:
    pytest.importorskip("paho.mqtt.client")
    done = python(
        BEGIN + "from device.mqtt import Mqtt\n"
        "from device.settings import MqttSettings\n"
        f"action = Mqtt(MqttSettings({host!r}), 'sheila', said.append)\n" + END,
        {**os.environ},
    )
    (said,) = done.stdout.splitlines()
    assert said.startswith(f"the MQTT broker {host}:1883 cannot be reached (")
    assert "only /usr/share/kws-pi/drop-ins/mqtt.conf lets the service into a network" in said
    assert done.stderr == ""


def test_wyoming_names_its_drop_in_and_needs_none_for_a_unix_socket(tmp_path: object) -> None:
    pytest.importorskip("wyoming")
    make = (
        "from device.settings import WyomingSettings\n"
        "from device.wake_service import WakeService\n"
        "action = WakeService(WyomingSettings({!r}), 'sheila', None, said.append)\n"
    )
    tcp = python(BEGIN + make.format("tcp://127.0.0.1:10400") + END, {**os.environ})
    (said,) = tcp.stdout.splitlines()
    assert "only /usr/share/kws-pi/drop-ins/wyoming.conf lets the service serve" in said
    uri = f"unix://{tmp_path}/wyoming"
    unix = python(BEGIN + make.format(uri) + END, {**os.environ})
    assert unix.stdout.splitlines() == [f"serving Wyoming at {uri}"]


def test_a_broker_that_is_away_is_no_refusal() -> None:
    assert not is_refused(ConnectionRefusedError(111, "Connection refused"))
    assert is_refused(PermissionError(1, "Operation not permitted"))
