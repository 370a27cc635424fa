"""A workflow of GitHub Actions.

All that a user wrote goes to the runner in variables of the environment, quoted for YAML and
with GitHub's own expressions taken apart; the commands are ours alone.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from mlops_nb.errors.schedules import ExportRefused
from mlops_nb.exporters import Exported, ExportedFile
from mlops_nb.exporters.calendars import utc_fields
from mlops_nb.exporters.making import file_stem
from mlops_nb.exporters.projects import Installation, installation_of, project_root
from mlops_nb.record import record
from mlops_nb.schedule.children import printable, value_text
from mlops_nb.schedule.zones import offsets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_nb.exporters import Export
    from mlops_nb.schedule import Cron

_NAME = "github"
# By the commit, so that nobody can put another one under the same tag.
_CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
_PYTHON = "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0"
_UPLOAD = "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0"
_MINUTES_AT_MOST = 360
_SHORTEST_MINUTES = 5
# What JSON leaves as it is and YAML does not take.
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

_WORKFLOW = """\
# Made by mlops-nb export --to github.
{notes}name: {name}

on:
  workflow_dispatch:
{schedule}
permissions:
  contents: read

concurrency:
  group: {group}
  cancel-in-progress: false

jobs:
  run:
    runs-on: ubuntu-latest
    timeout-minutes: {minutes}
    steps:
      - name: Check out
        uses: {checkout}
        with:
          persist-credentials: false
      - name: Set up Python
        uses: {python}
        with:
          python-version: {version}
      - name: Install
        run: |
{install}
      - name: Run
        env:
{environment}
        run: |
{run}
      - name: Keep what ran
        if: ${{{{ !cancelled() }}}}
        uses: {upload}
        with:
          name: {artifact}
          path: |
            report.xml
            **/.mlops/runs/**/*.ipynb
            *-????????.ipynb
          include-hidden-files: true
          if-no-files-found: warn
"""


@record
class _Project:
    """Where the target lies in its repository, and how what it needs is installed."""

    path: str
    installation: Installation


def export(export: Export) -> Exported:
    """Write a notebook as a workflow that runs it on GitHub.

    Raises
    ------
    ExportRefused
        It lies in no git repository, or the time cannot be said in UTC.
    """
    project = _project(export)
    notes = list(_notes(export, project))
    stem = file_stem(export.name)
    if export.store:
        problem = "a store in a folder of this machine is not there"
        remedy = "Leave --store out, and give the secret MLOPS_NB_STORE to the repository."
        raise ExportRefused(_NAME, problem, remedy)
    text = _WORKFLOW.format(
        notes="".join(f"# {printable(note)}\n" for note in notes),
        name=quoted(export.name),
        schedule=_schedule(export),
        group=quoted(f"mlops-nb-{stem}"),
        minutes=_MINUTES_AT_MOST,
        checkout=_CHECKOUT,
        python=_PYTHON,
        version=quoted(_python_version(export.target)),
        install=_indented(project.installation.commands),
        environment="\n".join(_environment(export, project)),
        run=_indented(_run(export, project)),
        upload=_UPLOAD,
        artifact=quoted(f"mlops-nb-{stem}"),
    )
    path = f".github/workflows/{stem}.yml"
    then = (f"git add {path}", "git commit", "git push")
    return Exported((ExportedFile(path, text),), tuple(notes), then)


def quoted(text: str) -> str:
    r"""Write a text as a YAML string that GitHub takes as it stands.

    Examples
    --------
    >>> print(quoted("50% ${{ github.token }}"))
    "50% ${{ '${{' }} github.token }}"
    """
    # GitHub replaces expressions in strings, too; this one gives the two letters themselves.
    plain = text.replace("${{", "${{ '${{' }}")
    written = json.dumps(plain, ensure_ascii=False)
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def _project(export: Export) -> _Project:
    root = project_root(export.target)
    if root is None:
        problem = f"{export.target} lies in no git repository"
        raise ExportRefused(_NAME, problem, "Make one there: git init")
    path = export.target.relative_to(root).as_posix()
    return _Project(path, installation_of(root))


def _python_version(target: Path) -> str:
    """Choose the Python that the notebook was written with, else the one of this process."""
    if target.suffix == ".ipynb":
        from mlops_nb.notebook import read_notebook

        said = read_notebook(target).content["metadata"].get("language_info")
        version = said.get("version", "") if isinstance(said, dict) else ""
        found = re.match(r"3\.\d+", str(version))
        if found:
            return found[0]
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _environment(export: Export, project: _Project) -> Iterator[str]:
    """Give the variables of the step, each on a line."""
    yield "          # A secret of the repository; without it, runs are in the artifact alone."
    yield "          MLOPS_NB_STORE: ${{ secrets.MLOPS_NB_STORE }}"
    yield f"          NOTEBOOK: {quoted(project.path)}"
    for place, (name, value) in enumerate(export.params.items(), 1):
        yield f"          PARAMETER_{place}: {quoted(f'{name}={value_text(value)}')}"


def _run(export: Export, project: _Project) -> list[str]:
    words = [*project.installation.runner, "mlops-nb run --report junit --report-to report.xml"]
    words += [f'-p "$PARAMETER_{place}"' for place in range(1, len(export.params) + 1)]
    return [" ".join([*words, '-- "$NOTEBOOK"'])]


def _indented(lines: tuple[str, ...] | list[str]) -> str:
    return "\n".join(f"          {line}" for line in lines)


# --- time ---------------------------------------------------------------------------------------


def _schedule(export: Export) -> str:
    if export.cron is None:
        return ""
    minutes = offsets(export.zone)[0][1]
    lines = utc_fields(_plain(export.cron), minutes, _NAME)
    said = "".join(f'    - cron: "{line}"\n' for line in lines)
    return f"  schedule:\n    # {export.cron.text} ({export.zone})\n{said}"


def _plain(cron: Cron) -> Cron:
    if cron.has_seconds:
        raise ExportRefused(_NAME, "GitHub knows no seconds", "Give five fields.")
    if cron.has_special_days:
        problem = f'"{cron.text}" has L or #, which GitHub does not know'
        raise ExportRefused(_NAME, problem, "Export to systemd, or run mlops-nb scheduler.")
    return cron


def _notes(export: Export, project: _Project) -> Iterator[str]:
    yield from project.installation.notes
    if export.has_server:
        yield (
            "Runs go to a server: keep its address as the secret MLOPS_NB_STORE of the repository."
        )
    if export.cron is None:
        return
    yield "GitHub starts schedules in UTC, some minutes late, and only from the default branch."
    yield from _clock_notes(export)
    if len(_plain_minutes(export.cron)) > 60 // _SHORTEST_MINUTES:
        yield f"GitHub starts a workflow at most every {_SHORTEST_MINUTES} minutes."
    if export.missed != "skip":
        yield "GitHub does not make up for times that it left out."


def _clock_notes(export: Export) -> Iterator[str]:
    """Say what becomes of the hour when clocks are changed."""
    (_, now), *later = offsets(export.zone)
    for at, minutes in later[:1]:
        by = minutes - now
        shift = f"{abs(by) // 60} h" if not by % 60 else f"{abs(by)} min"
        word = "later" if by > 0 else "earlier"
        yield (
            f"{export.zone} has daylight saving time: from {at:%Y-%m-%d} on, until clocks are set "
            f"back, this runs {shift} {word} by its clock. Export again then, or use UTC."
        )


def _plain_minutes(cron: Cron) -> set[int]:
    from mlops_nb.exporters.calendars import numbers_of

    return set(numbers_of(cron).minutes)
