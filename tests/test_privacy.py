"""What a store keeps of data where nobody wants values of it kept."""

from __future__ import annotations

import pytest

from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.difference import diff_fingerprints
from mlops_nb.fingerprint.record import without_statistics
from mlops_nb.store import Store

SESSION = (
    "%load_ext mlops_nb\n%mlops_track --interactive",
    # No value of the table stands in the sources.
    """
import pandas as pd
from sklearn.linear_model import LogisticRegression
income = [7654320 + 1 + 10 * i for i in range(40)]
names = ["".join(map(chr, (122, 117, 122, 97 + i % 9))) for i in range(40)]
table = pd.DataFrame({"income": income, "name": names}, index=[5000 * 100 + i for i in income])
late = [i % 2 for i in range(40)]
""",
    """
import mlops_nb as mn
with mn.run('kept') as run:
    model = LogisticRegression().fit(table[['income']], late)
""",
    "%%mlops_track told --data table\npass",
)


def tracked(kernel, setting):
    (kernel.folder / "pyproject.toml").write_text(f"[tool.mlops_nb]\ndata_statistics = {setting}")
    for cell in SESSION:
        reply = kernel.run(cell)
        assert reply.error is None, reply.error
    doctor = kernel.run("%mlops_doctor").result
    kernel.run("%unload_ext mlops_nb")
    kernel.close()
    with Store.open(kernel.folder / ".mlops") as store:
        store.refresh()
        uses = [use for run in store.runs() for use in run.data]
        kept = [store.fingerprint_content(use.digest, use.schema_digest) for use in uses]
    files = (path for path in (kernel.folder / ".mlops").rglob("*") if path.is_file())
    return doctor, kept, b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize("setting", ["false", "true"])
def test_statistics_stay_out_of_the_store_where_nobody_wants_them(new_kernel, setting):
    doctor, kept, content = tracked(new_kernel(), setting)
    is_wanted = setting == "true"
    columns = {column["name"]: column for one in kept for column in one.get("columns", ())}
    index = [level for one in kept for level in one.get("index", ())]
    assert columns["income"]["digest"]
    assert columns["income"]["chunks"]
    assert columns["income"]["count"] == 40
    assert ("minimum" in columns["income"]) == is_wanted
    assert any("minimum" in level for level in index) == is_wanted
    assert (b"7654321" in content) == is_wanted
    assert (b"8154321" in content) == is_wanted
    assert ("privacy" in doctor) != is_wanted


def test_without_statistics_differences_are_still_found():
    import pandas as pd

    before = pd.DataFrame({"a": [1, 2, 3]}, index=[7, 8, 9])
    after = pd.DataFrame({"a": [1, 2, 3, 4]}, index=[7, 8, 9, 10])
    bare = [without_statistics(fingerprint(one)) for one in (before, after, before)]
    assert bare[0].columns["a"].minimum is None
    assert bare[0].index[0].minimum is None
    assert diff_fingerprints(bare[0], bare[2]).change == "same"
    assert diff_fingerprints(bare[0], bare[1]).change == "changed"


def test_labels_that_count_from_0_say_nothing_of_the_data():
    import pandas as pd

    short, long = (pd.DataFrame({"a": [0] * rows}) for rows in (65536, 65540))
    bare = [without_statistics(fingerprint(one)) for one in (short, long)]
    assert bare[0].index[0].maximum == 65535
    assert diff_fingerprints(*bare).change == "rows appended"
