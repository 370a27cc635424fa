"""What stands for a secret, and what is no secret though its name says so."""

from __future__ import annotations

import re
from functools import cache

compiled = cache(re.compile)
"""Few patterns are ever needed in one process, and to compile all would be felt at its start."""

BEGINNING = "⟨secret:"
ENDING = "⟩"

_NO_NAME = r"[^\w.-]+"
_NAME_LIMIT = 60

# Longer words first: what one has taken it does not give back, so that no text takes long.
_WORDS = (
    "password|passwd|passwort|passphrase|pwd|secret|token|credential|access|api|auth|client|"
    "private|account|encryption|master|key|username|user|your|my|the|string|str|text|bytes|value|"
    "none|null|true|false|required|optional|hidden|example|sample|dummy|changeme|change|me|"
    "placeholder|redacted|unreserved|reserved|todo|insert|enter|here|name|file|id|path|type|field|"
    "input|basic|bearer|default|undefined|unknown|missing|invalid|empty"
)
_PLACEHOLDER = rf"(?i)(?:(?>{_WORDS})s?+[ _-]?+)++\??|\*+|x+|\.+|-+|•+|(?:x+[-_])+x+|12345678?9?0?"
_TEMPLATE = r"\{[^{}]*\}|\$\{|^\$|^<[^<>]*>$|^\[[^\[\]]*\]$|%\(|^%[a-z]$|\.\.\.$"
_PLACE = (
    r"(?:~|\.{0,2})/|[A-Za-z]:[\\/]|\w+://"
    r"|#[0-9a-fA-F]{3,8}$|[A-Za-z_]+(?:[.:][A-Za-z_]+){2,}$"
    r"|[\w./-]+\.(?:pem|key|json|ya?ml|txt|csv|crt|cer|p12|pfx|env|ini|toml|py|md|html?)$"
)
# A name of what is meant: ``test_client_secret``, ``s3.secret-access-key``.
_NAME = r"(?i)(?=.*(?:secret|key|passw|token))(?=.*[_.-])[a-z]+[0-9]?(?:[_.-][a-z]+)*"
_SNAKE = r"[a-z]+(?:[_-][a-z]+)+|[A-Z]+(?:_[A-Z]+)+|[a-z]+(?:\.[a-z_]+)+"
_KEY = (
    r"[0-9a-f]{32,128}|[0-9A-F]{32,128}"
    r"|(?=[^\s]*\d)(?=[^\s]*[a-z])(?=[^\s]*[A-Z])[A-Za-z0-9+/_=.\-]{20,200}"
)


def mark(name: str) -> str:
    """Write what stands for a secret.

    Examples
    --------
    >>> mark("DB_PASSWORD")
    '⟨secret:DB_PASSWORD⟩'
    """
    return f"{BEGINNING}{compiled(_NO_NAME).sub('_', name)[-_NAME_LIMIT:]}{ENDING}"


def is_literal(value: str) -> bool:
    """Whether a text given to a telling name can be a secret.

    A place for one, a file with one, or a word that describes one cannot; nor can our own mark.

    Examples
    --------
    >>> is_literal("hunter22"), is_literal("{password}"), is_literal("your-api-key")
    (True, False, False)
    """
    return not (
        BEGINNING in value
        or compiled(_PLACEHOLDER).fullmatch(value)
        or compiled(_NAME).fullmatch(value)
        or compiled(_TEMPLATE).search(value)
        or compiled(_PLACE).match(value)
    )


def is_random(value: str) -> bool:
    """Whether a text looks like nothing that a person would call something.

    Examples
    --------
    >>> is_random("a8f2k19x"), is_random("customer_name")
    (True, False)
    """
    if compiled(_SNAKE).fullmatch(value):
        return False
    has_digit = any(letter.isdigit() for letter in value)
    return not value.isdigit() if has_digit else _is_mixed(value)


def _is_mixed(value: str) -> bool:
    """Whether upper and lower case go through a long text as in no name."""
    return len(value) >= _LONG and not value.islower() and not value.isupper()


_LONG = 24


def is_key(value: str) -> bool:
    """Whether a text looks like a key made by a machine: long, and hexadecimal or mixed.

    Examples
    --------
    >>> is_key("0123456789abcdef" * 2), is_key("cache_v2_predictions")
    (True, False)
    """
    return bool(compiled(_KEY).fullmatch(value))
