"""The Debian package: what is in it, that it is the same every time, that it stays honest."""

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from package_kit import LOUD, build_elsewhere

from deploy.build_deb import DEBIAN, ROOT, build, source_date
from deploy.choose import choose_model
from device import __version__
from device.errors import ManifestError
from device.model import default_manifest, load_model

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs Debian's dpkg-deb")


def members(package: Path) -> dict[str, tarfile.TarInfo]:
    data = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(data.stdout)) as archive:
        return {entry.name.removeprefix("./"): entry for entry in archive}


def test_contents(tmp_path: Path) -> None:
    package = build(LOUD, tmp_path / "out")
    assert package.name == f"kws-pi_{__version__}_all.deb"
    found = members(package)
    for source in (ROOT / "device").glob("*.py"):
        assert f"usr/lib/kws-pi/device/{source.name}" in found
    assert not [name for name in found if name.endswith(".so")]  # it is for every architecture
    for name in (
        "usr/share/kws-pi/models/loud.onnx",
        "usr/share/kws-pi/models/loud.npz",
        "etc/kws-pi/config.toml",
        "usr/lib/systemd/system/kws-pi.service",
        "usr/lib/sysusers.d/kws-pi.conf",
        "usr/lib/udev/rules.d/60-kws-pi.rules",
        "usr/share/doc/kws-pi/copyright",
        "usr/share/doc/kws-pi/changelog.gz",
        "usr/share/man/man1/kws-pi.1.gz",
    ):
        assert found[name].mode == 0o644, name
    assert found["usr/bin/kws-pi"].mode == 0o755
    assert {(entry.uid, entry.gid) for entry in found.values()} == {(0, 0)}
    assert {entry.mtime for entry in found.values()} == {source_date()}


def test_the_chosen_size_is_what_the_device_runs(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("loud", "loud-small"):
        shutil.copy(LOUD, models / f"{name}.json")
    for suffix in (".onnx", ".npz"):
        shutil.copy(LOUD.with_suffix(suffix), models)
    (models / "default").write_text("loud-small.json\n")
    chosen = choose_model(None, tmp_path / "build", models)
    package = build(chosen, tmp_path / "out")
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path / "tree")], check=True)
    installed = tmp_path / "tree/usr/share/kws-pi/models"
    assert default_manifest((installed,)) == installed / "loud-small.json"
    load_model(default_manifest((installed,)))
    assert not (installed / "loud.json").exists()


def test_control(tmp_path: Path) -> None:
    package = build(LOUD, tmp_path / "out")
    folder = tmp_path / "control"
    subprocess.run(["dpkg-deb", "--control", str(package), str(folder)], check=True)
    control = (folder / "control").read_text()
    assert f"Version: {__version__}\n" in control
    assert "Architecture: all" in control
    assert "libc" not in control  # nothing in it was compiled
    assert "@" not in control.replace("maintainers@", "")
    assert (folder / "conffiles").read_text() == "/etc/kws-pi/config.toml\n"
    for script in ("postinst", "prerm", "postrm"):
        assert (folder / script).stat().st_mode & 0o777 == 0o755
        subprocess.run(["sh", "-n", str(folder / script)], check=True)
    # The sums are those of the files, so `dpkg --verify` has something to hold on to.
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path / "tree")], check=True)
    sums = str(folder / "md5sums")
    subprocess.run(["md5sum", "--quiet", "-c", sums], cwd=tmp_path / "tree", check=True)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first = build(LOUD, tmp_path / "first").read_bytes()
    assert build(LOUD, tmp_path / "second").read_bytes() == first


def test_neither_place_nor_time_nor_habits_change_the_bytes(tmp_path: Path) -> None:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    first = build_elsewhere(tmp_path / "a", {**own, "TZ": "Asia/Tokyo"}, 0o022)
    other = {**own, "TZ": "America/Lima", "LC_ALL": "C", "HOME": str(tmp_path), "USER": "x"}
    second = build_elsewhere(tmp_path / "b" / "c", other, 0o077)
    assert first.read_bytes() == second.read_bytes()


def test_the_date_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    found = members(build(LOUD, tmp_path / "out"))
    assert {entry.mtime for entry in found.values()} == {1700000000}


def test_changelog_tells_of_this_version() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"kws-pi ({__version__}) ")


def test_changelog_is_compressed_without_a_time(tmp_path: Path) -> None:
    package = build(LOUD, tmp_path / "out")
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path / "tree")], check=True)
    packed = (tmp_path / "tree/usr/share/doc/kws-pi/changelog.gz").read_bytes()
    assert gzip.decompress(packed) == (DEBIAN / "changelog").read_bytes()
    assert packed[4:8] == bytes(4)


def test_an_altered_model_is_refused(tmp_path: Path) -> None:
    for suffix in (".json", ".onnx", ".npz"):
        shutil.copy(LOUD.with_suffix(suffix), tmp_path)
    (tmp_path / "loud.onnx").write_bytes(b"another")
    with pytest.raises(ManifestError, match="SHA-256"):
        build(tmp_path / "loud.json", tmp_path / "out")


def test_lintian_finds_no_error(tmp_path: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("needs Debian's lintian")
    package = build(LOUD, tmp_path / "out")
    done = subprocess.run(
        ["lintian", "--fail-on", "error", "--allow-root", str(package)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
