"""What results of a step are made from: what changes them is a miss, and nothing else is."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from mlops_nb.capture.files.digest import Digests
from mlops_nb.model import Execution, FileUse, as_datetime
from mlops_nb.model.pipelines import (
    CachedStep,
    Packed,
    PackedFile,
    Pipeline,
    PipelineParameter,
    Step,
    StepOptions,
)
from mlops_nb.pipeline.caching import (
    explain,
    find_hit,
    key_of,
    nearest_to,
    reasons_against,
    seen_in,
)
from mlops_nb.pipeline.caching.keys import digest_of
from mlops_nb.store import Store

PRELUDE = """\
import json
import helpers

SEED = 7

def clean(rows, cut=0):
    return [row for row in rows if row > cut]

def unused(x):
    return x * 2
"""
PARAMETERS = "C = 1.0\nn = 10\nhalf = n // 2"
LOAD = "rows = helpers.load('data.csv', half)"
RNG = "<rng:numpy>"
TRAIN = "model = helpers.fit(clean(rows), C=C)\nscore = model.score"
HELPERS = '''\
"""Help."""
from lower import scaled

def load(path, n):
    return [scaled(float(line)) for line in open(path)][:n]

def fit(rows, C):
    """Fit."""
    return sum(rows) * C
'''
LOWER = "def scaled(x):\n    return x / 10\n"


@pytest.fixture(autouse=True)
def alone(own_settings, tmp_path, monkeypatch):
    """No setting, key or module of this machine counts."""
    monkeypatch.delenv("MLOPS_NB_TEAM_KEY", raising=False)


class Case:
    """A pipeline of two steps in a folder, any part of which may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = {0: PRELUDE, 1: PARAMETERS, 2: LOAD, 3: TRAIN}
        self.params = {}
        self.inputs = {"rows": unit("rows", "nbfp1:aa")}
        self.step = Step("train", (3,), inputs={"rows": "load"}, params=("C",))
        self.piece = None
        (folder / "helpers.py").write_text(HELPERS)
        (folder / "lower.py").write_text(LOWER)
        (folder / "data.csv").write_text("1\n2\n3\n")

    @property
    def pipeline(self) -> Pipeline:
        load = Step("load", (2,), params=("n",), reads_files=("data.csv",), outputs=(("rows",),))
        names = [PipelineParameter(name) for name in ("C", "n")]
        return Pipeline(
            "churn",
            "churn.ipynb",
            prelude=(0,),
            parameter_cells=(1,),
            parameters=tuple(names),
            steps=(load, self.step),
        )

    def made(self, **given):
        return key_of(
            self.pipeline,
            self.step,
            self.sources,
            self.inputs,
            self.params,
            folder=self.folder,
            piece=self.piece,
            **given,
        )

    def key(self, **given) -> str:
        return self.made(**given)[0]

    def cached(self, run: str = "7f3a000000000000", **seen) -> CachedStep:
        key, parts = self.made()
        units = tuple(unit(name, "d") for names in self.step.outputs for name in names)
        return CachedStep(key, "churn", "train", run, 1, {**parts, "seen": seen}, units)


def unit(name: str, digest: str, *, kind: str = "npy", **given) -> Packed:
    file = PackedFile(f"{name}.bin", f"sha256:{hashlib.sha256(digest.encode()).hexdigest()}", 3)
    return Packed((name,), kind, (file,), digest, {name: digest}, **given)


@pytest.fixture
def case(tmp_path):
    (tmp_path / "project").mkdir()
    return Case(tmp_path / "project")


# --- what is a hit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (3, TRAIN + "  # a remark"),
        (3, "# first\n\n" + TRAIN.replace("\n", "\n\n\n")),
        (
            3,
            TRAIN.replace("helpers.fit(clean(rows), C=C)", "helpers.fit( clean(rows),\n  C = C )"),
        ),
        (2, LOAD.replace("'", '"')),
        (2, "rows = helpers.load('data.csv', half + 1)"),
        (0, PRELUDE + "\n# the end\n"),
        (0, PRELUDE.replace("x * 2", "x * 3")),
        (0, PRELUDE.replace("SEED = 7", "SEED = 8")),
        (1, PARAMETERS.replace("n = 10", "n = 20")),
    ],
    ids=[
        "comment",
        "blank lines",
        "layout",
        "quotes elsewhere",
        "another step",
        "comment in the prelude",
        "a function it does not need",
        "a constant it does not read",
        "a parameter it does not read",
    ],
)
def test_what_changes_nothing_is_a_hit(case, cell, text):
    before = case.key()
    case.sources[cell] = text
    assert case.key() == before


def test_quotes_are_no_change(case):
    case.sources[3] = "x = 'a'"
    before = case.key()
    case.sources[3] = 'x = "a"'
    assert case.key() == before


def test_a_comment_in_a_module_is_a_hit(case):
    before = case.key()
    (case.folder / "helpers.py").write_text("# remark\n" + HELPERS)
    (case.folder / "lower.py").write_text(LOWER + "\n\n# end\n")
    assert case.key() == before


def test_a_parameter_given_as_it_is_in_the_notebook_is_a_hit(case):
    before = case.key()
    case.params = {"C": 1.0, "n": 10}
    assert case.key() == before


def test_a_parameter_of_other_steps_is_a_hit(case):
    before = case.key()
    case.params = {"n": 999}
    assert case.key() == before


def test_names_of_steps_and_pipelines_do_not_count(case):
    before = case.key()
    case.step = replace(case.step, name="fit", inputs={"rows": "read"})
    assert case.key() == before


def test_a_project_may_be_moved(case, tmp_path):
    before = case.key()
    shutil.move(case.folder, tmp_path / "elsewhere")
    case.folder = tmp_path / "elsewhere"
    assert case.key() == before


def test_a_key_is_the_same_in_every_process(case):
    case.params = {"C": {"b", "a", "c", "d"}}
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import test_cache_keys
        case = test_cache_keys.Case(Path({str(case.folder)!r}))
        case.params = {{"C": {{"b", "a", "c", "d"}}}}
        print(case.key())
    """
    keys = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for seed in (1, 2)
    }
    assert keys == {case.key()}


def test_parts_that_were_kept_have_the_same_digest(case, tmp_path):
    case.params = {"C": (1, date(2026, 1, 2), Decimal("0.1"), float("nan"))}
    entry = case.cached()
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.save_cached(entry)
        assert digest_of(store.find_cached(entry.key).parts) == entry.key


# --- what is a miss -----------------------------------------------------------------------------


def write(name, text):
    return lambda case: (case.folder / name).write_text(text)


def tell(cell, text):
    return lambda case: case.sources.update({cell: text})


def let(**given):
    return lambda case: vars(case).update(given)


CHANGE = {
    "code": tell(3, TRAIN.replace("C=C", "C=C + 0")),
    "prelude function": tell(0, PRELUDE.replace("row > cut", "row >= cut")),
    "prelude statement": tell(0, PRELUDE + "print(1)"),
    "parameter": let(params={"C": 0.5}),
    "type of a parameter": let(params={"C": 1}),
    "default of a parameter": tell(1, PARAMETERS.replace("1.0", "0.5")),
    "data byte": lambda case: case.inputs.update(rows=unit("rows", "nbfp1:ab")),
    "imported module": write("helpers.py", HELPERS.replace("* C", "/ C")),
    "module behind it": write("lower.py", LOWER.replace("10", "20")),
    "documentation": write("helpers.py", HELPERS.replace("Fit.", "Fit it.")),
    "random state": lambda case: case.inputs.update({RNG: unit(RNG, "sha256:1")}),
    "piece": let(piece={"name": "rows", "index": 1, "count": 3}),
    "kernel": lambda case: setattr(
        case, "step", replace(case.step, options=StepOptions(kernel="python9"))
    ),
}
CHANGES = {
    "code": "train ran because its code changed",
    "prelude function": "train ran because the cells before the first step changed",
    "prelude statement": "train ran because the cells before the first step changed",
    "parameter": "train ran because parameter C changed from 1.0 to 0.5",
    "type of a parameter": "train ran because parameter C changed from 1.0 to 1",
    "default of a parameter": "train ran because parameter C changed from 1.0 to 0.5",
    "data byte": "train ran because input rows from load has other content",
    "imported module": "train ran because helpers.py changed: function fit",
    "module behind it": "train ran because lower.py changed: function scaled",
    "documentation": "train ran because helpers.py changed: function fit",
    "random state": "train ran because it takes state <rng:numpy> now",
    "piece": "train ran because it is another piece",
    "kernel": "train ran because its tags changed (kernel)",
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_may_change_results_is_a_miss_and_is_told(case, what):
    entry = case.cached()
    CHANGE[what](case)
    key, parts = case.made()
    assert key != entry.key
    assert explain(parts, entry) == (CHANGES[what],)


def test_a_derived_value_counts_for_who_reads_it(case):
    case.step = Step("load", (2,), params=("n",), reads_files=("data.csv",))
    before = case.key()
    case.params = {"n": 20}
    assert case.key() != before
    case.params = {"C": 5}
    assert case.key() == before
    case.sources[1] = PARAMETERS.replace("// 2", "// 3")
    assert case.key() != before


def test_a_parameter_that_only_the_prelude_reads_counts(case):
    case.sources[0] = PRELUDE.replace("row > cut", "row > cut + n")
    before = case.key()
    case.params = {"n": 20}
    assert case.key() != before


def test_a_name_in_a_text_may_be_read(case):
    case.sources[3] = "model = rows.query('x > @n')"
    before = case.key()
    case.params = {"n": 20}
    assert case.key() != before


@pytest.mark.parametrize("source", ["exec(text)", "globals()[name]()", "from helpers import *"])
def test_code_that_may_name_anything_needs_all_of_the_prelude(case, source):
    case.sources[3] = source
    before = case.key()
    case.sources[0] = PRELUDE.replace("x * 2", "x * 3")
    assert case.key() != before


def test_an_input_that_may_call_functions_needs_all_of_the_prelude(case):
    case.inputs = {"rows": unit("rows", "sha256:1", kind="pickle")}
    before = case.key()
    case.sources[0] = PRELUDE.replace("x * 2", "x * 3")
    assert case.key() != before


def test_a_definition_of_another_step_counts(case):
    case.sources[2] = LOAD + "\ndef shape(x):\n    return x + 1\n"
    case.sources[3] = "model = shape(rows)"
    case.step = replace(case.step, definitions=("shape",))
    entry = case.cached()
    case.sources[2] = case.sources[2].replace("x + 1", "x + 2")
    key, parts = case.made()
    assert key != entry.key
    assert explain(parts, entry) == ("train ran because shape changed",)
    case.sources[2] = case.sources[2].replace("x + 2", "x + 1  # one")
    assert case.key() == entry.key


def test_an_input_file_counts_by_its_bytes(case):
    case.step = replace(case.step, reads_files=("data.csv",))
    entry = case.cached()
    data = (case.folder / "data.csv").read_bytes()
    (case.folder / "data.csv").write_bytes(data)
    os.utime(case.folder / "data.csv", (1, 1))
    assert case.key() == entry.key
    (case.folder / "data.csv").write_bytes(data[:-2] + b"4\n")
    assert explain(case.made()[1], entry) == ("train ran because file data.csv has other content",)
    (case.folder / "data.csv").unlink()
    assert explain(case.made()[1], entry) == ("train ran because file data.csv is gone",)


def test_a_file_more_that_a_pattern_finds_counts(case):
    case.step = replace(case.step, reads_files=("*.csv",))
    before = case.key()
    (case.folder / "more.csv").write_text("1\n")
    assert case.key() != before


def test_results_made_from_a_url_are_never_used_again(case, tmp_path):
    case.step = replace(case.step, reads_files=("https://user:secret@host/data.csv",))
    entry = case.cached()
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.save_cached(entry)
        key, parts = case.made()
        assert find_hit(store, key, parts, folder=case.folder) is None
    (said,) = explain(parts, entry)
    assert said.startswith("train ran because it reads https://")
    assert "secret@" not in said


def test_an_environment_variable_that_is_named_counts_and_is_not_kept(case):
    case.sources[3] = 'import os\nmodel = os.environ.get("STAGE", "") + os.getenv("HOME2", "")'
    before, parts = case.made(environ={"STAGE": "hunter2", "OTHER": "1"})
    assert case.key(environ={"STAGE": "hunter2", "OTHER": "2"}) == before
    assert "hunter2" not in str(parts)
    key, other = case.made(environ={"STAGE": "blue"})
    assert key != before
    entry = CachedStep(before, "churn", "train", "7f3a", 1, parts)
    assert explain(other, entry) == ("train ran because environment variable STAGE changed",)
    assert "no longer set" in explain(case.made(environ={})[1], entry)[0]


def test_a_variable_that_a_module_reads_counts(case):
    (case.folder / "lower.py").write_text("import os\n" + LOWER + 'STAGE = os.environ["STAGE"]\n')
    assert case.key(environ={"STAGE": "a"}) != case.key(environ={"STAGE": "b"})


@pytest.mark.parametrize("name", ["api_token", "db_password"])
def test_a_secret_parameter_counts_and_is_not_kept(case, name):
    case.sources[1] = f'{name} = ""'
    case.sources[3] = f"model = {name}"

    def made(value):
        names = (PipelineParameter(name),)
        plan = replace(case.pipeline, parameters=names)
        return key_of(plan, case.step, case.sources, {}, {name: value}, folder=case.folder)

    key, parts = made("hunter22")
    assert "hunter22" not in str(parts)
    assert made("hunter23")[0] != key
    assert made("hunter22")[0] == key


@pytest.mark.parametrize(
    "values",
    [
        (1, True, 1.0, "1", b"1", Decimal(1), [1], (1,), {1}, {"1": 1}, {1: 1}, None),
        (0.0, -0.0, 0),
        (date(2026, 1, 1), "2026-01-01"),
        (Path("a"), "a"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ("x" * 500, "x" * 501, ["x" * 500]),
    ],
)
def test_equal_looking_values_of_two_types_are_two(case, values):
    keys = []
    for value in values:
        case.params = {"C": value}
        keys.append(case.key())
    assert len(set(keys)) == len(values)


def test_a_value_that_cannot_be_told_from_others_is_like_no_other(case):
    case.params = {"C": random.Random(1)}  # noqa: S311
    first = case.key()
    case.params["C"].random()
    assert case.key() != first


def test_values_that_share_an_object_are_another_input(case):
    both = Packed(("a", "b"), "pickle", (), "sha256:1", {"a": "sha256:a", "b": "sha256:b"})
    case.inputs = {"a": both, "b": both}
    together = case.key()
    one, other = unit("a", "sha256:a", kind="pickle"), unit("b", "sha256:b", kind="pickle")
    case.inputs = {"a": one, "b": other}
    assert case.key() != together


def test_a_digest_that_cannot_be_trusted_gives_way_to_that_of_the_bytes(case):
    case.inputs = {"rows": unit("rows", "same", assurance="opaque")}
    first = case.key()
    unlike = replace(case.inputs["rows"], files=(PackedFile("x", "sha256:" + "0" * 64, 3),))
    case.inputs = {"rows": unlike}
    assert case.key() != first


@pytest.mark.parametrize(("kind", "other"), [("int64", "Int64"), ("object", "string")])
def test_equal_values_held_in_another_way_are_another_input(case, tmp_path, kind, other):
    import pandas as pd

    from mlops_nb.packaging import pack

    def packed(dtype, number):
        frame = pd.DataFrame({"a": ["1", "2"]}).astype(dtype)
        return pack({"rows": frame}, tmp_path / f"{dtype}{number}", namespace={})

    keys = []
    for number, dtype in enumerate((kind, kind, other)):
        case.inputs = {"rows": packed(dtype, number)}
        keys.append(case.key())
    assert keys[0] == keys[1] != keys[2]


def test_who_wrote_a_value_does_not_count(case):
    case.inputs = {"rows": unit("rows", "d", detail={"written_by": {"pandas": "2"}, "rows": 3})}
    before = case.key()
    case.inputs = {"rows": unit("rows", "d", detail={"written_by": {"pandas": "3"}, "rows": 3})}
    assert case.key() == before


def test_a_piece_is_known_by_its_own_content(case):
    case.piece = {"name": "rows", "index": 0, "count": 2, "digest": "sha256:p"}
    before = case.key()
    case.inputs = {"rows": unit("rows", "nbfp1:longer")}
    case.piece = {"name": "rows", "index": 1, "count": 3, "digest": "sha256:p"}
    assert case.key() == before
    case.piece["digest"] = "sha256:q"
    assert case.key() != before


# --- libraries ----------------------------------------------------------------------------------


def install(place: Path, name: str, version: str, *, requires: str = "") -> None:
    """Install a distribution with one module, in place of another version of it."""
    for old in place.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    folder = place / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{needs}\n")
    (folder / "RECORD").write_text(f"{name}.py,,\n{name}-{version}.dist-info/METADATA,,\n")
    (place / f"{name}.py").write_text("value = 1\n")
    os.utime(place, ns=(0, hash((name, version)) % 10**18))


@pytest.fixture
def packages(tmp_path, monkeypatch):
    place = tmp_path / "lib" / "site-packages"
    place.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(place))
    return place


@pytest.mark.parametrize("place", ["step", "prelude", "module"])
def test_a_version_of_a_library_counts_wherever_it_is_imported(case, packages, place):
    install(packages, "zebralib", "1.0")
    line = "import zebralib\n"
    match place:
        case "step":
            case.sources[3] = line + TRAIN
        case "prelude":
            case.sources[0] = line + PRELUDE
        case "module":
            (case.folder / "lower.py").write_text(line + LOWER)
    entry = case.cached()
    install(packages, "zebralib", "1.1")
    key, parts = case.made()
    assert key != entry.key
    assert explain(parts, entry) == ("train ran because zebralib went from 1.0 to 1.1",)


def test_a_library_that_nothing_imports_does_not_count(case, packages):
    install(packages, "zebralib", "1.0")
    before = case.key()
    install(packages, "zebralib", "1.1")
    assert case.key() == before


def test_what_a_library_requires_counts(case, packages):
    install(packages, "base_of_it", "1.0")
    install(packages, "zebralib", "1.0", requires="base-of-it>=1")
    case.sources[3] = "import zebralib\n" + TRAIN
    entry = case.cached()
    install(packages, "base_of_it", "2.0")
    assert explain(case.made()[1], entry) == ("train ran because base-of-it went from 1.0 to 2.0",)


def test_a_library_under_another_name_than_its_module_is_found(case, packages):
    install(packages, "zebralib", "1.0")
    (packages / "zebralib-1.0.dist-info").rename(packages / "Stripes-1.0.dist-info")
    os.utime(packages, ns=(0, 5))
    case.sources[3] = "import zebralib\n" + TRAIN
    assert case.made()[1]["distributions"] == {"stripes": "1.0"}


def test_another_environment_counts_by_what_is_told_of_it(case):
    case.sources[3] = "import sklearn\n" + TRAIN
    made = case.made(distributions={"scikit-learn": "1.8"}, python="3.12")
    entry = CachedStep(made[0], "churn", "train", "7f3a", 1, made[1])
    _, parts = case.made(distributions={"scikit-learn": "1.9"}, python="3.13")
    assert explain(parts, entry) == (
        "train ran because scikit-learn went from 1.8 to 1.9",
        "train ran because Python went from 3.12 to 3.13",
    )


# --- modules of the project -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("import pkg.deep", "pkg/deep.py"),
        ("import pkg.deep", "pkg/__init__.py"),
        ("from pkg import deep", "pkg/deep.py"),
        ("from pkg.deep import f", "pkg/below.py"),
        ("from space import thing", "space/thing.py"),
        ("def f():\n    import pkg.deep", "pkg/deep.py"),
        ("import importlib; importlib.import_module('pkg.deep')", "pkg/deep.py"),
        ("import importlib; importlib.import_module(name)", "space/thing.py"),
        ("import sys; sys.path.append('../src'); import outer", "../src/outer.py"),
        ("%time import pkg.deep", "pkg/deep.py"),
        ("%%time\nimport pkg.deep", "pkg/deep.py"),
        ("%run -i space/thing.py", "space/thing.py"),
        ("%run runs", "pkg/deep.py"),
        ("!python runs.py --fast", "runs.py"),
        ("import subprocess; subprocess.run(['python', 'runs.py'])", "pkg/deep.py"),
    ],
)
def test_modules_are_followed_however_they_are_imported(case, line, file):
    (case.folder.parent / "src").mkdir()
    (case.folder / ".git").mkdir()
    for name in ("pkg/__init__.py", "pkg/deep.py", "pkg/below.py", "space/thing.py"):
        path = case.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("from . import below\n" if name == "pkg/deep.py" else "f = 1\n")
    (case.folder / "../src/outer.py").write_text("f = 1\n")
    (case.folder / "runs.py").write_text("import pkg.deep\n")
    case.sources[3] = f"{line}\n{TRAIN}"
    entry = case.cached()
    path = case.folder / file
    path.write_text(path.read_text() + "g = 2\n")
    assert case.key() != entry.key


def test_modules_that_import_each_other_are_read_once(case):
    (case.folder / "helpers.py").write_text("import lower\n" + HELPERS)
    (case.folder / "lower.py").write_text("import helpers\n" + LOWER)
    assert set(case.made()[1]["modules"]) == {"helpers.py", "lower.py"}


@pytest.mark.parametrize("data", [b"\xff\xfe bad", b"def broken(:\n", b"x = 1\0\n", b""])
def test_a_module_that_is_no_python_counts_by_its_bytes(case, data):
    before = case.key()
    (case.folder / "lower.py").write_bytes(data)
    first = case.key()
    (case.folder / "lower.py").write_bytes(data + b"1")
    assert len({before, first, case.key()}) == 3


# --- what was seen to be read -----------------------------------------------------------------


def execution(number: int, *files: FileUse) -> Execution:
    return Execution(
        f"e{number}", "s", number, "ok", "", "", as_datetime(number), files=tuple(files)
    )


def read_of(path: Path, mode: str = "r", **given) -> FileUse:
    content = Digests().content(str(path))
    return FileUse(str(path), mode, "audit", **{"digest": content.digest, **given})


def hit_of(case, tmp_path, entry):
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.save_cached(entry)
        key, parts = case.made()
        return find_hit(store, key, parts, folder=case.folder)


def test_a_file_that_was_seen_to_be_read_counts_though_no_text_names_it(case, tmp_path):
    other = case.folder / "weights.bin"
    other.write_bytes(b"1")
    seen = seen_in([execution(1, read_of(other))], folder=case.folder)
    assert list(seen["files"]) == ["weights.bin"]
    entry = case.cached(**seen)
    assert hit_of(case, tmp_path, entry).run == entry.run
    other.write_bytes(b"2")
    assert hit_of(case, tmp_path, entry) is None
    against = reasons_against(entry, case.made()[1], folder=case.folder)
    assert against == ("file weights.bin has other content",)
    assert explain(case.made()[1], entry, against=against) == (
        "train ran because file weights.bin has other content",
    )
    other.unlink()
    assert reasons_against(entry, case.made()[1], folder=case.folder) == (
        "file weights.bin is gone",
    )


def test_of_several_results_under_one_key_the_one_that_is_still_so_is_used(case, tmp_path):
    other = case.folder / "weights.bin"
    for content, run in ((b"1", "one"), (b"2", "two")):
        other.write_bytes(content)
        seen = seen_in([execution(1, read_of(other))], folder=case.folder)
        entry = case.cached(run, **seen)
        hit_of(case, tmp_path, entry)
    assert hit_of(case, tmp_path, entry).run == "two"
    other.write_bytes(b"1")
    assert hit_of(case, tmp_path, entry).run == "one"


def test_what_a_step_has_written_itself_is_no_input(case):
    own = case.folder / "scratch.bin"
    own.write_bytes(b"1")
    uses = [execution(1, read_of(own, "w")), execution(2, read_of(own))]
    assert seen_in(uses, folder=case.folder) == {}


def test_what_was_read_and_cannot_be_looked_at_again_is_never_a_hit(case, tmp_path):
    use = FileUse("https://host/x.csv", "r", "adapter", assurance="opaque")
    entry = case.cached(**seen_in([execution(1, use)], folder=case.folder))
    assert hit_of(case, tmp_path, entry) is None


def test_files_of_the_system_and_of_the_store_are_no_inputs(case, tmp_path):
    (tmp_path / ".mlops").mkdir()
    inside = tmp_path / ".mlops" / "value.npy"
    inside.write_bytes(b"1")
    uses = [read_of(Path(os.__file__)), read_of(inside)]
    uses.append(FileUse("/proc/cpuinfo", "r", "audit", assurance="opaque"))
    seen = seen_in([execution(1, *uses)], folder=case.folder, ignored=[tmp_path / ".mlops"])
    assert seen == {}


def test_a_module_that_was_read_as_a_file_counts_by_what_it_does(case, tmp_path):
    plugin = case.folder / "plugin.py"
    plugin.write_text("x = 1\n")
    compiled = case.folder / "__pycache__" / "plugin.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"1")
    uses = [read_of(plugin), read_of(compiled), read_of(case.folder / "helpers.py")]
    seen = seen_in([execution(1, *uses)], folder=case.folder, parts=case.made()[1])
    assert list(seen) == ["modules"]
    assert list(seen["modules"]) == ["plugin.py"]
    entry = case.cached(**seen)
    plugin.write_text("x = 1  # one\n")
    compiled.write_bytes(b"2")
    assert hit_of(case, tmp_path, entry) is not None
    plugin.write_text("x = 2\n")
    assert hit_of(case, tmp_path, entry) is None


def test_a_notebook_that_somebody_else_has_open_is_no_input(case):
    book = case.folder / "churn.ipynb"
    book.write_text("{}")
    use = read_of(book)
    by_others = execution(1, replace(use, evidence="kernel:dir"))
    assert seen_in([by_others], folder=case.folder) == {}
    named = replace(by_others, source="!jupyter nbconvert --execute churn.ipynb")
    assert list(seen_in([named], folder=case.folder)["files"]) == ["churn.ipynb"]
    assert list(seen_in([execution(1, use)], folder=case.folder)["files"]) == ["churn.ipynb"]


def test_a_module_that_was_seen_to_be_imported_counts(case, tmp_path):
    (case.folder / "plugin.py").write_text("x = 1\n")
    files = {"plugin": str(case.folder / "plugin.py"), "os": os.__file__}
    _, parts = case.made()
    seen = seen_in([], folder=case.folder, parts=parts, modules=files)
    assert list(seen["modules"]) == ["plugin.py"]
    entry = case.cached(**seen)
    assert hit_of(case, tmp_path, entry) is not None
    (case.folder / "plugin.py").write_text("x = 2\n")
    assert hit_of(case, tmp_path, entry) is None


# --- what is wanted of results ------------------------------------------------------------------


def test_results_that_lack_what_is_wanted_now_are_no_hit(case, tmp_path):
    case.step = replace(case.step, outputs=(("model",),))
    entry = case.cached()
    assert hit_of(case, tmp_path, entry) is not None
    case.step = replace(case.step, outputs=(("model",), ("score",)))
    assert hit_of(case, tmp_path, entry) is None
    assert reasons_against(entry, case.made()[1], folder=case.folder) == (
        "it has to save score, which run 7f3a did not",
    )


def test_results_with_more_than_is_wanted_are_a_hit(case, tmp_path):
    case.step = replace(case.step, outputs=(("model",), ("score",)))
    entry = case.cached()
    case.step = replace(case.step, outputs=(("score",),))
    assert hit_of(case, tmp_path, entry) is not None


def test_values_that_are_to_stay_together_must_have_been_kept_together(case, tmp_path):
    case.step = replace(case.step, outputs=(("model",), ("score",)))
    entry = case.cached()
    case.step = replace(case.step, outputs=(("model", "score"),))
    assert hit_of(case, tmp_path, entry) is None


def test_results_of_a_run_in_which_nobody_watched_a_name_are_no_hit(case, tmp_path):
    entry = case.cached()
    case.step = replace(case.step, watched=("rows",))
    assert hit_of(case, tmp_path, entry) is None
    watched = case.cached()
    case.step = replace(case.step, watched=())
    assert hit_of(case, tmp_path, watched) is not None


def test_a_step_that_is_not_to_be_cached_never_hits(case, tmp_path):
    entry = case.cached()
    case.step = replace(case.step, options=StepOptions(is_cached=False))
    assert hit_of(case, tmp_path, entry) is None
    assert explain(case.made()[1], entry) == ("train ran because it is tagged not to be cached",)


def test_damaged_results_are_passed_over(case, tmp_path):
    entry = case.cached()
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.save_cached(entry)
        key, parts = case.made()
        assert find_hit(store, key, parts, folder=case.folder, without={entry.run}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": 5},
        {"inputs": {"rows": {}}},
        {"inputs": {"rows": {"content": []}}},
        {"inputs": {"rows": {"content": "x"}}},
        {"modules": {"a.py": None}},
        {"params": {"C": 1}},
        {"params": []},
        {"source": None},
        {"source": "x"},
        {"distributions": None},
        {"files": {"a": 3}},
        {"options": None},
        {"watched": 3},
        {"seen": []},
        {"seen": [1]},
        {"seen": {"files": [1]}},
        {"seen": {"files": {"a": {}}}},
        {"seen": {"modules": {"a": 1}}},
        {"version": 0},
        {"version": [1]},
    ],
    ids=str,
)
def test_parts_that_somebody_has_made_up_are_no_hit_and_break_nothing(case, tmp_path, change):
    entry = case.cached()
    entry = replace(entry, parts={**entry.parts, **change})
    case.params = {"C": 0.5}
    parts = case.made()[1]
    assert nearest_to(parts, [entry]) == entry
    assert all(line.startswith("train ran because ") for line in explain(parts, entry))
    case.params = {}
    if change != {"seen": []}:
        against = reasons_against(entry, case.made()[1], folder=case.folder)
        assert against or "version" in change
    without = {key: part for key, part in entry.parts.items() if key not in change}
    assert explain(parts, replace(entry, parts=without))


# --- explaining ---------------------------------------------------------------------------------


def test_a_hit_is_explained_as_one(case):
    assert explain(case.made()[1], case.cached()) == ("it is a hit: run 7f3a",)


def test_where_there_is_nothing_that_is_said(case):
    assert explain(case.made()[1], None) == ("train ran because nothing like it is in the store",)


def test_the_results_that_differ_least_are_compared_with(case):
    near = case.cached("near")
    CHANGE["parameter"](case)
    CHANGE["imported module"](case)
    far = case.cached("far0")
    case.params = {}
    (case.folder / "helpers.py").write_text(HELPERS)
    CHANGE["data byte"](case)
    assert nearest_to(case.made()[1], [far, near]).run == "near"
    assert nearest_to(case.made()[1], []) is None


def test_columns_and_rows_of_a_changed_input_are_named_where_they_are_known(case):
    import pandas as pd

    from mlops_nb.fingerprint import fingerprint
    from mlops_nb.fingerprint.record import fingerprint_document

    frame = pd.DataFrame({"age": range(70_000), "name": "x"})
    other = frame.copy()
    other.loc[3, "age"] = -1
    found = [fingerprint(frame), fingerprint(other)]
    documents = {one.digest: fingerprint_document(one) for one in found}
    case.inputs = {"rows": unit("rows", found[0].digest, kind="parquet")}
    entry = case.cached()
    case.inputs = {"rows": unit("rows", found[1].digest, kind="parquet")}
    assert explain(case.made()[1], entry, contents=documents.get) == (
        "train ran because input rows from load has other content (rows 0–65,535 of column age)",
    )


def test_many_changes_are_told_one_by_one_up_to_a_number(case):
    entry = case.cached()
    for number in range(20):
        (case.folder / f"m{number}.py").write_text("x = 1\n")
    case.sources[3] = "\n".join(f"import m{number}" for number in range(20)) + "\n" + TRAIN
    said = explain(case.made()[1], entry)
    assert len(said) == 13
    assert said[-1] == "… and 9 more changes"
