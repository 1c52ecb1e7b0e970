"""Downloads Speech Commands v0.01 into a folder.

usage: python -m train_host.download DEST

1.5 GB are fetched, their SHA-256 checked, and 65,000 clips unpacked into DEST
(another 2 GB). A download that broke off is taken up where it ended, now or at
the next call. The archive is removed at the end.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import http.client
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from device.errors import CorpusError, KwsPiError

URL = "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz"
SHA256 = "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d"
"""As torchaudio and others publish it."""

TRIES = 5
"""Attempts in a row that bring no byte before the download is given up."""
TIMEOUT_S = 30.0
BLOCK = 1 << 20
DONE = ".complete"
"""Holds the archive's SHA-256 once everything is unpacked."""


class _BrokenOffError(Exception):
    """The connection ended or never came about; another try may do."""


def fetch(
    folder: Path, url: str = URL, sha256: str = SHA256, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Downloads, checks and unpacks the archive; False if that had been done before.

    `sleep` waits between attempts. Raises CorpusError when the server cannot
    be reached, the hash differs, or the disk is full.
    """
    done = folder / DONE
    if done.is_file() and done.read_text(encoding="ascii").strip() == sha256:
        return False
    part = folder / (url.rsplit("/", 1)[-1] + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        ) as progress:
            _download(url, part, progress, sleep)
            _check(part, sha256, url)
            _unpack(part, folder, progress)
        part.unlink()
        done.write_text(sha256 + "\n", encoding="ascii")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _disk_full(folder)
        raise CorpusError(
            f"{error.filename or folder}: cannot be written ({error.strerror}); "
            "give a folder that you may write to"
        ) from error
    return True


def _download(url: str, part: Path, progress: Progress, sleep: Callable[[float], None]) -> None:
    """Fetches what is missing of the file, however often the connection breaks off."""
    bar = progress.add_task("downloading", total=None)
    failures = 0
    while True:
        before = _size(part)
        try:
            _fetch_rest(
                url, part, lambda have, total: progress.update(bar, completed=have, total=total)
            )
            return
        except _BrokenOffError as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures == TRIES:
                raise CorpusError(
                    f"{url}: {error}; check the network and call this again, "
                    f"the {_size(part) / 1e6:.0f} MB that have come are kept"
                ) from error
            progress.console.print(f"{error}; trying again from {_size(part) / 1e6:.1f} MB on")
            sleep(2.0**failures)


def _fetch_rest(url: str, part: Path, show: Callable[[int, int | None], None]) -> None:
    """One request for the bytes that are missing. Raises _BrokenOffError."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            if answer.status != 206:
                # The server does not continue downloads and sends everything anew.
                have = 0
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise _BrokenOffError("the server sent another range than the one asked for")
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            if total and shutil.disk_usage(part.parent).free < total - have:
                _disk_full(part.parent)
            with part.open("r+b" if have else "wb") as file:
                file.seek(have)
                while block := answer.read(BLOCK):
                    file.write(block)
                    have += len(block)
                    show(have, total)
    except urllib.error.HTTPError as error:
        if error.code == 416 and _total_of(error) == have:
            return
        if error.code == 416:
            part.unlink()
            raise _BrokenOffError("the file on the server has another length") from error
        if error.code < 500:
            raise CorpusError(f"{url}: the server says {error.code} {error.reason}") from error
        raise _BrokenOffError(f"the server says {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _BrokenOffError(f"no connection ({getattr(error, 'reason', error)})") from error
    except http.client.HTTPException as error:
        raise _BrokenOffError("the connection broke off") from error
    if total is not None and have < total:
        raise _BrokenOffError("the connection broke off")


def _check(part: Path, sha256: str, url: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise CorpusError(
            f"{url}: the SHA-256 of what was downloaded is {found}, not the published {sha256}; "
            "it was removed, so call this again, over another network if it repeats"
        )


def _unpack(part: Path, folder: Path, progress: Progress) -> None:
    bar = progress.add_task("unpacking", total=_size(part))
    try:
        with (
            part.open("rb") as raw,
            progress.wrap_file(raw, task_id=bar) as file,
            tarfile.open(fileobj=file, mode="r|gz") as archive,
        ):
            for member in archive:
                _unpack_member(archive, member, folder.resolve())
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise CorpusError(
            f"{part}: cannot be unpacked ({error}); remove it and try again"
        ) from error


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Files and folders only, and only below `folder`.

    By hand, since Debian 12's Python 3.11.2 has no extraction filters.
    """
    target = (folder / member.name).resolve()
    if not target.is_relative_to(folder):
        raise tarfile.TarError(f"{member.name!r} lies outside the folder")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
    elif member.isfile() and (content := archive.extractfile(member)) is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _total_of(error: urllib.error.HTTPError) -> int | None:
    """The file's length as the answer "416 Range Not Satisfiable" gives it."""
    match = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _disk_full(folder: Path) -> NoReturn:
    free = shutil.disk_usage(folder).free / 1e9
    raise CorpusError(
        f"{folder}: the disk is full ({free:.1f} GB free); Speech Commands needs 4 GB, "
        "so make room or give another folder"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train_host.download", description="Download Speech Commands v0.01."
    )
    parser.add_argument("folder", type=Path, metavar="DEST")
    folder = parser.parse_args(arguments).folder
    try:
        new = fetch(folder)
    except KwsPiError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; call this again to go on", file=sys.stderr)
        return 130
    print(f"{folder}: Speech Commands v0.01 {'is ready' if new else 'was there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
