"""Which model goes onto the device, and what is said about it first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from device.engine import DEFAULT_ENGINE, ROLES
from device.errors import ManifestError
from device.manifest import Manifest, read_manifest
from device.model import default_manifest, manifests_in


def choose_model(named: Path | None, build: Path, shipped: Path) -> Path:
    """The manifest to deploy.

    The one that was named; else the last one in `build` that was made from
    real recordings or for a keyword of the user's own; else the default of the
    folder `shipped`. A model from the embedded corpus alone is taken only when
    it is named: that corpus is for trying the tools out. Raises ManifestError
    when there is none.
    """
    if named is not None:
        return named
    meant = ("recordings", "synthetic")
    built = [path for path in _manifests(build) if corpus_kind(read_manifest(path)) in meant]
    if built:
        return max(built, key=lambda path: path.stat().st_mtime)
    return default_manifest((shipped,))


def _manifests(build: Path) -> Iterator[Path]:
    """Manifests beside an exported network; those that cannot be read are passed over."""
    for folder in sorted(build.glob("*/")):
        for path in manifests_in(folder):
            try:
                read_manifest(path)
            except ManifestError:
                continue
            yield path


def corpus_kind(manifest: Manifest) -> str:
    """`recordings`, `synthetic`, `embedded`, or nothing where the manifest does not say."""
    corpus = manifest.training.get("corpus")
    return str(corpus.get("kind", "")) if isinstance(corpus, Mapping) else ""


def describe(path: Path) -> str:
    """What will be deployed: the model, its corpus and its figures, a line each.

    Raises ManifestError when the manifest or its network is not what it should be.
    """
    manifest = read_manifest(path)
    networks = manifest.engine_files(path, ROLES[DEFAULT_ENGINE])
    corpus = manifest.training.get("corpus")
    name = corpus.get("name", "not recorded") if isinstance(corpus, Mapping) else "not recorded"
    lines = [
        f"model      {path}",
        f"keyword    {manifest.keyword}",
        f"corpus     {name}",
        f"network    {sum(file.stat().st_size for file in networks):,} bytes",
        f"threshold  {manifest.detection.threshold:g}",
    ]
    if corpus_kind(manifest) == "embedded":
        lines.append("           made from synthetic voices to try the tools out, not for use")
    if corpus_kind(manifest) == "synthetic":
        lines.append("           made from synthetic voices alone; no real voice has judged it")
    figures = list(_figures(manifest))
    if not figures:
        lines.append("figures    none were measured; `make report` measures them")
    return "\n".join([*lines, *figures])


def _figures(manifest: Manifest) -> Iterator[str]:
    """The student's column of the result table (see train_host/report.py)."""
    columns = manifest.figures.get("columns")
    student = columns.get("student") if isinstance(columns, Mapping) else None
    if not isinstance(student, Mapping):
        return
    for key in ("parameters", "macs_clip", "bytes_onnx"):
        if key in student:
            yield f"figure     {key}: {student[key]:,}"
    for group, quality in student.get("quality", {}).items():
        clips = f"{quality['keywords']} keyword and {quality['others']} other {group} clips"
        yield (
            f"figure     1 - AUC {quality['one_minus_auc']:.2e}, "
            f"missed {quality['miss_at_1%']:.1%} at 1 % false accepts ({clips})"
        )
