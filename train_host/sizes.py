"""The sizes a student is trained in, and how its files are named."""

from __future__ import annotations

from device.errors import ExportError
from train_host.keyword import slug

SIZES = ("tiny", "small", "medium", "large")
"""`tiny` keeps the limits of the shipped model; `small` trades size for quality; the others are
cascades: a small network that a larger one confirms."""


def model_name(keyword: str, size: str) -> str:
    """The name of a model's files, without their endings.

    Raises ExportError, one sentence, for an unknown size.
    """
    if size not in SIZES:
        raise ExportError(f"no size is called {size!r}; choose one of {', '.join(SIZES)}")
    name = slug(keyword)
    return name if size == "tiny" else f"{name}-{size}"
