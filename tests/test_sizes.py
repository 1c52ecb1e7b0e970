"""The sizes: what their files are called, and what make does with SIZE."""

import subprocess
from pathlib import Path

import pytest

from device.errors import ExportError
from train_host.sizes import SIZES, model_name

ROOT = Path(__file__).resolve().parent.parent


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What make would run, without running it."""
    return subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_only_the_small_size_is_in_the_name() -> None:
    assert [model_name("sheila", size) for size in SIZES] == ["sheila", "sheila-small"]


def test_an_unknown_size_is_one_sentence() -> None:
    with pytest.raises(ExportError, match="no size is called 'big'; choose one of tiny, small"):
        model_name("sheila", "big")


@pytest.mark.parametrize(
    ("arguments", "size", "build"),
    [
        ([], "tiny", "build/sheila"),
        (["SIZE=tiny", "KEYWORD=marvin"], "tiny", "build/marvin"),
        (["SIZE=small", "KEYWORD=marvin"], "small", "build/marvin-small"),
    ],
)
def test_make_builds_each_size_in_its_own_folder(
    arguments: list[str], size: str, build: str
) -> None:
    run = make("compress", *arguments).stdout
    assert f'--size {size} --output "{build}"' in run
    assert f'export --build "{build}"' in run
    assert f'report --build "{build}"' in run


@pytest.mark.parametrize("size", ["big", "", "tiny small"])
def test_make_refuses_an_unknown_size_in_one_line(size: str) -> None:
    done = make(f"SIZE={size}", "compress")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert f'SIZE is "{size}": say SIZE=tiny or SIZE=small' in done.stderr
