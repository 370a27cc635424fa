"""A run is run again from its record, in real kernels, with its files, variables and secrets."""

from __future__ import annotations

import ast
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
from recorded import RUN
from replays import execution

from mlops_nb.model import Environment, FileUse, Run, as_datetime
from mlops_nb.replay import choose
from mlops_nb.replay.execution import environment_for
from mlops_nb.replay.files import input_states
from mlops_nb.replay.kernel import SecretValues, _bytes_as_text
from mlops_nb.replay.places import home_of, moved_path
from mlops_nb.replay.secrets import find_secrets
from mlops_nb.store import Store

pytestmark = pytest.mark.usefixtures("own_settings")

PATIENCE_S = 150
COMMAND = [sys.executable, "-m", "mlops_nb"]


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
