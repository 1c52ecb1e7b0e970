"""Puts kws-pi onto Raspberry Pis, one or a fleet, and looks after it there.

    python -m deploy.fleet deploy --pi pi@one.local,pi@two.local [--model MODEL.json]
    python -m deploy.fleet status --inventory fleet.ini

`make deploy`, `make undeploy`, `make status` and `make logs` call it. Ansible does what is done on
the Pis (deploy/ansible/); what it prints is in build/deploy.log.
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.build_deb import ROOT, build
from deploy.choose import choose_model, describe
from deploy.device_settings import settings_of
from deploy.errors import DeployError
from deploy.inventory import Host, hosts_of, write_inventory
from deploy.logs import follow
from deploy.playbook import Event, Playbooks
from deploy.sentences import explain
from deploy.system import check_system, read_answers
from device.errors import KwsPiError

BUILD = ROOT / "build"
PATIENCE_S = 60
"""How long the service may take from its start until it hears audio, unless told otherwise."""
BATCHES: tuple[int, ...] = (1, 5)
"""One Pi first, so that what fails everywhere fails once; then so many at a time."""

PUT_BACK = "put the previous version back"
CHANGING = ("install", "hear")
"""What has failed when the previous version is put back."""
SHOWN = {
    "copy the package": "copying the package",
    "install": "installing it",
    "hear": "waiting until the service hears",
    PUT_BACK: "putting the previous version back",
}
"""Steps that the user is told of, as they begin."""


@dataclasses.dataclass
class Outcome:
    """What became of one Pi."""

    reached: bool = False
    """A step that changes something has begun."""
    trouble: Event | None = None
    """The first step that failed."""
    kept: str = ""
    """The version that was installed before, and can be put back."""
    back: str = ""
    """What the attempt to put it back came to."""
    report: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def goes_on(self, task: str) -> bool:
        """Whether a task that is about to begin will be carried out."""
        if task != PUT_BACK:
            return self.trouble is None
        return bool(self.kept) and self.trouble is not None and self.trouble.task in CHANGING

    def take(self, event: Event) -> None:
        """Follows the playbook deploy.yml."""
        if event.kind == "start":
            self.reached = self.reached or event.task == "make a folder"
        elif event.task in ("report", "say what is wrong"):
            self.report = read_answers(event.output) or self.report
        elif event.task in (PUT_BACK, "hear with the previous version"):
            heard = event.task.startswith("hear")
            if event.kind == "ok":
                self.back = "listens" if heard else "installed"
            elif event.kind in ("failed", "unreachable") and not heard:
                self.back = "failed"
        elif event.task == "keep the installed version" and event.kind == "ok":
            words = event.output.split()
            self.kept = words[1] if words[:1] == ["kept"] else ""
        if (
            event.kind in ("failed", "unreachable")
            and self.trouble is None
            and not event.ignored
            and event.task != "verdict"
        ):
            self.trouble = event


def deploy(options: argparse.Namespace) -> None:
    """The whole way. Raises a KwsPiError that says what to do when a step cannot be done."""
    model = choose_model(options.model, BUILD, ROOT / "models")
    print(describe(model), flush=True)
    hosts = _with_settings(hosts_of(options.pi, options.inventory), options)
    package = build(model, BUILD)
    print(f"package    {package.name}, {package.stat().st_size:,} bytes", flush=True)
    with _playbooks(hosts, options) as playbooks:
        _look(playbooks, hosts, package)
        outcomes = {host.name: Outcome() for host in hosts}
        variables = {
            "package": str(package),
            "batches": [options.batch] if options.batch else list(BATCHES),
            "patience": options.patience,
        }
        for event in playbooks.run("deploy", variables):
            outcome = outcomes[event.host]
            outcome.take(event)
            if event.kind == "start" and event.task in SHOWN and outcome.goes_on(event.task):
                print(f"{event.host}: {SHOWN[event.task]}", flush=True)
        if all(outcome.trouble is None and outcome.reached for outcome in outcomes.values()):
            _show_health(playbooks, hosts)
    _judge(hosts, outcomes)


def _with_settings(hosts: list[Host], options: argparse.Namespace) -> list[Host]:
    """The hosts, each with the file of settings that is meant for it, if there are any."""
    folder = options.inventory.parent if options.inventory else Path()
    ready = []
    for number, host in enumerate(hosts):
        text = settings_of(host, options.config, folder)
        if text is not None:
            path = BUILD / "deploy" / f"settings-{number}.toml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            host = Host(host.name, {**host.variables, "settings_file": str(path)})
        ready.append(host)
    return ready


def _playbooks(hosts: list[Host], options: argparse.Namespace) -> Playbooks:
    own = write_inventory(hosts, BUILD / "deploy" / "inventory.json")
    password = ""
    if options.ask_pass:
        password = getpass.getpass("sudo password on the Pi: ")
    return Playbooks([own], BUILD / "deploy.log", password)


def _look(playbooks: Playbooks, hosts: list[Host], package: Path | None) -> None:
    """Reaches every host, and checks that it can take the package, before any is changed.

    Raises DeployError with a sentence for each host that cannot be deployed to.
    """
    troubles: dict[str, str] = {}
    addresses = {host.name: host.address for host in hosts}
    for event in playbooks.run("look"):
        if event.host in troubles:
            continue
        if event.kind in ("failed", "unreachable"):
            troubles[event.host] = explain(event, addresses[event.host])
        elif event.kind == "ok" and event.task == "look at the system" and package:
            trouble = check_system(read_answers(event.output), package)
            if trouble:
                troubles[event.host] = trouble
    if troubles:
        raise DeployError(_sentences(troubles) + (NOTHING_CHANGED if len(hosts) > 1 else ""))


NOTHING_CHANGED = "\ndeploy: nothing was changed on any of them"


def _judge(hosts: list[Host], outcomes: Mapping[str, Outcome]) -> None:
    """Says what became of every host; raises DeployError unless all of them listen."""
    troubles = {}
    for host in hosts:
        outcome = outcomes[host.name]
        if outcome.trouble is not None:
            troubles[host.name] = _trouble(outcome, host.address)
        elif outcome.reached:
            print(f"kws-pi listens on {host.name}.", flush=True)
    untouched = [name for name, outcome in outcomes.items() if not outcome.reached]
    text = _sentences(troubles)
    if untouched:
        text += f"\ndeploy: not touched, since another failed first: {', '.join(untouched)}"
    if text:
        raise DeployError(text)


def _trouble(outcome: Outcome, address: str) -> str:
    """The sentence for a Pi on which it failed."""
    assert outcome.trouble is not None
    reason = explain(outcome.trouble, address)
    if outcome.trouble.task == "hear" and outcome.trouble.kind == "failed":
        reason = _deaf(outcome.report)
    end = {
        "listens": f"; version {outcome.kept} was put back, and listens",
        "installed": f"; version {outcome.kept} was put back, and does not hear either",
        "failed": f"; version {outcome.kept} could not be put back (build/deploy.log says why)",
    }
    return reason + end.get(outcome.back, "")


def _deaf(report: Mapping[str, str]) -> str:
    """Why a service that runs hears nothing."""
    status = report.get("StatusText", "").split(";")[0]
    active = report.get("ActiveState", "unknown")
    if active == "active" and status == "waiting for microphone":
        return (
            "the service runs but there is no microphone that it can use: plug one in, and it "
            "will listen by itself (`kws-pi devices` on the Pi lists what there is)"
        )
    return (
        f"the service hears no audio: it is {active}, status {status!r}; "
        "`make logs` shows its journal"
    )


def _sentences(troubles: Mapping[str, str]) -> str:
    return "\ndeploy: ".join(f"{name}: {text}" for name, text in troubles.items())


def undeploy(options: argparse.Namespace) -> None:
    """Removes the package from every host. Raises DeployError where that fails."""
    hosts = hosts_of(options.pi, options.inventory)
    with _playbooks(hosts, options) as playbooks:
        _look(playbooks, hosts, None)
        addresses = {host.name: host.address for host in hosts}
        troubles = {}
        for event in playbooks.run("undeploy", {"purge": options.purge}):
            if event.kind in ("failed", "unreachable"):
                troubles[event.host] = explain(event, addresses[event.host])
            elif event.kind == "ok":
                absent = "is not installed" in event.output
                print(f"{event.host}: {'kws-pi was not there' if absent else 'removed'}")
    if troubles:
        raise DeployError(_sentences(troubles))


def status(options: argparse.Namespace) -> None:
    """Shows how the service is on every host. Raises DeployError unless all of them listen."""
    hosts = hosts_of(options.pi, options.inventory)
    with _playbooks(hosts, options) as playbooks:
        _show_health(playbooks, hosts)


def _show_health(playbooks: Playbooks, hosts: list[Host]) -> None:
    """Raises DeployError with a sentence for each host whose service does not listen."""
    addresses = {host.name: host.address for host in hosts}
    troubles: dict[str, str] = {}
    for event in playbooks.run("status"):
        if event.kind == "unreachable" or (event.kind == "failed" and not event.ignored):
            troubles[event.host] = explain(event, addresses[event.host])
        elif event.task == "report" and event.kind == "ok":
            report = read_answers(event.output)
            version = report.get("version")
            if version is None:
                troubles[event.host] = "kws-pi is not installed; `make deploy` installs it"
                continue
            active = f"{report.get('ActiveState')} ({report.get('SubState')})"
            print(f"{event.host}: kws-pi {version}, {active}, {report.get('StatusText', '')}")
            if report.get("ActiveState") != "active":
                troubles[event.host] = f"the service is {report.get('ActiveState')}"
        elif event.task == "health" and event.kind in ("ok", "failed"):
            if len(hosts) == 1 and event.host not in troubles:
                print(event.output.rstrip())
            if event.kind == "failed":
                troubles.setdefault(event.host, "the service does not hear")
    if troubles:
        raise DeployError(_sentences(troubles))


def logs(options: argparse.Namespace) -> None:
    """Follows the journal of every host, until it is interrupted."""
    follow(hosts_of(options.pi, options.inventory))


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "deploy": deploy,
    "undeploy": undeploy,
    "status": status,
    "logs": logs,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Puts kws-pi onto Raspberry Pis.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--pi", default="", metavar="USER@HOST", help="one, or several with commas")
    parser.add_argument("--inventory", type=Path, metavar="FILE", help="an Ansible inventory")
    parser.add_argument("--model", type=Path, metavar="FILE", help="the model's manifest")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings for every Pi")
    parser.add_argument("--batch", type=int, default=0, metavar="N", help="Pis at a time")
    parser.add_argument(
        "--patience",
        type=int,
        default=PATIENCE_S,
        metavar="SECONDS",
        help="how long the service may take until it hears",
    )
    parser.add_argument("--ask-pass", action="store_true", help="ask for sudo's password")
    parser.add_argument("--purge", action="store_true", help="undeploy: settings go as well")
    options = parser.parse_args(arguments)
    try:
        if options.batch < 0:
            raise DeployError("BATCH is how many Pis at a time; say BATCH=1 or more")
        COMMANDS[options.command](options)
    except KwsPiError as error:
        sys.stdout.flush()
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.command}: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
