"""Tells the restrictions of the service's unit from failures of the network."""

from __future__ import annotations

import errno
import socket


def is_refused(error: OSError) -> bool:
    """Whether systemd did not let the service use the network, address or port."""
    if error.errno in (errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES):
        return True
    # Where there are no sockets at all, the look-up of a name fails with an error of its own.
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError:
        return True
    return False
