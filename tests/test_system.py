"""Which systems can take the package, and what is said of the others."""

from pathlib import Path

import pytest

from deploy import system
from deploy.system import check_system, read_answers

PI = {
    "machine": "aarch64",
    "packages": "arm64",
    "system": "debian",
    "version": "13",
    "free_kib": "9000000",
}
PACKAGE = Path("kws-pi.deb")


@pytest.fixture
def architecture(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, int]]:
    """What the package says of itself: its architecture, and 1,000 KiB installed."""
    told = {"package": ("all", 1000)}
    monkeypatch.setattr(system, "_package", lambda path: told["package"])
    return told


def test_good_systems_pass(architecture: dict[str, tuple[str, int]]) -> None:
    assert check_system(PI, PACKAGE) == ""
    assert check_system({**PI, "version": "13.2"}, PACKAGE) == ""
    assert check_system({**PI, "packages": "armhf", "system": "raspbian"}, PACKAGE) == ""
    architecture["package"] = ("arm64", 1000)
    assert check_system(PI, PACKAGE) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "12"}, "runs debian 12"),
        ({"version": ""}, "of unknown version"),
        ({"system": "ubuntu", "version": "24.04"}, "runs ubuntu 24.04"),
        ({"free_kib": "9000"}, "disk is full"),
        ({"packages": "armhf"}, "takes packages for armhf"),
        ({"packages": "none", "machine": "x86_64"}, "takes packages for none"),
    ],
)
def test_refusals_are_one_sentence(
    changes: dict[str, str], words: str, architecture: dict[str, tuple[str, int]]
) -> None:
    if "packages" in changes:
        architecture["package"] = ("arm64", 1000)
    said = check_system({**PI, **changes}, PACKAGE)
    assert words in said
    assert "\n" not in said


def test_answers_are_read_among_other_lines() -> None:
    text = "motd\r\nkws-pi machine aarch64\r\nkws-pi version\nkws-pi system debian\n"
    assert read_answers(text) == {"machine": "aarch64", "system": "debian"}
