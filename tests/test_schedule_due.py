"""Which firings are due, which were missed, and whose schedules run: pure rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from mlops_nb.errors import BadParameter
from mlops_nb.errors.schedules import AmbiguousSchedule, ScheduleNotFound, ScheduleRefused
from mlops_nb.model.pipelines import Schedule
from mlops_nb.schedule.due import MOST_AT_ONCE, as_text, first_firing_ns, plan_firings
from mlops_nb.schedule.making import get_schedule, keep_schedule, new_schedule, paused, resumed
from mlops_nb.schedule.trust import Allowance, signature_problem

pytestmark = pytest.mark.usefixtures("own_settings")

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
EMPTY = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * SECOND


def hourly(missed: str, next_at: str = "2026-11-21T06:00") -> Schedule:
    return Schedule(
        "1", "train", "@hourly", "UTC", "/train.ipynb", missed=missed, next_at_ns=ns(next_at)
    )


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "train.ipynb"
    path.write_text(EMPTY)
    return path


# --- what is due ----------------------------------------------------------------------------------


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_what_is_due_now_is_run_whatever_the_policy(missed):
    plan = plan_firings(hourly(missed), ns("2026-11-21T06:00:20"))
    assert plan.on_time == (ns("2026-11-21T06:00"),)
    assert (plan.late, plan.missed) == ((), ())
    assert plan.next_at_ns == ns("2026-11-21T07:00")


def test_what_is_not_due_yet_waits():
    plan = plan_firings(hourly("all"), ns("2026-11-21T05:59:59"))
    assert plan == type(plan)(next_at_ns=ns("2026-11-21T06:00"))


def test_missed_times_are_skipped_with_one_word_about_them():
    plan = plan_firings(hourly("skip"), ns("2026-11-21T09:30"))
    assert (plan.on_time, plan.late) == ((), ())
    ((at, why),) = plan.missed
    assert at == ns("2026-11-21T09:00")
    assert "3 before it" in why
    assert plan.next_at_ns == ns("2026-11-21T10:00")


def test_one_run_stands_for_all_missed_times():
    plan = plan_firings(hourly("once"), ns("2026-11-21T09:30"))
    assert plan.late == (ns("2026-11-21T09:00"),)
    ((at, why),) = plan.missed
    assert at == ns("2026-11-21T08:00")
    assert "2 before it" in why


def test_a_run_that_is_due_now_stands_for_missed_times_too():
    plan = plan_firings(hourly("once"), ns("2026-11-21T09:00:10"))
    assert (plan.on_time, plan.late) == ((ns("2026-11-21T09:00"),), ())
    assert [at for at, _ in plan.missed] == [ns("2026-11-21T08:00")]


def test_all_missed_times_are_run_in_order():
    plan = plan_firings(hourly("all"), ns("2026-11-21T09:30"))
    assert plan.late == tuple(ns(f"2026-11-21T0{hour}:00") for hour in (6, 7, 8, 9))
    assert plan.missed == ()


def test_years_that_were_missed_are_taken_in_parts():
    schedule = replace(hourly("all"), next_at_ns=ns("2024-01-01T00:00"))
    plan = plan_firings(schedule, ns("2026-11-21T09:30"))
    assert len(plan.late) == MOST_AT_ONCE
    assert plan.next_at_ns == plan.late[-1] + HOUR
    assert len(plan_firings(replace(schedule, missed="skip"), ns("2026-11-21T09:30")).missed) == 1


def test_a_schedule_without_a_time_is_never_due():
    assert plan_firings(replace(hourly("all"), next_at_ns=None), ns("2026-11-21T09:30")).late == ()


def test_times_are_written_by_the_clock_of_the_schedule():
    schedule = replace(hourly("once"), zone="America/New_York")
    assert as_text(schedule, ns("2026-11-21T06:00")) == "2026-11-21 01:00:00 -05:00"


# --- making them ----------------------------------------------------------------------------------


def test_a_schedule_fires_after_it_was_made(target):
    at = ns("2026-11-21T06:00")
    made = new_schedule(target, "@hourly", zone="UTC", now_ns=at)
    assert made.next_at_ns == at + HOUR
    assert first_firing_ns(made, at - 1) == at


def test_what_came_while_it_was_paused_was_not_missed(target):
    made = new_schedule(target, "@hourly", zone="UTC", now_ns=ns("2026-11-21T06:10"))
    later = ns("2026-11-23T08:10")
    assert plan_firings(paused(made), later).next_at_ns is None
    assert resumed(paused(made), later).next_at_ns == ns("2026-11-23T09:00")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param({"name": "a\nb"}, "cannot be the name", id="two lines"),
        pytest.param({"name": " "}, "cannot be the name", id="blank"),
        pytest.param({"name": "x" * 101}, "cannot be the name", id="long"),
        pytest.param({"name": "\u202egnp"}, "cannot be the name", id="turned around"),
        pytest.param({"missed": "never"}, "skip, once, all", id="missed"),
        pytest.param({"overlap": "maybe"}, "skip, queue, allow", id="overlap"),
        pytest.param({"params": {"password": "x"}}, "secret", id="a password"),
        pytest.param({"params": {"C": object()}}, "cannot be kept", id="an object"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(target, given, says):
    with pytest.raises(ScheduleRefused, match=says):
        new_schedule(target, "@daily", **given)


@pytest.mark.parametrize(
    ("name", "says"),
    [("gone.ipynb", "no such notebook"), ("folder", "pipeline.yaml"), ("data.csv", "no notebook")],
)
def test_only_notebooks_and_pipelines_are_scheduled(tmp_path, name, says):
    (tmp_path / "folder").mkdir()
    (tmp_path / "data.csv").touch()
    with pytest.raises(ScheduleRefused, match=says):
        new_schedule(tmp_path / name, "@daily")


def test_a_parameter_that_the_notebook_does_not_have_is_refused_at_once(target):
    with pytest.raises(BadParameter):
        new_schedule(target, "@daily", params={"C": "1"})


def test_two_schedules_cannot_have_one_name(target, store):
    first = keep_schedule(store, new_schedule(target, "@daily", name="nightly"))
    with pytest.raises(ScheduleRefused, match="--replace"):
        keep_schedule(store, new_schedule(target, "@hourly", name="nightly"))
    changed = keep_schedule(store, new_schedule(target, "@hourly", name="nightly"), replaces=True)
    assert changed.id == first.id
    assert [one.cron for one in store.schedules()] == ["@hourly"]
    assert signature_problem(store.schedules()[0]) == ""


def test_a_schedule_is_found_by_its_name_and_by_the_beginning_of_its_id(target, store):
    made = [new_schedule(target, "@daily", name=name) for name in ("a", "b")]
    made = [replace(one, id=f"ab{place}") for place, one in enumerate(made)]
    for one in made:
        store.save_schedule(one)
    assert get_schedule(store, "a").id == "ab0"
    assert get_schedule(store, "ab1").name == "b"
    with pytest.raises(AmbiguousSchedule, match=r"a \(ab0\), b \(ab1\)"):
        get_schedule(store, "ab")
    with pytest.raises(ScheduleNotFound, match="mlops-nb schedule list"):
        get_schedule(store, "c")


# --- whose they are -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"target": "/home/eve/evil.ipynb"},
        {"params": {"C": "2"}},
        {"cron": "* * * * *"},
        {"id": "another"},
        {"created_by": "eve"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_schedule_that_somebody_changed_does_not_run(target, change):
    made = new_schedule(target, "@daily")
    assert Allowance().refusal(made) == ""
    assert Allowance().refusal(paused(made)) == ""
    assert "changed after it was written" in Allowance().refusal(replace(made, **change))


def test_a_schedule_of_somebody_else_runs_only_where_that_is_allowed(
    target, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLOPS_NB_TEAM_KEY", "the other team, sixteen letters")
    made = new_schedule(target, "@daily")
    monkeypatch.delenv("MLOPS_NB_TEAM_KEY")
    assert "not yours" in Allowance().refusal(made)
    assert Allowance(is_any=True).refusal(made) == ""
    assert Allowance(folders=(tmp_path,)).refusal(made) == ""
    elsewhere = replace(made, target=f"{tmp_path}/../evil.ipynb")
    assert Allowance(folders=(tmp_path,)).refusal(elsewhere) != ""


def test_a_link_out_of_an_allowed_folder_leads_nowhere(target, tmp_path):
    inside = tmp_path / "allowed"
    inside.mkdir()
    (inside / "link.ipynb").symlink_to(target)
    made = replace(new_schedule(target, "@daily"), target=str(inside / "link.ipynb"), options={})
    assert "not signed" in Allowance(folders=(inside,)).refusal(made)
