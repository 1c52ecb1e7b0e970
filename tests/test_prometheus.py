"""The figures for Prometheus, over real sockets."""

import dataclasses
import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device.health import Figures, Health, State
from device.prometheus import CONTENT_TYPE, RETRY_S, Metrics, exposition


@pytest.fixture
def figures() -> Figures:
    health = Health("sheila", 0.9)
    health.state = State.LISTENING
    health.opened('plughw:CARD="\\x",DEV=0', 48000)
    health.detections, health.overruns = 7, 2
    return dataclasses.replace(health.figures(), latency_ms=12.5, level_dbfs=-43.2, at_s=100.0)


def parsed(text: str) -> dict[str, float]:
    """The samples of a text in Prometheus' format, each line of it checked."""
    samples, described, typed = {}, set(), {}
    for line in text.splitlines():
        if match := re.fullmatch(r"# HELP ([a-z_]+) \S.*", line):
            assert match[1] not in described
            described.add(match[1])
        elif match := re.fullmatch(r"# TYPE ([a-z_]+) (gauge|counter)", line):
            assert match[1] in described
            typed[match[1]] = match[2]
        else:
            label = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
            match = re.fullmatch(rf"([a-z_]+)(\{{{label}(?:,{label})*\}})? (-?[0-9.e+-]+)", line)
            assert match, line
            assert (typed[match[1]] == "counter") == match[1].endswith("_total")
            assert match[1] + (match[2] or "") not in samples
            samples[match[1] + (match[2] or "")] = float(match[3])
    assert text.endswith("\n")
    return samples


def test_every_figure_is_there(figures: Figures) -> None:
    samples = parsed(exposition(figures, now=103.5))
    assert samples["kws_pi_detections_total"] == 7
    assert samples["kws_pi_overruns_total"] == 2
    assert samples["kws_pi_latency_seconds"] == 0.0125
    assert samples["kws_pi_input_level_dbfs"] == -43.2
    assert samples["kws_pi_report_age_seconds"] == 3.5
    assert samples['kws_pi_state{state="listening"}'] == 1
    assert sum(value for name, value in samples.items() if name.startswith("kws_pi_state")) == 1
    info = next(name for name in samples if name.startswith("kws_pi_info"))
    assert r'device="plughw:CARD=\"\\x\",DEV=0"' in info


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(self._path)


@pytest.fixture
def serve(figures: Figures) -> Iterator[Callable[..., Metrics]]:
    served: list[Metrics] = []

    def serve(listen: str, said: list[str] | None = None) -> Metrics:
        say = pytest.fail if said is None else said.append
        served.append(Metrics(listen, lambda: figures, say))
        served[-1].tick(0.0)
        return served[-1]

    yield serve
    for metrics in served:
        metrics.close()


def get(connection: http.client.HTTPConnection, path: str = "/metrics") -> tuple[int, str, str]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.headers["Content-Type"], answer.read().decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_over_a_port_of_this_machine(serve: Callable[..., Metrics], host: str) -> None:
    metrics = serve(f"{host}:0", [])
    if metrics.address is None:
        pytest.skip(f"this machine has no {host}")
    connection = http.client.HTTPConnection(*metrics.address[:2], timeout=5)
    status, kind, text = get(connection)
    assert (status, kind) == (200, CONTENT_TYPE)
    assert parsed(text)["kws_pi_detections_total"] == 7
    assert get(http.client.HTTPConnection(*metrics.address[:2], timeout=5), "/x")[0] == 404


def test_over_a_unix_socket(serve: Callable[..., Metrics], tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    # A daemon that was killed leaves its socket behind.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    metrics = serve(str(path))
    for _ in range(3):
        assert get(Connection(str(path)))[0] == 200
    assert path.stat().st_mode & 0o777 == 0o666
    metrics.close()
    assert not path.exists()
    metrics.close()


def test_a_client_that_goes_or_lags_or_errs_harms_nobody(
    serve: Callable[..., Metrics], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "metrics")
    serve(path)
    lagging = socket.socket(socket.AF_UNIX)
    lagging.connect(path)
    for sent in (b"", b"\x00\xff\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(sent)
    # It waits until the lagging one is turned away.
    assert get(Connection(path))[0] == 200
    lagging.close()
    assert capfd.readouterr().err == ""


def test_an_address_that_is_taken_is_said_once_and_tried_again(
    serve: Callable[..., Metrics],
) -> None:
    said: list[str] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        metrics = serve(address, said)
        metrics.tick(RETRY_S)
    assert metrics.address is None
    assert len(said) == 1
    assert said[0].startswith(f"metrics cannot be served at {address} (Address already in use)")
    metrics.tick(2 * RETRY_S - 1)
    assert metrics.address is None
    metrics.tick(2 * RETRY_S)
    assert metrics.address is not None


def test_no_thread_without_an_address() -> None:
    before = threading.active_count()
    metrics = Metrics("/proc/no/such/place", lambda: pytest.fail(), lambda text: None)
    metrics.tick(0.0)
    metrics.close()
    assert threading.active_count() == before
