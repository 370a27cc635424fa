# ruff: noqa: S102, S311  # cells are run, and draw
"""A step between its two ends: what comes in, what goes out, and what it must not do."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlops_nb
from mlops_nb.errors.pipelines import NoPipelineHere, SplitNotEqual
from mlops_nb.errors.values import (
    BadStepFile,
    CannotJoin,
    CannotStore,
    CorruptValue,
    PickleRefused,
    SecretCrosses,
    UntrustedValue,
    ValueMissing,
)
from mlops_nb.model.pipelines import (
    Fact,
    Packed,
    PackedFile,
    Pipeline,
    Step,
    StepResult,
    StepTask,
)
from mlops_nb.pipeline.passing import read_result, read_task, write_result, write_task


@pytest.fixture(autouse=True)
def own_process(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_CONFIG", str(tmp_path / "config" / "config.toml"))
    for name in ("MLOPS_NB_TEAM_KEY", "MLOPS_NB_STEP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


class Run:
    """Steps of one pipeline, each run in a namespace of its own."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.results = {}

    def task(self, step, takes=None, **fields):
        """A task that takes names from steps that have run: ``{"df": "prepare"}``."""
        inputs, units = {}, {}
        for name, sources in (takes or {}).items():
            folders = []
            for source in [sources] if isinstance(sources, str) else sources:
                for number, unit in enumerate(self.results[source].units):
                    if name in unit.names:
                        place = str(self.folder / source / str(number))
                        folders.append(place)
                        units[place] = unit
            inputs[name] = tuple(folders)
        return StepTask(
            "churn", step, str(self.folder / step), inputs=inputs, units=units, **fields
        )

    def step(self, task, code, before="", label=None):
        """Run a step's cells; its folder is named by the label."""
        label = label or task.step
        task = replace(task, folder=str(self.folder / label))
        path = self.folder / f"{label}.json"
        write_task(path, task)
        self.monkeypatch.setenv("MLOPS_NB_STEP", str(path))
        takes = ", ".join(repr(name) for name in task.inputs if not name.startswith("<"))
        gives = ", ".join(repr(name) for unit in task.outputs for name in unit)
        names = [name for name in task.inputs if not name.startswith("<")]
        target = f"{', '.join(names)} = " if names else ""
        where = f'"churn/{task.step}"'
        namespace = {"__name__": "__main__"}
        cells = [
            before,
            f"import mlops_nb\n{target}mlops_nb.load_inputs({where}{', ' * bool(takes)}{takes})",
            code,
            f"mlops_nb.save_outputs({where}{', ' * bool(gives)}{gives})",
        ]
        for number, cell in enumerate(cells):
            exec(compile(cell, f"<cell {label} {number}>", "exec", dont_inherit=True), namespace)
        self.results[label] = read_result(self.folder / label / "result.json")
        return namespace

    def facts(self, label):
        return [
            (fact.kind, fact.names)
            for fact in read_result(self.folder / label / "result.json").facts
        ]


@pytest.fixture
def run(tmp_path, monkeypatch):
    return Run(tmp_path, monkeypatch)


# --- files ------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec=None), max_size=5)
UNITS = st.builds(
    Packed,
    names=st.lists(TEXTS, max_size=2).map(tuple),
    format=TEXTS,
    files=st.lists(st.builds(PackedFile, TEXTS, TEXTS, st.integers(0)), max_size=2).map(tuple),
    digest=TEXTS,
    digests=st.dictionaries(TEXTS, TEXTS, max_size=2),
    signature=TEXTS,
    size_bytes=st.integers(0),
    detail=st.dictionaries(
        TEXTS, st.one_of(st.none(), st.floats(allow_nan=False), TEXTS, st.lists(st.integers()))
    ),
)
NAMES = st.lists(TEXTS, max_size=2).map(tuple)


@given(
    st.builds(
        StepTask,
        TEXTS,
        TEXTS,
        TEXTS,
        inputs=st.dictionaries(TEXTS, NAMES, max_size=2),
        units=st.dictionaries(TEXTS, UNITS, max_size=2),
        outputs=st.lists(NAMES, max_size=2).map(tuple),
        watched=NAMES,
        state_in=NAMES,
        piece=st.one_of(st.none(), st.just({"name": "x", "index": 0, "count": 2})),
        prelude_digests=st.dictionaries(TEXTS, TEXTS, max_size=2),
        may_pickle=st.booleans(),
    ),
    st.builds(
        StepResult,
        st.lists(UNITS, max_size=2).map(tuple),
        st.lists(st.builds(Fact, TEXTS, st.just("rng"), NAMES), max_size=2).map(tuple),
        st.dictionaries(TEXTS, TEXTS, max_size=2),
        NAMES,
    ),
)
def test_task_and_result_come_back_from_their_files(tmp_path_factory, task, result):
    folder = tmp_path_factory.mktemp("files")
    write_task(folder / "task.json", task)
    write_result(folder / "result.json", result)
    assert read_task(folder / "task.json") == task
    assert read_result(folder / "result.json") == result
    assert sorted(one.name for one in folder.iterdir()) == ["result.json", "task.json"]
    assert (folder / "task.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 9}', '{"version": 1, "units": 3}']
)
def test_a_file_that_is_no_task_is_an_error_with_its_path(tmp_path, content):
    (tmp_path / "task.json").write_text(content)
    for read in (read_task, read_result):
        with pytest.raises(BadStepFile, match=r"task\.json"):
            read(tmp_path / "task.json")
    with pytest.raises(BadStepFile, match="No such file"):
        read_task(tmp_path / "none.json")


# --- values -----------------------------------------------------------------------------------


def test_values_cross_from_step_to_step(run):
    run.step(
        run.task("a", outputs=(("df",), ("x", "y"))),
        "import pandas as pd\ndf = pd.DataFrame({'n': [1, 2]})\nx = [1]; y = {'x': x}",
    )
    after = run.step(
        run.task("b", {"df": "a", "x": "a", "y": "a"}, outputs=(("total",),)),
        "x.append(2)\ntotal = int(df['n'].sum()) + len(y['x'])",
    )
    assert after["total"] == 5
    assert run.results["b"].units[0].format == "json"


def test_one_name_gives_the_value_and_none_gives_nothing(run):
    run.step(run.task("a", outputs=(("pair",),)), "pair = (1, 2)")
    after = run.step(run.task("b", {"pair": "a"}), "none = mlops_nb.load_inputs('churn/b')")
    assert after["pair"] == (1, 2)
    assert after["none"] is None


def test_functions_and_instances_work_in_the_next_step(run):
    run.step(
        run.task("a", outputs=(("f",), ("box",))),
        "K = 1\ndef f(): return K\nclass Box:\n    def up(self): return f() + 1\nbox = Box()",
    )
    after = run.step(run.task("b", {"f": "a", "box": "a"}), "K = 10\nfound = (f(), box.up())")
    assert after["found"] == (10, 11)


def test_a_class_of_the_first_cells_is_the_same_class_in_every_step(run):
    prelude = "class Box:\n    def __init__(self): self.x = 1\n"
    run.step(run.task("a", outputs=(("box",),)), "box = Box()", before=prelude)
    after = run.step(run.task("b", {"box": "a"}), "same = isinstance(box, Box)", before=prelude)
    assert after["same"]


def test_a_missing_output_names_step_and_value(run):
    with pytest.raises(ValueMissing, match="Step a, model: it is not bound"):
        run.step(run.task("a", outputs=(("model",),)), "pass")


def test_an_input_that_no_step_gives_is_an_error(run):
    run.step(run.task("a", outputs=(("x",),)), "x = 1")
    with pytest.raises(ValueMissing, match="Step b, z: no step gives it"):
        run.step(run.task("b", {"x": "a"}), "mlops_nb.load_inputs('churn/b', 'z')")


def test_an_output_that_the_plan_does_not_know_is_an_error(run):
    with pytest.raises(ValueMissing, match="Step a, y: no later step takes it"):
        run.step(
            run.task("a", outputs=(("x",),)),
            "x = y = 1\nmlops_nb.save_outputs('churn/a', 'x', 'y')",
        )


def test_what_cannot_be_stored_is_named(run):
    with pytest.raises(CannotStore, match=r'box\["handle"\]'):
        run.step(run.task("a", outputs=(("box",),)), "box = {'handle': open('/dev/null')}")
    with pytest.raises(PickleRefused, match="f "):
        run.step(run.task("a", outputs=(("f",),), may_pickle=False), "f = lambda: 1")
    assert not (run.folder / "a" / "result.json").exists()


def test_pickles_may_be_denied_by_a_setting(run, monkeypatch):
    run.step(run.task("a", outputs=(("f",),)), "f = lambda: 1")
    monkeypatch.setenv("MLOPS_NB_PICKLE", "deny")
    with pytest.raises(PickleRefused, match="an earlier run stored it so"):
        run.step(run.task("b", {"f": "a"}, outputs=(("x",),)), "x = f()")
    with pytest.raises(PickleRefused, match="g"):
        run.step(run.task("c", outputs=(("g",),)), "g = lambda: 1")
    run.step(run.task("d", outputs=(("rows",),)), "rows = [1]")


def test_a_damaged_input_is_refused_by_name(run):
    run.step(run.task("a", outputs=(("x",),)), "x = [1]")
    (run.folder / "a" / "0" / "value.json").write_text("[2]")
    with pytest.raises(CorruptValue, match="x"):
        run.step(run.task("b", {"x": "a"}), "pass")


def test_an_input_signed_by_somebody_else_is_refused(run, tmp_path, monkeypatch):
    run.step(run.task("a", outputs=(("f",),)), "f = lambda: 1")
    monkeypatch.setenv("MLOPS_NB_CONFIG", str(tmp_path / "other" / "config.toml"))
    with pytest.raises(UntrustedValue, match="f is stored as pickle"):
        run.step(run.task("b", {"f": "a"}), "pass")


def test_a_task_of_another_step_is_refused(run):
    with pytest.raises(
        BadStepFile, match="it is for step a of churn, and this cell is of churn/b"
    ):
        run.step(run.task("a"), "mlops_nb.load_inputs('churn/b')")


# --- secrets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name"),
    [
        pytest.param(
            "token = 'ghp_' + 'a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8'", "token", id="token"
        ),
        pytest.param("config = {'db': {'password': 'tr0ub4dor&3xyz'}}", "config", id="in a dict"),
        pytest.param("kept = 1", "kept", id="tagged"),
    ],
)
def test_a_secret_is_never_stored(run, code, name):
    task = run.task("a", outputs=((name,),), secrets=("kept",))
    with pytest.raises(SecretCrosses, match=f"would store {name}"):
        run.step(task, code)
    assert not list((run.folder / "a").glob("*/*")) if (run.folder / "a").exists() else True


def test_a_secret_variable_is_never_stored(run, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "before")
    with pytest.raises(SecretCrosses, match="API_TOKEN"):
        run.step(
            run.task("a", state_out=("<environ>",)),
            "import os\nos.environ['API_TOKEN'] = 'tr0ub4dor&3-xyzzy-9'",
        )


# --- state ------------------------------------------------------------------------------------


def test_generators_go_on_in_the_next_step(run):
    states = ("<rng:random>", "<rng:numpy>")
    prelude = "import random\nimport numpy as np\nrandom.seed(1); np.random.seed(1)"
    run.step(
        run.task("a", state_out=states), "x = np.random.normal(), random.random()", before=prelude
    )
    after = run.step(
        run.task("b", dict.fromkeys(states, "a"), state_in=states, state_out=states),
        "y = np.random.normal(), random.random()",
        before=prelude,
    )
    whole = {}
    exec(
        prelude
        + "\nx = np.random.normal(), random.random()\ny = np.random.normal(), random.random()",
        whole,
    )
    assert after["y"] == whole["y"]


def test_variables_of_all_steps_before_are_taken_over(run, monkeypatch):
    takes = {"state_in": ("<environ>",), "state_out": ("<environ>",)}
    monkeypatch.setenv("FIRST", "0")
    run.step(run.task("a", state_out=("<environ>",)), "import os; os.environ['FIRST'] = '1'")
    monkeypatch.setenv("FIRST", "0")
    run.step(run.task("b", {"<environ>": "a"}, **takes), "import os; os.environ['SECOND'] = '2'")
    monkeypatch.setenv("FIRST", "0")
    monkeypatch.delenv("SECOND", raising=False)
    after = run.step(
        run.task("c", {"<environ>": "b"}, state_in=("<environ>",)),
        "import os; found = os.environ['FIRST'] + os.environ['SECOND']",
    )
    assert after["found"] == "12"
    monkeypatch.delenv("SECOND", raising=False)


# --- guards -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        pytest.param("df['z'] = 1", ("mutates", ("df",)), id="changed in place"),
        pytest.param("exec('df = df.assign(z=1)')", ("mutates", ("df",)), id="bound anew"),
        pytest.param("del df", ("mutates", ("df",)), id="deleted"),
        pytest.param("C.append(3)", ("mutates", ("C",)), id="first cells' list"),
        pytest.param("f.calls = 1", ("mutates", ("f",)), id="attribute of a function"),
        pytest.param("out = [w]", ("shares", ("w", "out")), id="outputs share"),
        pytest.param("out = {'C': C}", ("shares", ("out", "C")), id="output shares with an input"),
        pytest.param("import random; random.random()", ("rng", ("<rng:random>",)), id="draws"),
        pytest.param("import os; os.chdir('/')", ("rng", ("<cwd>",)), id="changes folder"),
    ],
)
def test_what_the_plan_does_not_allow_for_is_a_fact_and_no_value(run, code, fact):
    run.step(
        run.task("a", outputs=(("df",), ("f",))),
        "import pandas as pd\ndf = pd.DataFrame({'n': [1, 2]})\ndef f(): pass",
    )
    task = run.task(
        "b", {"df": "a", "f": "a"}, outputs=(("w",), ("out",)), watched=("df", "C", "f")
    )
    with pytest.raises(SplitNotEqual, match="Step b did what the plan does not allow for"):
        run.step(task, f"w = [1]; out = 0\n{code}", before="C = [1, 2]")
    assert run.facts("b") == [fact]
    assert read_result(run.folder / "b" / "result.json").units == ()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("other = df.assign(z=1); other['y'] = 2", id="a copy"),
        pytest.param("df = df.copy()", id="equal content"),
        pytest.param("part = df[['n']]; part.iloc[0, 0] = 9", id="a part that pandas copies"),
        pytest.param("local = list(C); local.append(3)", id="a copied list"),
    ],
)
def test_what_changes_nothing_is_no_fact(run, code):
    run.step(
        run.task("a", outputs=(("df",),)), "import pandas as pd\ndf = pd.DataFrame({'n': [1, 2]})"
    )
    run.step(run.task("b", {"df": "a"}, watched=("df", "C")), code, before="C = [1, 2]")
    assert run.facts("b") == []


def test_a_first_cell_that_gives_another_value_is_a_fact(run):
    prelude = "import os, uuid\nC = [1]\nstamp = os.environ['STAMP']"
    os.environ["STAMP"] = "one"
    run.step(run.task("a"), "pass", before=prelude)
    digests = run.results["a"].prelude_digests
    assert set(digests) == {"C", "stamp"}
    run.step(run.task("b", prelude_digests=digests), "pass", before=prelude)
    os.environ["STAMP"] = "two"
    with pytest.raises(SplitNotEqual, match="another stamp"):
        run.step(run.task("c", prelude_digests=digests), "pass", before=prelude)
    assert run.facts("c") == [("differs", ("stamp",))]
    del os.environ["STAMP"]


def test_changed_state_is_told_even_where_it_is_allowed(run):
    run.step(run.task("a", state_out=("<rng:random>",)), "import random; random.random()")
    assert run.results["a"].changed_state == ("<rng:random>",)


# --- pieces -----------------------------------------------------------------------------------


def test_pieces_run_the_same_cells_and_join_again(run):
    cells = "scores = {}\nfor seed in seeds:\n    scores[seed] = seed * 2\nrows = [seed + 0.5 for seed in seeds]"
    for index in range(3):
        task = run.task(
            "train",
            outputs=(("scores",), ("rows",)),
            piece={"name": "seeds", "index": index, "count": 3},
        )
        run.step(task, cells, before="seeds = [4, 5, 6]", label=f"train-{index}")
    pieces = [f"train-{index}" for index in range(3)]
    after = run.step(run.task("best", {"scores": pieces, "rows": pieces}), "pass")
    whole = {"seeds": [4, 5, 6]}
    exec(cells, whole)
    assert after["scores"] == whole["scores"]
    assert after["rows"] == whole["rows"]


def test_an_input_is_taken_apart_as_well_and_watched_as_a_piece(run):
    run.step(run.task("a", outputs=(("models",),)), "models = {'x': [1], 'y': [2]}")
    piece = {"name": "models", "index": 1, "count": 2}
    after = run.step(
        run.task("b", {"models": "a"}, piece=piece, watched=("models",)), "n = len(models)"
    )
    assert after["models"] == {"y": [2]}
    assert run.facts("b") == []


def test_pieces_of_another_number_than_planned_are_refused(run):
    piece = {"name": "seeds", "index": 1, "count": 3}
    with pytest.raises(CannotJoin, match="2 elements here, and 3"):
        run.step(run.task("b", piece=piece), "pass", before="seeds = [1, 2]")


def test_pieces_that_share_an_object_with_another_value_are_not_joined(run):
    for index in range(2):
        run.step(
            run.task("a", outputs=(("x", "y"),)), f"x = [{index}]; y = [x]", label=f"a-{index}"
        )
    with pytest.raises(CannotJoin, match="each shares an object with y"):
        run.step(run.task("b", {"x": ["a-0", "a-1"]}), "pass")


# --- without a driver -------------------------------------------------------------------------


PIPELINE = Pipeline(
    "churn",
    steps=(
        Step("prepare", outputs=(("df",), ("<rng:random>",))),
        Step(
            "train",
            inputs={"df": "prepare", "<rng:random>": "prepare"},
            outputs=(("score",),),
            watched=("df",),
        ),
    ),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A pipeline's folder, as converting writes its definition."""
    import yaml

    from mlops_nb.pipeline.writing import definition_document

    place = tmp_path / "churn"
    (place / "steps").mkdir(parents=True)
    steps = tuple(replace(step, cells=(number,)) for number, step in enumerate(PIPELINE.steps))
    edges = (
        mlops_nb.model.pipelines.Edge(
            "prepare", "train", (mlops_nb.model.pipelines.Reason("static", ("df",)),)
        ),
    )
    document = definition_document(
        replace(PIPELINE, steps=steps, edges=edges, notebook="churn.ipynb")
    )
    (place / "pipeline.yaml").write_text(
        yaml.safe_dump(document, sort_keys=False), encoding="utf-8"
    )
    return place


def by_hand(step, code, *takes):
    namespace = {"__name__": "__main__"}
    names = "".join(f', "{name}"' for name in takes)
    target = f"{', '.join(takes)} = " if takes else ""
    exec(
        f'import mlops_nb\n{target}mlops_nb.load_inputs("churn/{step}"{names})\n{code}', namespace
    )
    return namespace


PREPARE = "import random; random.seed(3); random.random()\ndf = [1, 2]\nmlops_nb.save_outputs('churn/prepare', 'df')"
TRAIN = "import random; score = random.random() + len(df)\nfrom mlops_nb.pipeline.passing import kernel\n"


@pytest.mark.parametrize("where", ["churn", "churn/steps", "."])
def test_steps_run_by_hand_one_after_the_other_give_the_whole(
    folder, tmp_path, monkeypatch, where
):
    import random

    monkeypatch.chdir(tmp_path / where)
    by_hand("prepare", PREPARE)
    random.seed(99)
    after = by_hand("train", "import random; score = random.random() + len(df)", "df")
    random.seed(3)
    random.random()
    assert after["score"] == random.random() + 2
    assert (folder / "values" / "prepare" / "result.json").exists()


def test_a_step_run_again_by_hand_replaces_its_values_as_a_whole(folder, monkeypatch):
    monkeypatch.chdir(folder)
    by_hand("prepare", PREPARE)
    by_hand("prepare", PREPARE.replace("[1, 2]", "[1, 2, 3]"))
    after = by_hand("train", "score = len(df)", "df")
    assert after["score"] == 3
    assert [one.name for one in (folder / "values").iterdir()] == ["prepare"]


def test_a_step_by_hand_before_the_one_it_needs_says_which(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueMissing, match="df: step prepare, which makes it, has not run"):
        by_hand("train", "pass", "df")


def test_a_guard_holds_by_hand_too(folder, monkeypatch):
    monkeypatch.chdir(folder)
    by_hand("prepare", PREPARE)
    with pytest.raises(SplitNotEqual, match="train changes df"):
        by_hand(
            "train", "score = 1; df.append(3)\nmlops_nb.save_outputs('churn/train', 'score')", "df"
        )


def test_without_a_pipeline_the_folder_that_was_searched_is_named(tmp_path):
    with pytest.raises(NoPipelineHere, match="convert NOTEBOOK") as caught:
        by_hand("train", "pass")
    assert str(tmp_path) in str(caught.value)


def test_a_pipeline_of_another_name_is_named(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(NoPipelineHere, match="there: churn"):
        exec("import mlops_nb\nmlops_nb.load_inputs('sales/train')", {"__name__": "__main__"})


def test_importing_what_a_cell_imports_loads_nothing_heavy():
    import subprocess

    code = (
        "import sys, mlops_nb; mlops_nb.load_inputs; import mlops_nb.pipeline.passing.task;"
        "print([m for m in ('pandas', 'numpy', 'cloudpickle', 'sqlalchemy', 'IPython', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert Path(mlops_nb.__file__).exists()


# --- a real kernel ----------------------------------------------------------------------------


def test_steps_in_kernels_of_their_own(run, monkeypatch):
    from jupyter_client.manager import start_new_kernel

    def in_kernel(task, *cells):
        path = run.folder / f"{task.step}.json"
        write_task(path, task)
        env = {**os.environ, "MLOPS_NB_STEP": str(path)}
        manager, client = start_new_kernel(env=env)
        texts = []
        try:
            for cell in cells:
                reply = client.execute_interactive(
                    cell,
                    timeout=60,
                    output_hook=lambda message: texts.append(message["content"].get("text", "")),
                )
                assert reply["content"]["status"] == "ok", reply["content"]
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        run.results[task.step] = read_result(run.folder / task.step / "result.json")
        return "".join(texts)

    in_kernel(
        run.task("a", outputs=(("f",), ("box",), ("shell",))),
        "import mlops_nb\nmlops_nb.load_inputs('churn/a')",
        "K = 1\ndef f():\n    return K\nclass Box:\n    def up(self): return f() + 1\nbox = Box(); shell = [get_ipython()]",
        "mlops_nb.save_outputs('churn/a', 'f', 'box', 'shell')",
    )
    said = in_kernel(
        run.task("b", {"f": "a", "box": "a", "shell": "a"}),
        "import mlops_nb\nf, box, shell = mlops_nb.load_inputs('churn/b', 'f', 'box', 'shell')",
        "import inspect\nK = 10\nprint(f(), box.up(), shell[0] is get_ipython(), inspect.getsource(f).split()[0])",
        "mlops_nb.save_outputs('churn/b')",
    )
    assert said.strip() == "10 11 True def"
