"""No secret of a notebook reaches the store, and the notebook has its real values all the same."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from mlops_nb import model
from mlops_nb.redact import full
from mlops_nb.store import Store
from mlops_nb.store.intake import redacting
from mlops_nb.store.intake.drain import drain
from mlops_nb.store.intake.redacting import RENAMED, Redaction
from mlops_nb.store.spool import Spool
from mlops_nb.store.spool.owner import identity

AT_NS = 1_700_000_000_000_000_000
LETTERS = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYzAbCdEfGhJkMnPqRs"
# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "assigned": "tr0ub4dor" + "&3xyz",
    "url": "hunter2" + "hunter2Q",
    "variable": "q7-Zk29" + "!xwLong",
    "set_later": "p3-Rt55" + "#yyLate",
    "tag": "9f8e7d6c" + "5b4aQx",
    "parameter": "zX81kd02" + "mmPq",
    "nested": "nS44tt99" + "vvWx",
    "staged": "mailchimp: " + "fedcba9876543210" * 2 + "-us12",
    "config": "cF77ll33" + "kkJh",
    "error": "glpat-" + LETTERS[:20],
    "split": "sk-ant-" + "api03-" + LETTERS,
    "shown": "twilio SK" + "0123456789abcdef" * 2,
    "key": "service_key := 'x" + LETTERS[:32] + "'",
}
CELLS = """\
%load_ext mlops_nb
%mlops_track
---
import os, time, json, mlops_nb as mn
aws = "{aws}"
password = "{assigned}"
url = "postgresql://ann:{url}@db/sales"
---
print("signed in with", password, "to", url, "as", aws)
password
---
print(os.environ["SHOP_TOKEN"])
---
os.environ.update(json.load(open("settings.json")))
print(os.environ["LATE_TOKEN"])
---
mn.set_tag("api_key", "{tag}")
mn.log_param("api_key", "{parameter}")
mn.log_param("options", {{"depth": 3, "client_secret": "{nested}"}})
---
mn.log_artifact("notes.txt")
mn.log_artifact("settings.cfg")
---
raise ValueError("refused: {error}")
---
import sys
def tell(text):
    sys.stdout.write(text); sys.stdout.flush()
tell("{split_head}"); time.sleep(0.5); tell("{split_tail}\\n")
---
from IPython.display import HTML
print("{shown}"); HTML("<b>{shown}</b>")
---
{key}
"""


def secret_values():
    """What must be nowhere: without the words around it that tell what it is."""
    kept = {**SECRETS}
    kept["staged"] = "fedcba9876543210" * 2
    kept["shown"] = "SK" + "0123456789abcdef" * 2
    kept["key"] = "x" + LETTERS[:32]
    return kept


def every_byte(folder):
    """All files below a folder, and the content of all blobs."""
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with Store.open(folder) as store:
        for path in (folder / "blobs").rglob("*"):
            if path.is_file():
                digest = f"sha256:{path.parent.name}{path.name}"
                contents[path] += store.read_blob(digest)
    return contents


def leaks(contents, secrets):
    return [
        (name, str(path))
        for path, content in contents.items()
        for name, secret in secrets.items()
        if secret.encode() in content
    ]


def test_no_secret_of_a_notebook_is_in_any_byte_of_its_store(
    new_kernel, tmp_path, monkeypatch, own_settings
):
    monkeypatch.setenv("SHOP_TOKEN", SECRETS["variable"])
    (tmp_path / "settings.json").write_text(json.dumps({"LATE_TOKEN": SECRETS["set_later"]}))
    (tmp_path / "notes.txt").write_text(SECRETS["staged"])
    (tmp_path / "settings.cfg").write_text(f'[db]\npassword = "{SECRETS["config"]}"\n')
    kernel = new_kernel()
    half = len(SECRETS["split"]) // 2
    cells = CELLS.format(
        **SECRETS, split_head=SECRETS["split"][:half], split_tail=SECRETS["split"][half:]
    )
    replies = [kernel.run(cell) for cell in cells.split("---\n")]
    assert [reply.status for reply in replies] == ["ok"] * 7 + ["error"] + ["ok"] * 2 + ["error"]
    assert SECRETS["assigned"] in replies[2].stdout
    assert SECRETS["assigned"] in replies[2].result
    assert replies[3].stdout.strip() == SECRETS["variable"]
    assert kernel.evaluate("(password, aws)") == (SECRETS["assigned"], SECRETS["aws"])
    kernel.close()
    folder = tmp_path / ".mlops"
    with Store.open(folder) as store:
        store.refresh()
        (run,) = store.runs()
        stored = store.get_run(run.id)
        shown = [
            store.read_blob(output.digest).decode()
            for execution in store.session_executions(stored.session)
            for output in execution.outputs
            if output.digest
        ]
    assert stored.tags["api_key"] == "⟨secret:api_key⟩"
    assert stored.params["api_key"].value == "⟨secret:api_key⟩"
    options = stored.params["options"].value
    assert options == {"depth": 3, "client_secret": "⟨secret:client_secret⟩"}
    text = "\n".join(shown)
    assert "signed in with ⟨secret:password⟩ to postgresql://ann:⟨secret:URL_PASSWORD⟩@db" in text
    for name in ("SHOP_TOKEN", "LATE_TOKEN", "GITLAB_TOKEN", "ANTHROPIC_API_KEY"):
        assert f"⟨secret:{name}⟩" in text
    contents = every_byte(folder)
    assert len(contents) > 8
    assert any("⟨secret:".encode() in content for content in contents.values())
    assert leaks(contents, secret_values()) == []


# --- the second line, where the store is written --------------------------------------------------

MAILCHIMP = "mailchimp " + "0123456789abcdef" * 2 + "-us12"
RUN = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".mlops"


@pytest.fixture
def store(folder):
    with Store.open(folder, create=True) as opened:
        yield opened


@pytest.fixture
def spool(folder, tmp_path, store):
    opened = Spool.create(folder / "spool", "s", state_dir=tmp_path / "state")
    opened.append(model.SessionStarted("s", AT_NS, "host", os.getpid(), "3.11", identity()))
    opened.append(model.RunStarted(RUN, AT_NS, "churn", "interactive", session="s", group="g"))
    yield opened
    opened.close()


def artifact(name, data, content):
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return model.ArtifactLogged(
        RUN, name, "code", "text/x-diff", AT_NS, data, digest=digest, size_bytes=len(content)
    )


def test_what_names_bytes_by_their_digest_finds_them_after_they_were_redacted(
    spool, store, tmp_path
):
    content = MAILCHIMP.encode()
    spool.append(artifact("first.diff", content, content))
    spool.append(artifact("second.diff", None, content))
    assert drain(store, state_dir=tmp_path / "state") > 0
    # Another process drains the rest.
    spool.append(artifact("third.diff", None, content))
    assert drain(store, state_dir=tmp_path / "state") == 1
    artifacts = store.get_run(RUN).artifacts
    assert len(artifacts) == 3
    assert len({(a.digest, a.size_bytes) for a in artifacts}) == 1
    kept = store.read_blob(artifacts[0].digest)
    assert kept.decode() == "mailchimp ⟨secret:MAILCHIMP_ACCESS_KEY⟩"
    assert artifacts[0].size_bytes == len(kept)


def test_a_half_written_line_of_new_names_hides_no_other(tmp_path):
    (tmp_path / RENAMED).write_text('["sha256:a", "sha256:b", 7]\n["sha256:c", "sha')
    event = model.ArtifactLogged(RUN, "x", "code", "text/plain", AT_NS, digest="sha256:a")
    clean = Redaction([tmp_path]).apply(event)
    assert (clean.digest, clean.size_bytes) == ("sha256:b", 7)


def test_bytes_without_secrets_keep_their_name(spool, store, tmp_path):
    content = b"+ x = 1"
    spool.append(artifact("first.diff", content, content))
    spool.append(artifact("second.diff", None, content))
    drain(store, state_dir=tmp_path / "state")
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert {a.digest for a in store.get_run(RUN).artifacts} == {digest}
    assert not list(tmp_path.rglob(RENAMED))


def test_a_secret_in_two_pieces_of_a_stream_is_found(spool, store, tmp_path, folder):
    token = SECRETS["split"]
    spool.append(model.ExecutionStarted("e", "s", 1, AT_NS, "tell()", ""))
    for piece in (token[:20].encode(), token[20:].encode()):
        spool.append(model.OutputSeen("e", 0, "stream", "stdout", "text/plain", piece, len(piece)))
        drain(store, state_dir=tmp_path / "state")
    (output,) = store.executions(["e"])[0].outputs
    assert store.read_blob(output.digest).decode() == "⟨secret:ANTHROPIC_API_KEY⟩"
    spool.append(model.ExecutionEnded("e", AT_NS, "ok", 0.0, 0.0))
    drain(store, state_dir=tmp_path / "state")
    (output,) = store.executions(["e"])[0].outputs
    assert store.read_blob(output.digest).decode() == "⟨secret:ANTHROPIC_API_KEY⟩"
    spool.close()
    assert leaks(every_byte(folder), {"split": token}) == []


def test_what_is_put_aside_holds_no_secret(spool, store, tmp_path, folder):
    spool.append(model.TagSet(RUN, "note", MAILCHIMP, 2**70))  # no time that a store can hold
    drain(store, state_dir=tmp_path / "state")
    rejected = b"".join(path.read_bytes() for path in (folder / "rejected").iterdir())
    assert "⟨secret:MAILCHIMP_ACCESS_KEY⟩".encode() in rejected
    assert MAILCHIMP.encode() not in rejected


@pytest.mark.parametrize("fault", [RuntimeError, ImportError, AttributeError, RecursionError])
def test_a_fault_of_the_library_stops_neither_the_drain_nor_the_first_line(
    fault, spool, store, tmp_path, monkeypatch, caplog
):
    def broken(place):
        raise fault(place)

    monkeypatch.setattr(full, "_detector", broken)
    spool.append(model.TagSet(RUN, "note", f"{MAILCHIMP} password = 'hunter22x'", AT_NS))
    assert drain(store, state_dir=tmp_path / "state") == 3
    assert store.get_run(RUN).tags["note"] == f"{MAILCHIMP} password = '⟨secret:password⟩'"
    assert fault.__name__ in caplog.text
    assert MAILCHIMP not in caplog.text


def test_an_event_that_cannot_be_looked_at_goes_on_as_it_is(monkeypatch, caplog, tmp_path):
    def broken(event):
        raise LookupError(event)

    monkeypatch.setattr(redacting, "redact_event", broken)
    event = model.TagSet(RUN, "note", MAILCHIMP, AT_NS)
    assert Redaction([tmp_path]).apply(event) is event
    assert "LookupError" in caplog.text
    assert MAILCHIMP not in caplog.text


def test_a_plain_metric_is_not_looked_at(monkeypatch):
    def forbidden(_event):
        raise AssertionError

    monkeypatch.setattr(redacting, "redact_event", forbidden)
    monkeypatch.setattr(redacting, "FAILURES", ())
    event = model.MetricLogged(RUN, "loss", 0.5, 1, AT_NS)
    assert Redaction([]).apply(event) is event


def test_no_text_is_looked_at_for_longer_than_its_time(monkeypatch, caplog):
    monkeypatch.setattr(full, "_BUDGET_S", -1.0)
    clean, found = full.redact_fully(f"{MAILCHIMP}\npassword = 'hunter22x'")
    assert found == ("password",)
    assert clean == f"{MAILCHIMP}\npassword = '⟨secret:password⟩'"
    assert "TimeoutError" in caplog.text


def test_a_very_long_text_is_looked_at_to_its_end(monkeypatch):
    monkeypatch.setattr(full, "_PART", 1_000)
    text = "x = 1\n" * 1_000 + MAILCHIMP + "\n" + "y" * 5_000
    clean, found = full.redact_fully(text)
    assert found == ("MAILCHIMP_ACCESS_KEY",)
    assert len(clean) < len(text)


@pytest.mark.parametrize(
    ("mime", "content"),
    [
        ("image/png", MAILCHIMP.encode()),
        ("application/octet-stream", b"\0" + MAILCHIMP.encode()),
        ("text/plain", b"\xff" + MAILCHIMP.encode()),
        ("text/plain", b"nothing"),
    ],
)
def test_a_file_of_no_text_or_without_secrets_is_kept_as_it_is(mime, content, tmp_path):
    file = tmp_path / "f"
    file.write_bytes(content)
    assert full.redact_file(file, mime) is None
