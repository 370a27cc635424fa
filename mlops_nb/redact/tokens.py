"""Tokens that say themselves what they are, by how they begin.

Each pattern is tried only where its beginning is there, and beginnings are looked for only in
what is long enough, so ordinary text costs next to nothing. A token counts only where it stands
by itself: the same letters within a digest or an encoded image are none.
"""

from __future__ import annotations

import re

from mlops_nb.redact.glance import runs_in
from mlops_nb.redact.marks import compiled, mark

_WORD = r"[A-Za-z0-9_\-]"
_ALNUM = r"[A-Za-z0-9]"
_HEX = r"[0-9a-f]"

# Usual name, texts it begins with, the rest.
_SERVICES = (
    ("AWS_ACCESS_KEY_ID", ("AKIA", "ASIA"), r"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    ("GITHUB_TOKEN", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _ALNUM + "{36,251}"),
    ("GITHUB_TOKEN", ("github_pat_",), r"[A-Za-z0-9_]{50,255}"),
    ("GITLAB_TOKEN", ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-"), r"[\w.\-]{20,300}"),
    ("SLACK_TOKEN", ("xoxb-", "xoxp-", "xoxa-", "xoxe-", "xoxs-"), r"[A-Za-z0-9\-]{10,250}"),
    ("SLACK_TOKEN", ("xoxc-", "xoxd-"), r"[A-Za-z0-9%\-]{10,250}"),
    ("SLACK_TOKEN", ("xapp-",), r"\d-[A-Za-z0-9\-]{10,250}"),
    ("SLACK_WEBHOOK", ("hooks.slack.com/",), r"[a-z]{4,20}/[A-Za-z0-9/_\-]{20,100}"),
    ("DISCORD_WEBHOOK", ("discord.com/api/webhooks/",), r"\d{15,22}/[\w\-]{50,100}"),
    ("HF_TOKEN", ("hf_",), _ALNUM + "{30,60}"),
    ("ANTHROPIC_API_KEY", ("sk-ant-",), _WORD + "{20,200}"),
    ("OPENAI_API_KEY", ("sk-proj-", "sk-svcacct-", "sk-admin-"), _WORD + "{20,200}"),
    ("OPENROUTER_API_KEY", ("sk-or-v1-",), _HEX + "{64}"),
    ("OPENAI_API_KEY", ("sk-",), _ALNUM + "{32,64}"),
    ("STRIPE_API_KEY", ("sk_live_", "sk_test_", "rk_live_"), _ALNUM + "{16,247}"),
    ("STRIPE_API_KEY", ("rk_test_", "whsec_"), r"[A-Za-z0-9+/]{16,247}"),
    ("GOOGLE_API_KEY", ("AIza",), _WORD + "{35}"),
    ("GOOGLE_OAUTH_TOKEN", ("ya29.", "GOCSPX-"), _WORD + "{20,400}"),
    ("PYPI_TOKEN", ("pypi-AgE",), _WORD + "{50,400}"),
    ("NPM_TOKEN", ("npm_",), _ALNUM + "{36}"),
    ("SENDGRID_API_KEY", ("SG.",), r"[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43}"),
    ("DATABRICKS_TOKEN", ("dapi",), _HEX + r"{32}(?:-\d)?"),
    ("DOCKER_TOKEN", ("dckr_pat_", "dckr_oat_"), _WORD + "{27,60}"),
    ("DIGITALOCEAN_TOKEN", ("dop_v1_", "doo_v1_", "dor_v1_"), _HEX + "{64}"),
    ("GROQ_API_KEY", ("gsk_",), _ALNUM + "{40,60}"),
    ("REPLICATE_API_TOKEN", ("r8_",), _ALNUM + "{37}"),
    ("NVIDIA_API_KEY", ("nvapi-",), _WORD + "{40,100}"),
    ("LANGSMITH_API_KEY", ("lsv2_pt_", "lsv2_sk_"), r"[0-9a-f_]{32,60}"),
    ("PINECONE_API_KEY", ("pcsk_",), r"[A-Za-z0-9_]{40,100}"),
    ("XAI_API_KEY", ("xai-",), _ALNUM + "{60,100}"),
    ("PERPLEXITY_API_KEY", ("pplx-",), _ALNUM + "{40,60}"),
    ("TAVILY_API_KEY", ("tvly-",), _WORD + "{28,60}"),
    ("VAULT_TOKEN", ("hvs.", "hvb."), _WORD + "{24,200}"),
    ("GRAFANA_TOKEN", ("glsa_",), _ALNUM + r"{32}_[0-9a-f]{8}"),
    ("GRAFANA_TOKEN", ("glc_",), r"[A-Za-z0-9+/=]{32,400}"),
    ("SENTRY_TOKEN", ("sntrys_", "sntryu_"), r"[A-Za-z0-9+/=_]{40,400}"),
    ("SHOPIFY_TOKEN", ("shpat_", "shpss_", "shpca_", "shppa_"), r"[0-9a-fA-F]{32}"),
    ("POSTMAN_API_KEY", ("PMAK-",), r"[0-9a-f]{24}-[0-9a-f]{34}"),
    ("LINEAR_API_KEY", ("lin_api_",), _ALNUM + "{40}"),
    ("ATLASSIAN_API_TOKEN", ("ATATT3",), r"[A-Za-z0-9_\-=]{60,300}"),
    ("SQUARE_TOKEN", ("sq0atp-", "sq0csp-"), _WORD + "{22,43}"),
    ("TAILSCALE_KEY", ("tskey-",), r"[a-z]+-[A-Za-z0-9]+-[A-Za-z0-9]{20,60}"),
    ("AGE_SECRET_KEY", ("AGE-SECRET-KEY-1",), r"[A-Z0-9]{58}"),
    ("MAPBOX_TOKEN", ("sk.eyJ",), r"[A-Za-z0-9_\-]{20,400}\.[A-Za-z0-9_\-]{20,60}"),
    (
        "WEB_TOKEN",
        ("eyJ",),
        r"[A-Za-z0-9_\-]{8,2000}\.eyJ[A-Za-z0-9_\-]{8,4000}\.[A-Za-z0-9_\-]{10,2000}",
    ),
)
_PRIVATE_KEY = (
    r"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){40,20000}"
    r"(?:-----END [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----)?"
)
# The secret of an Azure application has its mark in the middle, that of a bot its number first.
_WITHIN = (
    ("AZURE_CLIENT_SECRET", "8Q~", r"[A-Za-z0-9_~.\-]{3}8Q~[A-Za-z0-9_~.\-]{31,34}"),
    ("TELEGRAM_BOT_TOKEN", ":AA", r"\d{8,10}:AA[A-Za-z0-9_\-]{33}(?![A-Za-z0-9_\-])"),
)

# One search for some characters spares those for all tokens that hold them.
_SHORT = "gh gl xox xapp sk- sk. k_ AI AKI ASI ya py npm SG. dapi shp sntry lsv2 dckr do hv"
_HINTS = tuple(_SHORT.split())


def _by_hint() -> dict[bytes, list[tuple[str, bytes, str]]]:
    found: dict[bytes, list[tuple[str, bytes, str]]] = {}
    for name, beginnings, rest in _SERVICES:
        for beginning in beginnings:
            hint = next((hint for hint in _HINTS if hint in beginning), beginning)
            token = (name, beginning.encode(), re.escape(beginning) + rest)
            found.setdefault(hint.encode(), []).append(token)
    for name, hint, pattern in _WITHIN:
        found.setdefault(hint.encode(), []).append((name, hint.encode(), pattern))
    return found


_TOKENS = tuple((hint, tuple(tokens)) for hint, tokens in _by_hint().items())


def without_tokens(text: str, data: bytes, *, is_slack: bool = True) -> str:
    """Replace the tokens of known services.

    Parameters
    ----------
    text
        What to look at.
    data
        The same as UTF-8.
    is_slack
        Whether it may hold a token of Slack, the only ones that are short.

    Examples
    --------
    >>> text = "HF = 'hf_" + 30 * "a" + "'"
    >>> without_tokens(text, text.encode())
    "HF = '⟨secret:HF_TOKEN⟩'"
    """
    # The same run again, as in a line that is printed over and over, has nothing new.
    words = data if is_slack else b"\n".join(dict.fromkeys(runs_in(data)))
    if not words:
        return text
    for hint, tokens in _TOKENS:
        if hint in words:
            for name, beginning, pattern in tokens:
                if beginning in words:
                    text = compiled(pattern).sub(_Mark(name), text)
    return text


def without_private_keys(text: str) -> str:
    """Replace private keys as a whole."""
    if "PRIVATE KEY" in text:
        text = compiled(_PRIVATE_KEY).sub(mark("PRIVATE_KEY"), text)
    return text


class _Mark:
    """Replaces a token that does not begin inside of a longer word."""

    __slots__ = ("_mark",)

    def __init__(self, name: str) -> None:
        self._mark = mark(name)

    def __call__(self, found: re.Match[str]) -> str:
        before = found.string[found.start() - 1 : found.start()]
        return found[0] if before.isalnum() or before == "_" else self._mark
