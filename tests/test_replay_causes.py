"""Why a replay differs, the most likely cause first."""

from __future__ import annotations

import hashlib
import subprocess

import pytest
from recorded import RUN, execution_id
from replays import CHANGED_DATA, differing, execution

from mlops_nb.model import Environment, ModelFit, Param, Run, as_datetime
from mlops_nb.replay.causes import Circumstances, likely_causes
from mlops_nb.replay.code import CodeChange, changed_code
from mlops_nb.replay.files import InputState
from mlops_nb.replay.randomness import first_unseeded, unseeded_calls
from mlops_nb.replay.records import Value
from mlops_nb.source import code_digest

pytestmark = pytest.mark.usefixtures("own_settings")


def environment(**content):
    return Environment("sha256:x", {"python": {"version": "3.11.7"}, **content})


def causes_of(*sources, position=None, **about):
    executions = tuple(execution(source, order) for order, source in enumerate(sources, 1))
    first = differing(len(sources) - 1 if position is None else position)
    found = likely_causes(first, Circumstances(executions, **about))
    return [cause.kind for cause in found]


NUMPY = {
    "before": environment(packages={"numpy": "2.1.1", "left-pad": "1"}),
    "after": environment(packages={"numpy": "2.1.2", "left-pad": "2"}),
}
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
