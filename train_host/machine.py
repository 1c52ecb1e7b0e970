"""What figures were obtained with, for those who compare them."""

from __future__ import annotations

import platform

import torch


def machine() -> str:
    """Processor architecture and versions."""
    return f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
