"""The sizes: what their files are called, and what make does with SIZE."""

import subprocess
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")

from shapes import random_network  # noqa: E402

from device.errors import ExportError  # noqa: E402
from device.manifest import read_manifest  # noqa: E402
from export.npz import npz_bytes  # noqa: E402
from export.storage import STORAGE  # noqa: E402
from train_host import listeners, quantaware  # noqa: E402
from train_host.macs import count_graph_macs  # noqa: E402
from train_host.recipe import FOLDER, read_recipe  # noqa: E402
from train_host.sizes import SIZES, model_name  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What make would run, without running it."""
    return subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_size_but_the_tiny_one_is_in_the_name() -> None:
    names = [model_name("sheila", size) for size in SIZES]
    assert names == ["sheila", "sheila-small", "sheila-medium", "sheila-large"]


def test_an_unknown_size_is_one_sentence() -> None:
    with pytest.raises(
        ExportError, match="no size is called 'big'; choose one of tiny, small, medium, large"
    ):
        model_name("sheila", "big")


@pytest.mark.parametrize(
    ("arguments", "size", "build"),
    [
        ([], "tiny", "build/sheila"),
        (["SIZE=tiny", "KEYWORD=marvin"], "tiny", "build/marvin"),
        (["SIZE=small", "KEYWORD=marvin"], "small", "build/marvin-small"),
        (["SIZE=medium"], "medium", "build/sheila-medium"),
        (["SIZE=large"], "large", "build/sheila-large"),
        (["SIZE=large", "FOLD=2"], "large", "build/sheila-large-fold2"),
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
    assert f'SIZE is "{size}": say SIZE=tiny, SIZE=small, SIZE=medium or SIZE=large' in done.stderr


BASE_MACS, BASE_BYTES = 432_672, 106_803


@pytest.mark.parametrize(
    ("name", "most_macs", "most_bytes"),
    [("sheila", BASE_MACS // 16, BASE_BYTES // 20), ("sheila-small", 60_000, 16_384)],
)
def test_shipped_models_keep_their_limits(name: str, most_macs: int, most_bytes: int) -> None:
    path = ROOT / "models" / f"{name}.onnx"
    manifest = read_manifest(path.with_suffix(".json"))
    assert count_graph_macs(onnx.load(path), manifest.front_end).clip <= most_macs
    assert path.stat().st_size <= most_bytes
    assert manifest.figures["columns"]["student"]["quality"]["real"]["one_minus_auc"] <= 1.1e-3


MICROWAKEWORD_BYTES = 55_856
"""alexa.tflite of pymicro-wakeword 2.5.0."""


def test_a_medium_model_is_smaller_than_microwakeword() -> None:
    """Weights that nothing has trained are the hardest to compress."""
    recipe = read_recipe(FOLDER / "medium.toml")
    confirming = read_recipe(FOLDER / f"{recipe.confirm}.toml")
    assert recipe.shape is not None
    assert confirming.start is not None
    verifier = random_network(listeners.SHAPES[confirming.start])
    quantaware.attach(verifier, **confirming.stages[-1].settings)
    quantaware.detach(verifier)
    networks = [random_network(recipe.shape), verifier]
    files = [npz_bytes(onnx.load_from_string(STORAGE["int8"](n).onnx)) for n in networks]
    assert sum(map(len, files)) < MICROWAKEWORD_BYTES
