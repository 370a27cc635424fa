"""Whether a text can hold a secret at all: a few searches in place of all patterns.

Every pattern needs one of few words, or characters in a row that no ordinary word has. Texts are
searched for those as bytes in which letters are folded together, so that one search stands for
two words: ``token`` and ``login`` become the same.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The shortest token of a service but Slack's, and the characters of which all are made.
SHORTEST_TOKEN = 20
_TOKEN_LETTERS = f"{string.ascii_letters}{string.digits}_-./+=%~:"
_INSIDE, _OUTSIDE = b"\x01", b"\x00"
_RUN = _INSIDE * SHORTEST_TOKEN
# Letters beyond ASCII are inside: some patterns take any letter or digit.
_MASK = bytes(1 if code > 127 or chr(code) in _TOKEN_LETTERS else 0 for code in range(256))  # noqa: PLR2004

# Each token holds something else than these, of which digests and numbers are made.
_NUMBER = b"0123456789abcdef.-:/+=%~"

# What is folded together, then what to search for; lower case first.
_FOLDED = ("tlr", "kg", "ei", "awc", "ds")
_FOLD = str.maketrans({letter: letters[0] for letters in _FOLDED for letter in letters})
_FOLD_BYTES = bytes(
    ord(chr(code).lower().translate(_FOLD)) if code < 128 else code  # noqa: PLR2004
    for code in range(256)
)


def _folded(word: str) -> bytes:
    return word.translate(_FOLD).encode()


# Of each search, what it may have found.
_SEARCHES = tuple(
    (_folded(search), frozenset(words))
    for search, words in (
        ("key", ("key",)),
        ("token", ("token", "login")),
        ("pas", ("pass", "pwd")),
        ("ecret", ("secret", "bearer")),
        ("credential", ("credential",)),
        ("auth", ("auth",)),
        ("xox", ("slack",)),
        ("xapp", ("slack",)),
    )
)
# What is in no search is left out of the text, but for what keeps words apart.
_SEARCHED = b" \n" + b"".join(search for search, _ in _SEARCHES)
_LEFT_OUT = bytes(code for code in range(128) if _FOLD_BYTES[code] not in _SEARCHED)
_SPANISH = "contrase\N{LATIN SMALL LETTER N WITH TILDE}a"
# These are other letters when they are put into lower case, or compared without regard to it.
TURNING_ASCII = "\u0130\u0131\u017f\u212a"
EVERYTHING = frozenset(word for _, words in _SEARCHES for word in words) | {"://", _SPANISH}


def words_in(text: str, data: bytes) -> frozenset[str]:
    """Tell which words may be in a text, whatever their case; those left out are not.

    Parameters
    ----------
    text
        What is looked at.
    data
        The same as UTF-8.

    Examples
    --------
    >>> sorted(words_in("a Token", b"a Token"))
    ['login', 'token']
    """
    if len(data) != len(text):
        if any(letter in text for letter in TURNING_ASCII):
            return EVERYTHING
        found = frozenset((_SPANISH,))
    else:
        found = frozenset()
    folded = data.translate(_FOLD_BYTES, _LEFT_OUT)
    for search, words in _SEARCHES:
        if search in folded:
            found |= words
    return found | {"://"} if "@" in text or "?" in text else found


def runs_in(data: bytes) -> Iterator[bytes]:
    """Give the parts of a text that are long enough for a token, and no numbers or digests.

    Examples
    --------
    >>> list(runs_in(b"key = 'abcdefghij_0123456789'"))
    [b'abcdefghij_0123456789']
    """
    mask = data.translate(_MASK)
    start = mask.find(_RUN)
    while start >= 0:
        end = mask.find(_OUTSIDE, start)
        end = end if end >= 0 else len(data)
        run = data[start:end]
        if run.strip(_NUMBER):
            yield run
        start = mask.find(_RUN, end)
