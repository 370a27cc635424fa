"""The second line of redaction: what a library finds, and only what is a secret."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import subprocess
import sys
import sysconfig
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb import model
from mlops_nb.redact import redact, redact_bytes, redact_event, redact_fully

# Put together here, so that no scanner takes this file for a leak.
HEXES = "0123456789abcdef"
RANDOM = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYz"


# --- what is found ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param(f"mailchimp {HEXES * 2}-us12", "MAILCHIMP_ACCESS_KEY", id="mailchimp"),
        pytest.param(f"twilio: SK{HEXES * 2}", "TWILIO_API_KEY", id="twilio"),
        pytest.param(
            "eyJ" + "hbGciOiJIUzI1NiJ9" + "." + "eyJzdWIiOiIxIn0" + ".", "JSON_WEB_TOKEN",
            id="unsigned web token",
        ),
        pytest.param(
            "bot " + "MTk4NjIyNDgzNDcxOTI1MjQ4" + ".Cl2FMQ." + "ZnCjm1XVW7vRze4b7Cq4se7kKWs",
            "DISCORD_BOT_TOKEN",
            id="discord",
        ),
        pytest.param(f"aws key is '{RANDOM + 'abcdefg'}'", "AWS_ACCESS_KEY", id="aws"),
        pytest.param(f"signature_salt = '{HEXES * 2}'", "signature_salt", id="random after a name"),
        pytest.param(f"service_key := 'x{RANDOM}'", "service_key", id="service key"),
        pytest.param(f"'{RANDOM[:16]}' == my_secret", "my_secret", id="compared backwards"),
    ],
)  # fmt: skip
def test_the_library_finds_what_the_quick_patterns_do_not(text, name):
    assert redact(text) == text
    clean, found = redact_fully(text)
    assert found == (name,)
    assert f"⟨secret:{name}⟩" in clean


def test_one_secret_has_one_name_wherever_it_stands():
    text = f"session_cookie = '{RANDOM}'\nprint('{RANDOM}')  # {RANDOM}"
    clean, found = redact_fully(text)
    assert RANDOM not in clean
    assert clean.count("⟨secret:session_cookie⟩") == 3
    assert found == ("session_cookie",)


def test_what_the_quick_patterns_find_is_found_too():
    clean, found = redact_fully("db = 'postgresql://ann:hunter2@db/x'; api_key = 'abc123def'")
    assert (
        clean == "db = 'postgresql://ann:⟨secret:URL_PASSWORD⟩@db/x'; api_key = '⟨secret:api_key⟩'"
    )
    assert found == ("URL_PASSWORD", "api_key")


def test_nothing_found_is_the_same_object():
    text = "model.fit(X_train, y_train)"
    assert redact_fully(text)[0] is text
    assert redact_fully(text)[1] == ()


# --- what is none -----------------------------------------------------------------------------

_RANDOM = random.Random(7)  # noqa: S311  the same noise each time
NOISE = {
    "digests": json.dumps({f"key_{n}": hashlib.sha256(bytes([n])).hexdigest() for n in range(200)}),
    "short digests": "\n".join(hashlib.blake2b(bytes([n]), digest_size=16).hexdigest() for n in range(200)),
    "identifiers": " ".join(str(uuid.UUID(int=_RANDOM.getrandbits(128))) for _ in range(200)),
    "image": '<img src="data:image/png;base64,'
    + base64.b64encode(_RANDOM.randbytes(60_000)).decode() + '">',
    "numbers": " ".join(str(_RANDOM.random() * 10**18) for _ in range(500)),
    "integers": ",".join(str(_RANDOM.getrandbits(200)) for _ in range(200)),
    "paths": "\n".join(f"/data/token-{n}/api_key/part-{n:08x}.parquet" for n in range(200)),
    "tokens of text": json.dumps({"tokens": ["[CLS]", "hello", "##ing"] * 50, "token_type_ids": [0] * 99}),
    "a table": "<td>token</td><td>password</td><td>secret sauce</td>" * 50,
    "public": f"public_key = '{RANDOM}'; etag = '{HEXES}'; cache_key = '{HEXES * 2}'",
    "lock": f"a==1 \\\n    --hash=sha256:{HEXES * 4}",
}  # fmt: skip


@pytest.mark.parametrize("text", NOISE.values(), ids=NOISE.keys())
def test_what_is_only_random_stays(text):
    assert redact_fully(text)[0] is text


@pytest.mark.parametrize("package", ["sklearn/ensemble", "pandas/io", "IPython/core", "requests"])
def test_real_modules_are_left_alone(package):
    folder = Path(sysconfig.get_path("purelib"), package)
    texts = {path: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    assert len(texts) > 5
    quick = {path: redact(text) for path, text in texts.items()}
    assert [path for path, text in quick.items() if redact_fully(text)[0] != text] == []


def test_the_notebooks_of_this_project_are_left_alone():
    notebooks = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        text = path.read_text("utf-8")
        assert redact_fully(text)[0] is text


# --- properties -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(
    ["password", " = ", "'", '"', "key", "token", ":", RANDOM, HEXES, "⟨secret:x⟩", "\n", "https://a:",
     "@h", "=", "secret", "\\", "x", "api_", ",", "("]
), max_size=25).map("".join))  # fmt: skip
def test_redaction_is_done_once_and_for_all(text):
    clean, _ = redact_fully(text)
    assert redact_fully(clean) == (clean, ())


@pytest.mark.parametrize(
    "piece", ["sk-", "eyJ", "password='", "secret\\'", "api_key: 'x", "aws ", "a"]
)
def test_text_made_to_be_slow_is_done_with_all_the_same(piece):
    text = piece * (30_000 // len(piece))
    clean, _ = redact_fully(text)
    assert redact_fully(clean)[0] == clean


def test_the_quick_line_does_not_load_the_library():
    program = (
        "import sys\nfrom mlops_nb.redact import redact\nredact(\"password = 'abc123'\")\n"
        "print({'detect_secrets', 'requests'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


def test_nobody_is_asked_whether_a_secret_is_one(monkeypatch):
    import socket

    def forbidden(*_, **__):
        raise AssertionError

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    assert redact_fully(f"mailchimp {HEXES * 2}-us12")[1]


# --- bytes and events -------------------------------------------------------------------------

LEAK = b"password = 'hunter22'"


@pytest.mark.parametrize(
    "mime",
    ["text/plain", "text/html", "text/x-diff", "application/json", "application/vnd.x.v1+json",
     "image/svg+xml", "application/x-ipynb+json", "text/csv; charset=utf-8"],
)  # fmt: skip
def test_bytes_of_text_are_redacted(mime):
    assert redact_bytes(LEAK, mime) == "password = '⟨secret:password⟩'".encode()


@pytest.mark.parametrize("mime", ["image/png", "application/octet-stream", "application/zip", ""])
def test_bytes_of_anything_else_are_the_same_object(mime):
    assert redact_bytes(LEAK, mime) is LEAK


def test_bytes_that_are_no_text_are_the_same_object():
    data = b"\xff\xfe" + LEAK
    assert redact_bytes(data, "text/plain") is data


EVENTS = {
    "source": model.ExecutionStarted(
        "e", "s", 0, 0, "service_key = 'x" + RANDOM + "'", "", "service_key = 'x" + RANDOM + "'"
    ),
    "error": model.ExecutionEnded(
        "e", 0, "error", 0.0, 0.0, {"type": "E", "message": f"twilio SK{HEXES * 2}", "line": 3}
    ),
    "output": model.OutputSeen("e", 0, "stream", "stdout", "text/plain", LEAK, 9),
    "parameter": model.ParamLogged("r", "password", "hunter22", 0),
    "nested parameter": model.ParamLogged("r", "options", {"a": [{"api_key": "hunter22"}]}, 0),
    "tag": model.TagSet("r", "note", "https://ann:hunter22@h/", 0),
    "run": model.RunStarted("r", 0, "password = 'hunter22'", "cell"),
    "change": model.RunChanged("r", 0, {"error": {"message": "password = 'hunter22'"}}),
    "file": model.FileSeen("e", "https://h/x?access_token=hunter22abc", "r", "adapter", 0),
    "query": model.FileSeen("e", "sql", "r", "adapter", 0, detail={"dsn": "pg://a:hunter22@h"}),
    "artifact": model.ArtifactLogged("r", "notes", "log", "text/plain", 0, LEAK),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_no_event_keeps_a_secret(event):
    clean = redact_event(event)
    assert "⟨secret:" in repr(clean) or "⟨secret:".encode() in (getattr(clean, "data", b"") or b"")
    for secret in ("hunter22", RANDOM, HEXES * 2):
        assert secret not in repr(clean)
    assert redact_event(clean) == clean


@pytest.mark.parametrize(
    "event",
    [
        model.ParamLogged("r", "alpha", 0.5, 0),
        model.ParamLogged("r", "grid", {"C": [1, 2], "kind": ["l1"]}, 0),
        model.MetricLogged("r", "accuracy", 0.9, None, 0),
        model.OutputSeen("e", 0, "display", "", "image/png", LEAK, 9),
        model.ArtifactLogged("r", "model", "model", "application/octet-stream", 0, LEAK),
        model.SessionStarted("s", 0, "host", 1, "3.11", {"token": "abc123def"}),
    ],
)  # fmt: skip
def test_an_event_without_secrets_is_the_same_object(event):
    assert redact_event(event) is event


def test_a_secret_deep_within_a_value_is_found():
    value: object = "password = 'hunter22'"
    for _ in range(50):
        value = [value]
    assert "hunter22" not in repr(redact_event(model.ParamLogged("r", "deep", value, 0)))
