"""Passwords and keys within addresses, headers and connection strings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mlops_nb.redact.marks import compiled, is_literal, is_random, mark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

# The password of ``scheme://user:password@host``, but not a place for one such as ``{password}``.
# Of a bucket the user is a key, which may have been replaced already.
_URL = (
    r"://(?P<user>(?:⟨secret:[^⟩\s]{1,100}⟩|[^\s:/@?#'\"<>{}$⟨]){0,100}):"
    r"(?P<value>[^\s:/@'\"<>{}]{1,200})@"
)
_QUERY = (
    r"(?i)(?<=[?&;])(?P<name>(?:x-(?:amz|goog)-)?(?:api[_-]?key|access[_-]?token|auth[_-]?token|"
    r"private[_-]?token|security-token|signature|credential|client[_-]?secret|password|passwd|pwd|"
    r"secret|token|key|sig|auth|awsaccesskeyid))=(?P<value>[^&\s'\"#<>{}$\\;]{8,2000})"
)
_SHORT_NAMES = frozenset({"token", "key", "sig", "auth", "credential", "signature"})
_SURE_LENGTH = 16
_BEARER = r"\b[Bb]earer[ ]{1,2}(?P<value>[A-Za-z0-9._~+/\-]{16,4000}=*)"
_AUTHORIZATION = (
    r"[Aa]uthorization\\?['\"]?\]?[ ]{0,2}[:=,][ ]{0,2}(?:\\?['\"])?"
    r"(?:Basic|Token|token|ApiKey|Digest)[ ](?P<value>[A-Za-z0-9+/=_\-.]{8,2000})"
)
_HEADER = r"(?i)\bx-(?:api-key|auth-token|access-token)[ ]?:[ ]?(?P<value>[^\s'\",]{8,400})"
_PAIR = (
    r"(?:\bauth[ ]{0,2}=[ ]{0,2}\(|\bHTTP(?:Basic|Digest)Auth\()[ ]{0,2}"
    r"(?P<q>['\"])[^'\"\n]{0,100}(?P=q)[ ]{0,2},[ ]{0,2}"
    r"(?P<r>['\"])(?P<value>[^'\"\n]{3,200})(?P=r)"
)
_LOGIN = (
    r"login\((?<!\wlogin\()[ ]{0,2}(?:(?:key|token|api_key)[ ]{0,2}=[ ]{0,2})?"
    r"(?P<q>['\"])(?P<value>[A-Za-z0-9_\-]{20,200})(?P=q)"
)
_CONNECTION = (
    r"(?i)(?<![A-Za-z0-9_.])(?P<name>password|passwd|pwd|accountkey|sharedaccesskey)[ ]?="
    r"[ ]?(?P<value>[^;'\"\s&{}$<>(),]{3,300})"
)
_CONNECTION_PARTS = (
    r"(?i)(?:^|[;\s])(?:server|data source|host|hostaddr|driver|database|dbname|endpoint|"
    r"accountname|uid|user id|user|port)[ ]?="
)
# A file of settings: one name of a variable a line.
_LINE = (
    r"(?m)^(?:export[ ])?(?P<name>[A-Z][A-Z0-9_]{0,60}"
    r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS|PWD)[A-Z0-9_]{0,20})="
    r"(?P<value>[^\s'\"${}()\[\],]{8,400})[ ]*$"
)
_LONG = 20
_LONGEST_LINE = 4_000


def _put(found: re.Match[str], name: str) -> str:
    """Write a match with a mark in the place of its value."""
    start, end = found.span("value")
    return found.string[found.start() : start] + mark(name) + found.string[end : found.end()]


def _named(name: str, *, has_to_be_random: bool = False) -> _Replacement:
    return _Replacement(name, has_to_be_random=has_to_be_random)


class _Replacement:
    """Replaces a value by the mark of one name."""

    __slots__ = ("_has_to_be_random", "_name")

    def __init__(self, name: str, *, has_to_be_random: bool) -> None:
        self._name, self._has_to_be_random = name, has_to_be_random

    def __call__(self, found: re.Match[str]) -> str:
        value = found["value"]
        is_secret = is_literal(value) and (is_random(value) or not self._has_to_be_random)
        return _put(found, self._name) if is_secret else found[0]


def _url(found: re.Match[str]) -> str:
    value = found["value"]
    if value.startswith(("⟨", "$", "%(", "%s")) or "${" in value:
        return found[0]
    return _put(found, "URL_PASSWORD")


def _query(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    is_short = name.lower().rpartition("-")[2] in _SHORT_NAMES and len(value) < _SURE_LENGTH
    return found[0] if is_short or not looks_given(value) else _put(found, name)


def looks_given(value: str) -> bool:
    """Whether the value of a parameter of an address may be a secret."""
    return is_literal(value) and is_random(value)


def _connection(found: re.Match[str]) -> str:
    """Replace the password of a connection string, which stands within one literal."""
    text, start, end = found.string, found.start(), found.end()
    first = max(0, start - _LONGEST_LINE)  # else a long line of many would take forever
    line = text[text.rfind("\n", first, start) + 1 if "\n" in text[first:start] else first : start]
    at = max(line.rfind("'"), line.rfind('"'))
    if at < 0 or line.count(line[at]) % 2 == 0:
        return found[0]
    after = re.match(r"[^'\"\n]*", text[end : end + 300])
    segment = line[at + 1 :] + found[0] + (after[0] if after else "")
    if not compiled(_CONNECTION_PARTS).search(segment) or not is_literal(found["value"]):
        return found[0]
    return _put(found, found["name"])


def _line(found: re.Match[str]) -> str:
    value = found["value"]
    is_name = value.isidentifier() and len(value) < _LONG
    return found[0] if is_name or not looks_given(value) else _put(found, found["name"])


_Replace: TypeAlias = "Callable[[re.Match[str]], str]"


@dataclass(frozen=True, slots=True)
class _Credential:
    """A pattern, and what a text must hold for it.

    Attributes
    ----------
    parts
        Word, as `glance.words_in` tells, -> pattern of which one has to be found; these begin
        with something fixed and so are quick to search for.
    is_cased
        Whether the parts stand in the text as they are, else in lower case.
    """

    parts: Mapping[str, str]
    pattern: str
    replace: _Replace
    is_cased: bool = False


_LINE_WORDS = ("KEY", "TOKEN", "SECRET", "PASS", "PWD")
CREDENTIALS = (
    _Credential({"auth": "authorization"}, _AUTHORIZATION, _named("AUTHORIZATION")),
    _Credential({"auth": "auth[ =(]"}, _PAIR, _named("AUTH_PASSWORD")),
    _Credential({"bearer": "bearer "}, _BEARER, _named("BEARER_TOKEN", has_to_be_random=True)),
    _Credential({"login": r"login\("}, _LOGIN, _named("LOGIN_KEY", has_to_be_random=True)),
    _Credential(
        {"key": "x-api-key ?:", "token": "x-a[a-z]{3,5}-token ?:"}, _HEADER, _named("API_KEY")
    ),
    _Credential(
        {
            "pass": "passw(?:or)?d ?=",
            "pwd": "pwd ?=",
            "key": "a(?:ccount|ccess)key ?=",
        },
        _CONNECTION,
        _connection,
    ),
    _Credential(
        {word.lower(): f"{word}[A-Z0-9_]{{0,24}}=" for word in _LINE_WORDS},
        _LINE,
        _line,
        is_cased=True,
    ),
)
_QUERY_PARTS = (r"\?[\w-]{3,40}=", r"&[\w-]{3,40}=", r";[\w-]{3,40}=")


def without_credentials_in(text: str, lowered: str, words: AbstractSet[str]) -> str:
    """Replace what is secret in addresses, headers and connection strings.

    Parameters
    ----------
    text
        What to look at.
    lowered
        The same in lower case.
    words
        What may be in it, as `glance.words_in` tells.

    Examples
    --------
    >>> header = "headers = {'Authorization': 'Basic YW5uOmh1bnRlcjI='}"
    >>> without_credentials_in(header, header.lower(), {"auth"})
    "headers = {'Authorization': 'Basic ⟨secret:AUTHORIZATION⟩'}"
    """
    if "://" in words and "://" in text:
        text = compiled(_URL).sub(_url, text)
        if "?" in text and any(compiled(part).search(text) for part in _QUERY_PARTS):
            text = compiled(_QUERY).sub(_query, text)
    for one in CREDENTIALS:
        where = text if one.is_cased else lowered
        for word, part in one.parts.items():
            if word in words and compiled(part).search(where):
                text = compiled(one.pattern).sub(one.replace, text)
                break
    return text
