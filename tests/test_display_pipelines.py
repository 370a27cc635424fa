"""Views of pipelines: what a notebook holds, the graph of its steps, and what became of a run."""

import base64
import json
import re
from xml.etree import ElementTree as ET

import pytest

from mlops_nb.display.pipelines import GraphView, InspectView, PipelineRunView
from mlops_nb.model.pipelines import PipelineParameter, StepOptions
from mlops_nb.notebook import Notebook
from mlops_nb.pipeline.drafts import Draft, DraftStep


def reason(kind, *names, text=""):
    return {"kind": kind, "names": list(names), "text": text}


def edge(source, target, *reasons):
    return {"from": source, "to": target, "reasons": list(reasons)}


GRAPH = {
    "steps": [
        {"name": "load", "cells": [3, 4], "after": []},
        {"name": "clean", "cells": [5, 6, 7], "last": {"status": "done", "duration_s": 2.1}},
        {"name": "forest", "cells": [8]},
        {"name": "logreg", "cells": [9]},
        {"name": "results", "cells": [10, 12]},
    ],
    "edges": [
        edge("load", "clean", reason("static", "df", text="clean reads df of cell 4, line 2")),
        edge("clean", "forest", reason("static", "df", "y"), reason("rng", "<rng:numpy>")),
        edge("clean", "logreg", reason("observed", "a", "b", "c", "d", "e")),
        edge("load", "results", reason("file", "data/out/table.csv")),
        edge("forest", "results", reason("prev", text="the author says prev:forest")),
        edge("logreg", "results", reason("static", "auc")),
    ],
    "warnings": ["clean and load are ordered as in the notebook, cell 7, line 2"],
}
OUTCOME = {
    "id": "9ab1c0ffee123456",
    "status": "failed",
    "pipeline": "churn",
    "duration_s": 14.8,
    "saved_s": 3.0,
    "steps": [
        {"name": "load", "step_state": "cached", "duration_s": 0.0, "offset_s": 0.0,
         "cached_from": "1111222233334444", "reasons": ["same inputs"]},
        {"name": "clean", "step_state": "done", "duration_s": 2.0, "offset_s": 0.0,
         "metrics": {"auc": 0.9074}, "run": "7f3a000000000000"},
        {"name": "train", "step_state": "failed", "attempt": 3, "duration_s": 8.0,
         "offset_s": 2.0, "run": "55c0000000000000",
         "error": {"type": "ValueError", "message": "bad value", "cell": 8, "line": 3,
                   "lines": ["→ 3 fit(x)"]}},
        {"name": "plots", "step_state": "skipped", "error": {"message": "params.full is false"}},
        {"name": "results", "step_state": "upstream_failed"},
    ],
    "outputs": {"model": {"step": "train", "format": "skops", "digest": "sha256:ab"}, "n": 3},
    "repairs": ["train also needs seed"],
}  # fmt: skip


def draft(*steps, **given):
    notebook = Notebook("a b.ipynb", (4, 5), (), "python", "python3", (), {})
    return Draft(notebook, "churn", "python3", tuple(steps), **given)


def svg_of(view):
    """Give the picture of a view's HTML as elements."""
    data = re.search(r"data:image/svg\+xml;base64,([\w+/=]+)", view.html)[1]
    return ET.fromstring(base64.b64decode(data))  # noqa: S314 - our own picture


def texts_of(svg):
    return ["".join(node.itertext()) for node in svg.iter() if node.tag.endswith("}text")]


# --- what a notebook holds -------------------------------------------------------------------


def test_a_notebook_is_shown_as_steps_parameters_and_warnings():
    options = StepOptions(retry=2, is_cached=False, outputs=("auc", "f1"), when="params.full")
    view = InspectView(
        draft(
            DraftStep("load", (2, 3, 4, 7)),
            DraftStep("train", (5,), ("load",), options),
            prelude=(0,),
            skipped=(6,),
            parameters=(PipelineParameter("C", "float", 1.0, "1.0", "strength"),),
            warnings=("Cell 9 is odd.",),
        ),
        place="shell",
    )
    lines = view.to_text(columns=120).splitlines()
    assert lines[0] == "churn   2 steps · 1 parameter · prelude of 1 cell · 1 cell skipped"
    assert lines[2].split() == ["1", "load", "2–4,", "7", "–"]
    assert "retry 2 when params.full nocache outputs auc, f1" in lines[3]
    assert any(line.split() == ["C", "float", "1.0", "strength"] for line in lines)
    assert lines[-2:] == ["⚠ Cell 9 is odd.", 'next:  mlops-nb graph "a b.ipynb"']


def test_a_notebook_without_steps_is_told_how_to_get_some():
    assert "step:NAME" in InspectView(draft()).text


# --- the graph -------------------------------------------------------------------------------


def test_the_graph_is_drawn_with_a_box_for_each_step_and_a_label_on_each_edge():
    texts = texts_of(svg_of(GraphView(GRAPH, "churn")))
    for title in ("load", "clean", "forest", "logreg", "results", "cells 3–4", "cells 10, 12"):
        assert title in texts
    for label in ("df", "df, y, <rng:numpy> (rng)", "a, b, c +2 (observed)", "prev", "auc"):
        assert label in texts
    assert "table.csv (file)" in texts
    assert "done 2.1 s" in texts


def test_no_label_lies_upon_another():
    svg = ET.fromstring(GraphView(GRAPH).svg())  # noqa: S314 - our own picture
    boxes = [
        [float(rect.get(key)) for key in ("x", "y", "width", "height")]
        for rect in svg.iter()
        if rect.tag.endswith("}rect")
    ]
    assert len(boxes) == len(GRAPH["edges"])
    for i, (x, y, wide, high) in enumerate(boxes):
        for other_x, other_y, other_wide, other_high in boxes[:i]:
            is_apart_x = x >= other_x + other_wide or other_x >= x + wide
            is_apart_y = y >= other_y + other_high or other_y >= y + high
            assert is_apart_x or is_apart_y


def test_an_edge_without_data_is_dashed_and_every_edge_says_why():
    svg = svg_of(GraphView(GRAPH))
    dashed = [node for node in svg.iter() if node.get("stroke-dasharray")]
    assert len(dashed) == 1
    assert "the author says prev:forest" in "".join(dashed[0].itertext())
    arrows = [node for node in svg.iter() if node.get("marker-end")]
    assert len(arrows) == len(GRAPH["edges"])
    assert all("→" in "".join(arrow.itertext()) for arrow in arrows)


def test_the_graph_as_text_has_the_names_in_its_arrows():
    text = GraphView(GRAPH, "churn", "train.ipynb", place="shell").to_text(columns=120)
    assert "load ──df──▶ clean ──df, y, <rng:numpy> (rng)──▶ forest ──prev──▶ results" in text
    assert "clean ──a, b, c +2 (observed)──▶ logreg" in text
    assert re.search(r"load → clean +df  static  clean reads df of cell 4, line 2", text)
    assert "⚠ clean and load are ordered" in text
    assert text.splitlines()[-1] == "next:  mlops-nb run train.ipynb"


def test_edges_of_one_pair_are_one_arrow():
    graph = {
        "steps": [{"name": "a"}, {"name": "b"}],
        "edges": [edge("a", "b", reason("static", "x")), edge("a", "b", reason("static", "y"))],
    }
    view = GraphView(graph)
    assert "x, y" in texts_of(svg_of(view))
    assert "2 steps · 1 edge" in view.text


def test_the_json_of_the_graph_is_the_graph():
    assert GraphView(GRAPH).document() == json.loads(json.dumps(GRAPH))


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"steps": [], "edges": []},
        {"steps": [{"name": "only"}], "edges": []},
        {"steps": [{"name": "a"}], "edges": [edge("a", "gone", reason("static", "x"))]},
        {"steps": [{"name": "a"}, {"name": "b"}], "edges": [edge("a", "b"), edge("b", "a")]},
        {"steps": [{"name": "a"}], "edges": [edge("a", "a", reason("prev"))]},
    ],
)
def test_an_odd_graph_is_shown_all_the_same(graph):
    view = GraphView(graph)
    assert "pipeline" in view.text
    assert view.markdown
    assert view.html


def test_a_step_that_nothing_leads_to_is_in_the_text_too():
    graph = {
        "steps": [{"name": "a"}, {"name": "b"}, {"name": "alone"}],
        "edges": [edge("a", "b", reason("static", "x"))],
    }
    assert "alone" in GraphView(graph).text.splitlines()


def test_a_large_graph_is_drawn_whole():
    names = [f"step_{i}" for i in range(120)]
    graph = {
        "steps": [{"name": name, "cells": [i]} for i, name in enumerate(names)],
        "edges": [
            edge(names[i - back], names[i], reason("static", f"x{i}"))
            for i in range(3, 120)
            for back in (1, 3)
        ],
    }
    texts = texts_of(svg_of(GraphView(graph)))
    assert set(names) <= set(texts)


# --- a run -----------------------------------------------------------------------------------


def test_a_run_is_shown_as_a_row_a_step_with_state_time_and_reason():
    lines = PipelineRunView(OUTCOME, place="shell").to_text(columns=140).splitlines()
    assert lines[0].startswith("pipeline churn  run 9ab1c0ff  failed   5 steps · 1 cached")
    rows = {line.split()[1]: line for line in lines[2:7]}
    assert rows["load"].startswith("✓  load     cached")
    assert "same inputs" in rows["load"]
    assert "auc 0.907" in rows["clean"]
    assert "failed, try 3" in rows["train"]
    assert "params.full is false" in rows["plots"]
    assert "not run" in rows["results"]


def test_bars_stand_where_the_time_of_a_step_lies():
    lines = PipelineRunView(OUTCOME).to_text(columns=140).splitlines()
    clean, train = lines[3], lines[4]
    assert clean.count("█") == 4
    assert train.count("█") == 16
    assert train.index("█") == clean.index("█") + 4


def test_without_starts_bars_are_as_long_as_the_time():
    steps = [
        {"name": "a", "step_state": "done", "duration_s": 1.0},
        {"name": "b", "step_state": "done", "duration_s": 2.0},
    ]
    lines = PipelineRunView({"steps": steps}).to_text(columns=140).splitlines()
    assert lines[2].count("█") * 2 == lines[3].count("█") == 20
    assert lines[2].index("█") == lines[3].index("█")


def test_starts_may_be_times():
    steps = [
        {"name": "a", "status": "finished", "duration_s": 1, "started_at": "2026-01-01T00:00:00Z"},
        {"name": "b", "status": "finished", "duration_s": 1, "started_at": "2026-01-01T00:00:01Z"},
    ]
    html = PipelineRunView({"steps": steps}).html
    assert "transparent 50%, rgba(74, 134, 197, 0.20) 50%" in html


def test_a_failure_says_step_cell_line_error_source_and_what_to_do():
    text = PipelineRunView(OUTCOME, place="shell").to_text(columns=140)
    assert "✕ train failed in cell 8, line 3: ValueError: bad value" in text
    assert "→ 3 fit(x)" in text
    last = text.splitlines()[-1]
    assert "mlops-nb show 55c00000 --errors" in last
    assert "mlops-nb step debug 9ab1c0ff train" in last


def test_outputs_and_repairs_are_shown():
    text = PipelineRunView(OUTCOME).to_text(columns=140)
    assert re.search(r"model +train +skops sha256:ab", text)
    assert re.search(r"n +3", text)
    assert "⚠ planned again: train also needs seed" in text


@pytest.mark.parametrize(
    "outcome",
    [
        {},
        {"id": "a", "status": "finished", "steps": []},
        {"id": None, "status": None, "steps": [{"name": "x", "step_state": "odd"}]},
        {"steps": [{"name": "x", "duration_s": 0, "error": {}, "step_state": "failed"}]},
        {"steps": [{"name": "x", "started_at": "soon", "duration_s": 1}], "outputs": {"a": None}},
        {"steps": [{"name": "x", "metrics": {"a": "text", "b": None}}]},
    ],
)
def test_an_odd_outcome_is_shown_all_the_same(outcome):
    view = PipelineRunView(outcome)
    assert "pipeline" in view.text
    assert view.markdown
    assert view.html


# --- all of them -----------------------------------------------------------------------------

EVIL = "<img src=x onerror=alert(1)>\"'&\x1b[31m|`"
EVIL_VIEWS = [
    InspectView(
        draft(
            DraftStep(EVIL, (0,), (EVIL,), StepOptions(image=EVIL, labels={EVIL: EVIL})),
            parameters=(PipelineParameter("C", EVIL, EVIL, EVIL, EVIL),),
            warnings=(EVIL,),
            metadata={EVIL: EVIL},
        )
    ),
    GraphView(
        {
            "steps": [{"name": EVIL}, {"name": "b"}],
            "edges": [edge(EVIL, "b", reason(EVIL, EVIL, text=EVIL))],
            "warnings": [EVIL],
        },
        EVIL,
        EVIL,
    ),
    PipelineRunView(
        {
            "id": EVIL,
            "status": EVIL,
            "pipeline": EVIL,
            "steps": [{"name": EVIL, "step_state": "failed", "reasons": [EVIL], "run": EVIL,
                       "error": {"type": EVIL, "message": EVIL, "lines": [EVIL]}}],
            "outputs": {EVIL: EVIL},
            "warnings": [EVIL],
        }
    ),
]  # fmt: skip


@pytest.mark.parametrize("view", EVIL_VIEWS, ids=["inspect", "graph", "run"])
def test_nothing_that_people_write_becomes_markup(view):
    assert "<img src=x" not in view.html
    assert "<img src=x" not in view.html_page()
    assert "\x1b" not in view.text
    assert "\x1b" not in view.html
    json.dumps(view.document(), allow_nan=False)


def test_a_picture_holds_no_markup_of_others():
    svg = svg_of(EVIL_VIEWS[1])
    assert {node.tag.rpartition("}")[2] for node in svg.iter()} <= {
        "svg", "defs", "marker", "path", "title", "rect", "text", "g",
    }  # fmt: skip


@pytest.mark.parametrize("view", EVIL_VIEWS, ids=["inspect", "graph", "run"])
def test_a_view_is_shown_by_its_types(view):
    bundle = view._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", view.mime}
    assert view.mime.startswith("application/vnd.mlops-nb.")
