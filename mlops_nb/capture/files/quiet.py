"""A few calls of the C library that never wait, made without giving up the GIL.

While another thread computes, whoever gives up the GIL gets it back 5 ms later. Python's own
functions give it up around each system call; these, over in a microsecond, do not.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

IS_LINUX: bool = sys.platform.startswith("linux")

_PATH_BYTES = 4_096
_P_PGID = 2
_SIGNAL_INFO_BYTES = 128


@cache
def _libc() -> Any:
    return ctypes.PyDLL(None)


@cache
def _getcwd() -> Any:
    function = _libc().getcwd
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    function.restype = ctypes.c_void_p
    # Nobody else runs between the call and the copy: the GIL is kept.
    return function, ctypes.create_string_buffer(_PATH_BYTES)


class Reader:
    """Reads a descriptor that never waits.

    Parameters
    ----------
    size_bytes
        What is read at once.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._buffer = ctypes.create_string_buffer(size_bytes)
        self._read = _libc().read
        self._read.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
        self._read.restype = ctypes.c_ssize_t
        self._pread = _libc().pread
        self._pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)
        self._pread.restype = ctypes.c_ssize_t

    def read(self, fd: int) -> bytes:
        """Take what is there; empty if nothing is."""
        size: int = self._read(fd, self._buffer, self._size_bytes)
        return ctypes.string_at(self._buffer, size) if size > 0 else b""

    def read_from_start(self, fd: int) -> bytes:
        """Read the beginning of a file again."""
        size: int = self._pread(fd, self._buffer, self._size_bytes, 0)
        return ctypes.string_at(self._buffer, size) if size > 0 else b""


def working_directory() -> str:
    """The current folder; empty where it is gone.

    Examples
    --------
    >>> working_directory() == os.getcwd()
    True
    """
    if IS_LINUX:
        getcwd, buffer = _getcwd()
        return os.fsdecode(buffer.value) if getcwd(buffer, _PATH_BYTES) else ""
    try:
        return os.getcwd()  # noqa: PTH109  # text is what is needed
    except OSError:
        return ""


def exists(path: str) -> bool:
    """Whether there is something at a path of a disk of this machine.

    Examples
    --------
    >>> exists("/"), exists("/no such thing")
    (True, False)
    """
    if IS_LINUX:
        return bool(_libc().access(os.fsencode(path), os.F_OK) == 0)
    return os.path.lexists(path)


def has_children() -> bool:
    """Whether a child process of this one's group is there, running or not waited for."""
    if not IS_LINUX:
        return True
    info = ctypes.create_string_buffer(_SIGNAL_INFO_BYTES)
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    answer: int = _libc().waitid(_P_PGID, os.getpgrp(), info, options)
    return answer == 0
