"""What goes over the sockets between a notebook's runner, the fork server and its workers.

Two kinds: commands, each a JSON object with file descriptors beside it, and messages, each a list
of byte strings. Whoever reads takes nothing for code: a worker runs what a notebook says.
"""

from __future__ import annotations

import array
import json
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_COUNT = struct.Struct("!I")
_LENGTH = struct.Struct("!Q")
_MOST_DESCRIPTORS = 8
_MOST_COMMAND_BYTES = 1 << 24
_MOST_PARTS = 1 << 16


def packed(parts: Sequence[bytes]) -> bytes:
    """Write a message as one string of bytes.

    Examples
    --------
    >>> list(Unpacker().feed(packed([b"shell", b""])))
    [[b'shell', b'']]
    """
    lengths = b"".join(_LENGTH.pack(len(part)) for part in parts)
    return b"".join((_COUNT.pack(len(parts)), lengths, *parts))


class Unpacker:
    """Takes bytes as they come, and gives whole messages."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """Add what has come in; gives the messages that are whole now.

        Raises
        ------
        ValueError
            These are no messages.
        """
        self._unread += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> list[bytes] | None:
        unread = self._unread
        if len(unread) < _COUNT.size:
            return None
        (count,) = _COUNT.unpack_from(unread)
        if count > _MOST_PARTS:
            msg = "not a message"
            raise ValueError(msg)
        start = _COUNT.size + count * _LENGTH.size
        if len(unread) < start:
            return None
        lengths = [n for (n,) in _LENGTH.iter_unpack(unread[_COUNT.size : start])]
        if len(unread) < start + sum(lengths):
            return None
        parts = []
        for length in lengths:
            parts.append(bytes(unread[start : start + length]))
            start += length
        del unread[:start]
        return parts


def send_command(
    channel: socket.socket, command: Mapping[str, Any], descriptors: Iterable[int] = ()
) -> None:
    """Send a command and file descriptors that go with it.

    Raises
    ------
    OSError
        Nobody takes it.
    """
    text = json.dumps(command).encode("utf-8", "surrogatepass")
    rights = array.array("i", descriptors)
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    channel.sendmsg([_COUNT.pack(len(text))], beside)
    channel.sendall(text)


def receive_command(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Take the next command, or None if there will be none any more."""
    try:
        head, descriptors, _, _ = socket.recv_fds(channel, _COUNT.size, _MOST_DESCRIPTORS)
        head += _exactly(channel, _COUNT.size - len(head)) if head else b""
        if len(head) < _COUNT.size:
            return None
        (size,) = _COUNT.unpack(head)
        if size > _MOST_COMMAND_BYTES:
            return None
        text = _exactly(channel, size)
    except ConnectionError:
        return None
    if len(text) < size:
        return None
    command = json.loads(text.decode("utf-8", "surrogatepass"))
    return (command, list(descriptors)) if isinstance(command, dict) else None


def _exactly(channel: socket.socket, size: int) -> bytes:
    """Read so many bytes; fewer only at the end."""
    found = bytearray()
    while len(found) < size and (block := channel.recv(size - len(found))):
        found += block
    return bytes(found)
