"""Secrets out of text; ordinary code untouched."""

from __future__ import annotations

import difflib
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.redact import redact

# Put together here, so that no scanner takes this file for a leak.
LETTERS = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYzAbCdEfGhJkMnPqRs"
TOKENS = {
    "AWS_ACCESS_KEY_ID": "AKIA" + "IOSFODNN7EXAMPLE",
    "GITHUB_TOKEN": "ghp_" + LETTERS[:36],
    "GITLAB_TOKEN": "glpat-" + LETTERS[:20],
    "SLACK_TOKEN": "xoxb-" + "123456789012-" + LETTERS[:24],
    "HF_TOKEN": "hf_" + LETTERS[:34],
    "ANTHROPIC_API_KEY": "sk-ant-" + "api03-" + LETTERS,
    "OPENAI_API_KEY": "sk-proj-" + LETTERS,
    "STRIPE_API_KEY": "sk_live_" + LETTERS[:24],
    "GOOGLE_API_KEY": "AIza" + LETTERS[:35],
    "PYPI_TOKEN": "pypi-AgE" + LETTERS + LETTERS,
    "NPM_TOKEN": "npm_" + LETTERS[:36],
    "WEB_TOKEN": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTYifQ" + "." + LETTERS[:43],
}
KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + f"{LETTERS}\n" * 3 + "-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("frame", ["x = '{}'", "# {}", "call({!r})", "{}", "https://h/?t={}&u=1"])
def test_tokens_of_known_services_are_named(name, frame):
    assert redact(frame.format(TOKENS[name])) == frame.format(f"⟨secret:{name}⟩")


def test_an_older_openai_key_is_known_by_its_length():
    assert redact(f"x = 'sk-{LETTERS[:48]}'") == "x = '⟨secret:OPENAI_API_KEY⟩'"


def test_a_private_key_goes_as_a_whole():
    assert redact(f"pem = '''{KEY}'''\nx = 1") == "pem = '''⟨secret:PRIVATE_KEY⟩'''\nx = 1"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgresql://ann:hunter2@db:5432/x", "postgresql://ann:⟨secret:URL_PASSWORD⟩@db:5432/x"),
        ("redis://:hunter2@cache", "redis://:⟨secret:URL_PASSWORD⟩@cache"),
        ("https://ann:p%40ss@host/a?b=c@d", "https://ann:⟨secret:URL_PASSWORD⟩@host/a?b=c@d"),
    ],
)
def test_the_password_of_a_url_goes_and_the_rest_stays(text, kept):
    assert redact(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("password = 'correct-horse'", "password = '⟨secret:password⟩'"),
        ('DB_PASSWORD="abcdef"', 'DB_PASSWORD="⟨secret:DB_PASSWORD⟩"'),
        (
            "connect(user='a', password='letmein')",
            "connect(user='a', password='⟨secret:password⟩')",
        ),
        ("{'api_key': 'abc123'}", "{'api_key': '⟨secret:api_key⟩'}"),
        ("api_key: str = 'abc123'", "api_key: str = '⟨secret:api_key⟩'"),
        ("os.environ['API_KEY'] = 'abc123'", "os.environ['API_KEY'] = '⟨secret:API_KEY⟩'"),
        (
            "aws_secret_access_key=b'wJalrXUtn'",
            "aws_secret_access_key=b'⟨secret:aws_secret_access_key⟩'",
        ),
        ("token = 'abc123def'", "token = '⟨secret:token⟩'"),
        (
            "os.environ.setdefault('MY_TOKEN', 'abc123')",
            "os.environ.setdefault('MY_TOKEN', '⟨secret:MY_TOKEN⟩')",
        ),
        ("%env API_KEY=abc123", "%env API_KEY=⟨secret:API_KEY⟩"),
        (
            "!export APP_PASSWORD=hunter22 && run",
            "!export APP_PASSWORD=⟨secret:APP_PASSWORD⟩ && run",
        ),
        (
            "a.secret = 'abcdef'; b.secret = 'ghijkl'",
            "a.secret = '⟨secret:secret⟩'; b.secret = '⟨secret:secret⟩'",
        ),
        ("İ = 1; password = 'abcdef'", "İ = 1; password = '⟨secret:password⟩'"),
    ],
)
def test_what_is_assigned_to_a_telling_name_is_named_after_it(text, kept):
    assert redact(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "password = getpass()",
        "password = os.environ['DB_PASSWORD']",
        "password = ''",
        "password = '12345'",
        "url = f'postgresql://{user}:{password}@{host}/db'",
        "url = 'https://$USER:$PASSWORD@host'",
        "token = tokenizer.decode(ids)",
        "token = '[MASK]'",
        "pad_token = '<pad>'",
        "for token in tokens: print(token)",
        "max_tokens = 4096",
        "sorted(x, key='column_name')",
        "df.sort_values(by='key', ascending=False)",
        "pd.merge(a, b, on='primary_key')",
        "columns = ['username', 'password', 'created']",
        "keys = {'token': 'text', 'label': 'target'}",
        "weight = height = 1.0",
        "task-force risk-adjusted disk-usage",
        "secretary = 'Miss Jones'",
        "x['credentials'] = load_credentials()",
        "getenv('API_KEY', None)",
        "image: 10:30@noon",
        "sha = '0123456789abcdef0123456789abcdef01234567'",
        "id = 'c0ffee00-1234-5678-9abc-def012345678'",
    ],
)
def test_ordinary_code_comes_back_as_the_same_object(text):
    assert redact(text) is text


@pytest.mark.parametrize("package", ["sklearn/linear_model", "sklearn/ensemble", "pandas/core"])
def test_real_modules_are_left_alone(package):
    folder = Path(sysconfig.get_path("purelib"), package)
    files = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    changed = [line for text in files for line in changed_lines(text)]
    assert len(files) > 5
    assert changed == []


def changed_lines(text: str) -> list[str]:
    clean = redact(text)
    if clean is text:
        return []
    return [
        line
        for line in difflib.unified_diff(text.splitlines(), clean.splitlines(), n=0, lineterm="")
        if line.startswith("-") and not line.startswith("---")
    ]


@given(st.text(max_size=300))
def test_redaction_is_done_once_and_for_all(text):
    clean = redact(text)
    assert redact(clean) == clean


@pytest.mark.parametrize("name", TOKENS)
def test_a_second_redaction_changes_nothing(name):
    clean = redact(f"token = '{TOKENS[name]}'\npassword = 'abcdef'")
    assert LETTERS[:16] not in clean
    assert redact(clean) == clean
