"""Builds the Debian package for every Raspberry Pi: `make deb`.

    python -m deploy.build_deb [--model MODEL.json] [--output FOLDER]

The same inputs give the same bytes: names are sorted, times are those of
SOURCE_DATE_EPOCH or of the changelog, and the owner is root.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from email.utils import parsedate_to_datetime
from pathlib import Path

from deploy.choose import choose_model
from deploy.errors import DeployError
from device import __version__
from device.engine import ROLES
from device.errors import KwsPiError
from device.manifest import read_manifest

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = ROOT / "deploy" / "debian"
SYSTEMD = ROOT / "systemd"

EXECUTABLE = ("usr/bin/kws-pi", "DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm")


def lay_out(tree: Path, model: Path) -> None:
    """Fills `tree` with every file of the package, but for what DEBIAN/ holds.

    Raises ManifestError when the model is not what its manifest says.
    """
    library = tree / "usr/lib/kws-pi"
    for source in sorted((ROOT / "device").glob("*.py")):
        _copy(source, library / "device" / source.name)
    _copy(ROOT / "deploy" / "kws-pi", tree / "usr/bin/kws-pi")

    manifest = read_manifest(model)
    models = tree / "usr/share/kws-pi/models"
    _copy(model, models / model.name)
    for role in ROLES.values():
        for network in manifest.engine_files(model, role):
            _copy(network, models / network.name)
    (models / "default").write_text(model.name + "\n", encoding="utf-8")

    # The second is what `make deploy` needs to pack an installed version again.
    for folder in ("etc/kws-pi", "usr/share/kws-pi"):
        _copy(ROOT / "device" / "config.toml", tree / folder / "config.toml")
    (tree / "var/lib/kws-pi").mkdir(parents=True)
    _copy(SYSTEMD / "kws-pi.service", tree / "usr/lib/systemd/system/kws-pi.service")
    _copy(SYSTEMD / "kws-pi.sysusers", tree / "usr/lib/sysusers.d/kws-pi.conf")
    _copy(SYSTEMD / "60-kws-pi.rules", tree / "usr/lib/udev/rules.d/60-kws-pi.rules")

    for drop_in in sorted((SYSTEMD / "drop-ins").glob("*.conf")):
        _copy(drop_in, tree / "usr/share/kws-pi/drop-ins" / drop_in.name)

    documents = tree / "usr/share/doc/kws-pi"
    _copy(DEBIAN / "copyright", documents / "copyright")
    _pack(DEBIAN / "changelog", documents / "changelog.gz")
    _pack(DEBIAN / "kws-pi.1", tree / "usr/share/man/man1/kws-pi.1.gz")


def add_control(tree: Path) -> None:
    """Adds DEBIAN/: control, conffiles, checksums and the maintainer scripts."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    control = tree / "DEBIAN"
    control.mkdir()
    text = (DEBIAN / "control").read_text(encoding="utf-8")
    text = text.replace("@VERSION@", __version__).replace("@SIZE@", str(-(-size // 1024)))
    (control / "control").write_text(text, encoding="utf-8")
    (control / "conffiles").write_text("/etc/kws-pi/config.toml\n", encoding="utf-8")
    sums = (
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n"
        for path in files
        if path.relative_to(tree).parts[0] != "etc"
    )
    (control / "md5sums").write_text("".join(sums), encoding="utf-8")
    for script in ("postinst", "prerm", "postrm"):
        _copy(DEBIAN / script, control / script)


def build(model: Path, output: Path) -> Path:
    """Writes the package of a model into `output`; returns its path.

    Raises ManifestError for a model that cannot be used, and DeployError when
    dpkg-deb is missing or fails.
    """
    if shutil.which("dpkg-deb") is None:
        raise DeployError("dpkg-deb is missing; install it: apt-get install dpkg-dev")
    output.mkdir(parents=True, exist_ok=True)
    package = output / f"kws-pi_{__version__}_all.deb"
    epoch = source_date()
    with tempfile.TemporaryDirectory(prefix="kws-pi-deb-") as folder:
        tree = Path(folder) / "tree"
        lay_out(tree, model)
        add_control(tree)
        for path in (tree, *tree.rglob("*")):
            executable = path.is_dir() or str(path.relative_to(tree)) in EXECUTABLE
            path.chmod(0o755 if executable else 0o644)
            os.utime(path, (epoch, epoch))
        # Several threads would cut the data where their number says.
        command = ["dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz"]
        command += ["--build", str(tree), str(package)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"dpkg-deb failed: {' '.join(done.stderr.split())}")
    return package


def source_date() -> int:
    """Seconds since 1970: SOURCE_DATE_EPOCH, else the date of the changelog's first entry."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdigit():
        return int(given)
    for line in (DEBIAN / "changelog").read_text(encoding="utf-8").splitlines():
        if line.startswith(" -- "):
            return int(parsedate_to_datetime(line.split(">  ")[1]).timestamp())
    raise DeployError("deploy/debian/changelog: its first entry has no date")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _pack(source: Path, target: Path) -> None:
    """Compresses as Debian's policy asks, without the time, which would differ each time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(source.read_bytes(), compresslevel=9, mtime=0))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Builds the Debian package for the Pi.")
    parser.add_argument("--model", type=Path, metavar="FILE", help="the model's manifest")
    parser.add_argument("--output", type=Path, default=ROOT / "build", metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        model = choose_model(options.model, ROOT / "build", ROOT / "models")
        print(build(model, options.output))
    except KwsPiError as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
