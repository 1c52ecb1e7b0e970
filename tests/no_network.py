"""Takes the network from a process by seccomp, as RestrictAddressFamilies=AF_UNIX does."""

import ctypes
import errno
import platform
import struct

SOCKET = {"x86_64": 41, "aarch64": 198}
"""The number of the system call socket(2)."""
SET_NO_NEW_PRIVS, SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
AF_UNIX = 1


def shut_off() -> None:
    """From now on socket(2) fails in this process for every family but AF_UNIX.

    Raises OSError where the kernel cannot do so, and KeyError on other machines.
    """
    program = [
        (LOAD, 0, 0, 0),  # the number of the call
        (EQUALS, 0, 2, SOCKET[platform.machine()]),
        (LOAD, 0, 0, 16),  # its first argument
        (EQUALS, 0, 1, AF_UNIX),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT),
    ]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        SET_SECCOMP, MODE_FILTER, ctypes.byref(header), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "no seccomp")
