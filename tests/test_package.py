"""The package's life under dpkg itself: installed, upgraded, downgraded, removed and purged.

dpkg works on a folder (--root) whose packages it knows nothing of, so the dependencies are not
asked for and nothing is started; the maintainer scripts run as they would on another system's
files (DPKG_ROOT).
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from package_kit import LOUD

from deploy import build_deb

PROGRAMS = ("dpkg", "dpkg-deb", "deb-systemd-helper", "systemd-sysusers")

pytestmark = [
    pytest.mark.skipif(
        not all(shutil.which(program) for program in PROGRAMS),
        reason=f"needs Debian's {', '.join(PROGRAMS)}",
    ),
    pytest.mark.skipif(os.getuid() != 0, reason="dpkg sets owners, which needs root"),
]

CONFIG = "etc/kws-pi/config.toml"
DEVICE_CONFIG = "var/lib/kws-pi/config.toml"
ENABLED = "etc/systemd/system/multi-user.target.wants/kws-pi.service"

Builder = Callable[..., Path]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Builds a version, with other defaults in its conffile where they are given."""
    folder = tmp_path_factory.mktemp("packages")

    @functools.cache
    def make(version: str, config: str = "") -> Path:
        home = folder / f"{version}-{len(config)}"
        shutil.copytree(build_deb.ROOT / "device", home / "device")
        shutil.copytree(build_deb.ROOT / "deploy", home / "deploy")
        if config:
            (home / "device" / "config.toml").write_text(config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build_deb, "__version__", version)
            patch.setattr(build_deb, "ROOT", home)
            return build_deb.build(LOUD, home / "out")

    return make


class System:
    """A folder that dpkg takes for a system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("var/lib/dpkg/updates", "var/lib/dpkg/info", "etc"):
            (root / name).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()

    def dpkg(self, *arguments: str) -> str:
        command = ["dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends"]
        command += ["--force-architecture", "--log=/dev/null", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> str:
        """As `dpkg -l` abbreviates it: ii for installed, rc for removed with settings left."""
        return subprocess.run(
            ["dpkg-query", f"--root={self.root}", "-W", "-f", "${db:Status-Abbrev}", "kws-pi"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()

    def files(self) -> set[str]:
        """Every file but dpkg's own records and the lists of users."""
        found = (path.relative_to(self.root) for path in self.root.rglob("*") if not path.is_dir())
        return {str(path) for path in found if not str(path).startswith(("var/lib/dpkg", "etc/g"))}


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path / "system")


def test_install(system: System, package: Builder) -> None:
    system.dpkg("-i", str(package("1.0")))
    assert system.status() == "ii"
    assert (system.root / ENABLED).is_symlink()
    users = (system.root / "etc/passwd").read_text()
    assert "kws-pi:" in users
    assert users.strip().endswith("nologin")
    groups = (system.root / "etc/group").read_text().splitlines()
    for group in ("audio", "gpio"):
        assert any(row.startswith(f"{group}:") and row.endswith(":kws-pi") for row in groups)
    assert (system.root / "var/lib/kws-pi").is_dir()


def test_upgrade_keeps_this_devices_settings_and_asks_nothing(
    system: System, package: Builder
) -> None:
    system.dpkg("-i", str(package("1.0")))
    (system.root / DEVICE_CONFIG).write_text("[detection]\nthreshold = 0.7\n")
    system.dpkg("-i", str(package("2.0", "# other defaults\n")))
    assert system.status() == "ii"
    assert (system.root / CONFIG).read_text() == "# other defaults\n"
    assert (system.root / DEVICE_CONFIG).read_text() == "[detection]\nthreshold = 0.7\n"
    assert not list((system.root / "etc/kws-pi").glob("*.dpkg-*"))


def test_a_conffile_changed_by_hand_survives(system: System, package: Builder) -> None:
    system.dpkg("-i", str(package("1.0")))
    (system.root / CONFIG).write_text("# mine\n")
    system.dpkg("--force-confold", "-i", str(package("2.0", "# other defaults\n")))
    assert (system.root / CONFIG).read_text() == "# mine\n"


def test_downgrade(system: System, package: Builder) -> None:
    system.dpkg("-i", str(package("2.0")))
    before = system.files()
    system.dpkg("-i", str(package("1.0")))
    assert system.status() == "ii"
    assert system.files() == before


def test_a_service_that_was_disabled_stays_disabled(system: System, package: Builder) -> None:
    system.dpkg("-i", str(package("1.0")))
    (system.root / ENABLED).unlink()
    system.dpkg("-i", str(package("2.0")))
    assert not (system.root / ENABLED).is_symlink()


def test_remove_keeps_the_settings_and_purge_takes_them(system: System, package: Builder) -> None:
    system.dpkg("-i", str(package("1.0")))
    (system.root / DEVICE_CONFIG).write_text("")
    system.dpkg("--remove", "kws-pi")
    assert system.status() == "rc"
    assert {CONFIG, DEVICE_CONFIG} <= system.files()
    assert not any(name.startswith("usr/") for name in system.files())
    system.dpkg("--purge", "kws-pi")
    assert {name for name in system.files() if "kws-pi" in name} == set()
    assert not (system.root / "etc/kws-pi").exists()
    assert not (system.root / "var/lib/kws-pi").exists()


def test_it_can_be_installed_again_after_a_removal(system: System, package: Builder) -> None:
    built = str(package("1.0"))
    system.dpkg("-i", built)
    system.dpkg("--remove", "kws-pi")
    system.dpkg("-i", built)
    assert system.status() == "ii"
    assert (system.root / ENABLED).is_symlink()


def test_an_interrupted_upgrade_is_finished(system: System, package: Builder) -> None:
    system.dpkg("-i", str(package("1.0")))
    system.dpkg("--unpack", str(package("2.0")))
    assert system.status() == "iU"
    system.dpkg("--configure", "--pending")
    assert system.status() == "ii"


@pytest.mark.parametrize("state", ["half-installed", "half-configured"])
def test_what_lost_power_while_it_was_unpacked(
    system: System, package: Builder, state: str
) -> None:
    """The state in which apt does nothing: the scripts of `make deploy` and `undeploy` ask dpkg."""

    def lose_power() -> None:
        status = system.root / "var/lib/dpkg/status"
        text = status.read_text()
        assert "Status: install ok installed" in text
        status.write_text(text.replace("install ok installed", f"install reinstreq {state}"))
        assert system.status().endswith("R")

    system.dpkg("-i", str(package("2.0")))
    lose_power()
    system.dpkg("--install", str(package("1.0")))
    assert system.status() == "ii"
    lose_power()
    compiled = system.root / "usr/lib/kws-pi/device/__pycache__/cli.cpython-313.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    system.dpkg("--force-remove-reinstreq", "--purge", "kws-pi")
    assert not any("kws-pi" in name for name in system.files())
