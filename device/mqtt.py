"""MQTT: tells a broker of each detection, and Home Assistant that there is something to tell.

Topics, of the device NAME:

    kws-pi/NAME/detection      one message a detection, JSON, not retained
    kws-pi/NAME/availability   "online" or "offline", retained; offline also by the broker itself
    PREFIX/event/NAME/keyword/config   Home Assistant's discovery, retained

It connects, and connects again, in a thread of its own. What is detected while
the broker is away is not sent later: a lamp must not go on an hour after the
word. Hence quality of service 0.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import queue
import re
import select
import socket
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from device import __version__
from device.actions import Action, Say
from device.network import is_refused
from device.settings import MqttSettings
from device.spotter import Hit

KEEPALIVE_S = 15
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
CLOSE_S = 1.0


class Mqtt(Action):
    """One broker, and what it is told."""

    def __init__(self, settings: MqttSettings, keyword: str, say: Say) -> None:
        self._settings = settings
        self._keyword = keyword
        self._say = say
        self._state = ""
        self._lost = 0
        self._connected = self._refused = False
        self._closing = threading.Event()
        self._hits: queue.SimpleQueue[Hit] = queue.SimpleQueue()
        # Unix sockets: the unit may let no port be listened at, by which paho wakes its own thread.
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._began = False
        host = re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname())
        self.name = settings.name or host or "kws-pi"
        self.topic = f"kws-pi/{self.name}"
        self._broker = f"the MQTT broker {settings.host}:{settings.port}"

    def tick(self, now: float) -> None:
        """Begins to connect, once; the thread sees to the rest."""
        if not self._began:
            self._began = True
            self._thread.start()

    def detected(self, hit: Hit, now: float) -> None:
        """Has the message sent, if the broker is there."""
        if not self._connected:
            self._lost += 1
            return
        self._hits.put(hit)
        self._rouse()

    def close(self) -> None:
        """Says goodbye, if that takes no longer than a moment."""
        self._closing.set()
        self._rouse()
        if self._began:
            self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._wake.close()
            self._woken.close()

    def _rouse(self) -> None:
        with contextlib.suppress(OSError):  # full of calls to wake up, or closed
            self._wake.send(b".")

    # What follows runs in the thread, which alone touches the client.

    def _run(self) -> None:
        try:
            client = self._client()
        except (OSError, ValueError) as error:  # of the password's or the certificates' file
            name = getattr(error, "filename", None) or self._settings.ca_file
            reason = getattr(error, "strerror", None) or str(error)
            self._say(f"no MQTT: {name} cannot be used ({reason}); correct [mqtt] and restart")
            return
        wait_s = FIRST_WAIT_S
        while not self._closing.is_set():
            try:
                client.connect(self._settings.host, self._settings.port, KEEPALIVE_S)
                if self._converse(client):
                    wait_s = FIRST_WAIT_S
            except (OSError, ValueError) as error:  # ValueError: a name that no look-up takes
                self._away(error)
            self._closing.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _client(self) -> paho.Client:
        settings = self._settings
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"kws-pi-{self.name}")
        if settings.username:
            password = None
            if settings.password_file:
                lines = Path(settings.password_file).read_text(encoding="utf-8").splitlines()
                password = lines[0] if lines else ""
            client.username_pw_set(settings.username, password)
        if settings.tls:
            client.tls_set(ca_certs=settings.ca_file or None)
        client.will_set(f"{self.topic}/availability", "offline", qos=1, retain=True)
        client.on_connect = self._answered
        client.on_disconnect = self._disconnected
        return client

    def _converse(self, client: paho.Client) -> bool:
        """Serves a connection to its end; returns whether the broker had accepted it."""
        accepted = False
        while (connection := client.socket()) is not None:
            writing = [connection] if client.want_write() else []
            ready, _, _ = select.select([connection, self._woken], writing, [], 1.0)
            if self._woken in ready:
                self._woken.recv(4096)
            # Reads in any case: what is left within TLS makes no socket ready.
            if client.loop_read() or client.loop_write() or client.loop_misc():
                break
            accepted = accepted or self._connected
            while self._connected and not self._hits.empty():
                client.publish(f"{self.topic}/detection", _message(self._hits.get()), qos=0)
            if self._closing.is_set():
                if self._connected:
                    client.publish(f"{self.topic}/availability", "offline", qos=1, retain=True)
                client.disconnect()
                break
        self._connected = False
        return accepted

    def _answered(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refused = True
            self._change(f"{self._broker} refuses the connection ({reason}); trying again")
            return
        self._refused = False
        lost = f"; {self._lost} detections were not sent" if self._lost else ""
        self._lost = 0
        if self._settings.discovery:
            client.publish(
                f"{self._settings.discovery}/event/{self.name}/keyword/config",
                json.dumps(self._discovery()),
                qos=1,
                retain=True,
            )
        client.publish(f"{self.topic}/availability", "online", qos=1, retain=True)
        while not self._hits.empty():  # of a connection that broke
            self._hits.get()
        self._connected = True
        self._change(f"connected to {self._broker}{lost}")

    def _disconnected(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        self._connected = False
        if reason.is_failure and not self._refused:
            self._change(f"lost {self._broker} ({reason}); trying again", "lost")

    def _away(self, error: OSError | ValueError) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, OSError) and is_refused(error):
            reason += "; only /usr/share/kws-pi/drop-ins/mqtt.conf lets the service into a network"
        self._change(f"{self._broker} cannot be reached ({reason}); trying again")

    def _change(self, message: str, state: str = "") -> None:
        """Says what is new; of messages of the same state, by default the same text, the first."""
        state = state or message
        if state != self._state and not self._closing.is_set():
            self._state = state
            self._say(message)

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


def _message(hit: Hit) -> str:
    return json.dumps(
        {
            "event_type": "detected",
            "keyword": hit.keyword,
            "probability": round(hit.probability, 4),
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        }
    )
