"""MQTT: tells a broker of each detection, and Home Assistant that there is something to tell.

Topics, of the device NAME:

    kws-pi/NAME/detection      one message a detection, JSON, not retained
    kws-pi/NAME/availability   "online" or "offline", retained; offline also by the broker itself
    PREFIX/event/NAME/keyword/config   Home Assistant's discovery, retained

paho-mqtt connects and connects again in a thread of its own. What is detected
while the broker is away is not sent later: a lamp must not go on an hour after
the word. Hence quality of service 0, and nothing is queued.
"""

from __future__ import annotations

import datetime
import errno
import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from device import __version__
from device.actions import Action, Say
from device.settings import MqttSettings
from device.spotter import Hit

KEEPALIVE_S = 15
LONGEST_WAIT_S = 60
CLOSE_S = 1.0
NO_NETWORK = (errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES)
"""What systemd lets a program see where its unit does not allow a network."""


class Mqtt(Action):
    """One broker, and what it is told."""

    def __init__(self, settings: MqttSettings, keyword: str, say: Say) -> None:
        self._settings = settings
        self._keyword = keyword
        self._say = say
        self._state = ""
        self._lost = 0
        self._closing = False
        self._client: paho.Client | None = None
        self._began = False
        host = re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname())
        self.name = settings.name or host or "kws-pi"
        self.topic = f"kws-pi/{self.name}"
        self._broker = f"the MQTT broker {settings.host}:{settings.port}"

    def tick(self, now: float) -> None:
        """Begins to connect, once; paho-mqtt sees to the rest."""
        if self._began:
            return
        self._began = True
        try:
            self._client = self._begin()
        except (OSError, ValueError) as error:  # of the password's or the certificates' file
            name = getattr(error, "filename", None) or self._settings.ca_file
            reason = getattr(error, "strerror", None) or str(error)
            self._say(f"no MQTT: {name} cannot be used ({reason}); correct [mqtt] and restart")

    def detected(self, hit: Hit, now: float) -> None:
        """Sends the message, if the broker is there."""
        if self._client is None or not self._client.is_connected():
            self._lost += 1
            return
        message = {
            "event_type": "detected",
            "keyword": hit.keyword,
            "probability": round(hit.probability, 4),
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        }
        # It only queues the message and wakes paho's thread, which does the sending.
        self._client.publish(f"{self.topic}/detection", json.dumps(message), qos=0)

    def close(self) -> None:
        """Says goodbye, if that takes no longer than a moment."""
        self._closing = True
        client, self._client = self._client, None
        if client is None:
            return

        def end() -> None:
            if client.is_connected():
                client.publish(f"{self.topic}/availability", "offline", qos=1, retain=True)
            client.disconnect()
            client.loop_stop()

        # It waits for paho's thread, which may be within a look-up of the host's name.
        thread = threading.Thread(target=end, name="mqtt end", daemon=True)
        thread.start()
        thread.join(CLOSE_S)

    def _begin(self) -> paho.Client:
        settings = self._settings
        client = _Client(self._away, f"kws-pi-{self.name}")
        if settings.username:
            password = None
            if settings.password_file:
                lines = Path(settings.password_file).read_text(encoding="utf-8").splitlines()
                password = lines[0] if lines else ""
            client.username_pw_set(settings.username, password)
        if settings.tls:
            client.tls_set(ca_certs=settings.ca_file or None)
        client.will_set(f"{self.topic}/availability", "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, LONGEST_WAIT_S)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.connect_async(settings.host, settings.port, KEEPALIVE_S)
        client.loop_start()
        return client

    # What follows runs in paho's thread.

    def _connected(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._change(f"{self._broker} refuses the connection ({reason}); trying again")
            return
        lost = f"; {self._lost} detections were not sent" if self._lost else ""
        self._lost = 0
        self._change(f"connected to {self._broker}{lost}")
        if self._settings.discovery:
            client.publish(
                f"{self._settings.discovery}/event/{self.name}/keyword/config",
                json.dumps(self._discovery()),
                qos=1,
                retain=True,
            )
        client.publish(f"{self.topic}/availability", "online", qos=1, retain=True)

    def _disconnected(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        # After a refusal the refusal has been reported.
        if reason.is_failure and not self._state.startswith(f"{self._broker} refuses"):
            self._change(f"lost {self._broker} ({reason}); trying again")

    def _away(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if error.errno in NO_NETWORK:
            reason += "; the service has no network without /usr/share/kws-pi/drop-ins/mqtt.conf"
        self._change(f"{self._broker} cannot be reached ({reason}); trying again")

    def _change(self, state: str) -> None:
        """Says what is new."""
        if state != self._state and not self._closing:
            self._state = state
            self._say(state)

    def _discovery(self) -> dict[str, Any]:
        """Home Assistant's description of an event entity (integrations/event.mqtt there)."""
        return {
            "name": f"Keyword {self._keyword}",
            "unique_id": f"kws-pi-{self.name}-keyword",
            "state_topic": f"{self.topic}/detection",
            "event_types": ["detected"],
            "availability_topic": f"{self.topic}/availability",
            "icon": "mdi:account-voice",
            "device": {
                "identifiers": [f"kws-pi-{self.name}"],
                "name": self.name,
                "manufacturer": "kws-pi",
                "model": "kws-pi",
                "sw_version": __version__,
            },
            "origin": {"name": "kws-pi", "sw_version": __version__},
        }


class _Client(paho.Client):
    """paho's client, which says why it could not connect."""

    def __init__(self, away: Any, client_id: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._tell_away = away

    def reconnect(self) -> MQTTErrorCode:
        """One attempt to connect; paho's loop makes another after an OSError, alone."""
        try:
            return super().reconnect()
        except OSError as error:
            self._tell_away(error)
            raise
        except ValueError as error:  # a host's name that no look-up takes
            failure = OSError(str(error))
            self._tell_away(failure)
            raise failure from error
