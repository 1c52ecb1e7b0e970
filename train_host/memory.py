"""How much memory this process has taken."""

from __future__ import annotations

import re
from pathlib import Path


def peak_memory() -> int:
    """Bytes. The kernel counts them from the start of this program, not from its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
