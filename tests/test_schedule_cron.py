"""When schedules fire: expressions, zones, and clocks that are changed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.errors.schedules import BadCron, UnknownZone
from mlops_nb.model.pipelines import Schedule
from mlops_nb.schedule import default_zone, describe, next_firings, read_cron, read_zone
from mlops_nb.schedule.cron import firing_times

UTC = timezone.utc


def fire(cron: str, zone: str, after: str, count: int = 3) -> list[str]:
    """The next firings, as they stand on the wall."""
    start = datetime.fromisoformat(after).astimezone(UTC)
    schedule = Schedule("1", "train", cron, zone, "/train.ipynb")
    return [at.isoformat() for at in next_firings(schedule, start, count)]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        pytest.param(
            "30 2 * * *",
            "Europe/Brussels",
            "2026-03-28T12:00+01:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
            id="Brussels, spring: at the end of the gap",
        ),
        pytest.param(
            "30 2 * * *",
            "Europe/Brussels",
            "2026-10-24T12:00+02:00",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
            id="Brussels, autumn: the first time alone",
        ),
        pytest.param(
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00-05:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
            id="New York, spring",
        ),
        pytest.param(
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00-04:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
            id="New York, autumn",
        ),
        pytest.param(
            "30 2 * * *",
            "Europe/Brussels",
            "2026-10-25T02:10+01:00",
            ["2026-10-26T02:30:00+01:00"],
            id="asked between the two half past two: it has been",
        ),
        pytest.param(
            "0,30 2 * * *",
            "Europe/Brussels",
            "2026-03-28T12:00+01:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"],
            id="two times in the gap are one instant",
        ),
        pytest.param(
            "30 * * * *",
            "Europe/Brussels",
            "2026-10-25T01:00+02:00",
            [
                "2026-10-25T01:30:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:30:00+01:00",
            ],
            id="hourly goes by the hour, also where one comes twice",
        ),
        pytest.param(
            "*/30 0 2 * * *",
            "UTC",
            "2026-01-01T02:00:10+00:00",
            ["2026-01-01T02:00:30+00:00", "2026-01-02T02:00:00+00:00"],
            id="six fields: seconds first",
        ),
        pytest.param(
            "15 30 2 * * *",
            "Europe/Brussels",
            "2026-10-24T12:00+02:00",
            ["2026-10-25T02:30:15+02:00", "2026-10-26T02:30:15+01:00"],
            id="with seconds, the first half past two alone, too",
        ),
        pytest.param(
            "30 2 * * *",
            "Asia/Tokyo",
            "2026-03-28T12:00+09:00",
            ["2026-03-29T02:30:00+09:00", "2026-03-30T02:30:00+09:00"],
            id="a zone that leaves its clocks alone",
        ),
        pytest.param(
            "0 9 * * *",
            "Asia/Kolkata",
            "2026-11-21T03:29+00:00",
            ["2026-11-21T09:00:00+05:30", "2026-11-22T09:00:00+05:30"],
            id="half an hour off",
        ),
        pytest.param(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T12:00+11:00",
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"],
            id="clocks that go back by half an hour",
        ),
        pytest.param(
            "0 0 * * *",
            "Asia/Beirut",
            "2026-03-28T12:00+02:00",
            ["2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"],
            id="a midnight that is left out",
        ),
        pytest.param(
            "0 6 L * *",
            "UTC",
            "2028-01-30T00:00+00:00",
            ["2028-01-31T06:00:00+00:00", "2028-02-29T06:00:00+00:00"],
            id="the last day of the month",
        ),
        pytest.param(
            "0 6 * * MON#2",
            "UTC",
            "2026-11-21T00:00+00:00",
            ["2026-12-14T06:00:00+00:00", "2027-01-11T06:00:00+00:00"],
            id="the second Monday",
        ),
        pytest.param(
            "0 6 * * 5L",
            "UTC",
            "2026-11-21T00:00+00:00",
            ["2026-11-27T06:00:00+00:00", "2026-12-25T06:00:00+00:00"],
            id="the last Friday",
        ),
        pytest.param(
            "0 6 * * 1",
            "UTC",
            "2026-11-21T00:00+00:00",
            ["2026-11-23T06:00:00+00:00"],
            id="1 is Monday",
        ),
        pytest.param(
            "0 6 13 * 5",
            "UTC",
            "2026-11-21T00:00+00:00",
            ["2026-11-27T06:00:00+00:00", "2026-12-04T06:00:00+00:00"],
            id="day of month or day of week, as in crontab",
        ),
    ],
)
def test_a_schedule_fires_by_the_clock_of_its_zone(cron, zone, after, expected):
    assert fire(cron, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("name", "means"),
    [("@daily", "0 0 * * *"), ("@weekly", "0 0 * * 0"), ("@HOURLY", "0 * * * *")],
)
def test_a_name_means_its_five_fields(name, means):
    assert read_cron(name).five == means


@settings(max_examples=40, deadline=None)
@given(
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    zone=st.sampled_from(
        [
            "Europe/Brussels",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Beirut",
            "America/Santiago",
            "Africa/Cairo",
            "Pacific/Chatham",
            "Asia/Kathmandu",
        ]
    ),
)
def test_a_fixed_hour_fires_once_on_every_day_of_the_year(hour, minute, zone):
    start = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    cron = read_cron(f"{minute} {hour} * * *")
    times = list(islice(firing_times(cron, ZoneInfo(zone), start - timedelta(seconds=1)), 360))
    first = start.date()
    assert [at.date() for at in times] == [first + timedelta(days=n) for n in range(360)]
    instants = [at.astimezone(UTC) for at in times]
    assert instants == sorted(set(instants))


@settings(max_examples=100, deadline=None)
@given(
    minutes=st.sampled_from(["*", "*/7", "*/30", "*/45"]),
    hours=st.sampled_from(["*", "*/2", "*/5"]),
    days=st.sampled_from(["* * *", "29 3 *", "* * SUN", "25,5 * *"]),
    zone=st.sampled_from(["Europe/Brussels", "Asia/Beirut", "Australia/Lord_Howe", "UTC"]),
    day=st.sampled_from(["2026-03-28", "2026-10-24", "2026-04-04", "2026-10-03"]),
)
def test_stars_go_by_the_clock_on_the_wall_minute_by_minute(minutes, hours, days, zone, day):
    place = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    cron = read_cron(f"{minutes} {hours} {days}")
    end = start + timedelta(days=2)
    found = []
    for at in firing_times(cron, place, start):
        if at.astimezone(UTC) > end:
            break
        found.append(at.astimezone(UTC))
    assert found == [
        minute
        for minute in (start + timedelta(minutes=n) for n in range(1, 2 * 24 * 60 + 1))
        if _matches(minute.astimezone(place), minutes, hours, days)
    ]


def _matches(local: datetime, minutes: str, hours: str, days: str) -> bool:
    def steps(text: str, value: int) -> bool:
        return value % int(text.partition("/")[2] or 1) == 0

    on = {
        "* * *": True,
        "29 3 *": (local.day, local.month) == (29, 3),
        "* * SUN": local.isoweekday() == 7,
        "25,5 * *": local.day in {25, 5},
    }
    return steps(minutes, local.minute) and steps(hours, local.hour) and on[days]


@pytest.mark.parametrize(
    ("cron", "field", "says"),
    [
        pytest.param("61 * * * *", "minute", "0-59", id="minute too large"),
        pytest.param("0 24 * * *", "hour", "0-23", id="hour too large"),
        pytest.param("0 6 0 * *", "day of month", "1-31", id="day nought"),
        pytest.param("0 6 * 13 *", "month", "JAN-DEC", id="month"),
        pytest.param("0 6 * * MONDAY", "day of week", "SUN-SAT", id="a name in full"),
        pytest.param("0 6 * * FRI-MON", "day of week", "SUN-SAT", id="a range around"),
        pytest.param("0 22-4 * * *", "hour", "a list of two", id="a range that goes down"),
        pytest.param("0 6 ? * 1", "day of month", "write * for any", id="question mark"),
        pytest.param("*/90 * * * *", "minute", "longer than the field", id="step too long"),
        pytest.param("1,,2 * * * *", "minute", "0-59", id="an empty place in a list"),
        pytest.param("²L * * * *", "minute", "0-59", id="digits that are none"),
        pytest.param("0 6 * * ²L", "day of week", "5L", id="digits that are none, of a day"),
        pytest.param("60 0 6 * * *", "second", "0-59", id="second"),
    ],
)
def test_a_bad_field_is_named_with_what_may_stand_there(cron, field, says):
    with pytest.raises(BadCron) as caught:
        read_cron(cron)
    assert caught.value.field == field
    assert says in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        pytest.param("", "0 fields", id="nothing"),
        pytest.param("0 6 *", "3 fields", id="too few"),
        pytest.param("0 6 * * * * 2026", "7 fields", id="a year"),
        pytest.param("@fortnightly", "@daily", id="an unknown name"),
        pytest.param("@reboot", "has no time", id="at boot"),
        pytest.param("0 0 31 2 *", "never fires", id="the 31st of February"),
        pytest.param("0 0 31 4,6 *", "never fires", id="the 31st of short months"),
        pytest.param("0 " + "1," * 5000 + "1 * * *", "longer", id="endless"),
        pytest.param("9" * 299, "1 field", id="a number without end"),
    ],
)
def test_what_is_no_schedule_is_refused_as_a_whole(cron, says):
    with pytest.raises(BadCron, match=says):
        read_cron(cron)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Europe/Bruxelles", "Europe/Brussels"),
        ("brussels", "Europe/Brussels"),
        ("new york", "America/New_York"),
        ("europe/brussels", "Europe/Brussels"),
        ("Europe/Brussel", "Europe/Brussels"),
    ],
)
def test_a_zone_that_is_misspelt_gets_a_suggestion(name, meant):
    with pytest.raises(UnknownZone) as caught:
        read_zone(name)
    assert meant in caught.value.close
    assert meant in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "Europe", "../../etc/passwd", "/etc/localtime", "right/Europe/Brussels", "a\0b",
             "localtime", "x" * 5000, "\udcff"]
)  # fmt: skip
def test_what_is_no_zone_is_refused(name):
    with pytest.raises(UnknownZone):
        read_zone(name)


def test_without_zone_data_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['tzdata'] = None\n"
        "from mlops_nb.schedule import read_zone\n"
        "read_zone('Europe/Brussels')"
    )
    environment = os.environ | {"PYTHONTZPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert "UnknownZone" in done.stderr
    assert "pip install tzdata" in done.stderr


def test_the_zone_of_this_machine_is_the_one_that_tz_names(monkeypatch):
    monkeypatch.setenv("TZ", ":America/New_York")
    assert default_zone() == "America/New_York"
    monkeypatch.setenv("TZ", "no such zone")
    assert read_zone(default_zone())


def test_an_expression_is_said_in_words():
    assert describe(read_cron("0 6 * * 1")) == "At 06:00 on Monday"
    assert describe(read_cron("30 0 6 * * 1")) == "At 06:00:30 on Monday"
