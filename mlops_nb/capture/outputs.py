"""Outputs of cells, by MIME type, attached to the execution that made them.

In a kernel every output leaves through one call, ``session.send``; it is followed there, after
the message has gone, so nothing of the user's is delayed or altered. A message names the request
it answers, which is what the frontend goes by too: text that a thread prints, or that is flushed
after the cell has ended, still finds its cell.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

from mlops_nb.capture.follow import follow
from mlops_nb.model import OutputSeen
from mlops_nb.redact import known, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FOLLOWED = frozenset(
    {"stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"}
)
_KINDS = {"display_data": "display", "execute_result": "result", "update_display_data": "display"}
_BINARY = re.compile(r"(?:image/(?!svg)|audio/|video/|application/pdf)")
_COLOURS = re.compile(r"\x1b\[[0-9;:]*[A-Za-z]")
_KEPT_REQUESTS = 256
_KEPT_DISPLAYS = 1024


class Caps(Protocol):
    """The settings that limit an output (see `config.Settings`)."""

    @property
    def text_cap_bytes(self) -> int:
        """How much of a text is kept."""

    @property
    def image_cap_bytes(self) -> int:
        """How large an image or other binary may be."""


OWN_METADATA: dict[str, Any] = {"mlops_nb": {"card": True}}
"""Metadata of what we show ourselves: no output of the user's cell."""


class Trail:
    """The outputs of one execution so far.

    Attributes
    ----------
    execution
        Its id.
    traceback
        Of the last error shown, without colours; empty if there was none.
    held
        Outputs that came before the execution was told of, as those of a cell that cannot be
        parsed; None once it was.
    """

    __slots__ = (
        "_lock",
        "_next",
        "_open_stream",
        "_stream_bytes",
        "execution",
        "held",
        "traceback",
    )

    def __init__(self, execution: str) -> None:
        self.execution = execution
        self.traceback = ""
        self.held: list[OutputSeen] | None = []
        self._lock = threading.Lock()
        self._next = 0
        self._open_stream = ""
        self._stream_bytes = 0

    def new_position(self) -> int:
        """Begin an output of its own."""
        with self._lock:
            self._open_stream = ""
            self._next += 1
            return self._next - 1

    def stream_position(self, name: str, size_bytes: int) -> tuple[int, int]:
        """Place a piece of a stream: its position, and the bytes already there."""
        with self._lock:
            if name != self._open_stream:
                self._open_stream, self._stream_bytes = name, 0
                self._next += 1
            before = self._stream_bytes
            self._stream_bytes += size_bytes
            return self._next - 1, before


class OutputTap:
    """Follows what a shell shows, and says which execution it belongs to.

    Parameters
    ----------
    shell
        IPython's shell.
    emit
        Takes each output, on whatever thread shows it.
    caps
        How much of an output is kept.
    """

    def __init__(self, shell: object, emit: Callable[[OutputSeen], None], caps: Caps) -> None:
        self._shell: Any = shell
        self._emit = emit
        self._caps = caps
        self._trails: OrderedDict[str, Trail] = OrderedDict()
        self._displays: OrderedDict[str, tuple[Trail, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._undo: Callable[[], None] | None = None
        self.innermost: Callable[[], Trail | None] = lambda: None

    def install(self) -> None:
        """Begin to follow; does nothing the second time."""
        if self._undo is not None:
            return
        session = getattr(getattr(self._shell, "kernel", None), "session", None)
        if session is not None:
            self._undo = follow(session, "send", self._after_send, what="outputs")
        else:
            publisher = self._shell.display_pub
            self._undo = follow(publisher, "publish", self._after_publish, what="outputs")

    def uninstall(self) -> None:
        """Put everything back as it was."""
        if self._undo is not None:
            self._undo()
            self._undo = None

    def request(self) -> tuple[str, str]:
        """Id and type of the request that this thread answers; empty in a terminal."""
        publisher = getattr(self._shell, "display_pub", None)
        header = getattr(publisher, "parent_header", None) or {}
        return header.get("msg_id", ""), header.get("msg_type", "")

    def release(self, trail: Trail) -> None:
        """The execution has been told of: give out what was held for it."""
        with self._lock:
            held, trail.held = trail.held or [], None
        for event in held:
            self._emit(event)

    def _send(self, trail: Trail, event: OutputSeen) -> None:
        if trail.held is not None:
            with self._lock:
                if trail.held is not None:
                    trail.held.append(event)
                    return
        self._emit(event)

    def follow(self, request: str, trail: Trail) -> None:
        """Attach what answers a request to an execution."""
        with self._lock:
            self._trails[request] = trail
            while len(self._trails) > _KEPT_REQUESTS:
                self._trails.popitem(last=False)

    # --- a kernel ------------------------------------------------------------------------------

    def _after_send(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], _answer: object
    ) -> None:
        message = args[1] if len(args) > 1 else kwargs.get("msg_or_type")
        whole: Mapping[str, Any] | None = message if isinstance(message, dict) else None
        kind = str(message if whole is None else whole.get("msg_type", ""))
        if kind not in _FOLLOWED:
            return
        if whole is not None:
            content, parent = whole["content"], whole.get("parent_header")
        else:
            content = args[2] if len(args) > 2 else kwargs.get("content")  # noqa: PLR2004
            parent = args[3] if len(args) > 3 else kwargs.get("parent")  # noqa: PLR2004
        request = _message_id(parent)
        trail = self._trails.get(request)
        if trail is not None and content:
            self._take(kind, content, trail, is_here=self.request()[0] == request)

    def _take(self, kind: str, content: Mapping[str, Any], trail: Trail, *, is_here: bool) -> None:
        if kind == "stream":
            self.take_stream(trail, content["name"], content["text"])
        elif kind == "error":
            self._take_error(trail, content, is_here=is_here)
        elif kind == "clear_output":
            trail.stream_position("", 0)
        else:
            self.take_bundle(trail, _KINDS[kind], content, is_update=kind.startswith("update"))

    def _take_error(self, trail: Trail, content: Mapping[str, Any], *, is_here: bool) -> None:
        text = plain_text("\n".join(content.get("traceback") or ()))
        inner = self.innermost() if is_here else None
        (inner or trail).traceback = text
        self._emit_text(trail, trail.new_position(), "error", content.get("ename", ""), text)

    # --- a terminal ----------------------------------------------------------------------------

    def _after_publish(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], _answer: object
    ) -> None:
        data = args[0] if args else kwargs.get("data")
        trail = self.innermost()
        if trail is not None and data:
            metadata = args[1] if len(args) > 1 else kwargs.get("metadata")
            content = {
                "data": data,
                "metadata": metadata,
                "transient": kwargs.get("transient"),
            }
            self.take_bundle(trail, "display", content, is_update=bool(kwargs.get("update")))

    # --- outputs -------------------------------------------------------------------------------

    def take_stream(self, trail: Trail, name: str, text: str) -> None:
        """Take a piece of a stream; consecutive pieces of one stream share a position."""
        raw = _encode(text)
        position, before = trail.stream_position(name, len(raw))
        room = max(0, self._caps.text_cap_bytes - before)
        kept = _encode(_without_secrets(text))
        is_cut = len(raw) > room
        if is_cut:
            kept = _cut_text(kept, room)
        self._send(
            trail,
            OutputSeen(
                trail.execution, position, "stream", name, "text/plain", kept, len(raw), is_cut
            ),
        )

    def take_bundle(
        self, trail: Trail, kind: str, content: Mapping[str, Any], *, is_update: bool = False
    ) -> None:
        """Take one output in all its types; an update takes the place of what it updates."""
        if (content.get("metadata") or {}).get("mlops_nb") == OWN_METADATA["mlops_nb"]:
            return
        display = (content.get("transient") or {}).get("display_id")
        known = self._displays.get(display) if is_update and display else None
        if is_update and known is None:
            return
        owner, position = known or (trail, trail.new_position())
        if display and known is None:
            with self._lock:
                self._displays[display] = (owner, position)
                while len(self._displays) > _KEPT_DISPLAYS:
                    self._displays.popitem(last=False)
        for mime, value in content["data"].items():
            self._emit_value(owner, position, kind, mime, value)

    def _emit_value(
        self, trail: Trail, position: int, kind: str, mime: str, value: object
    ) -> None:
        if isinstance(value, str) and not _BINARY.match(mime):
            self._emit_text(trail, position, kind, "", value, mime)
            return
        if isinstance(value, str | bytes | bytearray):
            data, cap = _binary(value), self._caps.image_cap_bytes
            # Half an image is worth nothing.
            kept = data if len(data) <= cap else b""
        else:
            data = _encode(json.dumps(value, default=str, ensure_ascii=False))
            cap = self._caps.text_cap_bytes
            kept = data if len(data) <= cap else b""
        self._send(
            trail,
            OutputSeen(
                trail.execution, position, kind, "", mime, kept, len(data), len(data) > cap
            ),
        )

    def _emit_text(
        self,
        trail: Trail,
        position: int,
        kind: str,
        name: str,
        text: str,
        mime: str = "text/plain",
    ) -> None:
        raw = _encode(text)
        cap = self._caps.text_cap_bytes
        is_cut = len(raw) > cap
        kept = _encode(_without_secrets(text[:cap] if is_cut else text))
        if is_cut:
            kept = _cut_text(kept, cap)
        self._send(
            trail,
            OutputSeen(trail.execution, position, kind, name, mime, kept, len(raw), is_cut),
        )


def plain_text(text: str) -> str:
    """Text without terminal colours."""
    return _COLOURS.sub("", text)


def _without_secrets(text: str) -> str:
    """Redact what is shown; the cell itself may have set variables before it."""
    known.look_at_variables()
    return redact(text)


def _message_id(parent: Mapping[str, Any] | None) -> str:
    """A parent is a message or its header."""
    if not parent:
        return ""
    header = parent.get("header", parent)
    return str(header.get("msg_id", ""))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _cut_text(data: bytes, limit: int) -> bytes:
    """The beginning of UTF-8 text, cut between characters."""
    return data[:limit].decode("utf-8", "ignore").encode()


def _binary(value: str | bytes | bytearray) -> bytes:
    """Bytes of an image, which travels as base64."""
    if not isinstance(value, str):
        return bytes(value)
    try:
        return base64.b64decode(value, validate=False)
    except (binascii.Error, ValueError):
        return _encode(value)
