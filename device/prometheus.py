"""The daemon's figures for Prometheus, over a unix socket or a port of this machine alone.

Text format 0.0.4 of Prometheus' exposition formats. Off unless the settings
name an address; then a thread answers from the daemon's last report.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from device.actions import Action, Say
from device.health import Figures, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RETRY_S = 30.0
"""An address that cannot be had is tried again so often."""
CLIENT_S = 2.0
"""A client that is slower is turned away."""


def exposition(figures: Figures, now: float) -> str:
    """The figures in Prometheus' text format. `now`: monotonic clock, in seconds."""
    return "".join(_lines(figures, now))


def _lines(figures: Figures, now: float) -> Iterator[str]:
    def metric(name: str, kind: str, text: str, value: float, labels: str = "") -> str:
        name = f"kws_pi_{name}"
        return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name}{labels} {value!r}\n"

    described = {"version": figures.version, "keyword": figures.keyword, "device": figures.device}
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in described.items())
    yield metric("info", "gauge", "What runs and listens.", 1, f"{{{labels}}}")
    yield "# HELP kws_pi_state 1 for the state that the daemon is in.\n# TYPE kws_pi_state gauge\n"
    for state in State:
        yield f'kws_pi_state{{state="{state}"}} {int(state == figures.state)}\n'
    for name, text, value in (
        ("report_age_seconds", "Time since the main loop's last report.", now - figures.at_s),
        ("uptime_seconds", "Time since the daemon's start.", figures.uptime_s),
        ("input_level_dbfs", "Input, root mean square over some seconds.", figures.level_dbfs),
        ("only_zeros", "1 while the microphone delivers zeros alone.", int(figures.only_zeros)),
        ("threshold", "Probability at which the keyword counts as said.", figures.threshold),
        ("cpu_ratio", "CPU time per second of time, over some seconds.", figures.cpu_share),
        ("latency_seconds", "Longest way from device to decision.", figures.latency_ms / 1000),
    ):
        yield metric(name, "gauge", text, value)
    for name, text, value in (
        ("audio_seconds", "Sound heard.", figures.audio_s),
        ("detections", "Times that the keyword was said.", figures.detections),
        ("overruns", "Losses of samples in the sound device.", figures.overruns),
        ("late", "Times that sound was passed over by a slow loop.", figures.late),
        ("microphone_openings", "Times that a microphone was opened.", figures.openings),
        ("microphone_reopenings", "Of those, after an error.", figures.reopenings),
        ("reloads", "Times that new settings came into force.", figures.reloads),
    ):
        yield metric(f"{name}_total", "counter", text, value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Metrics(Action):
    """Serves the figures over HTTP while the daemon runs."""

    def __init__(self, listen: str, figures: Callable[[], Figures], say: Say) -> None:
        """`listen`: the path of a unix socket or HOST:PORT; `figures`: the last report."""
        self._listen = listen
        self._figures = figures
        self._say = say
        self._server: Any = None
        self._try_at = float("-inf")
        self._complaint = ""

    @property
    def address(self) -> Any:
        """Where it listens: a path, or host and port; None while it does not."""
        return self._server and self._server.server_address

    def tick(self, now: float) -> None:
        """Opens the address when that is due."""
        if self._server is not None or now < self._try_at:
            return
        try:
            self._server = _server(self._listen, self._figures)
        except OSError as error:
            self._try_at = now + RETRY_S
            complaint = (
                f"metrics cannot be served at {self._listen} ({error.strerror or error}); a port "
                "needs the drop-in metrics-port.conf, and a socket a folder like /run/kws-pi"
            )
            if complaint != self._complaint:
                self._complaint = complaint
                self._say(complaint)
            return
        self._complaint = ""
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stops serving and removes the socket."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        if self._listen.startswith("/"):
            with contextlib.suppress(OSError):
                Path(self._listen).unlink()


def _server(listen: str, figures: Callable[[], Figures]) -> Any:
    """A server that is bound and does not serve yet. Raises OSError."""
    # Imported where they are used: most daemons serve no metrics.
    http = importlib.import_module("http.server")
    socketserver = importlib.import_module("socketserver")

    class Handler(http.BaseHTTPRequestHandler):  # type: ignore[misc, name-defined]
        timeout = CLIENT_S
        server_version = "kws-pi"
        sys_version = ""

        def do_GET(self) -> None:  # noqa: N802 - the library's name
            if self.path.split("?")[0] not in ("/", "/metrics"):
                self.send_error(404)
                return
            body = exposition(figures(), time.monotonic()).encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Requests are not logged."""

    if listen.startswith("/"):
        path = Path(listen)
        if path.is_socket():
            path.unlink()  # left behind by a daemon that was killed
        server = socketserver.UnixStreamServer(listen, Handler)
        path.chmod(0o666)
    else:
        host, _, port = listen.rpartition(":")

        class Server(socketserver.TCPServer):  # type: ignore[misc, name-defined]
            allow_reuse_address = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        server = Server((host.strip("[]"), int(port)), Handler)
    server.handle_error = lambda request, address: None  # a client that went away
    return server
