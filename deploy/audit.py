"""Checks every locked package for known vulnerabilities: `make audit`.

    python -m deploy.audit --tool build/audit/bin/pip-audit [REQUIREMENTS ...]

pip-audit asks the registry's database about each package of the lock files.
Where that cannot be reached it reports them as skipped, which is no pass.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import DeployError

ROOT = Path(__file__).resolve().parent.parent
LONGEST_S = 600


@dataclass(frozen=True)
class Audit:
    """What is known of the packages of one lock file."""

    vulnerable: tuple[str, ...]
    """One sentence for each vulnerability."""
    checked: int
    unknown: tuple[str, ...]
    """Packages of which the database told nothing."""


def audit(tool: Path, requirements: Path) -> Audit:
    """Asks pip-audit. Raises DeployError when it cannot be run or tells nothing."""
    command = [str(tool), "--disable-pip", "--no-deps", "--progress-spinner", "off"]
    command += ["--format", "json", "--requirement", str(requirements)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeployError(f"pip-audit cannot be run ({error}); run `make audit` again") from error
    except (ValueError, KeyError) as error:
        reason = done.stderr.strip().splitlines()[-1:] or ["it told nothing"]
        raise DeployError(
            f"nothing of {requirements.name} was checked ({reason[0]}); run this where the "
            "registry's database of vulnerabilities can be reached"
        ) from error
    found = (
        f"{package['name']} {package['version']}: {known['id']}"
        + (f", mended in {', '.join(known['fix_versions'])}" if known["fix_versions"] else "")
        for package in packages
        for known in package.get("vulns", [])
    )
    unknown = tuple(package["name"] for package in packages if "skip_reason" in package)
    return Audit(tuple(found), len(packages) - len(unknown), unknown)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks packages for known vulnerabilities.")
    parser.add_argument("--tool", type=Path, required=True, help="pip-audit")
    parser.add_argument("requirements", type=Path, nargs="*", help="lock files (default: all)")
    options = parser.parse_args(arguments)
    vulnerable = False
    for path in options.requirements or sorted((ROOT / "requirements").glob("*.txt")):
        try:
            result = audit(options.tool, path)
        except DeployError as error:
            # A network that does not allow it must not stop a build.
            print(f"audit: {error}", file=sys.stderr)
            break
        for text in result.vulnerable:
            vulnerable = True
            print(f"{path.name}: {text}")
        if result.unknown and not result.checked:
            print(
                f"audit: nothing of {path.name} and what follows it was checked: the registry's "
                "database of vulnerabilities cannot be reached from here",
                file=sys.stderr,
            )
            break
        if result.unknown:
            print(f"audit: not known there: {', '.join(result.unknown)}", file=sys.stderr)
        if result.checked:
            known = len(result.vulnerable)
            print(f"{path.name}: {result.checked} packages checked, {known} vulnerabilities")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
