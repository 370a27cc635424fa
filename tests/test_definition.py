"""``pipeline.yaml``: the same text for the same pipeline, read back as it was, or refused."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.errors.pipelines import BadDefinition
from mlops_nb.model.pipelines import (
    Edge,
    Fact,
    Pipeline,
    PipelineParameter,
    Reason,
    Step,
    StepOptions,
)
from mlops_nb.pipeline.writing import (
    definition_document,
    definition_text,
    load_definition,
    pipeline_of,
    read_definition,
    split_digest,
)

CHURN = Pipeline(
    "churn",
    "churn.ipynb",
    "python3",
    prelude=(0, 1),
    parameter_cells=(2,),
    skipped=(9,),
    parameters=(
        PipelineParameter("C", "float", 1.0, "1.0", "how strong"),
        PipelineParameter("shape", "tuple", (1, 2), "(1, 2)"),
        PipelineParameter("half", "", None, "C / 2"),
        PipelineParameter("nothing", "", None, "None"),
        PipelineParameter("answer", "str", "no", "'no'"),
    ),
    steps=(
        Step("load", (3, 4), outputs=(("X", "y"), ("<rng:numpy>",)), writes_files=("a b.csv",)),
        Step(
            "train",
            (6,),
            after=("load",),
            options=StepOptions(retry=2, timeout_s=1.5, when="metrics.auc > 0.5", is_cached=False),
            inputs={"X": "load", "y": "load", "<rng:numpy>": "load"},
            params=("C",),
            definitions=("scale",),
            watched=("X",),
            reads_files=("a b.csv",),
        ),
    ),
    edges=(
        Edge(
            "load",
            "train",
            (
                Reason("static", ("X", "y"), "train reads X: see cell 3, line 1"),
                Reason("file", ("a b.csv",)),
            ),
        ),
    ),
    facts=(Fact("train", "mutates", ("X",), "xxh3:0f", "it sorted X"),),
    fused=("fit and score are one: a generator cannot be stored",),
    warnings=("Cell 4: stpe:x is no tag; did you mean step:x?",),
    metrics=("auc",),
    metadata={"description": "who leaves", "deep": {"n": [1, {"m": None}]}},
)


def written(tmp_path, text):
    path = tmp_path / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def text_of(pipeline):
    return definition_text(definition_document(pipeline))


def test_a_pipeline_comes_back_as_it_was(tmp_path):
    found = read_definition(written(tmp_path, text_of(CHURN)))
    assert replace(found, notebook=CHURN.notebook) == CHURN
    assert pipeline_of(definition_document(CHURN)) == CHURN


def test_a_tuple_stays_a_tuple(tmp_path):
    found = read_definition(written(tmp_path, text_of(CHURN)))
    assert [type(parameter.default) for parameter in found.parameters] == [
        float,
        tuple,
        type(None),
        type(None),
        str,
    ]


NAMES = st.from_regex(r"[a-zéß_][a-z0-9é_-]{0,12}", fullmatch=True)
DEFAULTS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.lists(st.text(max_size=5), max_size=3),
    st.tuples(st.integers()),
    st.binary(max_size=5),
)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True), value=DEFAULTS, text=st.text())
def test_whatever_names_and_texts_say_they_come_back(tmp_path_factory, names, value, text):
    steps = tuple(Step(name, (n,), outputs=((name,),)) for n, name in enumerate(names))
    printable = text.encode("utf-8", "replace").decode()
    pipeline = Pipeline(
        "p",
        "n.ipynb",
        steps=steps,
        parameters=(PipelineParameter("v", "", value, repr(value), printable),),
        warnings=(printable,) if printable else (),
    )
    path = written(tmp_path_factory.mktemp("one"), text_of(pipeline))
    found = read_definition(path)
    assert replace(found, notebook="n.ipynb") == pipeline


def test_half_a_letter_is_no_reason_to_fail(tmp_path):
    odd = replace(CHURN, warnings=("half \ud800",))
    assert read_definition(written(tmp_path, text_of(odd))).warnings == ("half ?",)


def test_the_same_pipeline_is_the_same_text():
    again = pipeline_of(definition_document(CHURN))
    assert text_of(again) == text_of(CHURN)


def test_it_says_at_the_top_what_it_is_and_how_to_run_it():
    head = text_of(CHURN).split("version:")[0]
    assert "churn.ipynb" in head
    assert "mlops-nb run ." in head
    assert "papermill steps/01_load.ipynb" in head


def test_the_notebook_is_found_from_the_folder(tmp_path, monkeypatch):
    home = tmp_path / "work" / "churn"
    home.mkdir(parents=True)
    text = text_of(replace(CHURN, notebook="../churn.ipynb"))
    (home / "pipeline.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert read_definition("work/churn").notebook == "work/churn.ipynb"


STEPS = "steps:\n  - {name: a, notebook: steps/01_a.ipynb}\n"
TOP = "version: 1\nname: p\n"


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        pytest.param("", 0, "", "it is empty", id="empty"),
        pytest.param("- 1\n", 1, "", "names and values", id="a list"),
        pytest.param("version: [1\n", 2, "", "not YAML", id="half"),
        pytest.param("version: 1\n\tname: p\n", 2, "", "not YAML", id="a tab"),
        pytest.param("name: p\n", 1, "version", "does not say which version", id="no version"),
        pytest.param("version: one\n", 1, "version", "which version", id="version in words"),
        pytest.param("version: 0\n", 1, "version", "no version 0", id="version 0"),
        pytest.param(TOP, 1, "steps", "there are none", id="no steps"),
        pytest.param(TOP + "steps: 3\n", 3, "steps", "a list, and is 3", id="steps are a number"),
        pytest.param(TOP + "steps:\n  - a\n", 4, "steps[0]", "names and values", id="step: text"),
        pytest.param(
            TOP + "steps:\n  - notebook: steps/01_a.ipynb\n",
            4,
            "steps[0].name",
            "it is missing",
            id="a step without a name",
        ),
        pytest.param(
            TOP + "steps:\n  - {name: a, notebook: ../../etc/a.ipynb}\n",
            4,
            "steps[0].notebook",
            "leads out of the folder",
            id="a path with dots",
        ),
        pytest.param(
            TOP + "steps:\n  - {name: a, notebook: /etc/a.ipynb}\n",
            4,
            "steps[0].notebook",
            "leads out of the folder",
            id="an absolute path",
        ),
        pytest.param(
            TOP + "steps:\n  - {name: a, notebook: 'c:a.ipynb'}\n",
            4,
            "steps[0].notebook",
            "leads out of the folder",
            id="a drive",
        ),
        pytest.param(
            TOP + "steps:\n  - {name: a, notebook: steps/a.sh}\n",
            4,
            "steps[0].notebook",
            "no notebook",
            id="no notebook",
        ),
        pytest.param(
            TOP + STEPS + "files:\n  ../x.ipynb: sha256:0\n",
            6,
            "files.../x.ipynb",
            "leads out of the folder",
            id="a file outside",
        ),
        pytest.param(
            TOP + STEPS + "  - {name: a, notebook: steps/02_a.ipynb}\n",
            5,
            "steps[1].name",
            'two steps "a"',
            id="a name twice",
        ),
        pytest.param(
            TOP + "steps:\n  - name: a\n    notebook: a.ipynb\n    after: [b]\n",
            6,
            "steps[0].after",
            'no step "b"',
            id="after nobody",
        ),
        pytest.param(
            TOP + "steps:\n  - name: a\n    notebook: a.ipynb\n    inputs: {x: b}\n",
            6,
            "steps[0].inputs",
            'no step "b"',
            id="from nobody",
        ),
        pytest.param(
            TOP + "steps:\n  - name: a\n    notebook: a.ipynb\n    cells: [1, -1]\n",
            6,
            "steps[0].cells[1]",
            "the number of a cell",
            id="a cell below zero",
        ),
        pytest.param(
            TOP + "steps:\n  - name: a\n    notebook: a.ipynb\n    outputs: [X]\n",
            6,
            "steps[0].outputs[0]",
            "each unit is a list",
            id="a unit that is no list",
        ),
        pytest.param(
            TOP + "steps:\n  - name: a\n    notebook: a.ipynb\n    options: {retry: many}\n",
            6,
            "steps[0].options.retry",
            "whole number",
            id="retry in words",
        ),
        pytest.param(
            TOP + "steps:\n  - name: a\n    notebook: a.ipynb\n    options: {is_cached: 0}\n",
            6,
            "steps[0].options.is_cached",
            "true or false",
            id="a flag as a number",
        ),
        pytest.param(
            TOP + "steps:\n  - name: a\n    notebook: a.ipynb\n    options: {timeout_s: -1}\n",
            6,
            "steps[0].options.timeout_s",
            "seconds",
            id="a timeout below zero",
        ),
        pytest.param(
            TOP + STEPS + "edges:\n  - from: a\n    to: z\n",
            7,
            "edges[0].to",
            'no step "z"',
            id="edge",
        ),
        pytest.param(
            TOP + STEPS + "edges:\n  - {from: a, to: a}\n",
            5,
            "edges",
            "wait for each",
            id="circle",
        ),
        pytest.param(
            TOP + STEPS + "edges:\n  - {from: a, to: a, reasons: [{kind: odd}]}\n",
            6,
            "edges[0].reasons[0].kind",
            '"odd" is none of',
            id="a reason of no kind",
        ),
        pytest.param("version: 1\nname: p\nname: q\n", 3, "name", "twice", id="a key twice"),
        pytest.param(
            TOP + "metadata: !!python/object/apply:os.system [echo]\n",
            3,
            "metadata",
            "no plain value",
            id="a tag",
        ),
        pytest.param(TOP + "metadata: &a\n  b: *a\n", 3, "metadata.b", "reference", id="anchors"),
    ],
)
def test_a_damaged_file_is_refused_with_line_and_key(tmp_path, text, line, key, said):
    path = written(tmp_path, text)
    with pytest.raises(BadDefinition) as caught:
        read_definition(path)
    assert (caught.value.line, caught.value.key) == (line, key)
    assert said in caught.value.problem
    assert str(path) in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - as from a worker
    assert str(again) == str(caught.value)


def test_a_tag_of_python_runs_nothing(tmp_path):
    path = tmp_path / "made"
    call = (
        f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{path}]]"
    )
    with pytest.raises(BadDefinition):
        read_definition(written(tmp_path, f"version: 1\nname: {call}\n"))
    assert not path.exists()


def test_references_do_not_multiply(tmp_path):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    with pytest.raises(BadDefinition, match="reference"):
        read_definition(written(tmp_path, "\n".join(lines)))


def test_what_is_nested_without_end_is_refused(tmp_path):
    with pytest.raises(BadDefinition, match="nested"):
        read_definition(written(tmp_path, "a: " + "[" * 5_000 + "]" * 5_000))


def test_a_newer_version_is_refused_with_what_to_do(tmp_path):
    text = text_of(CHURN).replace("version: 1", "version: 7")
    with pytest.raises(BadDefinition, match=r"version 7.*reads up to 1.*pip install -U mlops-nb"):
        read_definition(written(tmp_path, text))


def test_a_folder_without_a_pipeline_says_so(tmp_path):
    with pytest.raises(BadDefinition, match=r"no pipeline\.yaml"):
        read_definition(tmp_path)


def test_a_key_that_means_nothing_is_warned_about_with_what_was_meant(tmp_path):
    text = text_of(CHURN).replace("retry: 2", "retries: 2")
    (warning,) = load_definition(written(tmp_path, text)).warnings
    assert "steps[1].options.retries" in warning
    assert 'Did you mean "retry"?' in warning
    assert "line " in warning


def test_unknown_keys_at_the_top_are_kept(tmp_path):
    found = load_definition(written(tmp_path, text_of(CHURN) + "x-team: blue\nowner: me\n"))
    assert found.extra == {"x-team": "blue", "owner": "me"}
    assert len(found.warnings) == 1


def test_an_edit_by_hand_is_seen_and_a_remark_is_none(tmp_path):
    text = text_of(CHURN)
    assert not load_definition(written(tmp_path, text)).is_edited
    assert not load_definition(written(tmp_path, f"# mine\n{text}")).is_edited
    assert load_definition(written(tmp_path, text.replace("retry: 2", "retry: 3"))).is_edited


def test_a_proof_is_about_steps_edges_and_parameters_only():
    base = split_digest(CHURN, "sha256:0")
    assert (
        split_digest(replace(CHURN, notebook="elsewhere.ipynb", warnings=(), facts=()), "sha256:0")
        == base
    )
    assert split_digest(CHURN, "sha256:1") != base
    assert split_digest(replace(CHURN, edges=()), "sha256:0") != base
    assert split_digest(replace(CHURN, parameters=CHURN.parameters[1:]), "sha256:0") != base
    assert split_digest(replace(CHURN, steps=CHURN.steps[::-1]), "sha256:0") != base
