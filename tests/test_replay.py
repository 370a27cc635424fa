"""A run is run again from its record, compared value by value, and its difference explained."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from recorded import BEGIN_NS, RUN, SECOND_NS, Cell, execution_id, recorded_store, run_events

from mlops_nb.cli import main
from mlops_nb.display.replay import ReplayView
from mlops_nb.model import (
    DataUse,
    Environment,
    Execution,
    FileUse,
    MetricLogged,
    ModelFit,
    Param,
    Run,
    TagSet,
    as_datetime,
)
from mlops_nb.replay import NotTrusted, Watcher, choose, replay
from mlops_nb.replay.causes import Circumstances, likely_causes
from mlops_nb.replay.code import CodeChange, changed_code
from mlops_nb.replay.evidence import Evidence, Point, Use, gather
from mlops_nb.replay.execution import environment_for
from mlops_nb.replay.files import InputState, input_states
from mlops_nb.replay.judging import compare_evidence, outcome_of
from mlops_nb.replay.kernel import SecretValues, _bytes_as_text
from mlops_nb.replay.places import home_of, moved_path
from mlops_nb.replay.randomness import first_unseeded, unseeded_calls
from mlops_nb.replay.records import Replay, Value
from mlops_nb.replay.secrets import find_secrets
from mlops_nb.source import code_digest
from mlops_nb.store import Store

PATIENCE_S = 150
COMMAND = [sys.executable, "-m", "mlops_nb"]


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory, monkeypatch):
    """Nothing of this machine's own settings counts."""
    home = tmp_path_factory.mktemp("home")
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name))
    for name in ("STORE", "DEBUG", "BATCH", "REPLAY", "RUN", "NOTEBOOK"):
        monkeypatch.delenv(f"MLOPS_NB_{name}", raising=False)


# --- comparing --------------------------------------------------------------------------------


def evidence(metrics=(), data=(), outcomes=(("ok", ""),)):
    found = Evidence()
    found.outcomes = dict(enumerate(outcomes))
    for place, key, *values in metrics:
        points = [Point(RUN, value, index) for index, value in enumerate(values)]
        found.metrics[place, key] = points
    for place, name, digest, assurance in data:
        use = DataUse(name, "train", "numpy.ndarray", digest, assurance)
        found.data.setdefault((place, "train", name), []).append(Use(RUN, use))
    return found


def compared(before, after):
    values = compare_evidence(before, after, {RUN})
    return outcome_of(values), {f"{v.kind} {v.name}".strip(): v.result for v in values}


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (0.5, 0.5, "exact"),
        (0.5, 0.5 * (1 + 5e-10), "close"),
        (0.5, 0.5 * (1 + 2e-9), "differs"),
        (0.0, 1e-300, "differs"),
        (float("nan"), float("nan"), "exact"),
        (float("nan"), 0.5, "differs"),
        (float("inf"), float("inf"), "exact"),
        (float("inf"), 1e308, "differs"),
        (0.5, None, "missing"),
    ],
)
def test_metrics_are_exact_or_close_or_differ(old, new, result):
    before = evidence(metrics=[(0, "auc", old)])
    after = evidence(metrics=[] if new is None else [(0, "auc", new)])
    outcome, results = compared(before, after)
    assert results["metric auc"] == result
    words = {"exact": "verified", "close": "verified-close"}
    assert outcome == words.get(result, "differs")


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (("nbfp1:aa", "exact"), ("nbfp1:aa", "exact"), "exact"),
        (("nbfp1:aa", "exact"), ("nbfp1:bb", "exact"), "differs"),
        (("nbfp1:aa", "sampled"), ("nbfp1:aa", "sampled"), "not compared"),
        (("nbfp1:aa", "carried:pages"), ("nbfp1:aa", "exact"), "not compared"),
        (("nbfp1:aa", "exact"), ("nbfp1:aa", "opaque"), "not compared"),
        (("", "exact"), ("", "exact"), "not compared"),
        (("nbfp1:aa", "torn"), ("nbfp1:bb", "torn"), "not compared"),
        (("nbfp1:aa", "exact"), None, "missing"),
    ],
)
def test_the_same_is_said_only_of_exact_fingerprints(old, new, result):
    before = evidence(metrics=[(0, "auc", 0.9)], data=[(0, "X", *old)])
    after = evidence(metrics=[(0, "auc", 0.9)], data=[(0, "X", *new)] if new else [])
    outcome, results = compared(before, after)
    assert results["data X"] == result
    assert outcome == ("differs" if result in {"differs", "missing"} else "verified")


def test_what_could_not_be_compared_at_all_is_not_verified():
    blind = evidence(data=[(0, "X", "nbfp1:aa", "opaque")])
    assert compared(blind, blind)[0] == "not-replayable"
    assert compared(evidence(), evidence())[0] == "not-replayable"


def test_a_failure_that_comes_back_is_verified_and_another_one_differs():
    failed = evidence(outcomes=[("error", "ValueError")])
    assert compared(failed, failed)[0] == "verified"
    other = evidence(outcomes=[("error", "KeyError")])
    assert compared(failed, other)[0] == "differs"


def test_every_value_of_a_curve_counts():
    before = evidence(metrics=[(0, "loss", 0.9, 0.5, 0.3)])
    for curve, outcome in (
        ((0.9, 0.5, 0.3), "verified"),
        ((0.9, 0.6, 0.3), "differs"),
        ((0.9, 0.5), "differs"),
        ((0.9, 0.5, 0.3, 0.2), "differs"),
    ):
        after = evidence(metrics=[(0, "loss", *curve)])
        assert compared(before, after)[0] == outcome


def test_the_first_difference_is_the_first_in_run_order():
    both = [("ok", "")] * 3
    before = evidence(
        metrics=[(2, "auc", 0.9), (1, "loss", 0.1)],
        data=[(1, "X", "nbfp1:a", "exact")],
        outcomes=both,
    )
    after = evidence(
        metrics=[(2, "auc", 0.8), (1, "loss", 0.2)],
        data=[(1, "X", "nbfp1:b", "exact")],
        outcomes=both,
    )
    first = next(v for v in compare_evidence(before, after, {RUN}) if v.is_difference)
    assert (first.position, first.kind, first.name) == (1, "data", "X")


def test_below_a_cell_that_stopped_the_replay_nothing_is_missing():
    before = evidence(metrics=[(1, "auc", 0.9)], outcomes=[("ok", ""), ("ok", "")])
    after = evidence(outcomes=[("error", "ImportError")])
    differing = [v for v in compare_evidence(before, after, {RUN}) if v.is_difference]
    assert [(v.kind, v.after) for v in differing] == [("outcome", "error: ImportError")]


def test_how_a_cell_from_the_history_ended_is_not_known():
    before = evidence(metrics=[(0, "auc", 0.9)], outcomes=[("unknown", "")])
    after = evidence(metrics=[(0, "auc", 0.9)], outcomes=[("error", "NameError")])
    assert compared(before, after) == (
        "verified",
        {"outcome": "not compared", "metric auc": "exact"},
    )


def test_of_a_cell_in_which_tracking_began_only_the_end_is_compared():
    before = evidence(metrics=[(0, "auc", 0.9)])
    before.joined = {0}
    assert compared(before, evidence(metrics=[(0, "auc", 0.1, 0.9)]))[0] == "verified"


def test_values_that_a_cell_left_for_other_runs_do_not_count():
    before, after = evidence(), evidence()
    before.metrics[0, "auc"] = [Point("other", 0.1, 1), Point(RUN, 0.9, 2)]
    after.metrics[0, "auc"] = [Point("a", 0.7, 1), Point("b", 0.9, 2)]
    assert compared(before, after) == ("verified", {"outcome": "exact", "metric auc": "exact"})


def test_values_of_a_curve_find_the_cell_that_logged_them(tmp_path):
    cells = [Cell("log()"), Cell("log()")]
    events = run_events(cells)
    for order, value in ((1, 0.5), (1, 0.4), (2, 0.3)):
        at_ns = BEGIN_NS + order * SECOND_NS + SECOND_NS // 8
        events.append(MetricLogged(RUN, "loss", value, None, at_ns, execution_id(order)))
    with recorded_store(tmp_path, events) as store:
        run = store.get_run(RUN)
        placed = dict(enumerate(store.executions(run.executions)))
        found = gather(store, [run], placed)
    values = {key: [p.value for p in points] for key, points in found.metrics.items()}
    assert values == {(0, "loss"): [0.5, 0.4], (1, "loss"): [0.3]}


# --- why --------------------------------------------------------------------------------------


def execution(source, order=1, files=()):
    return Execution(
        id=execution_id(order), session="s", order=order, status="ok", source=source,
        code_digest="", started_at=as_datetime(BEGIN_NS), execution_count=order,
        files=tuple(files),
    )  # fmt: skip


def environment(**content):
    return Environment("sha256:x", {"python": {"version": "3.11.7"}, **content})


def differing(position=1):
    return Value("metric", position, "auc", "", 0.9, 0.8, "differs")


def causes_of(*sources, position=None, **about):
    executions = tuple(execution(source, order) for order, source in enumerate(sources, 1))
    first = differing(len(sources) - 1 if position is None else position)
    found = likely_causes(first, Circumstances(executions, **about))
    return [cause.kind for cause in found]


NUMPY = {
    "before": environment(packages={"numpy": "2.1.1", "left-pad": "1"}),
    "after": environment(packages={"numpy": "2.1.2", "left-pad": "2"}),
}
CHANGED_DATA = (InputState("/p/a.csv", 0, "changed"),)
CODE = {"code": (CodeChange("ours/steps.py", was_imported=True),)}


def test_a_file_that_was_read_before_comes_first():
    sources = ("import numpy as np, ours.steps", "np.random.rand()")
    found = causes_of(*sources, files=CHANGED_DATA, **NUMPY, **CODE)
    assert found[:4] == ["data", "code", "seed", "package"]


def test_a_file_that_was_read_later_is_not_the_cause():
    late = (InputState("/p/a.csv", 2, "changed"),)
    found = causes_of("import numpy", "x()", "read()", position=1, files=late, **NUMPY)
    assert found[0] == "package"
    assert "data" in found[1:]


def test_a_draw_without_a_seed_comes_before_packages_and_after_code():
    assert causes_of("import numpy as np", "np.random.rand()", **NUMPY)[:2] == ["seed", "package"]
    source = "import ours.steps, numpy as np"
    assert causes_of(source, "np.random.rand()", **CODE)[:2] == ["code", "seed"]


def test_packages_come_first_where_everything_is_seeded():
    sources = ("import numpy as np\nnp.random.seed(0)", "np.random.rand()")
    assert causes_of(*sources, **NUMPY) == ["package", "package"]


def test_a_package_that_no_cell_imports_is_less_likely():
    changed = {
        "before": environment(packages={"left-pad": "1"}, hardware={"cpus": 4}),
        "after": environment(packages={"left-pad": "2"}, hardware={"cpus": 8}),
    }
    assert causes_of("import numpy", "x()", **changed) == ["package", "hardware"]
    assert causes_of("import left_pad", "x()", **changed)[0] == "package"


def test_what_a_package_computes_with_counts_as_imported():
    scipy = {
        "before": environment(packages={"scipy": "1.1"}),
        "after": environment(packages={"scipy": "1.2"}),
    }
    (cause,) = likely_causes(
        differing(0), Circumstances((execution("from sklearn.svm import SVC"),), **scipy)
    )
    assert cause.is_sure
    assert "scipy 1.1 → 1.2" in cause.text


def test_a_module_that_no_cell_imports_is_less_likely_than_one_that_was():
    def tracked(path):
        return {"code": (CodeChange(path, was_imported=False),)}

    sources = ("import numpy as np, ours.steps", "x()")
    assert causes_of(*sources, **tracked("src/ours/steps.py"), **NUMPY)[0] == "code"
    assert causes_of(*sources, **tracked("docs/conf.py"), **NUMPY)[:2] == ["package", "code"]


def test_another_commit_is_a_hint_where_no_module_is_known():
    assert causes_of("x()", commits=("c1", "c2")) == ["code"]
    assert causes_of("x()", commits=("c1", "c1")) == ["unknown"]
    assert causes_of("x()", commits=("c1", None)) == ["unknown"]


def module(path, text):
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"path": path, "digest": f"sha256:{digest}", "code_digest": code_digest(text)}


@pytest.mark.parametrize(
    ("now", "has_changed"),
    [
        ("def f():\n    return 1\n", False),
        ("# a remark\ndef f( ): return 1\n", False),
        ("def f():\n    return 2\n", True),
        ("def f(:\n", True),
        (None, True),
    ],
)
def test_a_module_has_changed_if_it_does_something_else(tmp_path, now, has_changed):
    (tmp_path / ".mlops").mkdir()
    if now is not None:
        (tmp_path / "ours.py").write_text(now)
    git = {"commit": None, "modules": [module("ours.py", "def f():\n    return 1\n")]}
    found = changed_code(git, tmp_path)
    assert found == ((CodeChange("ours.py", was_imported=True),) if has_changed else ())


def test_a_module_that_was_committed_is_compared_with_its_commit(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=ann", "-c", "user.email=ann@example.org"]
        command = ["git", *who, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    for name in ("ours.py", "other.py"):
        (tmp_path / name).write_text("x = 1\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    then = {"commit": git("rev-parse", "HEAD"), "modules": []}
    assert changed_code(then, tmp_path) == ()
    (tmp_path / "ours.py").write_text("x = 2\n")
    assert changed_code(then, tmp_path) == (CodeChange("ours.py", was_imported=False),)
    git("commit", "--quiet", "--all", "--message", "two")
    assert changed_code(then, tmp_path) == (CodeChange("ours.py", was_imported=False),)


@pytest.mark.parametrize("commit", ["--output=/tmp/precious", "HEAD", "", None, "f" * 40])
def test_a_record_cannot_give_git_orders(tmp_path, commit):
    (tmp_path / ".git").mkdir()
    git = {"commit": commit, "modules": [{"path": "../../etc/passwd", "digest": None}, "odd"]}
    assert changed_code(git, tmp_path) == ()


def test_a_kernel_that_died_is_said_to_have_died():
    died = Value("outcome", 0, "", "", "ok", "lost", "differs")
    (cause,) = likely_causes(died, Circumstances((execution("fit()"),)))
    assert "kernel died" in cause.text


def test_what_cannot_be_imported_is_a_matter_of_packages():
    gone = {
        "before": environment(packages={"numpy": "1", "polars": "1"}),
        "after": environment(packages={"numpy": "1"}),
        "error": ("ModuleNotFoundError", "No module named 'polars'"),
    }
    assert causes_of("np.random.rand()", "import polars", **gone)[0] == "package"


def test_a_file_that_cannot_be_opened_is_a_matter_of_data():
    error = ("FileNotFoundError", "[Errno 2] No such file or directory: 'a.csv'")
    assert causes_of("import numpy", "open('a.csv')", error=error, **NUMPY)[0] == "data"


@pytest.mark.parametrize(
    ("class_name", "is_sure"),
    [("sklearn.ensemble._forest.RandomForestClassifier", True), ("ours.Model", False)],
)
def test_a_model_without_a_random_state_is_a_cause(class_name, is_sure):
    run = Run(
        RUN, "churn", "finished", "interactive", as_datetime(0),
        params={"random_state": Param(None, fit="f1")},
        models=(ModelFit("f1", "m", class_name, execution=execution_id(1)),),
    )  # fmt: skip
    about = Circumstances((execution("m.fit(X, y)"),), runs=(run,))
    (cause,) = likely_causes(differing(0), about)
    assert (cause.kind, cause.is_sure) == ("seed", is_sure)
    seeded = Circumstances((execution("np.random.seed(1)\nm.fit(X, y)"),), runs=(run,))
    assert likely_causes(differing(0), seeded)[0].kind == "unknown"


@pytest.mark.parametrize(
    ("source", "draws"),
    [
        ("np.random.rand(3)", ("np.random.rand",)),
        ("rng = np.random.default_rng()", ("np.random.default_rng",)),
        ("rng = np.random.default_rng(0)\nrng.normal()", ()),
        ("train_test_split(X, y)", ("train_test_split",)),
        ("train_test_split(X, y, random_state=seed)", ()),
        ("import random\nrandom.shuffle(rows)", ("random.shuffle",)),
        ("torch.randn(3)", ("torch.randn",)),
        ("torch.tensor([1])", ()),
        ("%%time\nnp.random.rand()", ("np.random.rand",)),
        ("%%mlops_track churn --metrics auc\nnp.random.rand()", ("np.random.rand",)),
        ("%timeit -n 1 np.random.rand()", ()),
        ("x = = 1", ()),
    ],
)
def test_draws_without_a_seed_are_found_in_the_source(source, draws):
    assert unseeded_calls(source) == draws


def test_a_seed_counts_for_the_cells_below_it_and_not_for_new_generators():
    seeded = ("np.random.seed(0)", "np.random.rand()")
    assert first_unseeded(seeded) is None
    assert first_unseeded(seeded[::-1]) == (0, "np.random.rand")
    assert first_unseeded((*seeded, "np.random.default_rng()")) == (2, "np.random.default_rng")


# --- inputs, places, environment, secrets -----------------------------------------------------


def file_use(path, mode="r", digest="nbfp1:aa"):
    return FileUse(str(path), mode, "adapter", digest)


def test_inputs_are_looked_at_once_and_not_those_the_run_made():
    cells = (
        execution("a", 1, [file_use("/p/in.csv"), file_use("/p/out.csv", "w")]),
        execution("b", 2, [file_use("/p/out.csv"), file_use("/p/in.csv")]),
        execution("c", 3, [file_use("https://e.org/x.csv"), file_use("/q/far.csv")]),
    )
    run = Run(RUN, "x", "finished", "cell", as_datetime(0), notebook="/p/nb.ipynb")
    seen = []

    def state_of(use):
        seen.append(use.uri)
        return "changed" if use.uri == "/copy/in.csv" else "same"

    states = input_states(cells, run, Path("/copy"), state_of=state_of)
    assert [(s.path, s.position, s.state) for s in states] == [
        ("/copy/in.csv", 0, "changed"),
        ("/q/far.csv", 2, "same"),
    ]
    assert seen == ["/copy/in.csv", "/q/far.csv"]


def test_a_copied_project_is_replayed_in_the_copy(tmp_path):
    for copy in ("old", "new"):
        (tmp_path / copy / "work").mkdir(parents=True)
        (tmp_path / copy / "work" / "nb.ipynb").touch()
    notebook = str(tmp_path / "old" / "work" / "nb.ipynb")
    run = Run(RUN, "x", "finished", "cell", as_datetime(0), notebook=notebook)
    assert home_of(tmp_path / "new" / ".mlops", run) == tmp_path / "new" / "work"
    assert home_of(tmp_path / "old" / ".mlops", run) == tmp_path / "old" / "work"
    (tmp_path / "new" / "work" / "nb.ipynb").unlink()
    assert home_of(tmp_path / "new" / ".mlops", run) == tmp_path / "old" / "work"
    shutil.rmtree(tmp_path / "old")
    assert home_of(tmp_path / "new" / ".mlops", run) == tmp_path / "new"
    assert home_of(None, replace(run, notebook=None)) == Path.cwd()
    data = moved_path(f"{tmp_path}/old/data/a.csv", run, tmp_path / "new" / "work")
    assert data == tmp_path / "new" / "data" / "a.csv"


def test_the_kernel_gets_the_recorded_variables_and_none_of_the_callers_kernel():
    recorded = Environment("d", {"variables": {"PYTHONHASHSEED": "7", "TZ": "UTC"}})
    now = {"TZ": "CET", "OMP_NUM_THREADS": "8", "PATH": "/bin", "MLOPS_NB_RUN": "x",
           "MLOPS_NB_BATCH": "1", "JPY_SESSION_NAME": "nb.ipynb", "MLOPS_NB_BLOBS": "/b"}  # fmt: skip
    assert environment_for(recorded, now, RUN) == {
        "PATH": "/bin",
        "MLOPS_NB_BLOBS": "/b",
        "PYTHONHASHSEED": "7",
        "TZ": "UTC",
        "MLOPS_NB_REPLAY": RUN,
    }


def test_a_secret_is_found_by_its_name_or_in_capitals():
    environ = {"API_KEY": "a", "hf": "b", "EMPTY": ""}
    found = find_secrets(("api-key", "hf", "EMPTY", "PASSWORD"), environ)
    assert found == {"api-key": "API_KEY", "hf": "hf", "EMPTY": None, "PASSWORD": None}


def compiled(source, monkeypatch, value='it\'s "x"\n'):
    monkeypatch.setenv("TOKEN", value)
    text = "".join(_bytes_as_text([source]))
    tree = SecretValues({"token": "TOKEN"}).visit(ast.parse(text))
    calls = []
    namespace = {"get_ipython": lambda: None, "call": calls.append}
    exec(compile(ast.fix_missing_locations(tree), "<cell>", "exec"), namespace)  # noqa: S102
    return calls


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ('call("⟨secret:token⟩")', "V"),
        ("call(f'{1}⟨secret:token⟩')", "1V"),
        ("call('postgresql://ann:⟨secret:token⟩@db')", "postgresql://ann:V@db"),
        ('call(b"⟨secret:token⟩")', b"V"),
        ("call('⟨secret:other⟩')", "⟨secret:other⟩"),
        ('call(dict(a="⟨secret:token⟩")["a"])', "V"),
    ],
)
def test_secrets_reach_the_code_that_runs(source, seen, monkeypatch):
    value = 'it\'s "x"\n'
    wanted = (
        seen.replace(b"V", value.encode()) if isinstance(seen, bytes) else seen.replace("V", value)
    )
    assert compiled(source, monkeypatch) == [wanted]


def test_a_secret_never_enters_source_text_that_is_compiled_later(monkeypatch):
    text = "get_ipython().run_cell_magic('time', '', 'x = \"⟨secret:token⟩\"')"
    monkeypatch.setenv("TOKEN", "hunter22")
    tree = SecretValues({"token": "TOKEN"}).visit(ast.parse(text))
    shell = SecretValues({"token": "TOKEN"}).visit(
        ast.parse("get_ipython().run_cell_magic('bash', '', 'echo ⟨secret:token⟩')")
    )
    assert "hunter22" not in ast.unparse(tree)
    assert "echo hunter22" in ast.unparse(shell)


# --- what cannot be replayed ------------------------------------------------------------------


def replayed(folder, events, **how):
    with recorded_store(folder, events) as store:
        return replay(store, store.get_run(RUN), **how)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (Cell("x = input('how many? ')"), "input()"),
        (Cell("import getpass\ngetpass.getpass()"), "getpass()"),
        (Cell("fit()", status="lost"), "process died"),
        (Cell("fit()", status="interrupted"), "interrupted by hand"),
        (Cell("fit()", status="running"), "still running"),
        (Cell("", is_inferred=True), "before tracking"),
    ],
)
def test_a_cell_that_cannot_run_again_says_why(tmp_path, cell, said):
    found = replayed(tmp_path, run_events([cell, Cell("x = 1")], metrics={"auc": 0.9}))
    assert (found.outcome, found.replayed_by) == ("not-replayable", None)
    assert said in found.reasons[0]


def test_a_run_says_why_it_cannot_run_again(tmp_path, monkeypatch):
    def why(name, cells, **run):
        folder = tmp_path / name
        folder.mkdir()
        found = replayed(folder, run_events(cells, **run))
        assert found.outcome == "not-replayable"
        return found.reasons[0]

    metrics = {"auc": 0.9}
    cell = [Cell("x = 1")]
    assert "still running" in why("a", cell, metrics=metrics, kind="batch", status="running")
    assert "not in the store" in why("b", cell, metrics=metrics, missing=[execution_id(77)])
    assert "nothing recorded" in why("c", [], metrics=metrics)
    assert "nothing recorded to compare" in why("d", cell)
    julia = tmp_path / "nb.ipynb"
    told = {"language_info": {"name": "julia"}, "kernelspec": {"name": "j", "display_name": "j"}}
    nbformat.write(new_notebook(metadata=told), julia)
    assert "julia" in why("e", cell, metrics=metrics, notebook=str(julia))
    told = {"kernelspec": {"name": "no-such-kernel", "display_name": "x"}}
    python = tmp_path / "python.ipynb"
    nbformat.write(new_notebook(metadata=told), python)
    assert "no-such-kernel" in why("f", cell, metrics=metrics, notebook=str(python))
    monkeypatch.setenv("MLOPS_NB_REPLAY", RUN)
    assert "a replay already" in why("g", cell, metrics=metrics)


def test_an_automatic_run_that_is_open_can_be_replayed_when_its_cells_have_ended(tmp_path):
    events = run_events([Cell("⟨secret:x⟩")], metrics={"auc": 1.0}, status="running")
    assert replayed(tmp_path, events).outcome == "needs-secret"


def test_a_secret_that_is_not_in_the_environment_is_named(tmp_path):
    events = run_events([Cell('f(api_key="⟨secret:api_key⟩")')], metrics={"auc": 0.9})
    found = replayed(tmp_path, events)
    assert found.outcome == "needs-secret"
    assert found.reasons == ("the secret api_key is not in the environment: set API_KEY",)


# --- whose code it is -------------------------------------------------------------------------


def test_what_another_machine_recorded_is_not_run_unasked(tmp_path):
    cells = [Cell("import os; os.system('rm -rf /tmp/precious')")]
    events = run_events(cells, metrics={"auc": 0.9}, host="elsewhere")
    with pytest.raises(NotTrusted, match=r'another machine, "elsewhere".*--trust'):
        replayed(tmp_path, events)
    asked = []
    watcher = Watcher(ask=lambda sources, why: asked.append((sources, why)) or False)
    with pytest.raises(NotTrusted):
        replayed(tmp_path, events, watcher=watcher)
    ((sources, why),) = asked
    assert sources == [cells[0].source]
    assert "elsewhere" in why


def test_a_store_that_everybody_may_write_is_not_trusted(tmp_path):
    events = run_events([Cell("x = 1")], metrics={"auc": 0.9})
    recorded_store(tmp_path, events).close()
    (tmp_path / ".mlops").chmod(0o777)
    with (
        Store.open(tmp_path / ".mlops") as store,
        pytest.raises(NotTrusted, match="written by everybody"),
    ):
        replay(store, store.get_run(RUN))


def test_the_command_refuses_what_is_not_trusted(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    events = run_events([Cell("x = 1")], metrics={"auc": 0.9}, host="elsewhere")
    recorded_store(tmp_path, events).close()
    monkeypatch.setattr("sys.stdin", (tmp_path / "nothing").open("w+"))
    with pytest.raises(SystemExit) as exited:
        main(["replay", "7f3a", "--check"])
    assert exited.value.code == 2
    assert "--trust" in capfd.readouterr().err


# --- which run is meant, and how long it stands -----------------------------------------------


def test_a_name_means_the_run_and_not_its_replays(tmp_path):
    second = "aaaa000000000001"
    inner = "bbbb000000000001"
    later = run_events([Cell("x = 1")], run=second, name="replay of 7f3a")
    later.append(TagSet(second, "replay_of", RUN, BEGIN_NS + 9 * SECOND_NS))
    below = run_events([Cell("x = 1")], run=inner, parent=second, kind="child")
    with recorded_store(tmp_path, run_events([Cell("x = 1")]), later, below) as store:
        assert choose(store, "churn").id == RUN
        assert choose(store, "replay of 7f3a").id == RUN
        assert choose(store, "aaaa").id == second
        assert choose(store, "bbbb").id == inner


# --- how it looks -----------------------------------------------------------------------------


def a_replay(outcome="differs", values=None, **more):
    run = Run(RUN, "<b>churn</b>", "finished", "interactive", as_datetime(0))
    shown = values or (
        Value("outcome", 0, "", "", "ok", "ok", "exact"),
        Value("data", 0, "X", "train", "nbfp1:" + "a" * 32, "nbfp1:" + "a" * 32, "exact"),
        Value("metric", 0, "auc", "", 0.912, 0.9, "differs"),
        Value("metric", 0, "f1", "", 0.5, 0.5 + 1e-11, "close"),
    )
    executions = (execution("<script>alert(1)</script>\nfit()"),)
    about = Circumstances(executions, files=CHANGED_DATA)
    causes = likely_causes(differing(0), about) if outcome == "differs" else ()
    return Replay(
        run, outcome, ("because",), executions, shown, causes, ("input /p/a.csv has changed",),
        "9ab1000000000001", "/p/replay.ipynb", 3.1, **more,
    )  # fmt: skip


def test_a_view_says_what_differs_why_and_what_next():
    text = ReplayView(a_replay()).to_text(columns=120)
    assert text.splitlines()[0].startswith("≠ differs   run 7f3a")
    for said in ("0 of 2 metrics", "cell [1]  metric auc  0.912 → 0.900", "−0.012", "1 data",
                 "note: input /p/a.csv", "%mlops_diff 7f3a 9ab1", "1 data set exact"):  # fmt: skip
        assert said in text
    assert "1 metric within 1e-9" in text


@pytest.mark.parametrize(
    "outcome", ["verified", "verified-close", "needs-secret", "not-replayable"]
)
def test_every_outcome_has_every_form(outcome):
    same = (Value("metric", 0, "auc", "", 0.9, 0.9, "exact"),)
    view = ReplayView(a_replay(outcome, same), "shell")
    for text in (view.text, view.markdown, view.html, view.html_page()):
        assert outcome in text
        assert "7f3a" in text
    assert "<script>" not in view.html
    assert "<b>churn</b>" not in view.html
    assert json.loads(json.dumps(view.document()))["outcome"] == outcome


def test_the_document_has_all_that_was_compared():
    document = ReplayView(a_replay()).document()
    assert document["compared"] == {
        "exact": 1, "close": 1, "differs": 1, "missing": 0, "not_compared": 0,
    }  # fmt: skip
    assert document["first_difference"]["name"] == "auc"
    assert document["first_difference"]["execution"] == execution_id(1)
    assert document["causes"][0]["kind"] == "data"
    assert len(document["values"]) == 4


# --- in real kernels --------------------------------------------------------------------------

SETUP = "import mlops_nb as mn\nimport numpy as np\nimport ours, theirs"
READ = "X = np.loadtxt('data.csv', delimiter=',')"
SCALE = "X = ours.scale(X)"
SIGN = "password = 'correct-horse-battery'\nprint(password)"
RUNS = {
    "good": "%%mlops_track good --data X\nmn.log_metric('mean', X.mean() + len(password))\n"
    "for k in range(3): mn.log_metric('loss', 1 / (k + 1))",
    "package": "%%mlops_track package\nmn.log_metric('theirs', theirs.answer())",
    "seed": "%%mlops_track seed --data Y\nY = np.random.rand(3)\nmn.log_metric('sum', Y.sum())",
    "loop": "from sklearn.linear_model import Ridge\nfor k in (1, 2):\n"
    "    with mn.run(f'loop{k}') as r:\n"
    "        Ridge(alpha=k).fit(X, X[:, 0])\n        r.log_metric('q', k)\n"
    "for k in (3, 4):\n    Ridge(alpha=k).fit(X, X[:, 1])",
}


def write_package(folder, version, answer):
    (folder / f"theirs-{version}.dist-info").mkdir(parents=True)
    (folder / f"theirs-{version}.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: theirs\nVersion: {version}\n"
    )
    (folder / "theirs").mkdir()
    (folder / "theirs" / "__init__.py").write_text(f"def answer(): return {answer}\n")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A project with runs in it; its notebook was run out of order, and edited since."""
    from conftest import Kernel

    root = tmp_path_factory.mktemp("original")
    project = root / "project"
    project.mkdir()
    write_package(root / "v1", "1.0", 41)
    write_package(root / "v2", "2.0", 42)
    (project / "ours.py").write_text("def scale(x):\n    return x * 2\n")
    (project / "data.csv").write_text("1,2\n3,4\n5,6\n")
    cells = {"c0": SETUP, "c1": SCALE, "c2": READ, "c3": "pass", **RUNS}
    content = new_notebook(
        cells=[new_code_cell(source, id=id_) for id_, source in cells.items()],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(content, project / "nb.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(root / "v1"))
        patch.setenv("PYTHONHASHSEED", "7")
        kernel = Kernel(sys.executable, project, tmp_path_factory.mktemp("home"))
    try:
        kernel.run("%load_ext mlops_nb\n%mlops_track --interactive --notebook nb.ipynb")
        # READ stands below SCALE, and SIGN no longer stands anywhere.
        for id_, source in (
            ("c0", SETUP),
            ("c2", READ),
            ("c9", SIGN),
            ("c1", SCALE),
            *RUNS.items(),
        ):
            assert kernel.run(source, metadata={"cellId": id_}).error is None
        kernel.run("%unload_ext mlops_nb")
    finally:
        kernel.close()
    with Store.open(project / ".mlops") as store:
        store.refresh()
    return root


def copied(original, folder):
    """Another working copy of the project, with its store."""
    return Path(shutil.copytree(original / "project", folder / "elsewhere" / "project"))


def user_environment(original, home):
    """The environment of a user with settings of their own, who knows the password."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_NB_")}
    for name in ("STATE", "CONFIG"):
        mine[f"XDG_{name}_HOME"] = str(home / name)
    return {**mine, "PYTHONPATH": str(original / "v1"), "PASSWORD": "correct-horse-battery"}


@dataclass
class Answer:
    """What the command said, in which project."""

    project: Path
    code: int
    document: dict
    errors: str

    @property
    def first_cause(self):
        return self.document["causes"][0]

    def stored(self, name):
        with Store.open(self.project / ".mlops") as store:
            return choose(store, name)


def call(project, variables, *arguments):
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=project,
        env=variables,
    )


def other_data(project, _variables):
    (project / "data.csv").write_text("1,2\n3,4\n5,7\n")
    return "good"


def other_module(project, _variables):
    (project / "ours.py").write_text("def scale(x):\n    return x * 3\n")
    return "good"


def other_package(_project, variables):
    variables["PYTHONPATH"] = variables["PYTHONPATH"].replace("v1", "v2")
    return "package"


def no_secret(_project, variables):
    del variables["PASSWORD"]
    return "good"


def batch(project, variables):
    cells = [
        new_code_cell("C = 1", metadata={"tags": ["parameters"]}),
        new_code_cell("import mlops_nb as mn\nmn.log_metric('double', C * 2)"),
        new_code_cell("def ask(): return input()\nif C == 3: mn.log_metric('asked', ask())"),
    ]
    told = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=told), project / "batch.ipynb")
    ran = call(project, variables, "run", "batch.ipynb", "-p", "C=21", "--name", "nightly")
    assert ran.returncode == 0, ran.stderr
    return "nightly"


SCENARIOS = {
    "same": lambda _project, _variables: "good",
    "loop": lambda _project, _variables: "loop2",
    "seed": lambda _project, _variables: "seed",
    "data": other_data,
    "module": other_module,
    "package": other_package,
    "secret": no_secret,
    "batch": batch,
}


@pytest.fixture(scope="module")
def answers(original, tmp_path_factory):
    """What ``replay --check`` says in each scenario; they run beside each other."""

    def answer(scenario):
        folder = tmp_path_factory.mktemp(scenario)
        project, variables = copied(original, folder), user_environment(original, folder)
        name = SCENARIOS[scenario](project, variables)
        said = call(project, variables, "replay", name, "--check", "--format", "json")
        assert said.stdout, said.stderr
        return Answer(project, said.returncode, json.loads(said.stdout), said.stderr)

    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(SCENARIOS, pool.map(answer, SCENARIOS), strict=True))


def test_another_working_copy_verifies_from_the_record_alone(answers, original):
    """Out of order, a cell deleted since, a secret: the record has all of it."""
    answer = answers["same"]
    document = answer.document
    with Store.open(original / "project" / ".mlops") as store:
        before = choose(store, "good").verdict
    assert before["label"] in {"out-of-order", "stale-source"}
    assert (answer.code, document["outcome"]) == (0, "verified")
    assert document["compared"]["exact"] == 3
    assert any("elsewhere" in note for note in document["notes"])
    verdict = answer.stored("good").verdict
    assert (verdict["label"], verdict["was"]) == ("verified", before["label"])
    assert verdict["replayed_by"] == document["replayed_by"]
    assert {r["kind"] for r in before["reasons"]} < {r["kind"] for r in verdict["reasons"]}
    run, new = answer.stored("good"), answer.stored(document["replayed_by"])
    assert (new.kind, new.status) == ("batch", "finished")
    assert (new.tags["replay_of"], new.tags["replay_outcome"]) == (run.id, "verified")


def test_cells_run_in_run_order_under_the_recorded_variables(answers):
    answer = answers["same"]
    with Store.open(answer.project / ".mlops") as store:
        new = store.get_run(answer.document["replayed_by"])
        ran = [e for e in store.session_executions(new.session) if e.parent is None]
        variables = store.environment(new.environment).content["variables"]
    sources = [execution.source for execution in ran]
    assert sources.index(READ) < sources.index(SCALE)
    assert any("⟨secret:password⟩" in source for source in sources)
    assert variables["PYTHONHASHSEED"] == "7"


def test_the_value_of_a_secret_is_written_nowhere(answers):
    answer = answers["same"]
    executed = Path(answer.document["notebook"]).read_text()
    assert "⟨secret:password⟩" in executed
    for path in answer.project.rglob("*.ipynb"):
        assert "correct-horse" not in path.read_text()
    with Store.open(answer.project / ".mlops") as store:
        new = store.get_run(answer.document["replayed_by"])
        for execution in store.session_executions(new.session):
            assert "correct-horse" not in execution.source + (execution.transformed or "")


def test_without_its_secret_a_check_fails_before_anything_runs(answers):
    answer = answers["secret"]
    assert (answer.code, answer.document["outcome"]) == (1, "needs-secret")
    assert answer.document["replayed_by"] is None
    assert "PASSWORD" in answer.document["reasons"][0]


def test_another_data_file_is_the_first_cause(answers):
    answer = answers["data"]
    assert (answer.code, answer.document["outcome"]) == (1, "differs")
    first = answer.document["first_difference"]
    assert (first["kind"], first["name"]) == ("data", "X")
    assert answer.first_cause["kind"] == "data"
    assert str(answer.project / "data.csv") in answer.first_cause["text"]
    assert "data.csv has changed" in answer.errors  # said before it ran
    assert answer.stored("good").verdict["label"] != "verified"


def test_another_module_of_the_project_is_the_first_cause(answers):
    answer = answers["module"]
    assert (answer.code, answer.document["outcome"]) == (1, "differs")
    assert answer.first_cause["kind"] == "code"
    assert "ours.py" in answer.first_cause["text"]


def test_another_version_of_a_package_is_the_first_cause(answers):
    answer = answers["package"]
    assert (answer.code, answer.document["outcome"]) == (1, "differs")
    assert answer.document["first_difference"]["name"] == "theirs"
    assert answer.first_cause["kind"] == "package"
    assert "theirs 1.0 → 2.0" in answer.first_cause["text"]


def test_a_missing_seed_is_the_first_cause(answers):
    answer = answers["seed"]
    assert (answer.code, answer.document["outcome"]) == (1, "differs")
    assert answer.first_cause["kind"] == "seed"
    assert "np.random.rand()" in answer.first_cause["text"]


def test_a_run_is_found_among_others_of_its_cell(answers):
    """Two runs by the user's word and two by fits, in one cell: each has its own values."""
    answer = answers["loop"]
    assert (answer.code, answer.document["outcome"]) == (0, "verified")
    values = {(v["kind"], v["name"]): v["before"] for v in answer.document["values"]}
    assert values["metric", "q"] == 2
    assert {name for kind, name in values if kind == "data"} == {"X", "y"}


def test_a_batch_is_replayed_with_the_parameters_it_had(answers):
    answer = answers["batch"]
    assert (answer.code, answer.document["outcome"]) == (0, "verified")
    new = answer.stored(answer.document["replayed_by"])
    assert new.params["C"].value == 21
    assert new.metrics["double"].value == 42


def test_a_notebook_that_replays_is_not_disturbed(original, tmp_path, new_kernel):
    """The replay has a kernel of its own, can be interrupted, and leaves the session alone."""
    project = copied(original, tmp_path)
    kernel = new_kernel(sys.executable, project)
    kernel.run("%load_ext mlops_nb\n%mlops_track --interactive")
    kernel.run("import mlops_nb as mn, os, time, pathlib\nmn.log_metric('mine', 1)")
    slow = (
        "%%mlops_track slow\nmn.log_metric('x', 1)\n"
        "if os.environ.get('MLOPS_NB_REPLAY'):\n"
        "    pathlib.Path('begun').touch(); time.sleep(600)"
    )
    assert kernel.run(slow).error is None
    request = kernel.send("%mlops_replay slow")
    kernel.interrupt_when(project / "begun")
    stopped = kernel.wait(request)
    assert stopped.error.startswith("KeyboardInterrupt: The replay was stopped in cell")
    kernel.run("mn.log_metric('mine', 2)")
    (shown,) = kernel.run("%mlops_replay good").bundles("execute_result")
    assert "needs-secret" in shown["text/plain"]
    with Store.open(project / ".mlops") as store:
        store.refresh()
        found = store.runs(children=False)
        slow_run = choose(store, "slow")
    (mine,) = [r for r in found if "mine" in r.metrics and "replay_of" not in r.tags]
    assert mine.metrics["mine"].count == 2
    halted = [run for run in found if run.tags.get("replay_of") == slow_run.id]
    assert [run.status for run in halted] == ["interrupted"]
    assert (slow_run.status, slow_run.kind) == ("finished", "cell")
