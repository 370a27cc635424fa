"""The second line: the detectors of a library that others maintain, where the store is written.

detect-secrets finds what it knows by its form wherever that stands by itself, and what is given
to a name that tells. Its detectors of random text are asked only about a quoted literal after such
a name: digests, identifiers and encoded images are random too. Nothing is ever verified by asking
a service.
"""

from __future__ import annotations

import logging
import re
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from mlops_nb.redact import _lowered, redact
from mlops_nb.redact.assigned import name_start
from mlops_nb.redact.marks import BEGINNING, ENDING, compiled, is_literal, is_random, mark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError,
    OSError, RuntimeError, TypeError, ValueError, re.error,
)  # fmt: skip
"""What a library may raise that is none of ours; the quick patterns have found theirs then."""
_log = logging.getLogger(__name__)

# Known by their form, and texts of which one has to be there (in lower case): the library tries
# every pattern at every letter. Some of them find what any digest holds, or any key, so the name
# of the service has to be said. Others of the library are ours already (private keys go as a
# whole, the header alone is no secret), or find what is no secret (addresses of machines).
_BY_FORM: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("artifactory.ArtifactoryDetector", ("artifactory", "jfrog")),
    ("aws.AWSKeyDetector", ("akia", "asia", "abia", "acca", "a3t", "aws")),
    ("azure_storage_key.AzureStorageKeyDetector", ("accountkey=",)),
    ("cloudant.CloudantDetector", ("cloudant",)),
    ("discord.DiscordBotTokenDetector", ("discord", "bot", "token")),
    ("github_token.GitHubTokenDetector", ("gh",)),
    ("gitlab_token.GitLabTokenDetector", ("gl",)),
    ("ibm_cloud_iam.IbmCloudIamDetector", ("ibm",)),
    ("ibm_cos_hmac.IbmCosHmacDetector", ("ibm", "cos_hmac", "cos-hmac")),
    ("jwt.JwtTokenDetector", ("eyj",)),
    ("mailchimp.MailchimpDetector", ("-us",)),
    ("npm.NpmDetector", ("npm", "_authtoken")),
    ("openai.OpenAIDetector", ("sk-",)),
    ("pypi_token.PypiTokenDetector", ("pypi-",)),
    ("sendgrid.SendGridDetector", ("sg.",)),
    ("slack.SlackDetector", ("xox", "hooks.slack.com")),
    ("softlayer.SoftlayerDetector", ("softlayer",)),
    ("square_oauth.SquareOAuthDetector", ("sq0csp",)),
    ("stripe.StripeDetector", ("_live_",)),
    ("telegram_token.TelegramBotTokenDetector", ("telegram", "bot", "token")),
    ("twilio.TwilioKeyDetector", ("twilio",)),
)

_NAMED_STEMS = (
    "key", "token", "secret", "passw", "passphrase", "pwd", "cred", "auth", "salt", "cookie",
    "bearer", "signature", "contrase",
)  # fmt: skip
_NAMED = (
    r"[\w\-]{0,30}"
    r"\\{0,3}['\"]?[\])]?[ \t]{0,4}(?::[ \t]{0,4}\w{1,12}[ \t]{0,4}=|[:=!]?==?|:|=>)[ \t]{0,4}"
    r"[rbu]{0,2}\\{0,3}(?P<quote>['\"])(?P<value>[^'\"\\\s]{12,400})\\{0,3}(?P=quote)"
)
# Names of what is random, and public.
_PUBLIC = (
    r"(?i)public|cache|sort|foreign|primary|partition|hash|digest|checksum|sha\d|md5|etag|author|"
    r"keyword|monkey|tokeniz|(?:^|[_.])(?:pad|mask|bos|eos|unk|cls|sep)_"
)
# After these a hexadecimal number is no digest.
_SURELY = r"(?i)api|secret|auth|access|private|passw|pwd|token|cred|client|bearer|salt|signing"
_KEYWORDS = ("passw", "pwd", "secret", "contrase", "key", "pass")
_KEYWORD_KINDS = (
    "api", "auth", "service", "account", "db", "database", "priv", "private", "client", "key",
)  # fmt: skip
_WINDOW_BEFORE = 80
_WINDOW_AFTER = 250
_WINDOW_STEP = 50
_HEX = r"[0-9a-fA-F]+"
_LETTER = r"[A-Za-z0-9_+/=\-]"
_SHORTEST = 8
_TEXTUAL = re.compile(
    r"text/|application/(?:[\w.+-]*\+)?(?:json|xml|javascript|x-ipynb\+json|yaml|toml|x-sh|sql)"
    r"|image/svg\+xml|.*\+json"
)
_TEXT_LIMIT_BYTES = 16 << 20
_GLANCE_BYTES = 1 << 16
_BUDGET_S = 3.0


def redact_fully(text: str) -> tuple[str, tuple[str, ...]]:
    """Replace secrets in a text, also those that only the second line finds.

    A detector is loaded when a text first holds what it asks for, some tenths of a second: for
    the process that writes the store, not for the user's.

    Parameters
    ----------
    text
        A source, an output, a parameter: anything that is about to be kept.

    Returns
    -------
    tuple
        The text, the same object where nothing was found, and the names of what was found now.
        The same secret has one name wherever it stands in the text.

    Examples
    --------
    >>> redact_fully('mailchimp = "' + "0123456789abcdef" * 2 + '-us12"')
    ('mailchimp = "⟨secret:MAILCHIMP_ACCESS_KEY⟩"', ('MAILCHIMP_ACCESS_KEY',))
    """
    clean = redact(text)
    found = _found_in(clean)
    # A longer one may hold a shorter one.
    for secret in sorted(found, key=len, reverse=True):
        clean = clean.replace(secret, mark(found[secret]))
    if clean == text:
        return text, ()
    return clean, _new_names(text, clean)


def redact_bytes(data: bytes, mime: str) -> bytes:
    """Replace secrets in what is to be kept, if its type is one of text.

    Parameters
    ----------
    data
        Of an output or artifact.
    mime
        Its type.

    Returns
    -------
    bytes
        The same object for anything that is no UTF-8 text, or very large.

    Examples
    --------
    >>> redact_bytes(b"postgresql://ann:hunter2@db", "text/plain").decode()
    'postgresql://ann:⟨secret:URL_PASSWORD⟩@db'
    """
    if not _TEXTUAL.match(mime) or len(data) > _TEXT_LIMIT_BYTES:
        return data
    return _redact_utf8(data)


def redact_file(file: Path, mime: str) -> bytes | None:
    """Read a file that is to be kept, without the secrets in it.

    Parameters
    ----------
    file
        What to read.
    mime
        Its type; one of no known type is text if it looks like it.

    Returns
    -------
    bytes
        None where nothing was found, and for what is no UTF-8 text or very large.

    Raises
    ------
    FileNotFoundError
        It is not there.

    Examples
    --------
    >>> from pathlib import Path
    >>> redact_file(Path("/dev/null"), "text/plain") is None
    True
    """
    is_unknown = mime in {"", "application/octet-stream"}
    if not is_unknown and not _TEXTUAL.match(mime):
        return None
    if file.stat().st_size > _TEXT_LIMIT_BYTES:
        return None
    with file.open("rb") as stream:
        data = stream.read(_GLANCE_BYTES)
        if is_unknown and b"\0" in data:
            return None
        data += stream.read()
    clean = _redact_utf8(data)
    return None if clean is data else clean


def _redact_utf8(data: bytes) -> bytes:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    clean, found = redact_fully(text)
    return clean.encode("utf-8") if found else data


def _new_names(text: str, clean: str) -> tuple[str, ...]:
    pattern = compiled(f"{BEGINNING}([^{ENDING}]*){ENDING}")
    before = pattern.findall(text)
    after = pattern.findall(clean)
    return tuple(dict.fromkeys(name for name in after if after.count(name) > before.count(name)))


# --- detectors --------------------------------------------------------------------------------


def _found_in(text: str) -> dict[str, str]:
    """Give value and name of what the library finds and we believe, as far as time allows."""
    found: dict[str, str] = {}
    end = time.monotonic() + _BUDGET_S
    try:
        for part in _parts(text):
            for name, secret in _found_in_part(part, end):
                found.setdefault(secret, name)
    except FAILURES as error:
        # The text of an error might hold the secret.
        problem = type(error).__name__
        _log.warning("a text was looked at for secrets by the quick patterns only: %s", problem)
    return found


def _parts(text: str) -> Iterator[str]:
    """Cut a very long text at ends of lines."""
    start = 0
    while len(text) - start > _PART:
        end = text.rfind("\n", start, start + _PART) + 1
        end = end if end > start else start + _PART
        yield text[start:end]
        start = end
    yield text[start:] if start else text


_PART = 1 << 20


def _check(end: float) -> None:
    if time.monotonic() > end:
        raise TimeoutError


def _found_in_part(text: str, end: float) -> Iterator[tuple[str, str]]:
    lowered = _lowered(text)
    asked = [place for place, hints in _BY_FORM if any(hint in lowered for hint in hints)]
    for piece in _pieces(text) if asked else ():
        for place in asked:
            _check(end)
            detector, name = _detector(place)
            for secret in detector.analyze_string(piece):
                if _is_secret(secret) and _stands_alone(text, secret):
                    yield name, secret
    for one in _found_named(text, lowered):
        _check(end)
        yield one
    for window in _windows(text, lowered):
        _check(end)
        yield from _found_by_keyword(window)


def _pieces(text: str) -> Iterator[str]:
    """Cut a text so that no line is long: on those, patterns of the library take forever."""
    lines = text.split("\n")
    if len(max(lines, key=len)) <= _LINE_LIMIT:
        yield text
        return
    yield "\n".join([line for line in lines if len(line) <= _LINE_LIMIT])
    for line in lines:
        if len(line) > _LINE_LIMIT:
            for start in range(0, len(line), _LINE_LIMIT - _OVERLAP):
                yield line[start : start + _LINE_LIMIT]


_LINE_LIMIT = 2_000
# As long as a token that is not longer than anybody's.
_OVERLAP = 500


def _is_secret(found: str) -> bool:
    is_word = not compiled(r"[\s()\[\]{}]").search(found)
    return len(found) >= _SHORTEST and is_word and is_literal(found) and is_random(found)


@cache
def _detector(place: str) -> tuple[Any, str]:
    """Load a detector, and say how what it finds is usually called."""
    from importlib import import_module

    module, _, name = place.partition(".")
    detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
    return detector, re.sub(r"\W+", "_", detector.secret_type).strip("_").upper()


def _stands_alone(text: str, secret: str) -> bool:
    """Whether a secret is a word of its own somewhere, not a piece of a digest or an image."""
    letter = compiled(_LETTER)
    at = text.find(secret)
    while at >= 0:
        after = at + len(secret)
        is_inside = letter.match(text[at - 1 : at]) and letter.match(secret[0])
        if not is_inside and not (
            letter.match(text[after : after + 1]) and letter.match(secret[-1])
        ):
            return True
        at = text.find(secret, at + 1)
    return False


def _positions(lowered: str, stems: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Give beginning and end of each place where one of the stems stands."""
    for stem in stems:
        start = lowered.find(stem)
        while start >= 0:
            yield start, start + len(stem)
            start = lowered.find(stem, start + len(stem))


def _found_named(text: str, lowered: str) -> Iterator[tuple[str, str]]:
    """Give random literals after a telling name."""
    for start, end in _positions(lowered, _NAMED_STEMS):
        found = compiled(_NAMED).match(text, end)
        if found is not None and is_literal(value := found["value"]):
            after = compiled(r"[\w-]*").match(text, start, end + _WINDOW_BEFORE)
            name = text[name_start(text, start) : after.end() if after else end].lstrip("-")
            if not compiled(_PUBLIC).search(name) and _is_unlikely(value, name):
                yield name, value


def _is_unlikely(value: str, name: str) -> bool:
    """Whether a literal is as random as the library wants a secret to be."""
    base64, hexadecimal = _entropy_detectors()
    if not compiled(_HEX).fullmatch(value):
        return bool(base64.calculate_shannon_entropy(value) > base64.entropy_limit)
    is_random_hex = hexadecimal.calculate_shannon_entropy(value) > hexadecimal.entropy_limit
    return bool(is_random_hex and compiled(_SURELY).search(name))


@cache
def _entropy_detectors() -> tuple[Any, Any]:
    from detect_secrets.plugins.high_entropy_strings import (
        Base64HighEntropyString,
        HexHighEntropyString,
    )

    return Base64HighEntropyString(), HexHighEntropyString()


@cache
def _keyword_detector() -> Any:
    from detect_secrets.plugins.keyword import KeywordDetector

    return KeywordDetector()


def _found_by_keyword(window: str) -> Iterator[tuple[str, str]]:
    """Ask the library about what stands near a telling name: its patterns take long texts ill."""
    for secret in _keyword_detector().analyze_string(window):
        if _is_secret(secret):
            yield _name_before(window, secret), secret


def _windows(text: str, lowered: str) -> Iterator[str]:
    """Cut the lines that hold a keyword and a quote, and of long ones the part around it."""
    seen = set()
    for start, end in _positions(lowered, _KEYWORDS):
        if start // _WINDOW_STEP in seen:
            continue
        if lowered[start:end] in {"key", "pass"}:
            before = lowered[max(0, start - 9) : start].rstrip("_")
            if not before.endswith(_KEYWORD_KINDS):
                continue
        first = max(text.rfind("\n", 0, start) + 1, start - _WINDOW_BEFORE)
        last = text.find("\n", end)
        window = text[first : min(len(text) if last < 0 else last, end + _WINDOW_AFTER)]
        seen.add(start // _WINDOW_STEP)
        if '"' in window or "'" in window or "`" in window:
            yield window


def _name_before(window: str, secret: str) -> str:
    """Name a secret after the nearest word that tells, the last one before it at best."""
    at = window.find(secret)
    before, after = (compiled(r"[\w-]+").findall(part) for part in (window[:at], window[at:]))
    words = (*reversed(before), *after)
    telling = (word for word in words if any(stem in word.lower() for stem in _KEYWORDS))
    return next((word for word in telling if word not in secret), "SECRET")
