"""What is captured, by whom, and how the store and the spool are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb import __version__
from mlops_nb import session as sessions
from mlops_nb.capture.guard import faults
from mlops_nb.config import load_settings
from mlops_nb.display.doctor import DiagnosisView, Finding
from mlops_nb.errors import MlopsNbError

if TYPE_CHECKING:
    from mlops_nb.model import Json


def examine(location: str | None = None) -> DiagnosisView:
    """Look at tracking, notebook, store, spool and settings; changes nothing.

    Parameters
    ----------
    location
        The store's folder; that of the session, else found by walking up from here.

    Examples
    --------
    >>> examine("/nowhere").is_well
    False
    """
    findings = [*_tracking(), *_settings()]
    facts: dict[str, Json] = {"version": __version__, "python": sys.version.split()[0]}
    store = _store(location)
    findings.extend(store[0])
    facts["store"] = store[1]
    facts["faults"] = [f"{fault.what}: {fault.error}" for fault in faults]
    if faults:
        text = f"{len(faults)} of our own, the last: {faults[-1].what}: {faults[-1].error}"
        findings.append(
            Finding(is_well=False, subject="faults", text=text, remedy="please report")
        )
    facts["findings"] = [
        {"well": f.is_well, "subject": f.subject, "text": f.text, "remedy": f.remedy}
        for f in findings
    ]
    return DiagnosisView(tuple(findings), facts)


def _tracking() -> list[Finding]:
    session = sessions.active()
    if session is None:
        text = "off in this process"
        return [Finding(is_well=True, subject="tracking", text=text, remedy="%mlops_track")]
    tracker = session.tracker
    how = "batch" if tracker.batch else "automatic" if tracker.is_automatic else "by hand"
    count = len(session.executions)
    notebook = str(session.notebook or "unnamed")
    found = [
        Finding(is_well=True, subject="tracking", text=f"on, {how}, {count} executions captured"),
        Finding(
            is_well=True, subject="notebook", text=f"{notebook} ({session.notebook_assurance})"
        ),
        Finding(is_well=True, subject="spool", text=str(session.spool.folder)),
        Finding(is_well=True, subject="files", text=f"seen by {session.surroundings.coverage}"),
    ]
    found += [Finding(is_well=False, subject="warning", text=text) for text in session.warnings]
    return found


def _settings() -> list[Finding]:
    try:
        settings = load_settings(Path.cwd())
    except MlopsNbError as error:
        return [Finding(is_well=False, subject="settings", text=str(error))]
    named = ", ".join(f"{name} from {where}" for name, where in sorted(settings.sources.items()))
    text = f"{named or 'all defaults'}; your configuration: {settings.config_file}"
    findings = [Finding(is_well=True, subject="settings", text=text)]
    if not settings.data_statistics:
        where = settings.source_of("data_statistics")
        text = f"no statistics of data are kept, by data_statistics from {where}"
        findings.append(Finding(is_well=True, subject="privacy", text=text))
    return findings


def _store(location: str | None) -> tuple[list[Finding], Json]:
    from mlops_nb import api

    try:
        with api.open_store(location) as store:
            info = store.info()
    except MlopsNbError as error:
        return [Finding(is_well=False, subject="store", text=str(error))], None
    size = info["size_bytes"] / 1e6
    runs = info["runs"]
    text = f"{info['location']}, {runs} runs, {size:.1f} MB, schema {info['schema']}"
    findings = [Finding(is_well=True, subject="store", text=text)]
    if info.get("journal_mode") not in {None, "wal"}:
        text = f"journal mode {info['journal_mode']}: slower, right for a network file system"
        findings.append(Finding(is_well=True, subject="store", text=text))
    lost = info.get("lost_runs") or 0
    if lost:
        text = f"{lost} runs whose process died before they ended"
        remedy = "mlops-nb runs \"status = 'lost'\""
        findings.append(Finding(is_well=True, subject="lost runs", text=text, remedy=remedy))
    return findings, info
