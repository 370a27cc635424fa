"""Runs, executions and environments that tests of differences and of lineage are made of."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from mlops_nb.model import DataUse, Environment, Execution, FileUse, Metric, ModelFit, Param, Run
from mlops_nb.source import analyse, code_digest

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)

SOURCES = (
    "import pandas as pd\nfrom sklearn.linear_model import LogisticRegression",
    "df = pd.read_csv('data.csv')",
    "df = df[df.age > 18]",
    "X_train = df.drop(columns='y')\ny_train = df.y",
    "clf = LogisticRegression(C=1.0)\nclf.fit(X_train, y_train)",
    "auc = clf.score(X_train, y_train)",
)
FIT = 5  # the cell that fits, counted from 1


def executed(*sources, prefix="", cells=None, **facts):
    """Executions of these sources, one after the other; `facts` by number change single ones."""
    changes = facts.pop("changes", {})
    made = []
    for number, source in enumerate(sources, start=1):
        names = analyse(source)
        given = {
            "id": f"{prefix}{number}",
            "session": "s",
            "order": number,
            "status": "ok",
            "source": source,
            "code_digest": code_digest(source),
            "started_at": NOON + timedelta(seconds=number),
            "execution_count": number,
            "cell_index": number - 1,
            "cell_id": cells[number - 1] if cells else None,
            "reads": names.reads,
            "binds": names.binds,
            # As capture does, which compares fingerprints: these do not change their arguments.
            "mutates": tuple(name for name in names.mutates if name in names.sets),
            "deletes": names.deletes,
            "flags": ("dynamic",) if names.is_dynamic else (),
        }
        made.append(Execution(**given | facts | changes.get(number, {})))
    return made


def edited(number, *replaced):
    """The sources with one cell changed: pairs of what stood there and what does now."""
    sources = list(SOURCES)
    for old, new in replaced:
        assert old in sources[number - 1]
        sources[number - 1] = sources[number - 1].replace(old, new)
    return sources


def use(name="X_train", digest="1", *, execution=None, role="train", **facts):
    columns = {"age": digest, "sex": "2"}
    given = {"assurance": "exact", "rows": 4000, "columns": 2, "column_digests": columns}
    return DataUse(
        name, role, "pandas.DataFrame", f"nbfp1:{digest}", execution=execution, **given | facts
    )


def read(name="data.csv", digest="nbfp1:1", mode="r", **facts):
    return FileUse(f"/home/me/{name}", mode, "adapter", digest, **facts)


def run(id_="7f3a9c01", *, metrics=None, params=None, **facts):
    made = {
        key: value if isinstance(value, Param) else Param(value, fit="f")
        for key, value in (params or {"C": 1.0}).items()
    }
    return Run(
        id_,
        "churn",
        facts.pop("status", "finished"),
        "interactive",
        NOON,
        metrics={key: Metric(value, fit="f") for key, value in (metrics or {"auc": 0.9}).items()},
        params=made,
        **facts,
    )


def model(execution=str(FIT), name="clf", fit="f"):
    return ModelFit(fit, name, "sklearn.linear_model.LogisticRegression", 0.1, execution)


def environment(packages=None, *, cpus=2, **details):
    content = {
        "python": {"version": "3.11.7"},
        "packages": packages or {"pandas": "2.2.3", "zipp": "3.1"},
        "os": {"system": "Linux"},
        "hardware": {"cpus": cpus},
        "variables": {},
    }
    if details:
        content["details"] = details
    return Environment(f"sha256:{hash(str(content)):x}", content)
