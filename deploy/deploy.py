"""Puts kws-pi onto a Raspberry Pi: `make deploy PI=pi@raspberrypi.local`.

    python -m deploy.deploy --pi USER@HOST [--model MODEL.json] [--config FILE]

Says what will be deployed, checks that the Pi can take it before anything is
copied, installs the Debian package with apt, and succeeds only when the
service hears audio.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.build_deb import ROOT, build, fetch_runtime
from deploy.choose import choose_model, describe
from deploy.errors import DeployError
from deploy.remote import Remote, RemoteCommandError
from device.errors import KwsPiError
from device.settings import read_settings

OLDEST_DEBIAN = 13
SETTINGS = "/etc/kws-pi/config.toml"

PROBE = r"""
echo "kws-pi machine $(uname -m)"
echo "kws-pi packages $(dpkg --print-architecture 2>/dev/null)"
. /etc/os-release 2>/dev/null
echo "kws-pi system $ID"
echo "kws-pi version $VERSION_ID"
if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then echo "kws-pi root yes"; fi
"""

STATE = "systemctl show kws-pi.service -p ActiveState -p StatusText -p WatchdogTimestampMonotonic"

HEAR_S = 40.0
"""How long the service may take from its start until it hears audio."""
ADVANCES = 3
"""So often in a row must the service report that audio advanced."""


def read_probe(text: str) -> dict[str, str]:
    """The answers to PROBE, whatever else the login printed."""
    answers = {}
    for line in text.splitlines():
        words = line.split(maxsplit=2)
        if len(words) == 3 and words[0] == "kws-pi":
            answers[words[1]] = words[2]
    return answers


def check_system(address: str, probe: Mapping[str, str]) -> None:
    """Raises DeployError, one sentence, unless the system can run the package."""
    machine, packages = probe.get("machine", "unknown"), probe.get("packages", "none")
    if packages in ("armhf", "armel") or machine.startswith(("armv6", "armv7")):
        raise DeployError(
            f"{address} runs a 32-bit system ({packages}), for which there is no ONNX Runtime; "
            "install Raspberry Pi OS (64-bit) on it"
        )
    if machine != "aarch64" or packages != "arm64":
        raise DeployError(
            f"{address} is no 64-bit Raspberry Pi (machine {machine}, packages {packages}); "
            "the package is for arm64"
        )
    system, version = probe.get("system", "unknown"), probe.get("version", "")
    release = version.split(".")[0]
    if system != "debian" or not release.isdigit() or int(release) < OLDEST_DEBIAN:
        raise DeployError(
            f"{address} runs {system} {version or 'of unknown version'}; kws-pi needs Raspberry Pi "
            f"OS or Debian {OLDEST_DEBIAN}"
        )
    if probe.get("root") != "yes":
        raise DeployError(
            f"{address}: this user may not become root without a password; allow it sudo, "
            "or log in as another"
        )


def install(remote: Remote, package: Path, config: Path | None) -> None:
    """Copies the package and the settings, installs them and starts the service anew.

    Raises DeployError when a step fails there.
    """
    folder = remote.run("mktemp -d").strip().splitlines()[-1]
    sudo = "$([ $(id -u) = 0 ] || echo sudo -n)"
    apt = (
        f"{sudo} env DEBIAN_FRONTEND=noninteractive apt-get -y -q "
        "-o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0"
    )
    # The version is the same after a change of the model alone, hence --reinstall.
    command = f"{apt} install --reinstall --allow-downgrades {folder}/{package.name}"
    try:
        remote.copy(package, f"{folder}/{package.name}")
        # apt reads the package as its own user, _apt.
        remote.run(f"chmod 755 {folder}; chmod 644 {folder}/{package.name}")
        if config is not None:
            remote.copy(config, f"{folder}/config.toml")
        try:
            remote.run(command, show=True)
        except RemoteCommandError:
            # Its lists may name packages that are no longer there.
            remote.run(f"{apt} update && {command}", show=True)
        if config is not None:
            remote.run(f"{sudo} install -m 644 {folder}/config.toml {SETTINGS}")
    finally:
        remote.run(f"rm -rf {folder}")
    remote.run(f"{sudo} systemctl enable --quiet kws-pi.service")
    try:
        remote.run(f"{sudo} systemctl restart kws-pi.service")
    except RemoteCommandError as error:
        remote.run("journalctl --unit kws-pi --lines 8 --no-pager --output cat || true", show=True)
        raise DeployError(
            "the service does not start; its last words are above (make logs shows more)"
        ) from error


def wait_for_audio(remote: Remote, patience_s: float = HEAR_S, pause_s: float = 1.5) -> None:
    """Returns when audio advances; raises DeployError when it does not in time.

    The daemon's status is `listening` from the first audio on, and in that
    state it feeds the watchdog only when audio has advanced, so the watchdog's
    time stamp is the proof.
    """
    end = time.monotonic() + patience_s
    seen, advances, state = "", 0, {}
    while time.monotonic() < end:
        lines = remote.run(STATE).splitlines()
        state = dict(line.split("=", 1) for line in lines if "=" in line)
        stamp = state.get("WatchdogTimestampMonotonic", "")
        listening = state.get("StatusText", "").startswith("listening")
        if state.get("ActiveState") == "active" and listening:
            advances += bool(seen) and stamp != seen
            seen = stamp
            if advances >= ADVANCES:
                return
        else:
            seen, advances = "", 0
        time.sleep(pause_s)
    status = state.get("StatusText", "").split(";")[0]
    if state.get("ActiveState") == "active" and status == "waiting for microphone":
        raise DeployError(
            "the service runs but there is no microphone that it can use: plug one in, and it "
            "will listen by itself (`kws-pi devices` on the Pi lists what there is)"
        )
    raise DeployError(
        f"the service hears no audio: it is {state.get('ActiveState', 'unknown')}, "
        f"status {status!r}; `make logs` shows its journal"
    )


def deploy(address: str, model: Path | None, config: Path | None) -> None:
    """The whole way. Raises a KwsPiError that says what to do when a step cannot be done."""
    with Remote(address) as remote:
        chosen = choose_model(model, ROOT / "build", ROOT / "models")
        print(describe(chosen), flush=True)
        if config is not None:
            read_settings(config)
        check_system(address, read_probe(remote.run(PROBE)))
        package = build(chosen, fetch_runtime(ROOT / "build" / "bundle"), ROOT / "build")
        print(f"package    {package.name}, {package.stat().st_size:,} bytes", flush=True)
        install(remote, package, config)
        try:
            wait_for_audio(remote)
        finally:
            remote.run("systemctl status --no-pager --lines 5 kws-pi.service || true", show=True)
    print(f"kws-pi listens on {address}.")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Puts kws-pi onto a Raspberry Pi.")
    parser.add_argument("--pi", default="", metavar="USER@HOST")
    parser.add_argument("--model", type=Path, metavar="FILE", help="the model's manifest")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings for the Pi")
    options = parser.parse_args(arguments)
    try:
        deploy(options.pi, options.model, options.config)
    except KwsPiError as error:
        sys.stdout.flush()
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
