"""The same edits by command, magic and function: each says in one line what it changed."""

import json
import subprocess
import sys

import pytest
from events import T0, A, B, C, metric, run_started

import mlops_nb as mn
from mlops_nb import testing
from mlops_nb.cli import main
from mlops_nb.errors import EditConflict
from mlops_nb.model import RunChanged
from mlops_nb.store import Store

EVENTS = [
    run_started(A, name="churn", at_ns=T0, group="g"),
    run_started(B, name="spam", at_ns=T0 + 1, group="g"),
    run_started(C, name="fold", at_ns=T0 + 2, parent=B, child=1),
    RunChanged(B, T0 + 3, {"status": "failed", "ended_at_ns": T0 + 10**9}),
    metric(A, "auc", 0.9),
    metric(B, "auc", 0.8),
]


@pytest.fixture
def project(tmp_path, monkeypatch, own_settings):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.apply(EVENTS)
    return tmp_path


@pytest.fixture
def cli(project, capfd):
    """Call the command line in this process; gives (exit code, output, errors)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        out, err = capfd.readouterr()
        return exited.value.code, out, err

    return call


@pytest.fixture
def shell():
    with testing.shell(track=False) as made:
        made.store.apply(EVENTS)
        yield made


def stored(project, ref):
    with Store.open(project / ".mlops") as store:
        return store.get_run(ref)


SAID = [
    (["rename", "aaaa", "forest"], "run aaaa  churn   name churn → forest"),
    (["note", "aaaa", "good"], "run aaaa  churn   note good"),
    (["tag", "aaaa", "stage=prod", "seen"], "run aaaa  churn   tag stage prod · tag seen true"),
    (["untag", "aaaa", "none"], "Nothing to change: it is so already."),
    (["star", "aaaa"], "run aaaa  churn   ★ starred"),
    (["unstar", "aaaa"], "Nothing to change: it is so already."),
    (["archive", "aaaa"], "run aaaa  churn   archived   to undo: {} aaaa"),
    (["unarchive", "aaaa"], "Nothing to change: it is so already."),
    (["delete", "aaaa"], "run aaaa  churn   deleted   to undo: {} aaaa"),
    (["undelete", "aaaa"], "Nothing to change: it is so already."),
]


@pytest.mark.parametrize(("words", "said"), SAID, ids=lambda value: value[0])
def test_a_command_says_in_one_line_what_it_changed(cli, words, said):
    back = {"archive": "mlops-nb unarchive", "delete": "mlops-nb undelete"}.get(words[0])
    assert cli(*words) == (0, said.format(back) + "\n", "")


@pytest.mark.parametrize(("words", "said"), SAID, ids=lambda value: value[0])
def test_a_magic_says_the_same(shell, words, said):
    back = {"archive": "%mlops_unarchive", "delete": "%mlops_undelete"}.get(words[0])
    assert str(shell.run(f"%mlops_{' '.join(words)}").result) == said.format(back)


def test_a_function_says_the_same(project):
    assert str(mn.rename("aaaa", "forest")) == "run aaaa  churn   name churn → forest"
    assert str(mn.note("forest", "good")) == "run aaaa  forest   note good"
    mn.note("forest", "more", append=True)
    mn.tag("forest", "stage", "prod")
    mn.tag("forest", "seen")
    mn.untag("forest", "seen")
    mn.star(A, B)
    mn.unstar(B)
    run = stored(project, A)
    assert (run.name, run.note, run.is_starred) == ("forest", "good\n\nmore", True)
    assert dict(run.tags) == {"stage": "prod"}
    mn.archive("forest")
    assert [run.name for run in mn.runs()] == ["fold", "spam"]
    assert [run.name for run in mn.runs(archived=True)] == ["fold", "spam", "forest"]
    mn.unarchive(A)
    mn.delete(query="status = 'failed'")
    assert [run.name for run in mn.runs(archived=True)] == ["forest"]
    mn.undelete("spam")
    assert len(mn.runs()) == 3
    with pytest.raises(EditConflict):
        mn.rename(A, "other", since=0)


def test_the_document_of_an_edit_has_both_values(cli):
    code, out, _ = cli("tag", "aaaa", "stage=prod", "--format", "json")
    (edit,) = json.loads(out)["edits"]
    assert (code, edit["run"], edit["field"]) == (0, A, "tags.stage")
    assert (edit["before"], edit["after"], edit["revision"]) == (None, "prod", 1)


def test_what_was_edited_stands_in_the_document_of_the_run(cli):
    cli("note", "aaaa", "good")
    cli("star", "aaaa")
    _, out, _ = cli("runs", "starred", "--format", "json")
    (run,) = json.loads(out)["runs"]
    assert (run["note"], run["starred"], run["archived"], run["revision"]) == (
        "good",
        True,
        False,
        2,
    )


def test_a_note_comes_from_words_a_file_or_nowhere_and_is_shown(cli, project):
    (project / "findings.md").write_text("# Findings\n\n- *one*\n")
    assert cli("note", "aaaa")[1] == "run aaaa has no note\n"
    cli("note", "aaaa", "--from", "findings.md")
    assert cli("note", "aaaa")[1] == "# Findings\n\n- *one*\n"
    assert "- *one*" in cli("show", "aaaa")[1]
    cli("note", "aaaa", "--append", "don't", "use")
    assert cli("note", "aaaa")[1].endswith("\n\ndon't use\n")
    assert json.loads(cli("note", "aaaa", "--format", "json")[1])["revision"] == 2
    cli("note", "aaaa", "--remove")
    assert stored(project, A).note == ""
    assert cli("note", "aaaa", "x", "--remove")[0] == 2


def test_a_hostile_note_reaches_no_terminal_and_no_page(shell):
    note = "<script>alert(1)</script>\x1b[31m"
    shell.namespace["note"] = note
    edited = shell.run("import mlops_nb as mn\nmn.note('aaaa', note)").result
    shown = shell.run("%mlops_show aaaa").result
    listed = shell.run("%mlops_runs").result
    for view in (edited, shown, listed):
        assert "<script>" not in view.html
        assert "\x1b" not in view.text + view.markdown + view.html


def test_runs_are_archived_and_come_back_by_a_query(cli, project):
    code, out, _ = cli("archive", "--query", "status = 'failed'")
    assert (code, out.splitlines()[0][:17]) == (0, "run bbbb  spam   ")
    assert "spam" not in cli("runs")[1]
    assert "spam (archived)" in cli("runs", "--archived")[1]
    assert "spam (archived)" in cli("runs", "archived")[1]
    assert "name 'spam'" not in cli("unarchive", "--query", "auc")[2]
    cli("unarchive", "--query", "metrics.auc > 0")
    assert "spam" in cli("runs")[1]
    assert stored(project, A).revision == 0


def test_when_all_runs_are_archived_the_list_says_so(cli):
    cli("archive", "--query", "starred or not starred")
    assert cli("runs")[1] == "No runs, but 3 archived ones:  mlops-nb runs archived\n"


def test_a_query_that_finds_nothing_changes_nothing(cli):
    assert cli("delete", "--query", "name = 'x'") == (
        0,
        "Nothing to change: it is so already.\n",
        "",
    )


@pytest.mark.parametrize("verb", ["archive", "unarchive", "delete", "star", "unstar"])
def test_a_command_without_a_run_is_refused(cli, verb):
    code, _, err = cli(verb)
    assert code == 2
    assert "Give a RUN, or --query" in err


def test_somebody_elses_change_of_the_same_field_is_not_replaced_unseen(cli, project):
    with Store.open(project / ".mlops") as store:
        store.edit_runs([A], {"note": "theirs"}, by="bob")
    code, out, err = cli("note", "aaaa", "mine", "--since", "0")
    assert (code, out) == (2, "")
    assert "bob changed note of run aaaa meanwhile: it is now 'theirs'" in err
    assert "--since 1" in err
    code, out, _ = cli("note", "aaaa", "mine")
    assert out == "run aaaa  churn   note theirs → mine (before: by bob)\n"


def test_a_deleted_run_says_how_it_comes_back(cli):
    cli("delete", "aaaa")
    code, _, err = cli("show", "aaaa")
    assert (code, err) == (
        2,
        "Error: Run aaaa was deleted. Bring it back: mlops-nb undelete aaaa\n",
    )
    assert cli("undelete", "churn")[1] == "run aaaa  churn   brought back\n"


BAD = "metrics.auc > '0.9' and starred"
MARKED = f"metrics.auc is a number; compare it with one, without quotes.\n  {BAD}\n{' ' * 16}^"


def test_a_bad_query_points_at_the_character_in_all_three(cli, project, monkeypatch):
    for arguments in (["runs", BAD], ["archive", "-q", BAD], ["compare", "-q", BAD]):
        assert cli(*arguments) == (2, "", f"Error: {MARKED}\n")
    with pytest.raises(mn.errors.BadQuery) as caught:
        mn.runs(BAD)
    assert str(caught.value) == MARKED


def test_a_magic_shows_it_without_a_traceback(shell):
    done = shell.run(f"%mlops_runs {BAD}", check=False)
    assert done.error == f"BadQuery: {MARKED}"
    assert MARKED in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("rename aaaa it's mine", "name", "it's mine"),
        ('rename "aaaa" "two words"', "name", "two words"),
        ("note aaaa don't use --since 0", "note", "don't use"),
        ("note aaaa --append 5 > 3", "note", "5 > 3"),
        ("tag aaaa a='b c'", "tags", {"a": "b c"}),
        ("tag aaaa a= b=c=d", "tags", {"a": "", "b": "c=d"}),
        ("star aaaa bbbb", "is_starred", True),
        ("star --query metrics.auc > 0.85", "is_starred", True),
        ("archive -q 'status = \"running\"'", "is_archived", True),
    ],
)
def test_a_line_of_a_magic_is_understood_as_it_is_written(shell, line, field, value):
    shell.run(f"%mlops_{line}")
    assert getattr(shell.store.get_run(A), field) == value


@pytest.mark.parametrize(
    "line", ["rename", "rename aaaa", "note aaaa", "tag aaaa", "untag aaaa", "star", "undelete"]
)
def test_a_line_that_says_too_little_is_told_the_form(shell, line):
    verb = line.split()[0]
    done = shell.run(f"%mlops_{line}", check=False)
    assert f"Write: %mlops_{verb} RUN" in done.error
    assert f"%mlops_{verb} RUN" in shell.run(f"%mlops_{verb} -h").stdout


def test_editing_loads_no_shell_and_no_session(project):
    code = (
        "import sys; from mlops_nb.cli import main\n"
        "try: main(['star', 'aaaa'])\n"
        "except SystemExit: print({'IPython', 'pandas', 'mlops_nb.session'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "set()"
