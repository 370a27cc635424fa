"""Reading notebooks as they are out there, their parameters, and which one a kernel runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import MappingProxyType

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.config import Settings
from mlops_nb.errors import BadNotebook, BadParameter
from mlops_nb.notebook import (
    check_parameters,
    detect_notebook,
    find_by_witness,
    notebook_matches,
    parameters,
    read_notebook,
    require_python,
)

GOLDEN = Path(__file__).parent / "golden"
PYTHON = MappingProxyType({"name": "python3", "display_name": "Python 3", "language": "python"})


def write(path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def code(source, *, tags=(), **more):
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": [],
        "execution_count": None,
        **more,
    }


def notebook(*cells, **more):
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": dict(PYTHON)},
        "cells": list(cells),
        **more,
    }


def with_parameters(path, source):
    return read_notebook(write(path, notebook(code(source, tags=["parameters"], id="p"))))


# --- what is no notebook ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b" \n\n", "it is empty", id="only blanks"),
        pytest.param(b'{"cells": [', "it is not complete JSON", id="cut off"),
        pytest.param(b'{"cells": [],\n "x" 1}', "line 2, column 6", id="broken JSON"),
        pytest.param(b"import pandas", "no JSON: it begins with 'import pandas'", id="a script"),
        pytest.param(
            b'{\n<<<<<<< HEAD\n "a": 1\n=======\n', "unresolved merge conflicts", id="a conflict"
        ),
        pytest.param(b"[1, 2]", "JSON, but a list", id="a list"),
        pytest.param(b'{"name": "x"}', 'no "nbformat", no "cells"', id="another document"),
        pytest.param(b'{"nbformat": 5, "cells": []}', "nbformat 5", id="from the future"),
        pytest.param(b'{"nbformat": "four", "cells": []}', 'its "nbformat" is', id="odd version"),
        pytest.param(b'{"nbformat": 4}', 'no list of "cells"', id="no cells"),
        pytest.param(b'{"nbformat": 4, "cells": ["x"]}', "cell 0 is not an object", id="odd cell"),
        pytest.param(
            b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}',
            "cell 0 has a source that is no text",
            id="odd source",
        ),
        pytest.param(
            b'{"nbformat": 3, "worksheets": 7}', "cannot be converted", id="odd version 3"
        ),
        pytest.param(b'{"cells": "caf\xe9"}', "it is not UTF-8 (byte 14)", id="latin-1"),
        pytest.param(b"\x89PNG\r\n\x1a\n\xff", "it is not UTF-8", id="a picture"),
        pytest.param(b'{"a":' * 100_000, "nested too deeply", id="very deep"),
    ],
)
def test_a_file_that_is_no_notebook_is_refused_by_what_is_wrong_with_it(
    tmp_path, content, problem
):
    path = tmp_path / "x.ipynb"
    path.write_bytes(content)
    with pytest.raises(BadNotebook) as refused:
        read_notebook(path)
    assert problem in str(refused.value)
    assert str(path) in str(refused.value)
    assert refused.value.remedy


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(BadNotebook, match="it is a folder"):
        read_notebook(tmp_path)


def test_a_missing_file_names_the_one_that_may_have_been_meant(tmp_path):
    write(tmp_path / "train.ipynb", notebook())
    with pytest.raises(BadNotebook, match=r"no such file. Did you mean .*train\.ipynb\?"):
        read_notebook(tmp_path / "tarin.ipynb")


def test_a_name_with_a_null_character_is_refused_not_raised():
    with pytest.raises(BadNotebook, match="cannot be read"):
        read_notebook("a\0b.ipynb")


# As root every file can be read, so the rule shows only to another user.
READ_AS_NOBODY = """
import os, sys
from mlops_nb.errors import BadNotebook
from mlops_nb.notebook import read_notebook
os.setuid(65534)
try:
    read_notebook(sys.argv[1])
except BadNotebook as refused:
    print(refused)
"""


@pytest.mark.skipif(os.name == "nt", reason="Unix permissions")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = write(tmp_path / "private.ipynb", notebook())
    path.chmod(0)
    script = READ_AS_NOBODY if os.getuid() == 0 else READ_AS_NOBODY.replace("os.setuid", "int")
    # By its folder, because the ones above it are closed to others.
    shown = subprocess.run(
        [sys.executable, "-c", script, path.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "you may not read it" in shown.stdout


# --- what is repaired -------------------------------------------------------------------------


def test_a_whole_notebook_is_read_without_a_warning():
    read = read_notebook(GOLDEN / "plain.ipynb")
    assert read.warnings == ()
    assert [(c.index, c.kind, c.id, c.tags) for c in read.cells] == [
        (0, "markdown", "title", ()),
        (1, "code", "params", ("parameters",)),
        (2, "code", "fit", ()),
    ]
    assert (read.language, read.kernel_name, read.version) == ("python", "python3", (4, 5))


@pytest.mark.parametrize("major", [2, 3])
def test_an_old_version_is_converted(major):
    read = read_notebook(GOLDEN / f"version{major}.ipynb")
    assert [c.source for c in read.code_cells] == ["x = 1\ny = 2", "print(x + y)"]
    assert read.version[0] == major
    assert f"nbformat {major}" in read.warnings[0]


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        pytest.param(
            {"cells": [code("x", id="a")], "metadata": {}}, 'no "nbformat"', id="no nbformat"
        ),
        pytest.param(
            {"worksheets": [{"cells": [{"cell_type": "code", "input": "x", "outputs": []}]}]},
            "taken for version 3",
            id="no nbformat, version 3",
        ),
        pytest.param(notebook({"cell_type": "code"}), "Cell 0 has no source", id="no source"),
        pytest.param(
            notebook(code("x", id="a"), code("y", id="a")), "Cell 1 has a doubled id", id="doubles"
        ),
        pytest.param(notebook(code("x", id="no good!")), "an illegal id", id="illegal id"),
        pytest.param(notebook(code("x", id="a" * 65)), "an illegal id", id="long id"),
        pytest.param(notebook(code("x", id=7)), "an illegal id", id="id that is a number"),
        pytest.param(notebook(code("x")), "Cell 0 has no id", id="no id in 4.5"),
        pytest.param(
            notebook({**code("x", id="a"), "cell_type": "poem"}), "unknown type 'poem'", id="type"
        ),
        pytest.param(
            notebook(code("x", id="a"), metadata={"kernelspec": "python3"}),
            'kernelspec was the text "python3"',
            id="kernelspec a string",
        ),
        pytest.param(
            notebook(code("x", id="a"), metadata={"kernelspec": ["python3"]}),
            "kernelspec names no kernel",
            id="kernelspec a list",
        ),
        pytest.param(
            notebook(code("x", id="a"), metadata={"kernelspec": {"name": None}}),
            "kernelspec names no kernel",
            id="kernelspec without a name",
        ),
        pytest.param(notebook(metadata=[1]), "metadata was not an object", id="metadata a list"),
        pytest.param(
            notebook(code("x", id="a", outputs=[{"output_type": "stream"}])),
            "outputs of an unknown form",
            id="outputs",
        ),
    ],
)
def test_what_can_be_repaired_is_and_says_so(tmp_path, content, warning):
    read = read_notebook(write(tmp_path / "x.ipynb", content))
    assert any(warning in text for text in read.warnings), read.warnings
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nbformat.validate(nbformat.from_dict(read.content))


def test_no_source_is_lost_in_a_repair(tmp_path):
    cells = [
        code(["a = 1\n", "b = 2"], id="same"),
        code("c = 3", id="same"),
        code("d = 4", id="!"),
    ]
    read = read_notebook(write(tmp_path / "x.ipynb", notebook(*cells)))
    assert [c.source for c in read.cells] == ["a = 1\nb = 2", "c = 3", "d = 4"]
    assert len(set(read.ids)) == 3


def test_new_ids_are_the_same_at_every_reading(tmp_path):
    path = write(tmp_path / "x.ipynb", notebook(code("x"), code("x"), code("y", id="é")))
    assert read_notebook(path).ids == read_notebook(path).ids


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_obstacle(tmp_path, encoding):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(notebook(code("é", id="a"))), encoding=encoding)
    assert read_notebook(path).cells[0].source == "é"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["cell_type", "source", "metadata", "outputs", "id", "execution_count", "tags", "kernelspec"]
)


@given(
    cells=st.lists(st.dictionaries(KEYS, JSON, max_size=6), max_size=4),
    metadata=st.dictionaries(KEYS, JSON, max_size=3),
)
def test_whatever_a_notebook_holds_it_is_read_or_refused(tmp_path_factory, cells, metadata):
    path = tmp_path_factory.mktemp("any") / "x.ipynb"
    write(path, {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})
    try:
        read = read_notebook(path)
    except BadNotebook:
        return
    assert len(read.cells) == len(cells)
    assert len(set(read.ids)) == len(cells)


# --- languages --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        pytest.param({"language_info": {"name": "R"}}, "R", id="by language_info"),
        pytest.param(
            {"kernelspec": {"name": "julia-1.9", "display_name": "J", "language": "julia"}},
            "julia",
            id="by kernelspec",
        ),
        pytest.param(
            {"kernelspec": {"name": "ir", "display_name": "R"}}, "R", id="by kernel name"
        ),
        pytest.param({"kernelspec": "xcpp17"}, "C++", id="by a kernelspec that is a string"),
    ],
)
def test_a_notebook_in_another_language_is_refused_by_its_name(tmp_path, metadata, language):
    if metadata.get("kernelspec") == "xcpp17":
        metadata = {"kernelspec": "xcpp-17"}
    read = read_notebook(write(tmp_path / "x.ipynb", notebook(metadata=metadata)))
    with pytest.raises(BadNotebook) as refused:
        require_python(read)
    assert f"it is a notebook in {language}" in str(refused.value)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"kernelspec": dict(PYTHON)},
        {"language_info": {"name": "ipython"}},
        {"kernelspec": "venv"},
    ],
    ids=["nothing said", "kernelspec", "language_info", "a kernel of one's own"],
)
def test_a_python_notebook_is_accepted(tmp_path, metadata):
    found = read_notebook(write(tmp_path / "x.ipynb", notebook(metadata=metadata)))
    assert require_python(found) is None


# --- parameters -------------------------------------------------------------------------------


def test_parameters_have_name_type_default_and_comment(tmp_path):
    source = (
        "%matplotlib inline\n"
        "C = 1  # strength\n"
        "rate: float = 1e-3\n"
        "kind = None  # type: str which one\n"
        "a, b = 1, 'two'\n"
        "seed = int('7')\n"
        "names: 'list[str]' = ['x']\n"
        "C = 2.5\n"
    )
    found = parameters(with_parameters(tmp_path / "x.ipynb", source))
    assert [(p.name, p.type, p.default, p.comment) for p in found] == [
        ("rate", "float", 1e-3, ""),
        ("kind", "str", None, "which one"),
        ("a", "int", 1, ""),
        ("b", "str", "two", ""),
        ("seed", "", None, ""),
        ("names", "list[str]", ["x"], ""),
        ("C", "float", 2.5, ""),
    ]


def test_parameters_are_read_without_running_anything(tmp_path):
    witness = tmp_path / "ran"
    found = parameters(with_parameters(tmp_path / "x.ipynb", f"x = open({str(witness)!r}, 'w')"))
    assert [p.name for p in found] == ["x"]
    assert not witness.exists()


def test_a_notebook_without_the_tag_has_no_parameters(tmp_path):
    assert parameters(read_notebook(write(tmp_path / "x.ipynb", notebook(code("x = 1"))))) == ()


def test_the_tag_of_other_tools_is_known(tmp_path):
    cell = code("x = 1", tags=["pipeline-parameters"])
    read = read_notebook(write(tmp_path / "x.ipynb", notebook(cell)))
    assert [p.name for p in parameters(read)] == ["x"]


def test_a_parameters_cell_that_is_not_python_is_named(tmp_path):
    with pytest.raises(BadNotebook, match=r"parameters cell \(cell 0\) is not Python \(line 2"):
        parameters(with_parameters(tmp_path / "x.ipynb", "x = 1\ny = = 2"))


@pytest.mark.parametrize(
    ("written", "text", "value"),
    [
        pytest.param("C = 1", "0.5", 0.5, id="another number for a whole one"),
        pytest.param("C = 1", "7", 7, id="whole number"),
        pytest.param("C: int = 1", "7.0", 7, id="whole number with a point"),
        pytest.param("C = 1.0", "1e-3", 1e-3, id="exponent"),
        pytest.param("C = 1.0", "inf", float("inf"), id="infinity"),
        pytest.param("C = 'x'", "5", "5", id="digits stay a text"),
        pytest.param("C = 'x'", "true", "true", id="a word stays a text"),
        pytest.param("C = True", "false", False, id="false"),
        pytest.param("C = True", "yes", True, id="yes"),
        pytest.param("C = [1]", "[2, 3]", [2, 3], id="list"),
        pytest.param("C = (1, 2)", "(3, 4)", (3, 4), id="tuple"),
        pytest.param("C = {}", '{"a": true}', {"a": True}, id="mapping as JSON"),
        pytest.param("C = None", "3", 3, id="no type: a number"),
        pytest.param("C = None", "word", "word", id="no type: a text"),
        pytest.param("C: int | None = 1", "null", None, id="either: null"),
        pytest.param("C: Optional[int] = None", "4", 4, id="optional"),
        pytest.param("C: Literal['a', 'b'] = 'a'", "b", "b", id="choice"),
        pytest.param("C: Literal[1, 2] = 1", "2", 2, id="choice of numbers"),
        pytest.param("C: typing.Union[float, str] = 1.0", "w", "w", id="union"),
        pytest.param("C: 'pd.DataFrame' = None", "x.csv", "x.csv", id="a type we do not know"),
        pytest.param("C = 1  # type: float", "2.5", 2.5, id="type comment"),
    ],
)
def test_a_text_is_read_as_the_type_of_its_parameter(tmp_path, written, text, value):
    read = with_parameters(tmp_path / "x.ipynb", written)
    checked = check_parameters(read, {"C": text})["C"]
    assert (checked, type(checked)) == (value, type(value))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        pytest.param("C = 1", "high", id="a word for a number"),
        pytest.param("C = 1", True, id="a flag for a number"),
        pytest.param("C: int = 1", "0.5", id="a fraction where int is declared"),
        pytest.param("C = 1.0", [1.0], id="a list for a number"),
        pytest.param("C = True", "maybe", id="a word for a flag"),
        pytest.param("C = 'x'", 5, id="a number from a file for a text"),
        pytest.param("C = [1]", "{}", id="a mapping for a list"),
        pytest.param("C: Literal['a', 'b'] = 'a'", "c", id="no such choice"),
        pytest.param("C: Literal[1, 2] = 1", True, id="true is not the choice 1"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(tmp_path, written, value):
    with pytest.raises(BadParameter, match='"C" is a'):
        check_parameters(with_parameters(tmp_path / "x.ipynb", written), {"C": value})


def test_the_refusal_says_what_the_notebook_has_what_was_given_and_what_to_give(tmp_path):
    read = with_parameters(tmp_path / "train.ipynb", "C = 1")
    with pytest.raises(BadParameter) as refused:
        check_parameters(read, {"C": "high"}, "train.ipynb")
    assert str(refused.value) == (
        'train.ipynb: "C" is an int in the notebook (C = 1), you gave "high". '
        "Give a number: -p C=0.5"
    )


def test_an_unknown_parameter_names_the_right_ones_and_the_closest(tmp_path):
    read = with_parameters(tmp_path / "x.ipynb", "learning_rate = 0.1\nseed = 7\nmodel = None")
    with pytest.raises(BadParameter) as refused:
        check_parameters(read, {"Learning_Rte": "1"}, "x.ipynb")
    assert str(refused.value) == (
        'x.ipynb: it has no parameter "Learning_Rte". Did you mean "learning_rate"? '
        "It has: learning_rate (float), seed (int), model."
    )


def test_parameters_for_a_notebook_that_has_none_are_refused(tmp_path):
    read = read_notebook(write(tmp_path / "x.ipynb", notebook(code("x = 1"))))
    with pytest.raises(
        BadParameter, match='Tag the cell that sets its parameters with "parameters"'
    ):
        check_parameters(read, {"x": "2"})


@given(value=st.integers() | st.floats(allow_nan=False) | st.booleans() | st.text())
def test_a_default_is_always_accepted_for_its_own_parameter(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("own") / "x.ipynb"
    read = with_parameters(
        path, f"C = {value!r}" if value not in {float("inf"), float("-inf")} else "C = 1.0"
    )
    assert check_parameters(read, {"C": value}) == {"C": value}


# --- which notebook is this? ------------------------------------------------------------------


def two_notebooks(folder):
    return (
        write(folder / "old.ipynb", notebook(code("x = 1", id="first"))),
        write(folder / "new.ipynb", notebook(code("y = 2", id="second"))),
    )


def test_a_path_that_was_given_wins(tmp_path):
    old, _ = two_notebooks(tmp_path)
    settings = Settings(notebook=str(old))
    found = detect_notebook(settings, {"cellId": "second"}, {}, {"JPY_SESSION_NAME": "x.ipynb"})
    assert found == (str(old), "given")


@pytest.mark.parametrize(
    ("meta", "namespace", "environ"),
    [
        pytest.param({"mlops_nb": {"notebook": "{}"}}, {}, {}, id="the panel"),
        pytest.param(
            {"cellId": "vscode-notebook-cell:{}#W0sZmlsZQ%3D%3D"}, {}, {}, id="VS Code id"
        ),
        pytest.param(None, {"__vsc_ipynb_file__": "{}"}, {}, id="VS Code's variable"),
        pytest.param(None, {}, {"JPY_SESSION_NAME": "{}"}, id="Jupyter's variable"),
        pytest.param(None, {"__session__": "{}"}, {}, id="Jupyter's name in the namespace"),
        pytest.param(None, {"PAPERMILL_INPUT_PATH": "{}"}, {}, id="papermill's parameter"),
    ],
)
def test_each_front_end_tells_in_its_own_way(tmp_path, meta, namespace, environ):
    path = str(tmp_path / "my notebook.ipynb")

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        return value.format(path.replace(" ", "%20") if value.startswith("vscode") else path)

    found = detect_notebook(Settings(), meta and filled(meta), filled(namespace), filled(environ))
    assert found == (path, "claimed")


def test_a_cell_id_in_the_file_verifies_it(tmp_path):
    old, _ = two_notebooks(tmp_path)
    found = detect_notebook(Settings(), {"cellId": "first"}, {}, {"JPY_SESSION_NAME": str(old)})
    assert found == (str(old), "verified")


def test_a_stale_name_gives_way_to_one_that_a_cell_id_confirms(tmp_path):
    old, new = two_notebooks(tmp_path)
    meta = {"cellId": "second", "nbPath": str(old)}
    found = detect_notebook(Settings(), meta, {}, {"JPY_SESSION_NAME": str(new)})
    assert found == (str(new), "verified")


@pytest.mark.parametrize("name", ["4c9e-uuid", "console-1", ""])
def test_a_session_name_that_is_no_notebook_is_no_path(name):
    assert detect_notebook(Settings(), None, {}, {"JPY_SESSION_NAME": name}) == (None, "unknown")


def test_a_path_from_the_servers_root_is_found_beside_the_kernel(tmp_path, monkeypatch):
    old, _ = two_notebooks(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = detect_notebook(Settings(), None, {}, {"JPY_SESSION_NAME": "work/old.ipynb"})
    assert found == (str(old), "claimed")


@pytest.mark.parametrize(
    ("ids", "sources", "matches"),
    [
        pytest.param(["first"], [], True, id="its id"),
        pytest.param(["first", "other"], [], False, id="one id that it lacks"),
        pytest.param([], [" x = 1\n"], True, id="its source"),
        pytest.param([], ["x = 2"], False, id="another source"),
        pytest.param([], [], False, id="no witness"),
        pytest.param(["second"], ["x = 1"], False, id="ids go before sources"),
    ],
)
def test_a_notebook_is_known_by_what_ran_in_it(tmp_path, ids, sources, matches):
    old, _ = two_notebooks(tmp_path)
    assert notebook_matches(old, ids, sources) is matches


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3}', '{"cells": [1]}'])
def test_a_broken_file_matches_nothing(tmp_path, content):
    assert notebook_matches(write(tmp_path / "x.ipynb", content), ["a"], ()) is False


def test_a_renamed_notebook_is_found_by_its_cells(tmp_path):
    _, new = two_notebooks(tmp_path)
    assert find_by_witness(tmp_path, ["second"], ()) == str(new.resolve())


def test_two_copies_are_no_answer(tmp_path):
    _, new = two_notebooks(tmp_path)
    (tmp_path / "copy.ipynb").write_bytes(new.read_bytes())
    assert find_by_witness(tmp_path, ["second"], ()) is None


def test_reading_a_notebook_loads_neither_nbformat_nor_ipython():
    script = (
        "import sys; from mlops_nb.notebook import read_notebook, parameters;"
        f"parameters(read_notebook({str(GOLDEN / 'plain.ipynb')!r}));"
        "sys.exit(bool({'nbformat', 'IPython', 'papermill', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
