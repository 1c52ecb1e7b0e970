"""The Makefile's help, the lock files, and what set-up says when it cannot go on."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
NAME = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    return dict(NAME.findall((REQUIREMENTS / f"{name}.txt").read_text()))


def wanted(group: str) -> set[str]:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return {re.split(r"[<>=]", row)[0] for row in groups[group]}


@pytest.mark.parametrize(
    "name", ["build", "deploy", "device", "host", "lab", "peers", "pretrain", "voices"]
)
def test_every_locked_package_has_a_hash(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(entries) == len(locked(name)) > 0
    for entry in entries:
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize(
    "name", ["build", "deploy", "device", "host", "lab", "peers", "pretrain", "torch", "voices"]
)
def test_no_lock_names_a_registry(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    assert "://" not in text
    assert "--index" not in text


def test_the_locks_hold_what_the_groups_want() -> None:
    assert wanted("host") | wanted("test") | wanted("lint") <= set(locked("host")) | set(
        locked("torch")
    )
    assert wanted("device") | wanted("test") <= set(locked("device"))
    assert wanted("voices") <= set(locked("voices"))
    assert wanted("deploy") <= set(locked("deploy"))
    assert wanted("peers") <= set(locked("peers"))
    assert wanted("pretrain") <= set(locked("pretrain"))


def test_the_groups_agree_on_every_version() -> None:
    host = locked("host")
    for name in ("build", "deploy", "device", "lab", "peers", "pretrain", "voices"):
        for package, version in locked(name).items():
            assert host.get(package, version) == version, (name, package)


def test_torch_is_pinned_as_the_group_says() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    pinned = {f"{package}=={version}" for package, version in locked("torch").items()}
    assert pinned == {row for row in groups["host"] if row.startswith("torch")}


def test_bare_make_explains_every_target() -> None:
    help_text = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^  make {target} +\S", help_text, re.MULTILINE), target


def test_logs_asks_for_the_pi() -> None:
    done = subprocess.run(
        ["make", "logs", "PI="], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "make logs PI=pi@raspberrypi.local" in done.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A copy of the set-up script, and a PATH with neither Python nor apt on it."""
    (tmp_path / "train_host").mkdir()
    shutil.copy(ROOT / "train_host" / "setup.sh", tmp_path / "train_host")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "env", "grep", "id", "sed", "uname", "xargs"):
        found = shutil.which(name)
        assert found, name
        (programs / name).symlink_to(found)
    return tmp_path


def run_setup(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "train_host" / "setup.sh"), *arguments],
        env={"PATH": str(folder / "bin"), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_setup_without_python_is_one_sentence(bare: Path) -> None:
    done = run_setup(bare)
    assert done.returncode == 1
    assert done.stderr.startswith("setup: Python 3.11, 3.12 or 3.13 is needed")
    assert done.stderr.count("\n") == 1


def test_setup_of_the_device_without_its_python_can_be_told_apart(bare: Path) -> None:
    done = run_setup(bare, "device")
    assert done.returncode == 3
    assert "no Python 3.13 found" in done.stdout


def test_setup_refuses_an_unknown_group(bare: Path) -> None:
    done = run_setup(bare, "everything")
    assert done.returncode == 1
    assert "unknown group 'everything'" in done.stderr
