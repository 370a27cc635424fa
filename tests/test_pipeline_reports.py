"""Reports of a run for CI: JUnit and Markdown."""

import re
from xml.etree import ElementTree as ET

import pytest

from mlops_nb.pipeline.reports import junit_report, markdown_report

ERROR = {
    "type": "ValueError",
    "message": "could not convert <b> & 'x'",
    "cell": 7,
    "line": 3,
    "lines": ["  2 x = 1", "→ 3 fit(x)"],
    "traceback": "Traceback …\n\x1b[31mValueError\x1b[0m: <b> ```",
}
OUTCOME = {
    "id": "9ab1c0ffee123456",
    "status": "failed",
    "pipeline": "churn",
    "started_at": "2026-11-21T10:00:00.5+01:00",
    "duration_s": 74.8,
    "saved_s": 3.0,
    "params": {"C": "a|b\x00"},
    "steps": [
        {"name": "load", "step_state": "cached", "cached": True, "duration_s": 0.0,
         "reasons": ["same inputs"]},
        {"name": "clean", "step_state": "done", "duration_s": 2.1, "metrics": {"auc": 0.91}},
        {"name": "train", "step_state": "failed", "duration_s": 12.25, "attempt": 2,
         "error": ERROR, "run": "55c0000011112222", "notebook": "sha256:ab"},
        {"name": "plots", "step_state": "skipped", "error": {"message": "params.full is false"}},
        {"name": "results", "step_state": "upstream_failed", "reasons": ["train failed"]},
    ],
    "outputs": {},
    "warnings": ["clean | load `x`"],
}  # fmt: skip


def suite_of(document):
    root = ET.fromstring(junit_report(document))  # noqa: S314 - our own text
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def test_a_report_has_what_the_strict_schema_of_junit_asks_for_in_its_order():
    suite = suite_of(OUTCOME)
    assert [part.tag for part in suite] == [
        "properties", *["testcase"] * 5, "system-out", "system-err",
    ]  # fmt: skip
    assert set(suite.attrib) == {
        "name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors",
        "skipped", "time",
    }  # fmt: skip
    for case in suite.iter("testcase"):
        assert set(case.attrib) == {"name", "classname", "time"}
        assert re.fullmatch(r"\d+\.\d{3}", case.get("time"))
        assert len(case) <= 1
    for failure in suite.iter("failure"):
        assert set(failure.attrib) == {"message", "type"}


def test_counts_are_those_of_the_states():
    suite = suite_of(OUTCOME)
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {
        "tests": "5", "failures": "1", "errors": "0", "skipped": "2", "time": "74.800",
    }  # fmt: skip
    assert suite.get("timestamp") == "2026-11-21T09:00:00"


def test_a_failure_says_cell_line_error_and_what_to_do():
    (failure,) = suite_of(OUTCOME).iter("failure")
    assert failure.get("message") == "cell 7, line 3: ValueError: could not convert <b> & 'x'"
    assert failure.get("type") == "ValueError"
    for part in ("→ 3 fit(x)", "Traceback …\nValueError: <b>", "mlops-nb show 55c00000 --errors"):
        assert part in failure.text
    assert "\x1b" not in failure.text


def test_steps_that_did_not_run_say_why():
    found = {case.get("name"): case for case in suite_of(OUTCOME).iter("testcase")}
    assert found["plots"].find("skipped").get("message") == "params.full is false"
    assert found["results"].find("skipped").get("message") == "train failed"
    assert len(found["load"]) == 0


def test_the_log_names_every_state():
    said = suite_of(OUTCOME).find("system-out").text
    assert said.splitlines()[0] == "load: cached (same inputs)"
    assert "results: not run (train failed)" in said


@pytest.mark.parametrize("text", ["\x00", "\ud800", "\ufffe", "\x1b[31mred", "]]>", "&#0;", "\r"])
def test_any_text_gives_xml_that_can_be_read(text):
    steps = [
        {"name": text or "x", "step_state": "failed", "error": {"type": text, "message": text}}
    ]
    document = {"id": text, "pipeline": f"p{text}", "params": {text: text}, "steps": steps}
    report = junit_report(document)
    assert ET.fromstring(report.encode("utf-8")).tag == "testsuites"  # noqa: S314


@pytest.mark.parametrize("seconds", [None, float("nan"), float("inf"), 10**30])
def test_a_time_that_is_none_is_zero(seconds):
    suite = suite_of({"steps": [{"name": "a", "duration_s": seconds, "step_state": "done"}]})
    assert suite.find("testcase").get("time") == "0.000"


@pytest.mark.parametrize("document", [{}, {"steps": None, "warnings": None, "params": None}])
def test_a_run_without_steps_has_a_report(document):
    assert suite_of(document).get("tests") == "0"
    assert markdown_report(document).startswith("## ")


def test_markdown_says_all_states_and_what_failed():
    report = markdown_report(OUTCOME)
    assert report.splitlines()[0] == "## ✕ churn: failed"
    assert "5 steps · 1 cached · 1 failed · 1 skipped · 1 not run · 1 min 15 s" in report
    rows = [line for line in report.splitlines() if line.startswith("| ")]
    assert rows[1] == "| ✓ | load | cached | 0.0 s | same inputs |"
    assert rows[2] == "| ✓ | clean | done | 2.1 s | auc 0.91 |"
    assert rows[3].startswith("| ✕ | train | failed, try 2 | 12.2 s | cell 7, line 3: ValueError")
    assert rows[5] == "| – | results | not run | – | train failed |"
    assert "### ✕ train" in report
    assert "```python\n  2 x = 1\n→ 3 fit(x)\n```" in report


def test_nothing_in_a_text_is_markup_of_the_report():
    report = markdown_report(OUTCOME)
    assert r"could not convert \<b\> \& 'x'" in report
    assert r"> clean \| load \`x\`" in report


def test_a_fence_is_longer_than_any_in_the_text():
    report = markdown_report(OUTCOME)
    assert "````text\nTraceback …\nValueError: <b> ```\n````" in report
