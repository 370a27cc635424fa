"""Secrets out of text, before anything is written.

High precision: ordinary code comes back untouched. What is found is replaced by
``⟨secret:NAME⟩``, where NAME says where the value can come from when the cell runs again: the
variable it was assigned to, or the usual name of that kind of token.

`redact` is quick and runs where the user waits; `redact_fully` adds the detectors of a library
that others maintain, and runs where the store is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.redact import known
from mlops_nb.redact.assigned import find_assigned, is_telling, looks_secret, replaced
from mlops_nb.redact.credentials import without_credentials_in
from mlops_nb.redact.glance import EVERYTHING, TURNING_ASCII, words_in
from mlops_nb.redact.marks import mark
from mlops_nb.redact.tokens import without_private_keys, without_tokens

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from mlops_nb.redact.events import redact_event
    from mlops_nb.redact.full import redact_bytes, redact_file, redact_fully

__all__ = ["redact", "redact_bytes", "redact_event", "redact_file", "redact_fully", "redact_named"]

_ELSEWHERE = {
    "redact_bytes": "full",
    "redact_event": "events",
    "redact_file": "full",
    "redact_fully": "full",
}


def redact(text: str, *, learn: bool = False) -> str:
    """Replace secrets in a text.

    Found are tokens of well-known services, JSON web tokens, private keys, passwords in URLs and
    connection strings, and quoted literals assigned to a name such as ``password`` or
    ``api_key``. Names, calls and places for a secret (``os.environ["TOKEN"]``,
    ``"{password}"``) are none.

    Parameters
    ----------
    text
        A source, a message, a traceback, an output.
    learn
        Remember what was assigned in this text, so that it is found again where it stands
        without its name: in what the cell prints. `known.forget` ends that.

    Returns
    -------
    str
        The same object where nothing was found.

    Examples
    --------
    >>> redact('client = connect(user="ann", password="correct-horse")')
    'client = connect(user="ann", password="⟨secret:password⟩")'
    >>> redact("engine = create_engine('postgresql://ann:hunter2@db/sales')")
    "engine = create_engine('postgresql://ann:⟨secret:URL_PASSWORD⟩@db/sales')"
    """
    data = text.encode("utf-8", "surrogatepass")
    words = words_in(text, data)
    clean = without_tokens(text, data, is_slack="slack" in words)
    if clean is not text:
        words = EVERYTHING  # our marks have words in them too
    if words:
        clean = _without_named(clean, words, learn=learn)
    if known.secrets:
        clean = known.without_known(clean)
    return text if clean == text else clean


def _without_named(text: str, words: AbstractSet[str], *, learn: bool) -> str:
    """Replace what words that stand before it say is secret."""
    clean = without_private_keys(text) if "key" in words else text
    lowered = _lowered(clean)
    before, clean = clean, without_credentials_in(clean, lowered, words)
    spans = find_assigned(clean, lowered if clean == before else _lowered(clean), words)
    if not spans:
        return clean
    if learn:
        known.learn((name, clean[start:end]) for start, (end, name) in spans.items())
    return replaced(clean, spans)


def _lowered(text: str) -> str:
    """Write a text in lower case, with every position as it was."""
    if text.isascii():
        return text.lower()
    if not any(letter in text for letter in TURNING_ASCII):
        # Of what is left, nothing else is looked for: much quicker than by Unicode's rules.
        data = text.encode("utf-8", "surrogatepass").lower()
        return data.decode("utf-8", "surrogatepass").replace("\u00d1", "\u00f1")
    # Rare letters change their number.
    return "".join(letter.lower()[:1] for letter in text)


def redact_named(name: str, value: str) -> str:
    """Replace the value of a parameter, tag or variable, or the secrets in it.

    Examples
    --------
    >>> redact_named("db_password", "hunter22"), redact_named("solver", "lbfgs")
    ('⟨secret:db_password⟩', 'lbfgs')
    """
    is_secret = is_telling(name)
    if is_secret is not False and looks_secret(value, is_doubtful=is_secret is None):
        return mark(name)
    return redact(value)


def __getattr__(name: str) -> object:
    if name not in _ELSEWHERE:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)
