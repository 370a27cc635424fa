"""Who may have code of theirs run here: only this user, and who shares the team's key."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from mlops_nb.errors.values import BadSigningKey, UntrustedValue
from mlops_nb.model.pipelines import Packed
from mlops_nb.packaging import pack, sign, unpack, verify_signature
from mlops_nb.packaging.signature import key_file

UNIT = Packed(("model",), "pickle", (), "sha256:00", detail={"buffers": []})
TEAM_KEY = "correct horse battery staple"


@pytest.fixture(autouse=True)
def own_config(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_CONFIG", str(tmp_path / "config" / "config.toml"))
    monkeypatch.delenv("MLOPS_NB_TEAM_KEY", raising=False)


def test_the_key_is_made_once_and_only_its_user_can_read_it():
    sign(UNIT)
    made = key_file().read_bytes()
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert key_file().parent.stat().st_mode & 0o077 == 0
    sign(UNIT)
    assert key_file().read_bytes() == made
    assert [one.name for one in key_file().parent.iterdir()] == ["signing.key"]


def test_a_signed_unit_is_trusted_and_the_key_stands_nowhere_in_it():
    signed = sign(UNIT)
    assert verify_signature(signed) == ""
    assert key_file().read_text().strip() not in repr(signed)


def test_nothing_is_trusted_without_a_signature_and_asking_makes_no_key():
    assert verify_signature(UNIT) == "it is not signed"
    assert "not yours" in verify_signature(replace(UNIT, signature="hmac-sha256:00000000:11"))
    assert not key_file().exists()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"names": ("other",)}, id="name"),
        pytest.param({"format": "joblib"}, id="format"),
        pytest.param({"digest": "sha256:01"}, id="digest"),
        pytest.param({"detail": {"buffers": [[0, 1]]}}, id="details"),
        pytest.param({"size_bytes": 7}, id="size"),
    ],
)
def test_a_changed_manifest_is_not_trusted(change):
    assert "changed after it was written" in verify_signature(replace(sign(UNIT), **change))


def test_another_users_key_is_not_trusted(tmp_path, monkeypatch):
    signed = sign(UNIT)
    monkeypatch.setenv("MLOPS_NB_CONFIG", str(tmp_path / "other" / "config.toml"))
    assert "not yours" in verify_signature(signed)
    sign(UNIT)
    assert "not yours" in verify_signature(signed)


def test_a_team_shares_a_key_through_the_environment(tmp_path, monkeypatch):
    mine = sign(UNIT)
    monkeypatch.setenv("MLOPS_NB_TEAM_KEY", TEAM_KEY)
    ours = sign(UNIT)
    assert verify_signature(mine) == verify_signature(ours) == ""
    monkeypatch.setenv("MLOPS_NB_CONFIG", str(tmp_path / "colleague" / "config.toml"))
    assert verify_signature(ours) == ""
    assert "not yours" in verify_signature(mine)
    monkeypatch.setenv("MLOPS_NB_TEAM_KEY", TEAM_KEY + "!")
    assert "not yours" in verify_signature(ours)


def test_a_short_team_key_is_refused(monkeypatch):
    monkeypatch.setenv("MLOPS_NB_TEAM_KEY", "hunter2")
    with pytest.raises(BadSigningKey, match="7 characters") as caught:
        sign(UNIT)
    assert "hunter2" not in str(caught.value)


def test_a_key_that_others_can_read_is_refused():
    signed = sign(UNIT)
    key_file().chmod(0o640)
    for use in (lambda: sign(UNIT), lambda: verify_signature(signed)):
        with pytest.raises(BadSigningKey, match="others can read it"):
            use()


@pytest.mark.parametrize("content", [b"", b"not hex\n", b"abcd\n", b"00" * 33])
def test_a_file_that_is_no_key_is_refused(content):
    sign(UNIT)
    key_file().write_bytes(content)
    with pytest.raises(BadSigningKey, match="not a key"):
        sign(UNIT)


def test_processes_that_start_together_agree_on_one_key(tmp_path):
    code = (
        "from mlops_nb.packaging import sign; from mlops_nb.model.pipelines import Packed;"
        "print(sign(Packed(('model',), 'pickle', (), 'sha256:00')).signature)"
    )
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=60)[0] for process in started}
    assert len(said) == 1
    assert said != {""}


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_forged_pickle_is_never_loaded(tmp_path):
    unit = pack({"model": object()}, tmp_path / "unit", namespace={})
    data = pickle.dumps(Bomb(tmp_path / "went off"))
    (tmp_path / "unit" / "value.pickle").write_bytes(data)
    import hashlib

    file = replace(
        unit.files[0], digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size_bytes=len(data)
    )
    forgeries = [
        replace(unit, files=(file,)),
        replace(unit, files=(file,), signature=""),
        replace(unit, files=(file,), signature="hmac-sha256:" + "0" * 8 + ":" + "0" * 64),
        replace(
            unit,
            format="parts",
            signature="",
            files=(file,),
            detail={
                "parts": [
                    {"name": "model", "format": "pickle", "prefix": "", "detail": unit.detail}
                ]
            },
        ),
        replace(
            unit,
            format="joblib",
            files=(replace(file, name="value.joblib"),),
            detail={"reader": "estimator"},
            signature="",
        ),
    ]
    (tmp_path / "unit" / "value.joblib").write_bytes(data)
    for forged in forgeries:
        with pytest.raises(UntrustedValue, match="Nothing was loaded"):
            unpack(forged, tmp_path / "unit", namespace={})
    assert not (tmp_path / "went off").exists()


@pytest.mark.parametrize("kind", ["npy", "npz", "torch", "skops", "arrow", "parquet", "json"])
def test_a_pickle_under_the_name_of_a_safe_format_does_not_go_off(tmp_path, kind):
    import hashlib

    from mlops_nb.errors.values import CorruptValue
    from mlops_nb.model.pipelines import PackedFile

    names = {
        "npy": ("value.npy", {"reader": "array", "axes": [], "writeable": True}),
        "npz": (
            "value.npz",
            {"reader": "sparse", "class": "csr_matrix", "shape": [1, 1], "flags": {}},
        ),
        "torch": ("value.pt", {"reader": "tensors"}),
        "skops": ("value.skops", {"reader": "estimator"}),
        "arrow": ("value.arrow", {"reader": "pyarrow", "kind": "Table"}),
        "parquet": ("value.parquet", {"reader": "pandas", "tables": 1, "kind": "index"}),
        "json": ("value.json", {"reader": "plain"}),
    }
    name, detail = names[kind]
    data = pickle.dumps(Bomb(tmp_path / "went off"))
    (tmp_path / name).write_bytes(data)
    file = PackedFile(name, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    with pytest.raises(CorruptValue):
        unpack(Packed(("value",), kind, (file,), "", detail=detail), tmp_path, namespace={})
    assert not (tmp_path / "went off").exists()
