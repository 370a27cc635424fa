"""How a difference, data, an environment and a lineage look: text, Markdown, HTML, JSON, CLI."""

from __future__ import annotations

import json
from datetime import timedelta
from html.parser import HTMLParser

import mistune
import pandas as pd
import pytest
from bleach.css_sanitizer import CSSSanitizer
from bleach.sanitizer import Cleaner
from runs_that_differ import (
    FIT,
    NOON,
    SOURCES,
    edited,
    environment,
    executed,
    model,
    read,
    run,
    use,
)
from test_display import LAB_ATTRIBUTES, LAB_STYLES, LAB_TAGS

from mlops_nb.cli import main
from mlops_nb.compare.changes import environment_change
from mlops_nb.compare.difference import diff_runs
from mlops_nb.compare.hunks import hunks_of
from mlops_nb.display.asking import view_data
from mlops_nb.display.blocks import CodeDiff, Fact, Facts, Span
from mlops_nb.display.data import FingerprintView
from mlops_nb.display.difference import DIFF_MIME, DifferenceView
from mlops_nb.display.environment import EnvironmentDifferenceView, EnvironmentView
from mlops_nb.display.html import write_html
from mlops_nb.display.identity import view_difference, view_lineage
from mlops_nb.display.lineage import LineageView
from mlops_nb.display.markdown import write_markdown
from mlops_nb.display.text import write_text
from mlops_nb.errors import BadValue, RunNotFound
from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.record import fingerprint_document
from mlops_nb.lineage import graph_of
from mlops_nb.model import (
    DataUsed,
    EnvironmentSeen,
    ExecutionEnded,
    ExecutionStarted,
    FileSeen,
    FingerprintSeen,
    MetricLogged,
    ModelFitted,
    ParamLogged,
    RunChanged,
    RunExecuted,
    RunStarted,
)
from mlops_nb.store import Store

OLD, NEW = "7f3a9c01", "e21b5678"
HOSTILE = '</pre><script>alert(1)</script><b onclick="x()">`|[x](http://a) \x1b[31m\u202e'
AGES = pd.DataFrame({"age": [20.0, 40.0, 60.0], "sex": [0, 1, 0]})


def difference(**given):
    sources = edited(FIT, ("1.0", "0.01"))
    return diff_runs(
        run(OLD, data=(use(execution="a5"),), metrics={"auc": 0.912, "loss": 0.3}),
        run(
            NEW,
            data=(use(digest="9", execution="b5"),),
            metrics={"auc": 0.861, "loss": 0.35},
            params={"C": 0.01},
        ),
        executions_a=given.get("before", executed(*SOURCES, prefix="a")),
        executions_b=given.get("after", executed(*sources, prefix="b")),
        environment_a=environment(),
        environment_b=environment({"pandas": "3.1.1", "zipp": "3.1"}, cpus=4),
    )


def lineage():
    changes = {2: {"files": (read(),)}}
    made = run(models=(model(),), data=(use(execution="5", fit="f"),))
    return LineageView(graph_of(made, executed(*SOURCES, changes=changes)), "run 7f3a")


def hostile_views():
    """Every view, with what a user may have written in every place."""
    cells = [executed(f"x = '''{HOSTILE}'''\ny = {n}", prefix=f"{n}") for n in (1, 2)]
    params = {HOSTILE: HOSTILE}
    data = [(use(HOSTILE, digest, column_digests={HOSTILE: digest}),) for digest in "12"]
    runs = [
        run(id_, params={**params, "a": n}, data=data[n], metrics={HOSTILE: n})
        for n, id_ in enumerate((OLD, NEW))
    ]
    packages = [environment({HOSTILE: version}) for version in (HOSTILE, "2")]
    found = diff_runs(
        *runs,
        executions_a=cells[0],
        executions_b=cells[1],
        environment_a=packages[0],
        environment_b=packages[1],
    )
    frame = AGES.rename(columns={"age": HOSTILE})
    files = {1: {"files": (read(HOSTILE),)}}
    graph = graph_of(runs[0], executed(f"x = r('{HOSTILE}')", "y = x", changes=files))
    return [
        DifferenceView(found),
        EnvironmentDifferenceView(environment_change(*packages), (HOSTILE, "now")),
        EnvironmentView(packages[0], {"commit": HOSTILE, "branch": HOSTILE}),
        FingerprintView(HOSTILE, fingerprint(frame), is_profile=True),
        FingerprintView(HOSTILE, fingerprint(frame)),
        view_data(
            "diff", ("a", "b"), namespace={"a": frame, "b": frame * 2}, open_store=lambda: None
        ),
        LineageView(graph, HOSTILE),
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


# --- what a person reads ----------------------------------------------------------------------


def test_the_difference_reads_as_designed():
    lines = DifferenceView(difference()).to_text(columns=100).splitlines()
    assert [line.rstrip() for line in lines[:7]] == [
        "e21b is ▼ 0.051 lower in auc than 7f3a. What differs, most likely cause first:",
        "1 data      X_train: column age changed, 1 column same",
        "2 params    C 1.0 → 0.01",
        "3 code      1 of 6 cells: cell 5, 1 line (nothing but C)",
        "4 packages  pandas 2.2.3 → 3.1.1",
        "5 hardware  cpus 2 → 4",
        "seed –",
    ]


def test_lower_and_better_are_two_things():
    found = diff_runs(run(OLD, metrics={"loss": 0.3}), run(NEW, metrics={"loss": 0.2}))
    assert "e21b is ▼ 0.100 lower in loss than 7f3a." in DifferenceView(found).text
    assert 'title="better than 7f3a' in DifferenceView(found).html


def test_where_nothing_differs_it_is_said_what_is_not_proved():
    found = diff_runs(run(OLD), run(NEW))
    assert DifferenceView(found).text.startswith(
        "e21b has the same auc as 7f3a. Nothing that was recorded differs; "
        "not proved the same: data, code, packages."
    )


def test_a_run_against_itself_says_so():
    one = run(OLD)
    assert DifferenceView(diff_runs(one, one)).text.startswith("7f3a is compared with itself.")


def test_one_file_that_changed_every_frame_does_not_fill_the_page():
    data = [
        tuple(use(f"X{i}", f"{digest}{i}", execution="5") for i in range(9)) for digest in "12"
    ]
    found = diff_runs(run(OLD, data=data[0]), run(NEW, data=data[1]))
    text = DifferenceView(found).text
    assert text.count("\n4 ") == 0
    assert "… 6 more values below" in text


def test_a_thousand_edited_cells_do_not_fill_the_page():
    old, new = ([f"x{i} = f({n}, {i})" for i in range(1000)] for n in (1, 2))
    view = DifferenceView(difference(before=executed(*old), after=executed(*new, prefix="b")))
    assert "… 970 more cells, all in the JSON" in view.html
    assert len(view.html) < 200_000
    assert len(view.document()["code"]) == 1000


def test_the_code_of_a_cell_is_a_patch_as_text_and_as_markdown():
    view = DifferenceView(difference())
    patch = "-clf = LogisticRegression(C=1.0)\n+clf = LogisticRegression(C=0.01)\n"
    assert patch in view.markdown
    assert "```diff" in view.markdown
    assert "    -clf = LogisticRegression(C=1.0)\n    +clf" in view.text


def test_the_code_of_a_cell_stands_side_by_side_as_html():
    tags = Tags(write_html([CodeDiff(hunks_of("a = f(1.0)\nb", "a = f(0.01)\nb"), ("x", "y"))]))
    assert "−1a = f(1.0)+1a = f(0.01)2b2b" in tags.text
    marked = [dict(attrs) for tag, attrs in tags.tags if tag == "span"]
    assert len(marked) == 2  # the number on each side


def test_a_difference_in_the_middle_of_a_very_long_line_is_seen():
    long = "x = '" + "a" * 2000
    blocks = [CodeDiff(hunks_of(long + "1" + "b" * 2000, long + "2" + "b" * 2000))]
    for text in (Tags(write_html(blocks)).text, write_text(blocks), write_markdown(blocks)):
        assert "a1b" in text
        assert "a2b" in text
        assert len(text) < 1000


def test_facts_wrap_below_their_text():
    facts = Facts((Fact("data", (Span("word " * 30),), "1"), Fact("env", (Span("same"),))))
    lines = write_text([facts], columns=60).splitlines()
    assert lines[0].startswith("1 data  word")
    assert lines[1].startswith(" " * 8 + "word")
    assert lines[-1] == "  env   same"


def test_the_profile_draws_where_the_mean_lies():
    view = FingerprintView("ages", fingerprint(AGES), is_profile=True)
    row = next(line for line in view.text.splitlines() if line.startswith("age "))
    assert row.split() == ["age", "float64", "3", "0", "%", "20.0", "████", "40.0", "60.0"]
    assert "linear-gradient(90deg, rgba(74, 134, 197, 0.20) 50%" in view.html


def test_data_that_differs_is_said_in_a_sentence_and_by_column():
    frames = {"old": AGES, "new": AGES.assign(age=[20.0, 40.0, 90.0])}
    view = view_data("diff", ("old", "new"), namespace=frames, open_store=lambda: None)
    assert view.is_different
    assert view.text.startswith("new against old: column age changed (33 % of values, row 2;")
    assert "mean" in view.text


def test_a_table_can_be_compared_with_a_file(tmp_path):
    path = tmp_path / "ages.csv"
    AGES.to_csv(path, index=False)
    view = view_data("diff", (str(path), "x"), namespace={"x": AGES}, open_store=lambda: None)
    assert not view.is_different
    assert view.document()["change"] == "same"


@pytest.mark.parametrize(
    ("action", "names", "said"),
    [
        pytest.param("profile", ("nope",), "Give a variable", id="no such name"),
        pytest.param("profile", ("nope.csv",), "is not there", id="no such file"),
        pytest.param("diff", ("a",), "got 1 names instead of 2", id="too few"),
    ],
)
def test_a_name_that_is_nothing_is_refused_in_one_line(action, names, said):
    with pytest.raises(BadValue, match=said):
        view_data(action, names, namespace={"a": AGES}, open_store=lambda: None)


def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path):
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"not a table")
    with pytest.raises(BadValue, match=r"bad\.parquet cannot be read"):
        view_data("profile", (str(path),), open_store=lambda: None)


def test_the_environment_says_what_differs_imported_packages_first():
    old = environment({"zipp": "1", "pandas": "2"}, imported={"pandas": "2"})
    new = environment({"zipp": "2", "pandas": "3"}, imported={"pandas": "3"}, cpus=4)
    view = EnvironmentDifferenceView(environment_change(old, new), ("7f3a", "now"))
    text = view.text
    assert text.startswith("now against 7f3a: 2 packages, machine differ.")
    assert text.index("pandas") < text.index("zipp")


def test_the_lineage_is_a_picture_with_the_same_in_words():
    view = lineage()
    picture = next(attributes for tag, attributes in Tags(view.html).tags if tag == "img")
    assert picture["src"].startswith("data:image/svg+xml;base64,")
    assert picture["alt"].startswith("data.csv ──▶ [2] df ──▶")
    assert "```\ndata.csv ──▶ [2] df ──▶" in view.markdown


# --- every reader -----------------------------------------------------------------------------


def views():
    return [DifferenceView(difference()), lineage(), *hostile_views()]


def test_nothing_that_a_user_wrote_becomes_markup():
    for view in hostile_views():
        tags = Tags(view.html)
        assert "script" not in {tag for tag, _ in tags.tags}
        assert not any("onclick" in attributes for _, attributes in tags.tags)
        rendered = Tags(mistune.html(view.markdown))
        assert "script" not in {tag for tag, _ in rendered.tags}
        assert not any(tag == "a" for tag, _ in rendered.tags)
        assert "\x1b" not in view.text + view.markdown + view.html
        assert "\u202e" not in view.text + view.markdown + view.html


def test_the_html_survives_the_sanitizer_of_a_notebook_that_is_not_trusted():
    # Beside those of the other views; JupyterLab keeps these, too.
    styles = [*LAB_STYLES, "font-family", "min-width", "overflow-wrap", "table-layout"]
    cleaner = Cleaner(
        tags=LAB_TAGS,
        attributes=LAB_ATTRIBUTES,
        protocols=["data"],
        css_sanitizer=CSSSanitizer(allowed_css_properties=styles),
    )
    for view in views():
        before, after = Tags(view.html), Tags(cleaner.clean(view.html))
        assert after.text == before.text
        assert [tag for tag, _ in after.tags] == [tag for tag, _ in before.tags]
        for (_, kept), (_, given) in zip(after.tags, before.tags, strict=True):
            assert set(kept) == set(given)
            assert rules(kept) == rules(given) - {"font-variant-numeric"}


def rules(attributes):
    return {rule.partition(":")[0].strip() for rule in attributes.get("style", "").split(";")} - {
        ""
    }


def test_every_view_has_a_document_that_is_strict_json():
    for view in views():
        bundle = view._repr_mimebundle_()
        assert {"text/plain", "text/html", view.mime} == set(bundle)
        json.dumps(bundle[view.mime], allow_nan=False)


def test_the_difference_has_its_own_type():
    assert DIFF_MIME == "application/vnd.mlops-nb.diff.v1+json"


# --- from a store -----------------------------------------------------------------------------


def recorded(id_, *, at, sources, cell, value, accuracy, version):
    """Everything that a run of the churn notebook left in a store."""
    start = int((NOON + timedelta(minutes=at)).timestamp() * 1e9)
    executions = executed(*sources, prefix=id_[:4])
    frame = fingerprint(AGES.assign(age=[20.0, 40.0, value]))
    yield EnvironmentSeen(f"sha256:{version}", dict(environment({"pandas": version}).content))
    yield RunStarted(id_, start, "churn", "interactive", "s", environment=f"sha256:{version}")
    for execution in executions:
        begun = start + execution.order * 10**9
        yield ExecutionStarted(
            execution.id,
            "s",
            execution.order + at * 10,
            begun,
            execution.source,
            execution.code_digest,
            execution_count=execution.order,
        )
        yield ExecutionEnded(
            execution.id,
            begun + 10**8,
            "ok",
            0.1,
            0.1,
            reads=execution.reads,
            binds=execution.binds,
            mutates=execution.mutates,
        )
        yield RunExecuted(id_, execution.id, "body" if execution.order >= FIT else "setup")
    yield FileSeen(f"{id_[:4]}2", "/home/me/data.csv", "r", "adapter", start, f"nbfp1:{value}")
    fit = f"{id_[:4]}{FIT}"
    yield DataUsed(
        id_, "X_train", "train", frame.kind, frame.digest, "exact", start, rows=3, columns=2,
        schema_digest=frame.schema_digest, execution=fit, fit=f"f{id_}",
        column_digests={name: column.digest for name, column in frame.columns.items()},
    )  # fmt: skip
    yield FingerprintSeen(frame.digest, frame.schema_digest, fingerprint_document(frame))
    yield ModelFitted(id_, f"f{id_}", "clf", "sklearn.linear_model.LogisticRegression", start,
                      0.1, fit)  # fmt: skip
    yield ParamLogged(id_, "C", cell, start, fit=f"f{id_}")
    yield MetricLogged(id_, "auc", accuracy, None, start, f"{id_[:4]}6", fit=f"f{id_}")
    yield RunChanged(id_, start, {"status": "finished", "ended_at_ns": start + 10**10})


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """A folder with a store with two runs, which differ in data, a parameter and a package."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLOPS_NB_STORE", "MLOPS_NB_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    changed = edited(FIT, ("1.0", "0.01"))
    with Store.open(tmp_path / ".mlops", create=True) as store:
        for event in (
            *recorded(OLD, at=0, sources=SOURCES, cell=1.0, value=60.0, accuracy=0.9, version="2"),
            *recorded(
                NEW, at=1, sources=changed, cell=0.01, value=90.0, accuracy=0.8, version="3"
            ),
        ):
            store.apply([event])
    return tmp_path


@pytest.fixture
def cli(capfd):
    """Call the command line in this process; gives (exit code, output, errors)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        return (exited.value.code or 0, *capfd.readouterr())

    return call


def test_a_stored_difference_has_the_statistics_of_the_columns(two_runs):
    with Store.open(two_runs / ".mlops") as store:
        view = view_difference(store, OLD, NEW)
    assert [cause["kind"] for cause in view.document()["causes"]] == [
        "data",
        "params",
        "code",
        "packages",
    ]
    assert "mean 40.0 → 50.0" in view.text
    assert "data.csv changed" in view.text


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        pytest.param(NEW, "data.csv ──▶ [2] df", id="run"),
        pytest.param("auc", "data.csv ──▶ [2] df", id="metric"),
        pytest.param("clf", "data.csv ──▶ [2] df", id="model"),
        pytest.param("variable:df", "data.csv ──▶ [2] df ──▶ [3] df", id="variable"),
        pytest.param("/home/me/data.csv", "data.csv ──▶ [2]", id="file"),
    ],
)
def test_lineage_is_found_by_any_name(two_runs, asked, first):
    with Store.open(two_runs / ".mlops") as store:
        view = view_lineage(store, asked)
    assert first in view.text


def test_a_file_names_the_runs_that_used_it(two_runs):
    with Store.open(two_runs / ".mlops") as store:
        document = view_lineage(store, "/home/me/data.csv").document()
    assert document["direction"] == "downstream"
    runs = [node["label"] for node in document["nodes"] if node["kind"] == "run"]
    assert sorted(runs) == ["7f3a", "e21b"]


def test_what_is_nothing_is_refused_in_one_line(two_runs):
    with Store.open(two_runs / ".mlops") as store, pytest.raises(BadValue, match="'nope'"):
        view_lineage(store, "nope")


def test_an_unknown_run_is_refused_as_everywhere(two_runs):
    with Store.open(two_runs / ".mlops") as store, pytest.raises(RunNotFound):
        view_difference(store, OLD, "nope")


def test_a_check_of_a_difference_exits_with_one_where_something_differs(two_runs, cli):
    assert cli("diff", "7f3a", "e21b", "--check")[0] == 1
    assert cli("diff", "7f3a", "7f3a", "--check")[0] == 0
    assert cli("env", "diff", "7f3a", "e21b", "--check")[0] == 1
    assert cli("data", "diff", "7f3a:X_train", "e21b:X_train", "--check")[0] == 1
    assert cli("data", "diff", "7f3a:X_train", "7f3a:X_train", "--check")[0] == 0
    assert cli("diff", "7f3a", "nope")[0] == 2


def test_the_command_line_gives_json_markdown_and_a_page(two_runs, cli):
    document = json.loads(cli("diff", "7f3a", "e21b", "--format", "json")[1])
    assert {"params", "code", "data", "packages", "hardware", "causes"} <= set(document)
    code, out, err = cli("diff", "7f3a", "e21b", "--format", "md", "--html", "why.html")
    assert (code, err) == (0, "written: why.html\n")
    assert out.startswith("**e21b** is ▼ 0.100 lower in auc")
    assert "X_train" in (two_runs / "why.html").read_text("utf-8")
    assert json.loads(cli("lineage", "auc", "--format", "json")[1])["edges"]


def test_data_of_a_run_can_be_described_without_the_data(two_runs, cli):
    code, out, _ = cli("data", "profile", "e21b:X_train")
    assert code == 0
    assert "50.0" in out
    code, _, err = cli("data", "profile", "e21b:X_test")
    assert code == 2
    assert "Its values are: X_train" in err
