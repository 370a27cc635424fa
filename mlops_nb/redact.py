"""Secrets out of text, before anything is written.

High precision: ordinary code comes back untouched. What is found is replaced by
``⟨secret:NAME⟩``, where NAME says where the value can come from when the cell runs again: the
variable it was assigned to, or the usual name of that kind of token.

A pattern is tried only where a text that begins all its matches is there, so that ordinary text
costs a few substring searches.
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
            (
                r"[A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----[^-]{40,20000}"
                r"(?:-----END [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----)?"
            ),
        ),
    )
    for beginning in beginnings
)
# One search for two characters spares those for all tokens that hold them.
_SHORT = "gh gl xox sk- k_ AI AKI ASI ya py npm SG. dapi eyJ"
_HINTS = tuple(_SHORT.split())
_TOKENS_BY_HINT: dict[str, list[tuple[str, str, re.Pattern[str]]]] = {}
for _token in _TOKENS:
    _hint = next((hint for hint in _HINTS if hint in _token[1]), _token[1])
    _TOKENS_BY_HINT.setdefault(_hint, []).append(_token)
# The password of ``scheme://user:password@host``, but not a place for one such as ``{password}``.
_URL = re.compile(r"://(?P<user>[^\s:/@?#'\"<>{}$]{0,100}):(?P<password>[^\s:/@'\"<>{}$]{1,200})@")

_KINDS = "access account api auth client encryption master private secret"
_SURE_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    *(f"{kind}{between}key" for kind in _KINDS.split() for between in ("_", "-", "")),
)
# These name other things too, so what they are given must look like a secret.
_DOUBTFUL_WORDS = ("token", "credential", "credentials", "pwd")
_WORDS_BY_HINT = {
    hint: tuple(word for word in (*_SURE_WORDS, *_DOUBTFUL_WORDS) if hint in word)
    for hint in ("passw", "passphrase", "secret", "key", "token", "credential", "pwd")
}
# ``api_key = "…"``, ``connect(password='…')``, ``{"token": "…"}``, ``setenv("TOKEN", "…")``.
_GIVEN = re.compile(
    r"(?P<between>['\"]?\]?[ \t]{0,4}(?::[ \t]{0,4}str[ \t]{0,4}=|[=:,])[ \t]{0,4}[rbRB]?)"
    r"(?P<quote>['\"])(?P<value>[^'\"\\\s{}<>$%]{6,400})(?P=quote)"
)
# ``%env API_KEY=…`` and ``export API_KEY=…`` have no quotes.
_EXPORTED = re.compile(r"[ \t]{0,2}[= ][ \t]{0,2}(?P<value>[^\s'\"{}$]{6,400})")
_EXPORTS = re.compile(r"(?:\benv|\bexport)[ \t]{1,4}\Z")
_VARIABLE_BEFORE = re.compile(r"[\w-]*\Z")
_SETS_VARIABLE = re.compile(r"(?:env|setdefault|environ\.get)\(['\"]\Z", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    rf"(?:[a-z]+[_-])*(?:{'|'.join((*_SURE_WORDS, *_DOUBTFUL_WORDS))})s?(?:[_-](?:id|name|file))?"
    r"|\*+|x+|\.+",
    re.IGNORECASE,
)
_LONG = re.compile(r"[\w+/=-]{24,}")
_HEAD = 80


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
    for hint, tokens in _TOKENS_BY_HINT.items():
        if hint in text:
            for name, beginning, pattern in tokens:
                if beginning in text:
                    text = pattern.sub(_TokenMark(name), text)
    if "://" in text and "@" in text:
        text = _URL.sub(_mark_url, text)
    return _without_assigned(text)


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


def _without_assigned(text: str) -> str:
    """Replace what is assigned to names that say it is a secret."""
    lowered = text.lower()
    if len(lowered) != len(text):
        # Rare letters change their number in lower case; positions must stay.
        lowered = "".join(letter.lower()[:1] for letter in text)
    spans: dict[int, tuple[int, str]] = {}
    for word in _words_in(lowered):
        start = lowered.find(word)
        while start >= 0:
            end = start + len(word)
            found = _value_of(text, start, end, is_doubtful=word in _DOUBTFUL_WORDS)
            if found is not None:
                prefix = _VARIABLE_BEFORE.findall(text[max(0, start - _HEAD) : start])[0]
                spans.setdefault(found[0], (found[1], prefix + text[start:end]))
            start = lowered.find(word, end)
    return _replaced(text, spans) if spans else text


def _words_in(lowered: str) -> tuple[str, ...]:
    """The words worth looking for; few texts hold any."""
    words: tuple[str, ...] = ()
    for hint, group in _WORDS_BY_HINT.items():
        if hint in lowered:
            words += group
    return words


def _value_of(text: str, start: int, end: int, *, is_doubtful: bool) -> tuple[int, int] | None:
    """Where the secret stands that is given to the name whose last word is at `start`."""
    given = _GIVEN.match(text, end)
    head = text[max(0, start - _HEAD) : start]
    if given is None:
        exported = _EXPORTED.match(text, end)
        command = head[: len(head) - len(_VARIABLE_BEFORE.findall(head)[0])]
        return exported.span("value") if exported and _EXPORTS.search(command) else None
    if "," in given["between"]:
        command = head[: len(head) - len(_VARIABLE_BEFORE.findall(head)[0])]
        if not _SETS_VARIABLE.search(command):
            return None
    return given.span("value") if _looks_secret(given["value"], is_doubtful=is_doubtful) else None


def _looks_secret(value: str, *, is_doubtful: bool) -> bool:
    """Whether a literal may be a secret, and not the name of one, or our own mark."""
    if value.startswith("⟨") or _PLACEHOLDER.fullmatch(value):
        return False
    if not is_doubtful:
        return True
    return _LONG.fullmatch(value) is not None or any(letter.isdigit() for letter in value)


def _replaced(text: str, spans: dict[int, tuple[int, str]]) -> str:
    parts, at = [], 0
    for start in sorted(spans):
        end, name = spans[start]
        parts += [text[at:start], _mark(name)]
        at = end
    return "".join((*parts, text[at:]))


def _mark(name: str) -> str:
    return f"⟨secret:{name}⟩"
