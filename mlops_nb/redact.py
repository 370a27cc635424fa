"""Secrets out of text, before anything is written.

High precision: ordinary code comes back untouched. What is found is replaced by
``⟨secret:NAME⟩``, where NAME says where the value can come from when the cell runs again: the
variable it was assigned to, or the usual name of that kind of token.

A pattern is tried only where a text that all its matches hold is there, and begins with a
literal, so that ordinary text costs a few substring searches.
"""

from __future__ import annotations

import re

# Tokens that say themselves what they are: usual name, text they begin with, and the pattern.
_TOKENS = tuple(
    (name, beginning, re.compile(beginning + rest))
    for name, beginnings, rest in (
        ("AWS_ACCESS_KEY_ID", ("AKIA", "ASIA"), r"[A-Z2-7]{16}(?![A-Za-z0-9])"),
        ("GITHUB_TOKEN", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]{36,251}"),
        ("GITHUB_TOKEN", ("github_pat_",), r"[A-Za-z0-9_]{50,255}"),
        ("GITLAB_TOKEN", ("glpat-", "gldt-", "glrt-", "glptt-"), r"[A-Za-z0-9_.\-]{20,300}"),
        ("SLACK_TOKEN", ("xoxb-", "xoxp-", "xoxa-", "xoxe-", "xoxs-"), r"[A-Za-z0-9\-]{10,250}"),
        ("SLACK_TOKEN", ("xapp-",), r"\d-[A-Za-z0-9\-]{10,250}"),
        ("HF_TOKEN", ("hf_",), r"[A-Za-z0-9]{30,60}"),
        ("ANTHROPIC_API_KEY", ("sk-ant-",), r"[A-Za-z0-9_\-]{20,200}"),
        ("OPENAI_API_KEY", ("sk-proj-", "sk-svcacct-", "sk-admin-"), r"[A-Za-z0-9_\-]{20,200}"),
        ("OPENAI_API_KEY", ("sk-",), r"[A-Za-z0-9]{32,64}"),
        ("STRIPE_API_KEY", ("sk_live_", "sk_test_", "rk_live_"), r"[A-Za-z0-9]{16,247}"),
        ("STRIPE_API_KEY", ("rk_test_", "whsec_"), r"[A-Za-z0-9]{16,247}"),
        ("GOOGLE_API_KEY", ("AIza",), r"[A-Za-z0-9_\-]{35}"),
        ("GOOGLE_OAUTH_TOKEN", ("ya29.", "GOCSPX-"), r"[A-Za-z0-9_\-]{20,400}"),
        ("PYPI_TOKEN", ("pypi-AgE",), r"[A-Za-z0-9_\-]{50,400}"),
        ("NPM_TOKEN", ("npm_",), r"[A-Za-z0-9]{36}"),
        ("SENDGRID_API_KEY", ("SG.",), r"[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43}"),
        ("DATABRICKS_TOKEN", ("dapi",), r"[0-9a-f]{32}(?:-\d)?"),
        ("SLACK_WEBHOOK", ("hooks.slack.com/",), r"[a-z]{4,20}/[A-Za-z0-9/_\-]{20,100}"),
        (
            "WEB_TOKEN",
            ("eyJ",),
            r"[A-Za-z0-9_\-]{8,2000}\.eyJ[A-Za-z0-9_\-]{8,4000}\.[A-Za-z0-9_\-]{10,2000}",
        ),
        (
            "PRIVATE_KEY",
            ("-----BEGIN ",),
            r"[A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----[^-]{40,20000}"
            r"(?:-----END [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----)?",
        ),
    )
    for beginning in beginnings
)
# The password of ``scheme://user:password@host``, but not a place for one such as ``{password}``.
_URL = re.compile(
    r"://(?P<user>[^\s:/@?#'\"<>{}$]{0,100}):(?P<password>[^\s:/@'\"<>{}$]{1,200})@"
)

_KEY_WORDS = r"(?:api|access|auth|private|account|client|encryption|master)[_-]?key"
_SURE_WORDS = r"password|passwd|passphrase|secret|" + _KEY_WORDS
# These name other things too, so what they are given must look like a secret.
_DOUBTFUL_WORDS = r"token|credential|credentials|pwd"
_WORD_HINTS = ("passw", "passphrase", "secret", "key", "token", "credential", "pwd")
# ``api_key = "…"``, ``connect(password='…')``, ``{"token": "…"}``, ``setenv("TOKEN", "…")``.
_ASSIGNED = re.compile(
    rf"(?:(?P<sure>{_SURE_WORDS})|(?P<doubtful>{_DOUBTFUL_WORDS}))(?P<between>['\"]?\]?[ \t]{{0,4}}"
    r"(?::[ \t]{0,4}str[ \t]{0,4}=|[=:,])[ \t]{0,4}[rb]?)"
    r"(?P<quote>['\"])(?P<value>[^'\"\\\s{}<>$%]{6,400})(?P=quote)",
    re.IGNORECASE,
)
# ``%env API_KEY=…`` and ``export API_KEY=…`` have no quotes.
_EXPORTED = re.compile(
    rf"(?P<before>(?:env|export)[ \t]{{1,4}}(?P<variable>\w{{0,60}}(?:{_SURE_WORDS}|token))"
    r"[ \t]{0,2}[= ][ \t]{0,2})(?P<value>[^\s'\"{}$]{6,400})",
    re.IGNORECASE,
)
_VARIABLE_BEFORE = re.compile(r"[\w-]*\Z")
_SETS_VARIABLE = re.compile(r"(?:env|setdefault|environ\.get)\(['\"]\Z", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    rf"(?:[a-z]+[_-])*(?:{_SURE_WORDS}|{_DOUBTFUL_WORDS})s?(?:[_-](?:id|name|file))?|\*+|x+|\.+",
    re.IGNORECASE,
)
_LONG = 24


def redact(text: str) -> str:
    """Replace secrets in a text.

    Found are tokens of well-known services, JSON web tokens, private keys, passwords in URLs, and
    quoted literals assigned to a name such as ``password`` or ``api_key``. Names, calls and
    places for a secret (``os.environ["TOKEN"]``, ``"{password}"``) are none.

    Parameters
    ----------
    text
        A source, a message, a traceback, an output.

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
    for name, beginning, pattern in _TOKENS:
        if beginning in text:
            text = pattern.sub(_TokenMark(name), text)
    if "://" in text and "@" in text:
        text = _URL.sub(_mark_url, text)
    lowered = text.lower()
    if any(hint in lowered for hint in _WORD_HINTS):
        text = _ASSIGNED.sub(_mark_assigned, text)
        if "env " in lowered or "export " in lowered:
            text = _EXPORTED.sub(_mark_exported, text)
    return text


class _TokenMark:
    """Replaces a token that does not begin inside of a longer word."""

    __slots__ = ("_mark",)

    def __init__(self, name: str) -> None:
        self._mark = _mark(name)

    def __call__(self, found: re.Match[str]) -> str:
        before = found.string[found.start() - 1 : found.start()]
        return found[0] if before.isalnum() or before == "_" else self._mark


def _mark_url(found: re.Match[str]) -> str:
    if found["password"].startswith("⟨"):
        return found[0]
    return f"://{found['user']}:{_mark('URL_PASSWORD')}@"


def _mark_assigned(found: re.Match[str]) -> str:
    start, value = found.start(), found["value"]
    head = found.string[max(0, start - 80) : start]
    prefix = _VARIABLE_BEFORE.findall(head)[0]
    word = found["sure"] or found["doubtful"]
    if "," in found["between"] and not _SETS_VARIABLE.search(head.removesuffix(prefix)):
        return found[0]
    if not _looks_secret(value, is_doubtful=found["sure"] is None):
        return found[0]
    quote = found["quote"]
    return f"{word}{found['between']}{quote}{_mark(prefix + word)}{quote}"


def _looks_secret(value: str, *, is_doubtful: bool) -> bool:
    """Whether a literal may be a secret, and not the name of one, or our own mark."""
    if value.startswith("⟨") or _PLACEHOLDER.fullmatch(value):
        return False
    return not is_doubtful or len(value) >= _LONG or any(letter.isdigit() for letter in value)


def _mark_exported(found: re.Match[str]) -> str:
    return f"{found['before']}{_mark(found['variable'])}"


def _mark(name: str) -> str:
    return f"⟨secret:{name}⟩"
