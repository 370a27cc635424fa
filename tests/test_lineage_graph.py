"""Where things came from: the graph, what it is folded to, and the ways told in words."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_that_differ import SOURCES, executed, model, read, run, use

from mlops_nb.display.drawing import draw
from mlops_nb.display.lineage import LineageView, written_ways
from mlops_nb.lineage import graph_of
from mlops_nb.lineage.folding import picture_of
from mlops_nb.lineage.graph import Edge, LineageGraph, Node
from mlops_nb.model import Artifact, Metric, Output

ML = (
    "import pandas as pd",
    "df = pd.read_csv('data.csv')",
    "labels = pd.read_csv('labels.csv')",
    "df['ratio'] = df.a / df.b",
    "X_train, X_test = split(df, labels)",
    "forest = RandomForest().fit(X_train)",
    "linear = Linear().fit(X_train)",
    "auc = score(forest, X_test)",
)


def ml_run(**facts):
    data = (
        use("X_train", execution="6", rows=426, columns=31, fit="f"),
        use("X_test", "2", execution="8", role="test", rows=143, columns=31),
    )
    found = run(
        data=data,
        models=(model("6", "forest", "f"), model("7", "linear", "g")),
        metrics={},
        artifacts=(Artifact("roc.png", "figure", "image/png", "sha256:1", 9, "8"),),
        **facts,
    )
    metrics = {key: Metric(v, execution="8", fit="f") for key, v in (("auc", 0.9123), ("f1", 0.8))}
    return replace(found, metrics=metrics)


def ml_executions():
    files = {2: {"files": (read(),)}, 3: {"files": (read("labels.csv"),)}}
    return executed(*ML, changes=files)


def edges(graph):
    names = {node.id: node.label for node in graph.nodes}
    return {(names[e.source], e.reason, names[e.target]) for e in graph.edges}


def ways(graph):
    numbers = {node.id: f"{node.value:.3g}" for node in graph.nodes if node.value is not None}
    return list(written_ways(picture_of(graph, number=numbers)))


# --- the graph --------------------------------------------------------------------------------


def test_the_graph_leads_from_the_file_to_the_metric():
    graph = graph_of(ml_run(), ml_executions())
    assert {
        ("data.csv", "reads file", "[2]"),
        ("[2]", "binds", "df"),
        ("df", "reads", "[4]"),
        ("[4]", "changes", "df"),
        ("X_train", "trains", "forest"),
        ("[6]", "fits", "forest"),
        ("forest", "scores", "auc"),
        ("[8]", "logs", "auc"),
        ("[8]", "keeps", "roc.png"),
    } <= edges(graph)


def test_a_value_carries_its_size_and_its_digest():
    node = graph_of(ml_run(), ml_executions()).named("value", "X_train")[0]
    assert (node.detail, node.digest) == ("426 × 31", "nbfp1:1")


def test_what_was_imported_is_no_value():
    graph = graph_of(None, executed("import numpy as np", "x = np.ones(3)", "y = x"))
    assert {node.label for node in graph.nodes if node.kind == "value"} == {"x", "y"}
    assert ("[1]", "reads", "[2]") not in edges(graph)


def test_upstream_of_a_metric_leaves_out_what_it_does_not_depend_on():
    graph = graph_of(ml_run(), ml_executions())
    part = graph.upstream(node.id for node in graph.named("metric", "auc"))
    labels = {node.label for node in part.nodes}
    assert {"data.csv", "labels.csv", "forest"} <= labels
    assert not {"linear", "roc.png", "f1"} & labels


def test_downstream_of_a_file_is_all_that_was_made_of_it():
    graph = graph_of(ml_run(), ml_executions())
    part = graph.downstream(["file:/home/me/labels.csv"])
    labels = {node.label for node in part.nodes}
    assert {"labels", "X_train", "forest", "linear", "auc"} <= labels
    assert not {"data.csv", "[2]", "[4]"} & labels


def test_a_name_that_is_bound_again_is_another_value():
    graph = graph_of(None, executed("x = 1", "a = x", "x = 2", "b = x"))
    b = graph.named("value", "b")
    assert {node.label for node in graph.upstream([b[0].id]).nodes} == {"[3]", "x", "[4]", "b"}


def test_a_file_that_is_written_and_read_again_makes_no_circle():
    changes = {1: {"files": (read(),)}, 2: {"files": (read(mode="w"),)}, 3: {"files": (read(),)}}
    graph = graph_of(None, executed("x = r()", "w(x)", "y = r()", changes=changes))
    y = graph.named("value", "y")[0]
    assert {n.label for n in graph.upstream([y.id]).nodes} >= {"[1]", "[2]", "[3]", "data.csv"}
    assert len(graph.named("file", "data.csv")) == 2
    assert ways(graph)[0].startswith("data.csv ──▶ [1] x ──▶ [2] data.csv ──▶ [3] y")


def test_the_document_gives_nodes_edges_and_reasons():
    document = LineageView(graph_of(ml_run(), ml_executions()), "run 7f3a").document()
    assert document["direction"] == "upstream"
    assert {"from", "to", "reasons"} == set(document["edges"][0])
    assert {"kind", "names"} == set(document["edges"][0]["reasons"][0])


# --- told in words ----------------------------------------------------------------------------


def test_the_ways_read_as_designed():
    way, *others = ways(graph_of(ml_run(), ml_executions()))
    assert way.split(" ──▶") == [
        "data.csv",
        " [2] df",
        " [4] df changed",
        " [5] X_train 426×31, …",
        " [6] forest",
        " [8] auc 0.912, f1 0.8",
        "",
    ]
    assert others == ["    roc.png", "labels.csv ──▶ [3] labels ──▶ [5] ──▶ [7] linear"]


def test_the_view_names_the_cells_on_the_way():
    graph = graph_of(ml_run(), ml_executions())
    text = LineageView(graph, "run 7f3a").text
    assert "[5]  X_train, X_test = split(df, labels)" in text
    assert "import pandas" not in text  # nothing flows through it


def test_nothing_known_is_said():
    text = LineageView(LineageGraph((Node("value:x", "value", "x"),)), "variable x").text
    assert "Nothing is known of where it came from." in text


# --- folded and drawn -------------------------------------------------------------------------


def chain(length, *, forks=0):
    sources = ["x0 = load()", *(f"x{i} = f(x{i - 1})" for i in range(1, length))]
    sources += [f"y{i} = g(x{i})" for i in range(forks)]
    return graph_of(None, executed(*sources))


def test_a_long_chain_is_one_box():
    picture = picture_of(chain(60), number={})
    assert len(picture.boxes) == 1
    assert picture.boxes[0].cells == 60
    assert picture.boxes[0].title == "[1] … [60]"


@pytest.mark.parametrize(("length", "forks"), [(100, 100), (200, 0), (40, 5)])
def test_a_large_graph_never_has_more_boxes_than_can_be_looked_at(length, forks):
    picture = picture_of(chain(length, forks=forks), number={})
    assert len(picture.boxes) <= 30
    assert sum(box.cells for box in picture.boxes) == length + forks


def test_an_arrow_is_left_out_where_a_longer_way_says_the_same():
    graph = graph_of(None, executed("a = f()", "b = a", "c = a, b"))
    assert len(picture_of(graph, number={}).edges) == 2


def drawn(picture):
    """The drawing as a tree: it is well-formed."""
    return ET.fromstring(draw(picture)[0])  # noqa: S314  # nobody else wrote it


GRAPHS = st.integers(1, 40).flatmap(
    lambda n: st.lists(
        st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1]),
        max_size=80,
    ).map(lambda pairs: (n, pairs))
)


@given(GRAPHS, st.integers(4, 30))
def test_every_graph_can_be_folded_told_and_drawn(graph, most):
    count, pairs = graph
    nodes = tuple(Node(f"cell:{i}", "cell", f"[{i}]", execution=str(i)) for i in range(count))
    arrows = tuple(
        Edge(f"cell:{a}", f"cell:{b}", "reads", ("x",)) for a, b in dict.fromkeys(pairs)
    )
    picture = picture_of(LineageGraph(nodes, arrows), number={}, most=most)
    ids = {box.id for box in picture.boxes}
    assert all(start in ids and end in ids and start != end for start, end in picture.edges)
    assert is_without_circle(picture)
    told = "\n".join(written_ways(picture)) if picture.edges else ""
    assert told.count("──▶") + told.count("more arrow") >= min(len(picture.edges), 1)
    filled = [e for e in drawn(picture).iter() if e.get("fill", "").startswith("#")]
    assert len(filled) >= len(picture.boxes)


def is_without_circle(picture):
    waiting = {box.id: set(picture.before(box.id)) for box in picture.boxes}
    while ready := [id_ for id_, before in waiting.items() if not before & waiting.keys()]:
        for id_ in ready:
            del waiting[id_]
    return not waiting


def test_boxes_do_not_lie_on_each_other():
    svg = drawn(picture_of(graph_of(ml_run(), ml_executions()), number={}))
    texts = list(svg.iter("{http://www.w3.org/2000/svg}text"))
    places = [(float(e.get("x")), float(e.get("y"))) for e in texts]
    assert len(set(places)) == len(places)


def test_names_of_users_cannot_break_out_of_the_drawing():
    hostile = "</text><script>alert(1)</script>"
    nodes = (Node("file:a", "file", hostile), Node("cell:1", "cell", "[1]", execution="1"))
    graph = LineageGraph(nodes, (Edge("file:a", "cell:1", "reads file", (hostile,)),))
    picture = picture_of(graph, number={})
    assert "<script" not in draw(picture)[0]
    assert drawn(picture).tag.endswith("svg")


def test_a_sequence_of_the_sources_is_the_same_graph_each_time():
    graphs = [graph_of(run(models=(model(),)), executed(*SOURCES)).to_dict() for _ in range(2)]
    assert graphs[0] == graphs[1]


def test_a_result_that_was_taken_from_memory_leads_to_the_cell_that_gave_it():
    result = (Output("2", 0, "result", "", "text/plain", 1, "sha256:1"),)
    executions = executed(
        "x = 1", "g(x)", "y = _", changes={2: {"outputs": result}, 3: {"reads": ("_",)}}
    )
    graph = graph_of(None, executions)
    assert ("[2]", "reads result", "[3]") in edges(graph)
    assert ways(graph) == ["[1] x ──▶ [2] ──▶ [3] y"]
