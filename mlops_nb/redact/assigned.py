"""Literals given to a name that says they are secret.

``api_key = "…"``, ``connect(password='…')``, ``{"token": "…"}``, ``setenv("TOKEN", "…")``,
``%env API_KEY=…``, ``--token …``, also where quotes are escaped, as in JSON and HTML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.redact.glance import EVERYTHING
from mlops_nb.redact.marks import compiled, is_key, is_literal, is_random, mark

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

# What a name ends with that is a secret…
_SURE = ("password", "passwd", "passwort", "passphrase", "contraseña", "secret")
# …and what names other things too, so that what it is given must look like a secret.
_DOUBTFUL = ("token", "credential", "pwd")
# These say it with the word before them only: ``api_key``, ``db_pass``.
_KEY_KINDS = (
    "access", "account", "api", "auth", "client", "encryption", "master", "private", "secret",
    "signing", "subscription",
)  # fmt: skip
_PASS_OWNERS = (
    "db", "database", "smtp", "mysql", "pg", "postgres", "redis", "ftp", "mail", "admin", "user",
    "root", "login",
)  # fmt: skip
STEMS = (*_SURE, *_DOUBTFUL, "key", "pass")
# By the words that `glance` knows, how stems are found: first what is fixed, which is quick.
_FOUND_BY = {word: word for word in (*_SURE, *_DOUBTFUL) if not word.startswith("pass")} | {
    "pass": "pass(?:word|wd|wort|phrase|(?<=_pass))",
    "key": r"key(?<=[_\-eghinrst]key)",
}
# The first letter of all that may stand between a name and its value.
_BEFORE_VALUE = r"(?=s?[\d_'\"\\&\] \t:=!,])"
_QUOTE = r"(?:\\{0,3}['\"]|&quot;|&#x27;|&#3[49];)"
_GIVEN = (
    r"(?P<suffix>_?\d{1,2}|_(?:base|prod|dev|test|staging|live|value))?"
    rf"(?P<between>{_QUOTE}?\]?[ \t]{{0,4}}"
    r"(?::[ \t]{0,4}\w{3,12}[ \t]{0,4}=|[=!]=|:=|=>|[=:,])"
    r"[ \t]{0,4}(?:SecretStr\()?[rbRBuU]{0,2})"
    rf"(?P<quote>{_QUOTE})(?P<value>[^'\"\\\s]{{6,400}}?)(?P=quote)"
)
# ``%env API_KEY=…``, ``export API_KEY=…`` and ``--token …`` have no quotes.
_EXPORTED = r"[ \t]{0,2}[= ][ \t]{0,2}(?P<value>[^\s'\"{}$;|&<>]{6,400})"
_EXPORTS = r"(?:(?:\b|_)env|\bexport|\bset|-e)[ \t]{1,4}\Z"
_SETS_VARIABLE = (
    r"(?i)(?:env|setdefault|environ\.get|set_key|setitem|set_tag|log_param)\([^()'\"]{0,40}['\"]\Z"
)
_CONSTANT = (
    rf"(?<![A-Za-z0-9_])(?P<name>[A-Z][A-Z0-9_]{{0,40}}_KEY)(?P<between>{_QUOTE}?\]?\s{{0,4}}[=:,]\s{{0,4}})"
    rf"(?P<quote>{_QUOTE})(?P<value>[^'\"\\\s]{{16,400}}?)(?P=quote)"
)
_HEAD = 80

Found = dict[int, tuple[int, str]]
"""Where secrets begin -> where they end, and their names."""


def find_assigned(text: str, lowered: str, words: AbstractSet[str] = EVERYTHING) -> Found:
    """Find what is assigned to names that say it is a secret.

    Parameters
    ----------
    text
        Source code, a message, an output.
    lowered
        The same in lower case, of the same length.
    words
        What may be in it, as `glance.words_in` tells.

    Returns
    -------
    dict
        Beginning -> end and name.

    Examples
    --------
    >>> find_assigned("db_password = 'hunter22'", "db_password = 'hunter22'")
    {15: (23, 'db_password')}
    """
    spans: Found = {}
    for word, pattern in _FOUND_BY.items():
        for found in compiled(pattern + _BEFORE_VALUE).finditer(lowered) if word in words else ():
            stem, (start, end) = found[0], found.span()
            is_doubtful = _is_doubtful(stem, lowered, start)
            if is_doubtful is not None:
                if stem == "credential" and lowered[end : end + 1] == "s":
                    end += 1
                _take_value(text, start, end, spans, is_doubtful=is_doubtful)
    if "key" in words and "_KEY" in text:
        for found in compiled(_CONSTANT).finditer(text):
            if is_key(found["value"]) and is_literal(found["value"]):
                spans.setdefault(found.start("value"), (found.end("value"), found["name"]))
    return spans


def _is_doubtful(stem: str, lowered: str, start: int) -> bool | None:
    """Whether a name that ends with this may be of something else; None if it is."""
    if stem in _DOUBTFUL:
        return True
    if stem in _SURE:
        return False
    before = lowered[max(0, start - _WORD_LENGTH) : start]
    if stem == "pass":
        return False if before.endswith("_") and before[:-1].endswith(_PASS_OWNERS) else None
    before = before[:-1] if before.endswith(("_", "-")) else before
    return False if before.endswith(_KEY_KINDS) else None


_WORD_LENGTH = 16


def _take_value(text: str, start: int, end: int, spans: Found, *, is_doubtful: bool) -> None:
    found = _value_of(text, start, end, is_doubtful=is_doubtful)
    if found is not None:
        prefix = text[name_start(text, start) : start]
        suffix = compiled(_GIVEN).match(text, end)
        name = prefix.lstrip("-") + text[start:end] + ((suffix and suffix["suffix"]) or "")
        spans.setdefault(found[0], (found[1], name))


def _value_of(text: str, start: int, end: int, *, is_doubtful: bool) -> tuple[int, int] | None:
    """Where the secret stands that is given to the name whose last word is at `start`."""
    given = compiled(_GIVEN).match(text, end)
    if given is None:
        return _exported(text, start, end)
    between = given["between"]
    if "," in between:
        command = text[max(0, start - _HEAD) : name_start(text, start)]
        if not compiled(_SETS_VARIABLE).search(command):
            return None
    is_doubtful = is_doubtful or "==" in between or "!=" in between
    return given.span("value") if looks_secret(given["value"], is_doubtful=is_doubtful) else None


def _exported(text: str, start: int, end: int) -> tuple[int, int] | None:
    exported = compiled(_EXPORTED).match(text, end)
    if exported is None:
        return None
    begin = name_start(text, start)
    command = text[max(0, start - _HEAD) : begin]
    value = exported["value"]
    if compiled(_EXPORTS).search(command):
        return exported.span("value") if is_literal(value) else None
    # The dashes of an option were taken for a part of its name.
    is_option = text.startswith("--", begin) and (not command or command[-1].isspace())
    return exported.span("value") if is_option and looks_secret(value, is_doubtful=True) else None


def name_start(text: str, at: int) -> int:
    """Find where the name begins that reaches to a position."""
    first = max(0, at - _HEAD)
    while at > first and (text[at - 1].isalnum() or text[at - 1] in "_-"):
        at -= 1
    return at


def looks_secret(value: str, *, is_doubtful: bool) -> bool:
    """Whether a literal may be a secret, and not the name of one, or our own mark."""
    return is_literal(value) and (not is_doubtful or is_random(value))


def replaced(text: str, spans: Found) -> str:
    """Put marks where secrets stand."""
    parts, at = [], 0
    for start in sorted(spans):
        end, name = spans[start]
        if start >= at:
            parts += [text[at:start], mark(name)]
            at = end
    return "".join((*parts, text[at:]))


def is_telling(name: str) -> bool | None:
    """Whether a name says that its value is a secret; None if it may say so.

    Examples
    --------
    >>> is_telling("db_password"), is_telling("pad_token"), is_telling("alpha")
    (True, None, False)
    """
    lowered = name.lower()
    lowered = lowered if lowered.endswith("ss") else lowered.removesuffix("s")
    for stem in STEMS:
        if lowered.endswith(stem):
            doubt = _is_doubtful(stem, lowered, len(lowered) - len(stem))
            if doubt is not None:
                return None if doubt else True
    return None if name.endswith("_KEY") else False
