"""Secrets out of text; ordinary code untouched."""

from __future__ import annotations

import difflib
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.redact import known, redact, redact_named

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
    "SLACK_WEBHOOK": "hooks.slack" + ".com/services/T0123456/B0123456/" + LETTERS[:24],
    "DIGITALOCEAN_TOKEN": "dop_v1_" + "0123456789abcdef" * 4,
    "GROQ_API_KEY": "gsk_" + LETTERS + "ab",
    "NVIDIA_API_KEY": "nvapi-" + LETTERS,
    "REPLICATE_API_TOKEN": "r8_" + LETTERS[:37],
    "DOCKER_TOKEN": "dckr_pat_" + LETTERS[:27],
    "VAULT_TOKEN": "hvs." + LETTERS[:28],
    "DATABRICKS_TOKEN": "dapi" + "0123456789abcdef" * 2,
    "TELEGRAM_BOT_TOKEN": "123456789:" + "AAF" + LETTERS[:32],
    "AZURE_CLIENT_SECRET": "abc" + "8Q~" + LETTERS[:34],
    "OPENROUTER_API_KEY": "sk-or-v1-" + "0123456789abcdef" * 4,
    "LANGSMITH_API_KEY": "lsv2_pt_" + "0123456789abcdef" * 2 + "_0123456789",
    "AGE_SECRET_KEY": "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" + "Q" * 26,
    "WEB_TOKEN": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTYifQ" + "." + LETTERS[:43],
}
LOCKED_KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123\n\n"
    + f"{LETTERS}\n" * 3
    + "-----END RSA PRIVATE KEY-----"
)
KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + f"{LETTERS}\n" * 3 + "-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("frame", ["x = '{}'", "# {}", "call({!r})", "{}", "https://h/?t={}&u=1"])
def test_tokens_of_known_services_are_named(name, frame):
    assert redact(frame.format(TOKENS[name])) == frame.format(f"⟨secret:{name}⟩")


def test_an_older_openai_key_is_known_by_its_length():
    assert redact(f"x = 'sk-{LETTERS[:48]}'") == "x = '⟨secret:OPENAI_API_KEY⟩'"


@pytest.mark.parametrize("key", [KEY, LOCKED_KEY], ids=["plain", "locked"])
def test_a_private_key_goes_as_a_whole(key):
    assert redact(f"pem = '''{key}'''\nx = 1") == "pem = '''⟨secret:PRIVATE_KEY⟩'''\nx = 1"


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
        ("password = 'pa$$w0rd%<1>'", "password = '⟨secret:password⟩'"),
        ("db_pass='hunter22'", "db_pass='⟨secret:db_pass⟩'"),
        ("API_KEY_2 = 'abc123def'", "API_KEY_2 = '⟨secret:API_KEY_2⟩'"),
        ("if password == 'hunter22':", "if password == '⟨secret:password⟩':"),
        (r'"{\"api_key\": \"abc123\"}"', r'"{\"api_key\": \"⟨secret:api_key⟩\"}"'),
        (
            "{&#x27;api_key&#x27;: &#x27;abc123&#x27;}",
            "{&#x27;api_key&#x27;: &#x27;⟨secret:api_key⟩&#x27;}",
        ),
        (
            "&quot;password&quot;: &quot;abc123&quot;",
            "&quot;password&quot;: &quot;⟨secret:password⟩&quot;",
        ),
        (
            f"os.environ['KAGGLE_KEY'] = '{'0123456789abcdef' * 2}'",
            "os.environ['KAGGLE_KEY'] = '⟨secret:KAGGLE_KEY⟩'",
        ),
        ("!tool --token abc123def --x", "!tool --token ⟨secret:token⟩ --x"),
        ("!tool --api-key=abc123def", "!tool --api-key=⟨secret:api-key⟩"),
        ("%set_env MY_TOKEN=abc123def", "%set_env MY_TOKEN=⟨secret:MY_TOKEN⟩"),
    ],
)
def test_what_is_assigned_to_a_telling_name_is_named_after_it(text, kept):
    assert redact(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "requests.get(u, headers={'Authorization': 'Bearer abcdef0123456789abcdef'})",
            "requests.get(u, headers={'Authorization': 'Bearer ⟨secret:BEARER_TOKEN⟩'})",
        ),
        ("!curl -H 'X-Api-Key: abc123def' u", "!curl -H 'X-Api-Key: ⟨secret:API_KEY⟩' u"),
        ("get(u, auth=('ann', 'hunter2'))", "get(u, auth=('ann', '⟨secret:AUTH_PASSWORD⟩'))"),
        ("HTTPBasicAuth('ann', 'hunter2')", "HTTPBasicAuth('ann', '⟨secret:AUTH_PASSWORD⟩')"),
        (
            "'https://h/d?x=1&access_token=abc123def4&y=2'",
            "'https://h/d?x=1&access_token=⟨secret:access_token⟩&y=2'",
        ),
        (
            "https://h/b?sv=2020&amp;sig=abcDEF0123456789%2Bxy",
            "https://h/b?sv=2020&amp;sig=⟨secret:sig⟩",
        ),
        (
            "'Server=db;Database=x;User Id=ann;Password=hunter2;'",
            "'Server=db;Database=x;User Id=ann;Password=⟨secret:Password⟩;'",
        ),
        (
            'connect("host=db user=ann password=hunter2 dbname=x")',
            'connect("host=db user=ann password=⟨secret:password⟩ dbname=x")',
        ),
        (
            '"AccountName=me;AccountKey=abcd0123+/==;EndpointSuffix=x"',
            '"AccountName=me;AccountKey=⟨secret:AccountKey⟩;EndpointSuffix=x"',
        ),
        (
            f"wandb.login(key='{'0123456789abcdef' * 2}')",
            "wandb.login(key='⟨secret:LOGIN_KEY⟩')",
        ),
        ("A=1\nDB_PASSWORD=abc-123-def\nB=2", "A=1\nDB_PASSWORD=⟨secret:DB_PASSWORD⟩\nB=2"),
    ],
)
def test_credentials_go_from_headers_addresses_and_connections(text, kept):
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
        "connect(host='db', user=user, password=given)",
        "connect(host=h, user=u, password=pw)",
        "secret_key = 'secrets/key.pem'",
        "private_key = '~/.ssh/id_rsa'",
        "auth_key = '/run/secrets/auth'",
        "api_key = 'your-api-key-here'",
        "api_key = '<insert key>'",
        "password = 'xxxxxxxx'",
        "password: 'string'",
        "cache_key = '0123456789abcdef0123456789abcdef'",
        "CACHE_KEY = 'cache_v2_predictions_2024'",
        "token = 'this_is_a_long_name_of_a_column'",
        "TOKEN = '#ddd0c0'",
        "tokens = 123456789012345678901234567890",
        "API_KEY=load_key()",
        "MAX_TOKENS=409600000",
        "TOKEN=tokens2",
        "parser.add_argument('--token', default=None)",
        "usage: tool --token TOKEN --password PASSWORD",
        "https://h/list?key=price&sort=token",
        "login(url, timeout=30)",
        "auth = (user, given)",
        "Bearer of bad news that is quite long indeed",
        "src='data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAKIAAAADghp0x/AKIA+sk-Jz='",
        "path = '/data/tokens/2024-01-01/part-0001.parquet'",
    ],
)
def test_ordinary_code_comes_back_as_the_same_object(text):
    assert redact(text) is text


@pytest.mark.parametrize(
    "package",
    ["sklearn/linear_model", "sklearn/ensemble", "pandas/core", "IPython/core", "matplotlib"],
)
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


# --- what was seen with its name --------------------------------------------------------------


@pytest.fixture
def nothing_known():
    known.forget()
    yield
    known.forget()


@pytest.mark.usefixtures("nothing_known")
def test_what_a_cell_assigns_is_found_in_what_it_prints():
    redact("password = 'tr0ub4dor&3'", learn=True)
    assert redact("signed in with tr0ub4dor&3 as ann") == "signed in with ⟨secret:password⟩ as ann"


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("value", ["letters", "abcdefghij", "correct horse 7", "{password}1A"])
def test_a_word_is_not_looked_for_everywhere(value):
    redact(f"password = '{value}'", learn=True)
    assert redact(f"a text with {value} in it") == f"a text with {value} in it"


def test_without_being_told_nothing_is_remembered():
    redact("password = 'tr0ub4dor&3'")
    assert redact("tr0ub4dor&3") == "tr0ub4dor&3"


@pytest.mark.usefixtures("nothing_known")
def test_secret_variables_are_found_by_their_values_and_others_are_not():
    known.learn_variables(
        {
            "APP_TOKEN": "q7-Zk29!xw",
            "PATH": "/usr/bin:/bin",
            "TOKENIZERS_PARALLELISM": "false-0001",
            "PWD": "/home/ann/w0rk-here",
            "GOOGLE_CREDENTIALS": "/etc/keys/google-1.json",
            "DB_PASSWORD": "short1",
        }
    )
    assert list(known.secrets.values()) == ["⟨secret:APP_TOKEN⟩"]
    assert redact("sent q7-Zk29!xw") == "sent ⟨secret:APP_TOKEN⟩"


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("password", "hunter22", "⟨secret:password⟩"),
        ("api_key", "abc123", "⟨secret:api_key⟩"),
        ("db.password", "letmein", "⟨secret:db.password⟩"),
        ("token", "abc123def", "⟨secret:token⟩"),
        ("pad_token", "<pad>", "<pad>"),
        ("token_pattern", r"(?u)\b\w\w+\b", r"(?u)\b\w\w+\b"),
        ("solver", "lbfgs", "lbfgs"),
        ("sort_key", "date_2", "date_2"),
        ("tokens", "4096", "4096"),
        ("url", "https://a:hunter2@h/x", "https://a:⟨secret:URL_PASSWORD⟩@h/x"),
    ],
)
def test_the_name_of_a_parameter_tells_whether_it_is_secret(name, value, kept):
    assert redact_named(name, value) == kept


# --- hostile text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "piece",
    ["a", "key ", "password=", "password='", "://a:", "eyJ", "sk-", "auth=('", "?token=://", "_KEY",
     "'\"", "-----BEGIN PRIVATE KEY-----", "x-api-key: ", "'host= password=1", "changeme"],
)  # fmt: skip
def test_text_made_to_be_slow_is_done_with_all_the_same(piece):
    text = f"password='{piece * 40}'" + piece * (60_000 // len(piece))
    assert len(redact(text)) > 1_000
    assert redact(redact(text)) == redact(text)
