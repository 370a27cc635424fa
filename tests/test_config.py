"""Settings: who may set what, which place wins, and what a bad value says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_nb.config import Settings, load_settings
from mlops_nb.errors import BadSetting


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("MLOPS_NB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write_project(project, text):
    (project / "pyproject.toml").write_text(text, encoding="utf-8")


def write_user(tmp_path, text):
    file = tmp_path / "config" / "mlops_nb" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_without_anything_the_defaults_hold(project, tmp_path):
    settings = load_settings(project)
    assert settings.store is None
    assert (settings.quiet, settings.batch) == (False, None)
    assert (settings.text_cap_bytes, settings.image_cap_bytes) == (1_000_000, 5_000_000)
    assert settings.state_dir == tmp_path / "state" / "mlops_nb"
    assert settings.config_file == tmp_path / "config" / "mlops_nb" / "config.toml"
    assert dict(settings.sources) == {}
    assert settings.source_of("store") == "default"


def test_a_project_is_found_upwards(project):
    write_project(project, '[tool.mlops_nb]\nstore = "runs/.mlops"\nquiet = true\n')
    deep = project / "notebooks" / "2026"
    deep.mkdir(parents=True)
    settings = load_settings(deep)
    assert settings.store == str(project / "runs" / ".mlops")
    assert settings.quiet is True
    assert settings.source_of("quiet") == str(project / "pyproject.toml")


def test_a_later_place_wins(project, tmp_path, monkeypatch):
    write_project(project, "[tool.mlops_nb]\ntext_cap_bytes = 1\n")
    assert load_settings(project).text_cap_bytes == 1
    file = write_user(tmp_path, "text_cap_bytes = 2\n")
    assert load_settings(project).text_cap_bytes == 2
    assert load_settings(project).source_of("text_cap_bytes") == str(file)
    monkeypatch.setenv("MLOPS_NB_TEXT_CAP_BYTES", "3")
    assert load_settings(project).text_cap_bytes == 3
    assert load_settings(project).source_of("text_cap_bytes") == "MLOPS_NB_TEXT_CAP_BYTES"
    assert load_settings(project, text_cap_bytes=4).text_cap_bytes == 4


def test_an_argument_of_none_is_not_given(project, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_BATCH", "1")
    assert load_settings(project, batch=None, store=None).batch is True


def test_an_empty_variable_is_not_given(project, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_STORE", "")
    assert load_settings(project).store is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("Yes", True), ("on", True), ("0", False), ("False", False), ("off", False)],
)
def test_a_flag_in_the_environment_is_a_word(project, monkeypatch, text, value):
    monkeypatch.setenv("MLOPS_NB_QUIET", text)
    assert load_settings(project).quiet is value


def test_safe_stores_in_the_environment_are_separated_as_paths_are(project, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_SAFE_STORES", os.pathsep.join(["/data/a", "/data/b"]))
    assert load_settings(project).safe_stores == ("/data/a", "/data/b")


def test_a_users_store_may_be_a_server(project, tmp_path):
    write_user(tmp_path, 'store = "postgresql+psycopg://db.local/lab"\n')
    assert load_settings(project).store == "postgresql+psycopg://db.local/lab"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param('store = "../elsewhere"', "outside the project", id="store outside"),
        pytest.param('store = "/tmp/elsewhere"', "outside the project", id="absolute store"),
        pytest.param('store = "s3://bucket/runs"', "only name a store inside", id="remote store"),
        pytest.param('safe_stores = ["*"]', "may not set it", id="whom to trust"),
        pytest.param('state_dir = "state"', "may not set it", id="the user's folder"),
        pytest.param("quite = true", "did you mean quiet?", id="unknown name"),
        pytest.param('quiet = "perhaps"', "must be true or false", id="flag"),
        pytest.param("quiet = 1", "must be true or false", id="number for a flag"),
        pytest.param("text_cap_bytes = -1", "must be a number of bytes", id="negative size"),
        pytest.param("text_cap_bytes = true", "must be a number of bytes", id="flag for a size"),
        pytest.param("image_cap_bytes = 1.5", "must be a number of bytes", id="broken size"),
        pytest.param('store = ""', "text that is not empty", id="empty store"),
        pytest.param("store = 3", "text that is not empty", id="number for a store"),
        pytest.param("store = [", "not TOML", id="broken file"),
    ],
)
def test_a_bad_setting_of_a_project_names_itself_and_its_file(project, text, says):
    write_project(project, f"[tool.mlops_nb]\n{text}\n")
    with pytest.raises(BadSetting, match=says) as caught:
        load_settings(project)
    assert caught.value.source == str(project / "pyproject.toml")


def test_a_project_cannot_reach_outside_through_a_link(project, tmp_path):
    (tmp_path / "outside").mkdir()
    (project / "runs").symlink_to(tmp_path / "outside")
    write_project(project, '[tool.mlops_nb]\nstore = "runs"\n')
    with pytest.raises(BadSetting, match="outside the project"):
        load_settings(project)


def test_a_bad_word_in_the_environment_names_the_variable(project, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_QUIET", "perhaps")
    with pytest.raises(BadSetting, match="MLOPS_NB_QUIET"):
        load_settings(project)


def test_an_unknown_argument_is_refused(project):
    with pytest.raises(BadSetting, match="no such setting"):
        load_settings(project, nonsense=1)


def test_a_project_without_our_table_sets_nothing(project):
    write_project(project, "[tool.other]\nquiet = true\n")
    assert dict(load_settings(project).sources) == {}


def test_a_relative_xdg_folder_is_ignored_as_its_rules_say(project, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(project).state_dir == tmp_path / ".local" / "state" / "mlops_nb"


def test_a_user_without_a_home_still_gets_a_folder(monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: _no_home()))
    assert str(os.getuid()) in str(Settings().state_dir)


def _no_home():
    msg = "Could not determine home directory."
    raise RuntimeError(msg)


LOCKED_OUT = """
import os, sys
from pathlib import Path
from mlops_nb.config import load_settings
load_settings(Path("/"))
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
settings = load_settings(Path(sys.argv[1]))
print(settings.quiet)
"""


def test_a_folder_that_may_not_be_looked_into_has_no_settings(project, tmp_path):
    write_project(project, "[tool.mlops_nb]\nquiet = true\n")
    write_user(tmp_path, "quiet = true\n")
    (tmp_path / "config").chmod(0)
    project.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", LOCKED_OUT, str(project)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (tmp_path / "config").chmod(0o700)
    project.chmod(0o700)
    assert (done.stdout, done.stderr) == ("False\n", "")
