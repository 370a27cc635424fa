from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser

import mistune
import nbformat
import pytest
from bleach.css_sanitizer import CSSSanitizer
from bleach.sanitizer import Cleaner
from nbformat.v4 import new_code_cell, new_notebook, new_output

from mlops_nb.compare import compare_runs
from mlops_nb.display import (
    CARD_MIME,
    COMPARE_MIME,
    RUN_MIME,
    RUNS_MIME,
    Card,
    CardView,
    ComparisonView,
    RunsView,
    RunView,
    formats,
    html,
    sparkline,
    view_comparison,
    view_run,
)
from mlops_nb.display.formats import width
from mlops_nb.model import (
    Artifact,
    CellError,
    DataUse,
    DataUsed,
    Environment,
    EnvironmentSeen,
    Execution,
    ExecutionEnded,
    ExecutionStarted,
    Metric,
    MetricLogged,
    ModelFit,
    Output,
    OutputSeen,
    Param,
    ParamLogged,
    Run,
    RunChanged,
    RunExecuted,
    RunStarted,
    TagSet,
)
from mlops_nb.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
LATER = NOON + timedelta(minutes=3)
LOSS = [0.9 - 0.1 * i for i in range(7)]
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def data(age="1"):
    columns = {"age": age, "sex": "2"}
    return (
        DataUse("X", "train", "pandas.DataFrame", f"nbfp1:{age}", "exact", 4000, 2, "", columns),
    )


def make_run(run_id, attempt, metrics, params, **given):
    return Run(
        id=run_id,
        name="churn",
        status=given.pop("status", "finished"),
        kind="interactive",
        started_at=NOON - timedelta(minutes=12 - attempt),
        attempt=attempt,
        group="g",
        metrics={
            key: value if isinstance(value, Metric) else Metric(value)
            for key, value in metrics.items()
        },
        params={key: Param(value) for key, value in params.items()},
        **given,
    )


def fit(seconds):
    return (ModelFit("f", "model", "sklearn.svm.SVC", seconds),)


LINEAR = {"label": "linear", "reasons": []}
DISORDER = {
    "label": "out-of-order",
    "reasons": [{"kind": "out-of-order", "text": "cell 7 ran before cell 3"}],
}
BEST = make_run(
    "7f3a9c01",
    12,
    {"auc": Metric(0.9123, binding="object"), "accuracy": 0.8712},
    {"estimator": "LogisticRegression", "C": 1.0},
    data=data(),
    environment="sha256:e",
    code_digests=("1", "2"),
    verdict=LINEAR,
    models=fit(0.41),
)
RUNS = (
    BEST,
    make_run(
        "55c01234",
        11,
        {"auc": 0.9081, "accuracy": 0.8741},
        {"estimator": "RandomForest", "max_depth": 8},
        data=data(),
        environment="sha256:e",
        code_digests=("1", "3"),
        verdict=LINEAR,
        models=fit(3.14),
    ),
    make_run(
        "e21b5678",
        9,
        {"auc": 0.8612, "accuracy": Metric(0.8221, binding="recent")},
        {"estimator": "LogisticRegression", "C": 0.01},
        data=data(age="9"),
        environment="sha256:e",
        code_digests=("1", "2"),
        verdict=DISORDER,
        models=fit(0.3),
    ),
    make_run("0d4f9999", 8, {}, {"estimator": "SVC", "C": 10.0}, status="failed"),
)

EXECUTIONS = (
    Execution(
        "x1", "s", 1, "ok", "import pandas as pd", "1", NOON, 0.9, 0.8,
        execution_count=1, cell_index=0, binds=("pd",),
    ),
    Execution(
        "x2", "s", 2, "error", "model.fit(X)\nplot()", "2", NOON, 0.42, 0.4,
        execution_count=7, cell_index=4, reads=("X", "pd"), binds=("model",),
        error=CellError("ValueError", "bad value", "Traceback …", 2),
        outputs=(
            Output("x2", 0, "stream", "stdout", "text/plain", 7, "sha256:text"),
            Output("x2", 1, "display", "", "image/png", len(PIXEL), "sha256:png"),
            Output("x2", 1, "display", "", "text/plain", 8, "sha256:repr"),
        ),
    ),
)  # fmt: skip
RUN_VIEW = RunView(
    replace(
        BEST,
        metrics={**BEST.metrics, "loss": Metric(0.3, 6, 7, 0.3, 0.9)},
        params={**BEST.params, "tol": Param(0.0001, is_default=True)},
        verdict=DISORDER,
        notebook="churn.ipynb",
        git={"commit": "abc1234def", "branch": "main", "dirty": True},
        setup=("x1",),
        body=("x2",),
        artifacts=(Artifact("model.pkl", "model", "application/x", "sha256:abcdef", 120_000),),
        busy_s=1.32,
    ),
    EXECUTIONS,
    series={"loss": LOSS},
    environment=Environment(
        "sha256:e",
        {"python": {"version": "3.11.2"}, "os": "Debian", "packages": {"numpy": "2.4"}},
    ),
    before=RUNS[1],
    data_seen={"nbfp1:1": "55c0"},
    contents={"sha256:text": b"epoch 1\n", "sha256:png": PIXEL},
    now=LATER,
)
CARD = Card(
    "7f3a9c01", "churn", "finished", 12, "auc", 0.9123, 0.0042,
    duration_s=3.14, verdict="linear", data="same", code="changed", environment="same",
)  # fmt: skip


def compared(**given):
    return ComparisonView(compare_runs(RUNS, **given))


def all_views():
    return [compared(), RunsView(RUNS, now=LATER), RUN_VIEW, CardView(CARD)]


def lines(text):
    return [line.rstrip() for line in text.splitlines()]


# --- what a person reads ----------------------------------------------------------------------


def test_the_comparison_reads_as_designed():
    assert lines(compared().to_text(columns=140)) == lines("""\
churn · 4 runs · best auc first
   run   attempt  estimator               C  max_depth  auc ↑           accuracy ↑         fit  data   code    env   verdict
★  7f3a       12  LogisticRegression   1.0           –  0.912           0.871            0.4 s  base   base    base  linear
   55c0       11  RandomForest         –             8  0.908 ▼ −0.004  0.874  ▲ +0.003  3.1 s  same   1 cell  same  linear
   e21b        9  LogisticRegression   0.01          –  0.861 ▼ −0.051  0.822? ▼ −0.049  0.3 s  age ≠  same    same  out-of-order
✕  0d4f        8  SVC                 10.0           –  –               –                    –  –      –       –     failed

? which model the value belongs to was guessed
best auc: 7f3a.   Look closer:  %mlops_show 7f3a""")


def test_the_card_of_a_finished_run():
    assert CardView(CARD).text == (
        "● run 7f3a   churn · attempt 12   auc 0.912 ▲ +0.004   3.1 s   linear"
        "   data same · code changed · env same"
    )


def test_the_card_of_a_run_that_goes_on():
    card = Card(
        "7f3a9c01", "net", "running", metric="loss", value=0.3, curve=tuple(LOSS),
        step=14, steps=50, step_name="epoch", remaining_s=72,
    )  # fmt: skip
    assert CardView(card).text == (
        "◐ run 7f3a   net   epoch 14/50   loss 0.300 █▇▆▅▃▂▁ (falling)   1 min 12 s left"
    )


def test_the_card_of_a_failed_run_says_where_and_what_next():
    card = Card(
        "7f3a9c01", "churn", "failed", error="ValueError in cell 5 line 3: could not convert"
    )
    assert CardView(card).text == (
        "✕ run 7f3a   churn   ValueError in cell 5 line 3: could not convert"
        "   see: %mlops_show 7f3a --errors"
    )


def test_an_alert_is_one_clause_at_the_end_of_the_card():
    card = replace(CARD, alert="214 of 500 test rows are also in the training data")
    assert CardView(card).text.endswith("⚠ 214 of 500 test rows are also in the training data")


def test_what_a_card_does_not_know_is_a_dash_and_what_does_not_apply_is_left_out():
    assert CardView(replace(CARD, data=None, environment="")).text.endswith(
        "data – · code changed"
    )


def test_a_falling_loss_is_good_and_says_so_beside_its_colour():
    card = CardView(Card("7f3a9c01", "net", "finished", metric="log_loss", value=0.2, delta=-0.1))
    assert "▼ −0.100" in card.text
    assert "better than the attempt before by 0.1" in card.html
    assert "worse" not in card.html


def test_the_markdown_is_a_table_that_is_also_aligned_unrendered():
    table = [line for line in compared().markdown.splitlines() if line.startswith("|")]
    assert len({width(line) for line in table}) == 1
    assert re.sub(" +", " ", table[2]) == (
        "| **★** | **7f3a** | 12 | LogisticRegression | 1.0 | – | **0.912** | 0.871 | 0.4 s "
        "| base | base | base | linear |"
    )


def test_the_list_of_runs_reads_as_designed():
    assert lines(RunsView(RUNS, now=LATER).to_text(columns=120)) == lines("""\
4 runs · newest first   as of 2026-11-21 12:03:00 UTC
   run   name   attempt      began  estimator           auc ↑  accuracy ↑  time  verdict
●  7f3a  churn       12  3 min ago  LogisticRegression  0.912       0.871     –  linear
●  55c0  churn       11  4 min ago  RandomForest        0.908       0.874     –  linear
●  e21b  churn        9  6 min ago  LogisticRegression  0.861       0.822     –  out-of-order
✕  0d4f  churn        8  7 min ago  SVC                 –           –         –  failed

Side by side:  %mlops_compare   One of them:  %mlops_show 7f3a""")


def test_children_are_listed_below_their_parent_unless_another_order_was_asked_for():
    parent = make_run("aaaa", 1, {}, {})
    child = replace(make_run("bbbb", 2, {}, {}), parent="aaaa", child=1)
    other = make_run("cccc", 3, {}, {})
    newest_first = RunsView((other, child, parent), now=LATER)
    labels = re.findall("(?:└ )?(?:aaaa|bbbb|cccc)", newest_first.text.rpartition("\n\n")[0])
    assert labels == ["cccc", "aaaa", "└ bbbb"]
    by_metric = RunsView((child, other, parent), now=LATER)
    assert "└" not in by_metric.text
    assert "newest first" not in by_metric.text


def test_a_run_reads_answer_first():
    text = RUN_VIEW.to_text(columns=100)
    assert lines(text)[:4] == [
        "● run 7f3a   churn · attempt 12 · finished · out-of-order",
        "began 3 min ago (2026-11-21 12:00:00 UTC) · took 1.3 s · in churn.ipynb · commit abc1234d on main,",
        "  with uncommitted changes",
        "  out-of-order: cell 7 ran before cell 3",
    ]
    titles = [line.split("  ")[0] for line in lines(text) if re.match(r"[a-z]+(  |$)", line)]
    assert titles == [
        "errors", "metrics", "parameters", "data", "figures", "cells", "time", "environment",
        "lineage", "files",
    ]  # fmt: skip
    assert lines(text)[-1] == "compare:  %mlops_compare 7f3a 55c0"


@pytest.mark.parametrize(
    "said",
    [
        "auc ↑       0.912 ▲ +0.004",
        "C          1.0",
        "estimator  LogisticRegression (was RandomForest)",
        "1 at their defaults  tol",
        "X     train  4,000 × 2  pandas.DataFrame  nbfp1:1  same as in 55c0",
        "[7], line 2: ValueError: bad value",
        "loss ↓      0.300           █▇▆▅▃▂▁       7   0.300    0.900",
        "model.fit(X)",
        "epoch 1",
        "[7] model ← X, pd",
        "model.pkl  model  120.0 kB  sha256:abcdef",
        "environment  Python 3.11.2, 1 package   see: %mlops_show 7f3a --env",
    ],
)
def test_a_run_shows(said):
    assert said in RUN_VIEW.to_text(columns=110)


@pytest.mark.parametrize(
    ("section", "shown", "not_shown"),
    [
        ("data", "4,000 × 2", "numpy"),
        ("env", "numpy", "4,000 × 2"),
        ("resources", "slowest first", "numpy"),
        ("errors", "ValueError: bad value", "numpy"),
    ],
)
def test_a_run_can_be_asked_one_thing(section, shown, not_shown):
    view = replace(RUN_VIEW, sections=(section,))
    assert shown in view.html
    assert not_shown not in view.html


def test_a_run_without_errors_says_so_when_asked():
    view = RunView(BEST, sections=("errors",), now=LATER)
    assert "No cell of this run raised." in view.text


def test_figures_stand_in_the_document_as_data():
    assert f'src="data:image/png;base64,{base64.b64encode(PIXEL).decode()}"' in RUN_VIEW.html


def test_outputs_that_are_gone_from_the_store_are_named():
    view = replace(RUN_VIEW, contents={})
    assert "1 more figure in the store, not shown here" in view.text
    assert "stdout, 7 B" in view.text


def test_no_runs_says_what_to_do_next():
    nothing = ComparisonView(compare_runs([]))
    assert nothing.text == (
        "No runs yet. Switch tracking on with %mlops_track, then run a cell that fits a model."
    )
    assert (
        RunsView((), place="shell").text
        == "No runs yet. Run a notebook: mlops-nb run NOTEBOOK.ipynb"
    )
    assert "No runs match params.C &gt; 9." in RunsView((), query="params.C > 9").markdown


def test_the_next_action_is_one_that_works_where_the_reader_is():
    view = ComparisonView(compare_runs(RUNS), place="shell")
    assert "mlops-nb show 7f3a" in view.text
    assert "%mlops" not in view.text + view.html + view.markdown


def test_means_over_seeds_show_their_deviation_and_number():
    runs = [
        make_run(f"aa0{seed}", seed, {"auc": auc}, {"random_state": seed})
        for seed, auc in enumerate([0.909, 0.912, 0.915])
    ]
    assert "0.912 ± 0.003 (n 3)" in ComparisonView(compare_runs(runs, by_group=True)).text


def test_curves_are_drawn_in_text_and_as_pictures():
    run = make_run("aa01", 1, {"auc": 0.9, "loss": Metric(0.3, 6, 7)}, {})
    view = ComparisonView(compare_runs([run], series={("aa01", "loss"): LOSS}))
    assert "█▇▆▅▃▂▁ 0.300" in view.text
    picture = re.search(r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="█▇▆▅▃▂▁"', view.html)
    assert "<polyline" in base64.b64decode(picture[1]).decode()


# --- room -------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [30, 60, 80, 100, 120, 200])
def test_no_line_of_a_table_is_wider_than_the_room(columns):
    for view in (compared(), RunsView(RUNS, now=LATER)):
        assert max(width(line) for line in view.to_text(columns=columns).splitlines()) <= columns


def test_what_has_no_room_is_named_and_the_least_important_goes_first():
    text = compared().to_text(columns=60)
    assert "hidden at 60 columns: attempt, " in text
    header = next(line for line in text.splitlines() if "run" in line and "auc ↑" in line)
    assert "estimator" in header
    assert "env" not in header


def test_a_thousand_runs_are_bounded_and_say_how_many_more():
    runs = [
        make_run(
            f"{i:04x}beef",
            i,
            {"auc": i / 1000, "loss": Metric(0.1, 9, 10)},
            {"C": i, "x": "y" * (i % 40)},
        )
        for i in range(1000)
    ]
    series = {(run.id, "loss"): LOSS for run in runs}
    view = ComparisonView(compare_runs(runs, series=series))
    assert view.html.count("<tr>") == 201
    assert "800 more runs" in view.text
    assert "800 more runs" in view.html
    assert len(view.html) < 450_000
    assert len(view.document()["rows"]) == 200
    listing = RunsView(tuple(runs), now=LATER)
    assert listing.html.count("<tr>") == 201
    assert "1,000 runs, 200 shown" in listing.text


def test_of_many_children_the_best_are_drawn():
    parent = make_run("aaaa", 1, {}, {})
    children = [
        replace(make_run(f"c{i:03x}", 0, {"auc": i / 100}, {"C": i}), parent="aaaa", child=i)
        for i in range(50)
    ]
    text = ComparisonView(compare_runs([parent, *children])).text
    assert "aaaa (50)" in text
    assert "└ c031" in text
    assert "└ c001" not in text
    assert "40 more runs" in text


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.91234, "0.912"), (12.345, "12.3"), (1234.5, "1234"), (0.5, "0.500"), (1.0, "1.00"),
        (0.9996, "0.9996"), (0.99999, "0.99999"), (99.96, "100"), (0.09996, "0.100"),
        (-0.004, "−0.00400"), (1.2e-7, "1.20e-07"), (2.5e9, "2,500,000,000"), (0.0, "0"),
        (float("nan"), "–"), (float("inf"), "∞"), (None, "–"), (3, "3"), (2_000_000, "2,000,000"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits_and_never_claim_a_round_one(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("delta", "value", "text"),
    [
        (-0.0042, 0.908, "−0.004"), (0.00002, 0.912, "+0.00002"), (0.0, 0.9, "="),
        (1.04, 12.3, "+1.0"), (-1e-9, 0.5, "−1e-09"),
    ],
)  # fmt: skip
def test_differences_have_a_sign_and_the_decimals_of_their_value(delta, value, text):
    assert formats.difference(delta, value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.14, "3.1 s"), (59.96, "1 min 0 s"), (72, "1 min 12 s"), (0.0004, "0.4 ms"), (None, "–")],
)
def test_durations(seconds, text):
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "now"), (45, "45 s ago"), (130, "2 min ago"), (7300, "2 h ago"), (1e7, "2026-07-28")],
)
def test_times_ago(seconds, text):
    assert formats.ago(NOON - timedelta(seconds=seconds), NOON) == text


def test_decimal_points_stand_below_each_other():
    runs = [
        make_run(f"aa0{i}", i, {"mse": value}, {}) for i, value in enumerate([0.5, 12.25, 1234.0])
    ]
    rows = ComparisonView(compare_runs(runs)).to_text(columns=80).splitlines()[2:5]
    points = {re.search(r"(\d+)(\.|\s)", row[16:]).start(2) for row in rows}
    assert len(points) == 1


def test_a_curve_with_gaps_and_infinities_is_still_drawn():
    assert sparkline.as_text([1.0, float("nan"), 3.0]) == "▁ █"
    assert sparkline.as_text([float("inf")]) == ""
    assert sparkline.as_svg([1e308, -1e308, float("nan"), 0.0]).count("<polyline") == 2


# --- hostile text -----------------------------------------------------------------------------

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "entity": "&lt;img src=x onerror=alert(1)&gt;",
    "markdown": "a|b `c` *d* [e](javascript:f) ![g](h)\n# i\n| j |\n```",
    "right to left": "שלום \u202eevil",
    "emoji": "👩‍🔬🎉 データ",
    "long": "x" * 10_000,
    "terminal": "\x1b[31mred\x1b[0m\x1b]0;title\x07\x00\x9b2J\r\nnext",
    "surrogate": "half \ud800 a pair",
    "mention": "@everyone http://example.com",
}
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def hostile_views(text):
    runs = [
        replace(
            run,
            name=text,
            experiment=text,
            notebook=text,
            tags={text: text},
            params={text: Param(f"{text}{i}"), "estimator": Param(text)},
            metrics={text: Metric(0.5 + i / 10), "auc": Metric(0.9)},
            data=(DataUse(text, text, text, f"nbfp1:{i}", "exact", 1, 1, "", {text: str(i)}),),
            verdict={"label": text, "reasons": [{"kind": text, "text": text}]},
            error={"type": text, "message": text},
            git={"commit": text, "branch": text},
            artifacts=(Artifact(text, text, text, text, 1),),
        )
        for i, run in enumerate(RUNS)
    ]
    executions = tuple(
        replace(
            each,
            source=text,
            binds=(text,),
            reads=(text + "2",),
            error=CellError(text, text, text, 1),
        )
        for each in EXECUTIONS
    )
    card = replace(CARD, name=text, metric=text, verdict=text, data=text, alert=text)
    return [
        ComparisonView(compare_runs(runs)),
        ComparisonView(compare_runs(runs, all_params=True), is_complete=True),
        RunsView(tuple(runs), query=text, now=LATER),
        replace(
            RUN_VIEW,
            run=runs[0],
            executions=executions,
            environment=Environment("e", {"os": text, "packages": {text: text}}),
            contents={"sha256:text": text.encode("utf-8", "replace"), "sha256:png": PIXEL},
        ),
        CardView(card),
        CardView(replace(card, status="failed", error=text)),
    ]


class Tags(HTMLParser):
    """The tags of a document with their attributes, and its visible text."""

    def __init__(self, document):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


OUR_TAGS = {
    *("div", "table", "thead", "tbody", "tr", "th", "td", "strong", "small", "span", "code"),
    *("pre", "img", "details", "summary", "bdi", "wbr"),
}
OUR_ATTRIBUTES = {
    "align",
    "style",
    "title",
    "scope",
    "colspan",
    "src",
    "alt",
    "width",
    "height",
    "open",
}


@hostile
def test_text_of_users_never_becomes_html(text):
    for view in hostile_views(text):
        for tag, attributes in Tags(view.html).tags:
            assert tag in OUR_TAGS
            assert set(attributes) <= OUR_ATTRIBUTES
            assert "url(" not in attributes.get("style", "")
            assert attributes.get("src", "data:image/").startswith("data:image/")


@hostile
def test_text_of_users_cannot_steer_a_terminal(text):
    for view in hostile_views(text):
        said = view.to_text(columns=120)
        said.encode("utf-8")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said)
        assert "\x1b" not in view.markdown + view.html


@hostile
def test_text_of_users_keeps_the_width_of_a_table(text):
    view = hostile_views(text)[0]
    assert max(width(line) for line in view.to_text(columns=120).splitlines()) <= 120


@hostile
def test_text_of_users_cannot_break_a_markdown_table(text):
    for view in hostile_views(text)[:3]:
        table = [line for line in view.markdown.splitlines() if line.startswith("|")]
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(bars) == 1
        assert len(table) == len(RUNS) + 2
        assert "<script" not in view.markdown
        assert "@everyone" not in view.markdown


@hostile
def test_text_of_users_never_becomes_markup_in_rendered_markdown(text):
    render = mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough"])
    ours = {"table", "thead", "tbody", "tr", "th", "td", "p", "strong", "code", "pre"}
    for view in hostile_views(text):
        tags = {tag for tag, _ in Tags(render(view.markdown)).tags}
        assert tags <= ours | {"details", "summary", "b", "sub", "ul", "li"}


@hostile
def test_documents_of_hostile_text_are_strict_json(text):
    for view in hostile_views(text):
        written = json.dumps(view.document(), allow_nan=False).encode("utf-8")
        assert json.loads(written) == view.document()


def test_long_names_do_not_fill_the_document():
    for view in hostile_views("x" * 10_000):
        assert len(view.text) < 40_000
        assert "xxxx…xxxx" in view.text or isinstance(view, RunView)


# --- notebooks that are not trusted -----------------------------------------------------------

# What JupyterLab 4.6's sanitizer keeps, of what matters here.
LAB_TAGS = {
    *("b", "bdi", "br", "caption", "code", "col", "colgroup", "details", "div", "em", "h1", "h2"),
    *("h3", "hr", "i", "img", "li", "meter", "ol", "p", "pre", "progress", "s", "small", "span"),
    *("strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "time"),
    *("tr", "u", "ul", "wbr"),
}
LAB_ATTRIBUTES = {
    "*": ["class", "dir", "hidden", "lang", "style", "title"],
    "img": ["align", "alt", "border", "height", "src", "width"],
    "td": ["align", "colspan", "rowspan", "scope", "valign", "width"],
    "th": ["align", "colspan", "rowspan", "scope", "valign", "width"],
    "details": ["open"],
    "table": ["align", "border", "cellpadding", "cellspacing", "summary", "width"],
}
LAB_STYLES = [
    *("background", "background-color", "border", "border-bottom", "border-collapse"),
    *("border-left", "color", "font-size", "font-weight", "line-height", "margin"),
    *("margin-left", "max-width", "overflow-x", "padding", "text-align", "vertical-align"),
    *("white-space", "width"),
]
# Dropped there without harm: figures are as wide as each other in most fonts anyway.
NOT_KEPT = {"font-variant-numeric"}


def styles(attributes):
    pairs = (rule.partition(":") for rule in attributes.get("style", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def test_the_html_survives_the_sanitizer_of_a_notebook_that_is_not_trusted():
    cleaner = Cleaner(
        tags=LAB_TAGS,
        attributes=LAB_ATTRIBUTES,
        protocols=["data"],
        css_sanitizer=CSSSanitizer(allowed_css_properties=LAB_STYLES),
    )
    for view in all_views():
        before, after = Tags(view.html), Tags(cleaner.clean(view.html))
        assert after.text == before.text
        assert [tag for tag, _ in after.tags] == [tag for tag, _ in before.tags]
        for (_, kept), (_, given) in zip(after.tags, before.tags, strict=True):
            assert set(kept) == set(given)
            assert set(styles(kept)) == set(styles(given)) - NOT_KEPT


def test_the_html_needs_nothing_that_the_sanitizer_takes():
    for view in all_views():
        for forbidden in ("<style", "<script", "<svg", "var(--", " data-", " id=", "http"):
            assert forbidden not in view.html


def test_without_any_style_the_structure_still_says_everything():
    tags = Tags(compared().html)
    heads = [attributes for tag, attributes in tags.tags if tag == "th"]
    assert heads
    assert all(attributes["scope"] == "col" for attributes in heads)
    assert "★" in tags.text
    assert "▼ −0.004" in tags.text
    assert "▲ +0.003" in tags.text
    assert "failed" in tags.text


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#111111"], ids=["light", "dark"])
@pytest.mark.parametrize("tone", html._TONES)
def test_every_colour_is_readable_on_light_and_on_dark(tone, page):
    color = re.search("#[0-9a-f]{6}", html._TONES[tone])[0]
    assert contrast(color, page) > 3.8


def test_a_page_stands_alone_and_follows_the_theme():
    page = compared().html_page()
    assert page.startswith("<!doctype html>")
    assert "prefers-color-scheme: dark" in page
    assert "default-src 'none'" in page
    assert "env" in page
    assert "<script" not in page


def test_every_view_gives_text_html_and_its_own_type():
    expected = [COMPARE_MIME, RUNS_MIME, RUN_MIME, CARD_MIME]
    for view, mime in zip(all_views(), expected, strict=True):
        assert set(view._repr_mimebundle_()) == {"text/plain", "text/html", mime}


def test_the_table_survives_a_saved_notebook(tmp_path):
    notebook = new_notebook()
    for view in all_views():
        output = new_output("display_data", data=view._repr_mimebundle_())
        notebook.cells.append(new_code_cell("%mlops_compare", outputs=[output]))
    nbformat.validate(notebook)
    path = tmp_path / "saved.ipynb"
    nbformat.write(notebook, path)
    saved = nbformat.read(path, as_version=4)
    bundle = saved.cells[0].outputs[0].data
    assert bundle["text/html"] == compared().html
    assert bundle["text/plain"] == compared().text
    assert bundle[COMPARE_MIME] == compared().document()
    assert [run["id"] for run in bundle[COMPARE_MIME]["runs"]] == [run.id for run in RUNS]


def test_a_comparison_leaves_out_what_only_verifies_another_run(tmp_path):
    with Store.open(tmp_path / ".mlops", create=True) as store:
        started = [RunStarted(id_ * 16, 10 + n, id_, "batch") for n, id_ in enumerate("ab")]
        child = RunStarted("c" * 16, 20, "c", "child", parent="b" * 16, child=1)
        store.apply([*started, child, TagSet("b" * 16, "replay_of", "a" * 16, 21)])
        shown = view_comparison(store).document()["runs"]
        named = view_comparison(store, ["b" * 16]).document()["runs"]
    assert [run["id"][0] for run in shown] == ["a"]
    assert {run["id"][0] for run in named} == {"b", "c"}


def test_a_view_can_be_printed_and_gives_its_frame():
    assert str(compared()) == compared().text
    assert list(compared().df.index) == ["7f3a", "55c0", "e21b", "0d4f"]


def test_colours_of_a_terminal_add_nothing_to_the_text():
    colored = compared().to_text(columns=140, color=True)
    assert "\x1b[31m" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == compared().to_text(columns=140)


# --- from a store -----------------------------------------------------------------------------


def at(second):
    return int((NOON + timedelta(seconds=second)).timestamp() * 1e9)


@pytest.fixture
def store(tmp_path):
    """A store with two attempts of one notebook, and a run of another one."""
    with Store.open(tmp_path / ".mlops", create=True) as opened:
        for i, notebook in enumerate(["ann's.ipynb", "ann's.ipynb", "other.ipynb"]):
            run, cell = f"{i}aaa{i:012x}", f"cell{i}"
            opened.apply(
                [
                    ExecutionStarted(cell, "s", i + 1, at(i), f"fit({i})", f"xxh3:{i}"),
                    RunStarted(
                        run, at(i), "churn", "interactive", group=notebook, notebook=notebook,
                        environment="sha256:e",
                    ),
                    EnvironmentSeen("sha256:e", {"packages": {"numpy": "2.4"}}),
                    RunExecuted(run, cell, "body"),
                    ParamLogged(run, "C", i, at(i)),
                    *(MetricLogged(run, "loss", v - i, None, at(i)) for v in LOSS),
                    DataUsed(
                        run, "X", "train", "pandas.DataFrame", "nbfp1:1", "exact", at(i), 9, 1
                    ),
                    OutputSeen(cell, 0, "stream", "stdout", "text/plain", b"epoch\n", 6),
                    ExecutionEnded(cell, at(i + 1), "ok", 0.5, 0.4),
                    RunChanged(run, at(i + 1), {"status": "finished", "ended_at_ns": at(i + 1)}),
                ]
            )  # fmt: skip
        yield opened


def test_the_comparison_of_a_notebook_has_its_runs_with_their_curves(store):
    view = view_comparison(store, notebook="ann's.ipynb")
    assert [row.label for row in view.comparison.rows] == ["1aaa", "0aaa"]
    assert "█▇▆▅▃▂▁" in view.text
    assert view.comparison.rows[1].environment.text == "same"


def test_runs_can_be_named_and_a_baseline_beside_them(store):
    view = view_comparison(store, ["1aaa"], baseline="2aaa")
    assert {row.label for row in view.comparison.rows} == {"1aaa", "2aaa"}
    assert view.comparison.baseline_label == "2aaa"


def test_a_bounded_comparison_says_how_many_runs_there_are(store):
    assert "3 runs, 2 shown" in view_comparison(store, limit=2).text


def test_a_run_of_a_store_is_shown_with_its_outputs_and_the_attempt_before(store):
    view = view_run(store, store.get_run("1aaa"))
    text = view.to_text(columns=120)
    assert "fit(1)" in text
    assert "epoch" in text
    assert "▲ ▼ against 0aaa, the attempt before" in text
    assert "same as in 0aaa" in text
    assert "1 package" in text
