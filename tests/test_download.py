"""The download against a real server on this machine that misbehaves."""

import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from device.errors import CorpusError
from train_host.download import DONE, fetch, main


def archive(*names: str) -> bytes:
    memory = io.BytesIO()
    noise = np.random.default_rng(0)
    with tarfile.open(fileobj=memory, mode="w:gz") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 3 << 20
            tar.addfile(entry, io.BytesIO(noise.bytes(entry.size)))
    return memory.getvalue()


CONTENT = archive("./bed/a_nohash_0.wav", "./cat/b_nohash_0.wav")
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; the test says how badly."""

    content = CONTENT
    break_off_after: int | None = None
    """Bytes after which each connection ends."""
    knows_ranges = True
    status: int | None = None
    """Answer every request with this error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/speech.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        content, start = self.server.content, 0
        if self.server.status:
            self.send_error(self.server.status)
            return
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        limit = self.server.break_off_after
        self.wfile.write(content[start : None if limit is None else start + limit])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def no_wait(seconds: float) -> None:
    pass


def unpacked(folder: Path) -> bool:
    return {p.name for p in folder.iterdir()} == {"bed", "cat", DONE}


def test_whole_download_once(server: Server, tmp_path: Path) -> None:
    assert fetch(tmp_path / "new", server.url, SHA256, no_wait)
    assert unpacked(tmp_path / "new")
    assert not fetch(tmp_path / "new", server.url, SHA256, no_wait)
    assert server.ranges == [None]


def test_connection_that_breaks_off_is_resumed(server: Server, tmp_path: Path) -> None:
    server.break_off_after = 1 << 20
    assert fetch(tmp_path, server.url, SHA256, no_wait)
    assert unpacked(tmp_path)
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in server.ranges if r]
    assert starts == [n << 20 for n in range(1, len(starts) + 1)]
    assert len(starts) == len(CONTENT) >> 20


def test_resumed_by_a_later_call(server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.tar.gz.part").write_bytes(CONTENT[:1000])
    assert fetch(tmp_path, server.url, SHA256, no_wait)
    assert server.ranges == ["bytes=1000-"]


def test_interrupted_after_the_last_byte(server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.tar.gz.part").write_bytes(CONTENT)
    assert fetch(tmp_path, server.url, SHA256, no_wait)


def test_part_longer_than_the_file_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.tar.gz.part").write_bytes(CONTENT + b"more")
    assert fetch(tmp_path, server.url, SHA256, no_wait)
    assert server.ranges[-1] is None


def test_server_that_ignores_ranges(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "speech.tar.gz.part").write_bytes(b"x" * 5000)
    assert fetch(tmp_path, server.url, SHA256, no_wait)
    assert unpacked(tmp_path)


def test_wrong_hash_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(CorpusError, match=f"not the published {SHA256}"):
        fetch(tmp_path, server.url, SHA256, no_wait)
    assert list(tmp_path.iterdir()) == []


def test_silent_server_is_given_up_and_the_part_kept(server: Server, tmp_path: Path) -> None:
    server.break_off_after = 0
    (tmp_path / "speech.tar.gz.part").write_bytes(CONTENT[:1000])
    waits: list[float] = []
    with pytest.raises(CorpusError, match=r"broke off.*are kept"):
        fetch(tmp_path, server.url, SHA256, waits.append)
    assert waits == [2, 4, 8, 16]
    assert (tmp_path / "speech.tar.gz.part").stat().st_size == 1000


def test_nobody_listens(server: Server, tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/speech.tar.gz"
    with pytest.raises(CorpusError, match="no connection"):
        fetch(tmp_path, url, SHA256, no_wait)


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, 5)])
def test_error_of_the_server(server: Server, tmp_path: Path, status: int, requests: int) -> None:
    server.status = status
    with pytest.raises(CorpusError, match=str(status)):
        fetch(tmp_path, server.url, SHA256, no_wait)
    assert len(server.ranges) == requests


def test_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(CorpusError, match="disk is full"):
        fetch(tmp_path, server.url, SHA256, no_wait)


def test_archive_cannot_write_elsewhere(server: Server, tmp_path: Path) -> None:
    server.content = archive("../outside.wav")
    with pytest.raises(CorpusError, match="outside"):
        fetch(tmp_path / "in", server.url, hashlib.sha256(server.content).hexdigest(), no_wait)
    assert not (tmp_path / "outside.wav").exists()


def test_command_line_prints_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file" / "below")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "folder that you may write to" in error
