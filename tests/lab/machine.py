"""The emulated Raspberry Pi: started, stopped, and its power cut.

    python tests/lab/machine.py start       # `make lab`: builds the disk once, boots, waits for ssh
    python tests/lab/machine.py stop
    python tests/lab/machine.py shell [COMMAND]

It lives in $XDG_CACHE_HOME/kws-pi/lab (~/.cache/kws-pi/lab). Each start begins with the disk as it
was built, unless --keep is given.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kws-pi" / "lab"
NAME = "lab"
HANGS_S = 3600
"""No command takes so long, not even on a busy machine."""
BOOT_S = 3600
"""An idle machine needs two or three minutes; a busy one far more."""
OFF_S = 1200
"""To stop every service."""
INSTRUCTION = 1
"""An instruction takes 2**INSTRUCTION nanoseconds of the Pi's own time: half a billion in a second,
fewer than a real one's. So its time goes slowly on a busy machine, and nothing in it is late."""
ABSENT = ("vchiq", "vc4", "v3d", "brcmfmac", "cfg80211", "hci_uart", "raspberrypi_cpufreq")
"""Drivers of what qemu's Pi does not have; they wait for it, and vchiq stops the kernel."""
KERNEL = (
    "root=/dev/mmcblk0 rootwait rw console=ttyAMA0,115200 console=ttyAMA1,115200 net.ifnames=0 "
    "systemd.unit=multi-user.target systemd.mask=systemd-binfmt.service "
    "systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900 "
    f"module_blacklist={','.join(ABSENT)}"
)


class Machine:
    """A Raspberry Pi 3 Model B under qemu-system-aarch64, whose ssh port is one of this machine."""

    def __init__(self, folder: Path = CACHE) -> None:
        self.folder = folder
        self.disk = folder / "disk.img"
        self._pid = folder / "qemu.pid"
        self._port = folder / "port"

    @property
    def pid(self) -> int | None:
        """Of the running qemu; None when there is none."""
        try:
            pid = int(self._pid.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if command.startswith(b"qemu-system-aarch64") else None

    @property
    def inventory(self) -> Path:
        """For `make deploy INVENTORY=`."""
        path = self.folder / "inventory.ini"
        path.write_text(
            f"{NAME} ansible_host=127.0.0.1 ansible_port={self._port.read_text().strip()} "
            f"ansible_user=pi ansible_ssh_private_key_file={self.folder / 'key'} "
            "ansible_ssh_timeout=300 "
            f"ansible_ssh_common_args='-o UserKnownHostsFile={self.folder / 'known_hosts'}'\n"
        )
        return path

    def fresh(self) -> None:
        """The disk as it was built."""
        subprocess.run(
            ["cp", "--sparse=always", "--reflink=auto", self.folder / "base.img", self.disk],
            check=True,
        )
        (self.folder / "known_hosts").unlink(missing_ok=True)

    def power_on(self) -> None:
        """Starts it; returns at once."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self._port.write_text(f"{port}\n")
        drive = f"file={self.disk},format=raw,if=sd"
        command = ["qemu-system-aarch64", "-M", "raspi3b", "-icount", f"shift={INSTRUCTION}"]
        command += ["-no-reboot"]  # see `reboot`
        command += ["-display", "none", "-monitor", "none"]
        command += ["-kernel", str(self.folder / "vmlinuz"), "-append", KERNEL]
        command += ["-initrd", str(self.folder / "initrd.img"), "-dtb", str(self.folder / "pi.dtb")]
        command += ["-drive", drive, "-device", "usb-net,netdev=n0"]
        command += ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:22"]
        command += ["-serial", f"file:{self.folder / 'console.log'}"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "qemu.log").open("wb"),
            start_new_session=True,
        )
        self._pid.write_text(str(process.pid))
        # A new program has no command line to be known by for a moment.
        while self.pid is None and process.poll() is None:
            time.sleep(0.05)

    def wait(self, patience_s: float = BOOT_S) -> None:
        """Returns when it takes ssh. Raises RuntimeError when it does not in time."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if self.pid is None:
                raise RuntimeError(f"qemu has ended; see {self.folder / 'qemu.log'}")
            if self.run("true", check=False, timeout_s=400).returncode == 0:
                return
            time.sleep(3)
        raise RuntimeError(f"it does not take ssh; see {self.folder / 'console.log'}")

    def ssh(self, *more: str) -> list[str]:
        """The command that logs in. One connection serves all: to make one takes five seconds."""
        options = {
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
            "ConnectTimeout": 300,
            "ServerAliveInterval": 15,
            "ServerAliveCountMax": 8,
            "ControlMaster": "auto",
            "ControlPath": self.folder / "ssh-%p",
            "ControlPersist": 600,
        }
        command = ["ssh", "-F", "/dev/null", "-i", str(self.folder / "key")]
        command += ["-p", self._port.read_text().strip()]
        for name, value in options.items():
            command += ["-o", f"{name}={value}"]
        return [*command, *more, "pi@127.0.0.1"]

    def _hang_up(self) -> None:
        """Ends the connection, which outlives the machine otherwise."""
        subprocess.run(self.ssh("-O", "exit"), capture_output=True, check=False)

    def run(
        self, command: str, check: bool = True, timeout_s: float = HANGS_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs a shell command there. Raises RuntimeError when it fails and `check` is set."""
        try:
            done = subprocess.run(
                [*self.ssh(), command],
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(command, 124, "", "it takes too long")
        if check and done.returncode:
            raise RuntimeError(f"`{command}` ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def copy(self, source: Path, target: str) -> None:
        """Copies a file there."""
        with source.open("rb") as file:
            subprocess.run([*self.ssh(), f"cat > {target}"], stdin=file, check=True)

    def cut_power(self) -> None:
        """Takes its power away in the middle of whatever it does, and gives it back."""
        pid = self.pid
        self._hang_up()
        if pid is not None:
            self._kill(pid)
        self.power_on()

    def shut_down(self) -> None:
        """Powers it off as its own command does; ends it when that takes too long."""
        pid = self.pid
        if pid is not None:
            self.run("sudo systemctl poweroff", check=False, timeout_s=60)
            self._hang_up()
            if not self._gone(pid, OFF_S):
                self._kill(pid)

    def reboot(self) -> None:
        """Its own reboot; returns when it takes ssh again.

        qemu ends there and is started anew: its USB network does not survive a reset. Raises
        RuntimeError when it does not go down, or does not take ssh again.
        """
        pid = self.pid
        self.run("sudo systemctl reboot", check=False, timeout_s=60)
        self._hang_up()
        if pid is not None and not self._gone(pid, OFF_S):
            raise RuntimeError(f"it does not go down; see {self.folder / 'console.log'}")
        self.power_on()
        self.wait()

    def _kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self._gone(pid, 30)

    def _gone(self, pid: int, patience_s: float) -> bool:
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # reaps it, where it is a child of this process
            if self.pid is None:
                return True
            time.sleep(0.3)
        return False


def start(machine: Machine, keep: bool) -> bool:
    """Builds the disk where there is none yet, boots, and waits for ssh.

    Returns whether it had to be started: False when it was running already.
    """
    subprocess.run([HERE / "image.sh", machine.folder], check=True)
    if machine.pid is not None:
        print("lab: it is running already")
        return False
    if shutil.which("qemu-system-aarch64") is None:
        raise RuntimeError("qemu is missing: apt-get install qemu-system-arm")
    if not (keep and machine.disk.exists()):
        machine.fresh()
    machine.power_on()
    print("lab: booting, which takes a minute or more", flush=True)
    machine.wait()
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="The emulated Raspberry Pi.")
    parser.add_argument("command", choices=["start", "stop", "shell"])
    parser.add_argument("words", nargs="*", help="a command for the shell")
    parser.add_argument("--keep", action="store_true", help="start with the disk of last time")
    options = parser.parse_args()
    machine = Machine()
    try:
        if options.command == "start":
            start(machine, options.keep)
            print(f"lab: deploy to it with `make deploy INVENTORY={machine.inventory}`")
        elif options.command == "stop":
            machine.shut_down()
        elif machine.pid is None:
            raise RuntimeError("it is not running; `make lab` starts it")
        else:
            return subprocess.call([*machine.ssh(), *options.words])
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
