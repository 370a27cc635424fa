"""What people change of a run after the fact stays, whoever else writes."""

import multiprocessing
import threading

import pytest
from events import T0, A, B, C, metric, run_started
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mlops_nb import testing
from mlops_nb.errors import EditConflict, EditRefused, RunDeleted, RunNotFound
from mlops_nb.model import RunChanged, SessionEnded, TagSet
from mlops_nb.store import Store, connect, edits, schema, upgrade
from mlops_nb.store.pipelines.tables import TABLES

D = "d" * 16


@pytest.fixture
def store(store_location):
    with Store.open(store_location, create=True) as opened:
        opened.apply(
            [
                run_started(A, name="churn", at_ns=T0, group="g"),
                run_started(B, name="churn", at_ns=T0 + 1, group="g"),
                run_started(C, name="fold", at_ns=T0 + 2, parent=B, child=1),
                metric(A, "auc", 0.9),
                metric(B, "auc", 0.8),
                TagSet(A, "stage", "test", T0),
            ]
        )
        yield opened


def ids(runs):
    return [run.id for run in runs]


# --- one edit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "before", "after"),
    [
        ({"name": " forest "}, "name", "churn", "forest"),
        ({"note": "**good**\n\nuse it"}, "note", "", "**good**\n\nuse it"),
        ({"starred": True}, "starred", False, True),
        ({"archived": True}, "archived", False, True),
        ({"tags.stage": "prod"}, "tags.stage", "test", "prod"),
        ({"tags.owner": "ann"}, "tags.owner", None, "ann"),
        ({"tags.stage": None}, "tags.stage", "test", None),
        ({"deleted": True}, "deleted", False, True),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_edit_says_what_it_changed(store, changes, field, before, after):
    (edit,) = store.edit_runs([A], changes, by="ann")
    assert (edit.run, edit.name, edit.field) == (A, "churn", field)
    assert (edit.before, edit.after, edit.revision, edit.by) == (before, after, 1, "ann")
    (kept,) = store.edits_of(A)
    assert (kept.field, kept.before, kept.after, kept.by) == (field, before, after, "ann")


def test_what_was_edited_is_read_back(store):
    changes = {
        "name": "forest",
        "note": "good",
        "starred": True,
        "tags.a.b": "c",
        "tags.stage": None,
    }
    store.edit_runs([A], changes)
    run = store.get_run("forest")
    assert (run.id, run.note, run.is_starred, run.is_archived) == (A, "good", True, False)
    assert (dict(run.tags), run.revision) == ({"a.b": "c"}, 5)


def test_what_is_so_already_is_no_edit(store):
    store.edit_runs([A], {"starred": True})
    assert store.edit_runs([A], {"starred": True, "note": "", "tags.none": None}) == []
    assert store.get_run(A).revision == 1


def test_an_empty_name_gives_the_recorded_one_back(store):
    store.edit_runs([A], {"name": "one"})
    store.edit_runs([A], {"name": "two"})
    (edit,) = store.edit_runs([A], {"name": ""})
    assert (edit.after, store.get_run(A).name) == ("churn", "churn")


def test_several_runs_are_edited_all_or_none(store):
    with pytest.raises(RunNotFound):
        store.edit_runs([A, "nothing"], {"starred": True})
    assert not store.get_run(A).is_starred
    assert [edit.run for edit in store.edit_runs([A, B, A], {"starred": True})] == [A, B]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "@-1"},
        {"name": "tag:x"},
        {"name": "two\nlines"},
        {"name": "\x1b[31mred"},
        {"name": "x" * 201},
        {"name": "right\u202eto left"},
        {"tags.": "x"},
        {"tags.a\nb": "x"},
        {"tags.long": "x" * 5_001},
        {"note": "x" * 100_001},
        {"status": "finished"},
        {"id": "x"},
    ],
    ids=lambda changes: repr(changes)[:30],
)
def test_what_nobody_could_show_or_type_is_refused(store, changes):
    with pytest.raises(EditRefused, match="Nothing was changed"):
        store.edit_runs([A], changes)
    assert store.get_run(A).revision == 0


def test_secrets_in_what_people_write_are_not_kept(store):
    token = "ghp_" + "a1B2" * 9
    store.edit_runs([A], {"note": f"use {token}", "tags.token": token, "name": token})
    run = store.get_run(A)
    assert token not in str([run, store.edits_of(A)])
    assert "⟨secret:" in run.note


@given(text=st.text(max_size=50))
@settings(max_examples=30, deadline=None)
def test_any_note_comes_back_as_it_was_written(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "notes"
    with Store.open(folder, create=True) as store:
        store.apply([run_started(A)])
        store.edit_runs([A], {"note": text})
        encodable = text.replace("\0", "").encode("utf-8", "backslashreplace").decode()
        assert store.get_run(A).note == encodable.strip()


# --- several people -----------------------------------------------------------------------------


def test_two_people_who_edit_different_fields_both_win(store):
    seen = store.get_run(A).revision
    store.edit_runs([A], {"note": "mine"}, since=seen, by="ann")
    store.edit_runs([A], {"name": "yours", "tags.stage": "prod"}, since=seen, by="bob")
    run = store.get_run(A)
    assert (run.note, run.name, run.tags["stage"]) == ("mine", "yours", "prod")


@pytest.mark.parametrize("field", ["note", "tags.stage", "name"])
def test_the_second_who_edits_the_same_field_is_refused_if_they_said_what_they_saw(store, field):
    seen = store.get_run(A).revision
    store.edit_runs([A], {field: "mine"}, since=seen, by="ann")
    with pytest.raises(EditConflict, match="ann changed") as caught:
        store.edit_runs([A], {field: "yours", "starred": True}, since=seen, by="bob")
    assert "'mine'" in str(caught.value)
    assert not store.get_run(A).is_starred
    store.edit_runs([A], {field: "yours"}, since=caught.value.revision, by="bob")
    assert store.edits_of(A)[-1].after == "yours"


def test_else_they_are_told_what_they_replaced_and_the_history_has_both(store):
    store.edit_runs([A], {"note": "mine"}, by="ann")
    (edit,) = store.edit_runs([A], {"note": "yours"}, by="bob")
    assert (edit.before, edit.replaces) == ("mine", "ann")
    assert [(e.by, e.after) for e in store.edits_of(A)] == [("ann", "mine"), ("bob", "yours")]


def test_a_row_that_changed_since_it_was_read_is_not_written(store):
    with store._writing() as connection:
        row = connection.execute(select(schema.runs).where(schema.runs.c.id == A)).mappings().one()
    store.edit_runs([A], {"note": "mine"}, by="ann")
    with store._writing() as connection:
        change = list(edits._differences(connection, row, {"starred": True}, by="bob", at_ns=T0))
        assert not edits._swap(connection, row, change, T0)
    assert store.get_run(A).note == "mine"


def edit_often(location, who, times):
    with Store.open(location) as store:
        for number in range(times):
            store.edit_runs([A], {f"tags.{who}.{number}": who, "note": f"{who} {number}"}, by=who)


def test_no_edit_of_many_threads_is_lost(store, store_location):
    threads = [
        threading.Thread(target=edit_often, args=(store_location, who, 5)) for who in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run = store.get_run(A)
    assert len(run.tags) == 21
    assert run.revision == 40
    assert sorted(e.revision for e in store.edits_of(A)) == list(range(1, 41))


def test_what_many_add_to_a_note_is_all_in_it(store, store_location):
    def add(who):
        with Store.open(store_location) as opened:
            for number in range(5):
                opened.edit_runs([A], {"note+": f"{who} {number}"}, since=0, by=who)

    threads = [threading.Thread(target=add, args=(who,)) for who in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = store.get_run(A).note.split("\n\n")
    assert sorted(said) == [f"{who} {number}" for who in "abc" for number in range(5)]


def test_no_edit_of_many_processes_is_lost_while_a_session_writes(store, store_location):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=edit_often, args=(store_location, who, 5)) for who in "ab"]
    for child in children:
        child.start()
    number = 0
    while any(child.is_alive() for child in children):
        number += 1
        store.apply([metric(A, "loss", 1.0, number), RunChanged(A, T0 + number, {"name": "late"})])
    for child in children:
        child.join()
        assert child.exitcode == 0
    run = store.get_run(A)
    assert (len(run.tags), run.revision) == (11, 20)
    assert run.metrics["loss"].count == number


# --- late evidence ------------------------------------------------------------------------------


def test_what_a_person_set_outlasts_what_a_session_tells_later(store):
    store.edit_runs(
        [A],
        {"name": "mine", "note": "good", "tags.stage": "prod", "tags.new": None, "starred": True},
    )
    store.edit_runs([A], {"tags.gone": "x"})
    store.edit_runs([A], {"tags.gone": None})
    store.apply(
        [
            RunChanged(A, T0 + 9, {"name": "theirs", "note": "bad", "starred_at": None}),
            TagSet(A, "stage", "test", T0 + 9),
            TagSet(A, "gone", "back", T0 + 9),
            TagSet(A, "other", "x", T0 + 9),
            metric(A, "auc", 0.95, at_ns=T0 + 9),
            SessionEnded("s1", T0 + 10),
        ]
    )
    run = store.get_run(A)
    assert (run.name, run.note, run.is_starred) == ("mine", "good", True)
    assert dict(run.tags) == {"stage": "prod", "other": "x"}
    assert (run.metrics["auc"].value, run.status) == (0.95, "finished")
    store.edit_runs([A], {"name": ""})
    assert store.get_run(A).name == "theirs"


def test_a_run_that_was_renamed_before_its_beginning_was_told_keeps_the_name(store):
    store.apply([metric(D, "auc", 0.5)])
    store.edit_runs([D], {"name": "early"})
    store.apply([run_started(D, name="late", group="h")])
    run = store.get_run(D)
    assert (run.name, run.group) == ("early", "h")


def test_what_a_person_set_holds_while_the_session_goes_on():
    with testing.shell() as shell:
        shell.run("import mlops_nb as mn\nmn.log_metric('auc', 0.9)\nmn.set_tag('stage', 'test')")
        (run,) = shell.runs()
        shell.run("mn.rename('@-1', 'mine'); mn.tag('@-1', 'stage', 'prod')")
        shell.run("mn.set_tag('stage', 'dev')\nmn.log_metric('loss', 0.1)")
        (run,) = shell.runs()
        assert (run.name, dict(run.tags)) == ("mine", {"stage": "prod"})
        assert set(run.metrics) == {"auc", "loss"}
        shell.run("mn.delete('mine')")
        shell.run("mn.log_metric('loss', 0.2)")
        shell.run("%mlops_track --off")
        assert shell.store.runs("archived or not archived") == []
        shell.store.edit_runs([run.id], {"deleted": False})
        (run,) = shell.runs()
        assert (run.name, run.status) == ("mine", "finished")


# --- stores of before ---------------------------------------------------------------------------


def test_a_run_of_a_store_that_an_older_version_made_can_be_edited(tmp_path):
    from alembic.command import upgrade as upgrade_to
    from alembic.config import Config

    folder = tmp_path / ".mlops"
    folder.mkdir()
    engine = connect.file_engine(folder / "store.db", read_only=False)
    names = "id, name, status, kind, experiment, group_key, attempt, started_at, last_at"
    values = f"'{A}', 'churn', 'finished', 'cell', '', '', 0, {T0}, {T0}"
    with engine.execution_options(is_write=True).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(upgrade.MIGRATIONS))
        config.attributes["connection"] = connection
        upgrade_to(config, "0002")
        connection.exec_driver_sql("INSERT INTO meta VALUES (2, '0.0')")
        connection.exec_driver_sql(f"INSERT INTO runs ({names}) VALUES ({values})")  # noqa: S608
    engine.dispose()
    with Store.open(folder) as store:
        store.edit_runs([A], {"name": "forest", "note": "old", "archived": True})
        assert store.runs() == []
        (run,) = store.runs("archived and note like 'o%'")
        assert (run.name, run.revision) == ("forest", 3)


# --- archived and deleted -----------------------------------------------------------------------


def test_an_archived_run_is_left_out_unless_asked_for(store):
    store.edit_runs([B], {"archived": True})
    assert ids(store.runs()) == [A]
    assert store.count_runs() == 1
    assert ids(store.latest_of_groups()) == [A]
    assert ids(store.latest_of_groups(archived=True)) == [B]
    assert (store.get_run("@-1").id, store.get_run("churn").id) == (A, A)
    store.edit_runs([A], {"archived": True})
    for ref in ("@-1", "churn", "@best:auc", "tag:stage"):
        assert store.find_run(ref) is None
    assert ids(store.runs(archived=True)) == [C, B, A]
    assert store.count_runs(archived=True) == 3
    assert ids(store.runs("archived")) == [C, B, A]
    assert ids(store.runs("archived or name = 'x'")) == [C, B, A]
    assert ids(store.runs("name = 'churn' and not archived")) == []
    assert store.get_run(A).is_archived
    assert store.get_run(A[:4]).id == A
    assert ids(store.runs(refs=[B])) == [B]


def test_a_deleted_run_is_shown_nowhere(store):
    store.edit_runs([B], {"deleted": True})
    for listed in (
        store.runs(),
        store.runs(archived=True),
        store.runs("not archived or archived"),
    ):
        assert ids(listed) == [A]
    assert store.count_runs(archived=True) == 1
    for ref in (B, B[:6], "fold", C, "@-2", "tag:none"):
        assert store.find_run(ref) is None
    with pytest.raises(RunDeleted, match="undelete bbbb"):
        store.get_run(B)
    with pytest.raises(RunNotFound, match="List them"):
        store.get_run("fold")


def test_it_comes_back_with_all_it_had(store):
    before = store.get_run(B), store.get_run(C)
    store.edit_runs([B], {"deleted": True})
    (edit,) = store.edit_runs(["bbbb"], {"deleted": False})
    assert (edit.before, edit.after) == (True, False)
    after = store.get_run(B), store.get_run(C)
    assert [run.metrics for run in after] == [run.metrics for run in before]
    assert ids(store.runs()) == [C, B, A]


def test_a_deleted_run_is_found_by_its_name_to_come_back(store):
    store.edit_runs([B], {"deleted": True})
    store.edit_runs(["churn"], {"deleted": True})
    assert store.edit_runs(["churn"], {"deleted": False})[0].run == A
    assert store.edit_runs(["churn"], {"deleted": False})[0].run == B
    with pytest.raises(RunNotFound):
        store.edit_runs(["nothing"], {"deleted": False})
    assert store.edit_runs([A], {"deleted": False}) == []


def test_what_went_with_a_parent_comes_back_with_it_and_nothing_else(store):
    store.apply([run_started(D, name="fold", at_ns=T0 + 3, parent=B, child=2)])
    store.edit_runs([C], {"archived": True})
    store.edit_runs([B], {"archived": True})
    assert ids(store.runs()) == [A]
    store.edit_runs([B], {"archived": False})
    assert ids(store.runs()) == [D, B, A]


def test_an_archived_run_is_found_by_its_name_to_come_back(store):
    store.edit_runs([A, B], {"archived": True})
    store.edit_runs([A], {"deleted": True})
    assert store.edit_runs(["churn"], {"archived": False})[0].run == B
    assert store.edit_runs(["churn"], {"archived": False}) == []
    with pytest.raises(RunNotFound):
        store.edit_runs(["nothing"], {"archived": False})


def test_a_child_does_not_come_back_without_its_parent(store):
    store.edit_runs([B], {"deleted": True})
    with pytest.raises(EditRefused, match="undelete bbbb"):
        store.edit_runs([C], {"deleted": False})


@pytest.mark.parametrize("field", ["archived", "deleted"])
def test_a_run_that_was_put_away_while_its_session_writes_stays_away(store, field):
    store.edit_runs([B], {field: True})
    store.apply(
        [
            RunChanged(B, T0 + 5, {"name": "churn", "deleted_at": None, "archived_at": None}),
            metric(B, "auc", 0.99, at_ns=T0 + 5),
            run_started(D, name="late child", at_ns=T0 + 6, parent=B),
            run_started("e" * 16, name="later child", at_ns=T0 + 6),
        ]
    )
    store.apply([RunChanged("e" * 16, T0 + 7, {"parent": B})])
    store.apply([SessionEnded("s1", T0 + 8)])
    assert ids(store.runs()) == [A]
    store.edit_runs([B], {field: False})
    assert sorted(ids(store.runs())) == [A, B, C, D, "e" * 16]


# --- tombstones ---------------------------------------------------------------------------------


def test_what_was_collected_is_gone_and_stays_away(store):
    store.edit_runs([B], {"note": "secret plans", "deleted": True})
    with store._writing() as connection:
        assert edits.deleted_runs(connection) == [B, C]
        assert edits.deleted_runs(connection, before_ns=T0) == []
        edits.collect(connection, [A, B, C], T0 + 100)
        assert edits.deleted_runs(connection) == []
        for table in edits.PARTS:
            held = set(connection.scalars(select(table.c.run)))
            assert not held & {B, C}
        row = connection.execute(select(schema.runs).where(schema.runs.c.id == B)).mappings().one()
    assert "secret plans" not in str(dict(row))
    assert row["name"] == ""
    assert store.get_run(A).metrics["auc"].value == 0.9  # it was not deleted
    store.apply([run_started(B, name="churn"), metric(B, "auc", 0.7), TagSet(B, "x", "y", T0)])
    assert ids(store.runs(archived=True)) == [A]
    with pytest.raises(EditRefused, match="was removed from the store"):
        store.edit_runs([B], {"deleted": False})


def test_every_table_with_parts_of_runs_is_collected():
    named = {table.name for table in schema.metadata.tables.values() if "run" in table.c}
    # What pipelines keep of runs is forgotten by `store.pipelines.results.forget_runs`.
    assert named - {table.name for table in TABLES} == {table.name for table in edits.PARTS}
