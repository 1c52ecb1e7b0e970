"""The settings of one device: what is given for all, and what outweighs it for one."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.device_settings import settings_of, to_toml
from deploy.errors import DeployError
from deploy.inventory import Host
from device.errors import SettingsError


def test_nothing_given_is_nothing_set(tmp_path: Path) -> None:
    assert settings_of(Host("pi", {"ansible_user": "pi"}), None, tmp_path) is None


def test_variables_outweigh_files(tmp_path: Path) -> None:
    everyone, own = tmp_path / "all.toml", tmp_path / "own.toml"
    everyone.write_text("[indicator]\npin = 4\non_s = 2\n[detection]\nthreshold = 0.5\n")
    own.write_text("[indicator]\npin = 5\n")
    host = Host("pi", {"kws_pi_config": "own.toml", "kws_pi_threshold": 0.9})
    text = settings_of(host, everyone, tmp_path)
    assert text is not None
    assert tomllib.loads(text) == {
        "indicator": {"pin": 5, "on_s": 2},
        "detection": {"threshold": 0.9},
    }


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"kws_pi_pin": 99}, "indicator.pin"),
        ({"kws_pi_pin": "17"}, "must be a whole number"),
        ({"kws_pi_threshold": 2}, "detection.threshold"),
        ({"kws_pi_config": "absent.toml"}, "cannot be read"),
    ],
)
def test_what_the_daemon_would_refuse_is_refused_here(
    variables: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        settings_of(Host("pi", variables), None, tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_variables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="kws_pi_treshold"):
        settings_of(Host("pi", {"kws_pi_treshold": 0.5}), None, tmp_path)


def test_a_mistake_in_a_file_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[indicator]\npni = 4\n")
    with pytest.raises(SettingsError, match=r"mine\.toml: unknown key 'indicator\.pni'"):
        settings_of(Host("pi"), tmp_path / "mine.toml", tmp_path)


SCALARS = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
)
TABLES = st.dictionaries(st.text("ab_", min_size=1), SCALARS | st.lists(st.text("ab'\"\\")))


@given(st.dictionaries(st.text("cd_", min_size=1), SCALARS | TABLES))
def test_toml_reads_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(table)) == table
