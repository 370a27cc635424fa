"""The code a run was made of: what is committed, and what is kept because it is not."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from mlops_nb.environment import changed_modules, code_state
from mlops_nb.environment import code as code_module
from mlops_nb.environment.modules import project_root
from mlops_nb.source import code_digest


def git(folder, *arguments):
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command += ["-c", "protocol.file.allow=always"]
    answer = subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


@pytest.fixture(autouse=True)
def nothing_known():
    """Each test looks at its project for the first time."""
    code_module._projects.clear()
    code_module._watches.clear()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "code"
    (folder / "pkg").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "pkg" / "model.py").write_text("x = 1\n")
    (folder / "notes.txt").write_text("one\n")
    (folder / ".gitignore").write_text("local/\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def modules(*files):
    """Modules as an import leaves them."""
    found = {}
    for file in files:
        module = types.ModuleType(Path(file).stem)
        module.__file__ = str(file)
        found[str(file)] = module
    return found


def states(state):
    return {module["path"]: module["state"] for module in (state.git or {}).get("modules", ())}


def blob(state, name):
    return next(data for found, _, data in state.blobs if found == name)


# --- states -----------------------------------------------------------------------------------


def test_a_committed_module_needs_nothing_but_the_commit(repository):
    state = code_state(repository, modules(repository / "pkg/model.py"))
    assert state.git["commit"] == git(repository, "rev-parse", "HEAD")
    assert (state.git["dirty"], state.git["modules"], state.git["diff"]) == (False, [], None)
    assert state.blobs == ()
    assert list(state.imported) == ["pkg/model.py"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pkg/model.py", "modified"),
        ("pkg/new.py", "untracked"),
        ("local/secret.py", "ignored"),
        ("gone.py", "missing"),
    ],
)
def test_a_module_that_is_not_committed_is_named_with_its_content(repository, path, expected):
    file = repository / path
    if expected != "missing":
        file.parent.mkdir(exist_ok=True)
        file.write_text("x = 2\n")
    state = code_state(repository, modules(file))
    (module,) = state.git["modules"]
    assert (module["path"], module["state"]) == (path, expected)
    if expected != "missing":
        assert module["digest"] == f"sha256:{hashlib.sha256(b'x = 2' + bytes([10])).hexdigest()}"
        assert module["code_digest"] == code_digest("x = 2")
        assert blob(state, f"code/{path}") == b"x = 2\n"


def test_a_staged_new_module_is_no_committed_one(repository):
    (repository / "new.py").write_text("x = 1")
    git(repository, "add", "new.py")
    assert states(code_state(repository, modules(repository / "new.py"))) == {"new.py": "modified"}


def test_layout_does_not_change_the_code_digest_of_a_module(repository):
    file = repository / "pkg/new.py"
    digests = []
    for text in ("def f(x):\n    return x + 1\n", "def f( x ):  # add\n        return (x+1)\n"):
        file.write_text(text)
        digests.append(code_state(repository, modules(file)).git["modules"][0])
    assert digests[0]["code_digest"] == digests[1]["code_digest"]
    assert digests[0]["digest"] != digests[1]["digest"]


@pytest.mark.parametrize(
    "name", ['we"ird\nname.py', "[a].py", "*.py", "-rf.py", "ä ö.py", ":(top)x.py", "b\\n.py"]
)
def test_odd_names_of_files_are_taken_as_they_are(repository, name):
    (repository / name).write_text("x = 1\n")
    git(repository, "add", f"./{name}" if name.startswith((":", "-")) else name)
    (repository / "a.py").write_text("other\n")
    for path in git(repository, "diff", "--cached", "--name-only", "-z").split("\0"):
        assert path in {"", name}
    git(repository, "commit", "-q", "-m", "odd")
    file = repository / name
    assert states(code_state(repository, modules(file))) == {}
    file.write_text("x = 2\n")
    assert states(code_state(repository, modules(file))) == {name: "modified"}


def test_a_name_that_is_no_text_can_be_written_down(repository):
    file = os.fsdecode(os.fsencode(str(repository)) + b"/caf\xe9.py")
    Path(file).write_text("x = 1\n")
    state = code_state(repository, modules(file))
    assert states(state) == {"caf\\xe9.py": "untracked"}
    str(state.git).encode("utf-8")


def test_a_module_that_git_was_told_not_to_look_at_is_looked_at(repository):
    file = repository / "pkg/model.py"
    git(repository, "update-index", "--assume-unchanged", "pkg/model.py")
    assert states(code_state(repository, modules(file))) == {}
    file.write_text("x = 3\n")
    code_module._projects.clear()
    assert states(code_state(repository, modules(file))) == {"pkg/model.py": "modified"}


# --- which modules ----------------------------------------------------------------------------


def test_what_is_installed_below_the_project_is_not_its_code(repository):
    venv = repository / "env/lib/python3.11"
    (venv / "site-packages/lib").mkdir(parents=True)
    (repository / "env/pyvenv.cfg").touch()
    files = [venv / "site-packages/lib/a.py", venv / "b.py", repository / "env/c.py"]
    for file in files:
        file.write_text("x = 1")
    found = code_state(repository, modules(*files, repository / "pkg/model.py", os.__file__))
    assert list(found.imported) == ["pkg/model.py"]


def test_a_project_reached_by_a_link_is_the_same_project(repository, tmp_path):
    (tmp_path / "link").symlink_to(repository)
    (repository / "new.py").write_text("x = 1")
    state = code_state(tmp_path / "link", modules(tmp_path / "link/new.py"))
    assert states(state) == {"new.py": "untracked"}


def test_looking_does_not_import_what_is_lazy(repository, monkeypatch):
    (repository / "lazy_one.py").write_text("raise AssertionError('was imported')\n")
    monkeypatch.syspath_prepend(str(repository))
    spec = importlib.util.find_spec("lazy_one")
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    state = code_state(repository, {"lazy_one": module})
    assert states(state) == {"lazy_one.py": "untracked"}


def test_modules_that_lie_about_themselves_do_no_harm(repository):
    class Hostile(types.ModuleType):
        def __getattribute__(self, name):
            raise RuntimeError(name)

    odd = types.ModuleType("odd")
    odd.__file__ = 7
    nul = types.ModuleType("nul")
    nul.__file__ = f"{repository}/a\0b.py"
    found = {"h": Hostile("h"), "odd": odd, "nul": nul, "none": None, "thing": object(), 3: odd}
    assert code_state(repository, found).imported == {}


def test_a_pipe_with_the_name_of_a_module_is_not_waited_for(repository):
    os.mkfifo(repository / "pipe.py")
    state = code_state(repository, modules(repository / "pipe.py"))
    assert state.git["modules"][0]["digest"] is None


# --- the difference ---------------------------------------------------------------------------


def test_the_difference_brings_the_files_back(repository, tmp_path):
    (repository / "notes.txt").write_text("two\n")
    state = code_state(repository, {})
    difference = blob(state, code_module.DIFFERENCE)
    assert state.git["diff"] == f"sha256:{hashlib.sha256(difference).hexdigest()}"
    git(repository, "checkout", "-q", "notes.txt")
    (tmp_path / "kept.diff").write_bytes(difference)
    git(repository, "apply", str(tmp_path / "kept.diff"))
    assert (repository / "notes.txt").read_text() == "two\n"


def test_secrets_are_in_neither_the_difference_nor_a_module(repository):
    secret = "pass" + "word = 'correct-horse-7'\n"
    (repository / "notes.txt").write_text(secret)
    (repository / "new.py").write_text(secret)
    state = code_state(repository, modules(repository / "new.py"))
    kept = [data.decode() for _, _, data in state.blobs]
    assert len(kept) == 2
    for text in kept:
        assert "correct-horse" not in text
        assert "⟨secret:password⟩" in text


def test_of_notebooks_binary_and_large_files_only_the_name_is_kept(repository):
    names = ("a.ipynb", "large.csv", "binary.bin")
    for name in names:
        (repository / name).write_text("{}")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "data")
    (repository / "a.ipynb").write_text("inside of a notebook")
    (repository / "large.csv").write_text("inside of a table\n" * 40_000)
    (repository / "binary.bin").write_bytes(b"inside\0of\0bytes")
    (repository / "notes.txt").write_text("two\n")
    difference = blob(code_state(repository, {}), code_module.DIFFERENCE)
    assert all(name.encode() in difference for name in names)
    assert b"inside" not in difference
    assert b"+two" in difference


def test_a_long_difference_is_cut_at_a_line_and_says_so(repository, monkeypatch):
    monkeypatch.setattr(code_module, "KEPT_BYTES", 5_000)
    (repository / "notes.txt").write_text("\n".join(f"line {n}" for n in range(5_000)))
    difference = blob(code_state(repository, {}), code_module.DIFFERENCE)
    assert len(difference) < 5_200
    assert difference.startswith(b"# cut:")
    assert difference.splitlines()[-1].startswith(b"+line ")


def test_programs_that_a_repository_names_are_not_run(repository, tmp_path):
    script = tmp_path / "driver"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/was_run\ncat $1 2>/dev/null\n")
    script.chmod(0o755)
    (repository / ".gitattributes").write_text("*.txt diff=odd\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "attributes")
    for setting in ("diff.odd.textconv", "diff.odd.command", "diff.external", "core.fsmonitor"):
        git(repository, "config", setting, str(script))
    (tmp_path / "was_run").unlink(missing_ok=True)
    (repository / "notes.txt").write_text("two\n")
    (repository / "new.py").write_text("x = 1")
    state = code_state(repository, modules(repository / "new.py"))
    assert states(state) == {"new.py": "untracked"}
    assert b"+two" in blob(state, code_module.DIFFERENCE)
    assert not (tmp_path / "was_run").exists()


def test_looking_writes_nothing_into_the_repository(repository):
    index = repository / ".git/index"
    os.utime(repository / "notes.txt", (1, 1))
    (repository / "pkg/model.py").write_text("x = 2\n")
    before = index.read_bytes(), sorted(p.name for p in (repository / ".git").iterdir())
    assert blob(code_state(repository, {}), code_module.DIFFERENCE)
    assert (index.read_bytes(), sorted(p.name for p in (repository / ".git").iterdir())) == before


# --- repositories of all kinds ----------------------------------------------------------------


def test_before_the_first_commit_modules_are_untracked(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.py").write_text("x = 1")
    state = code_state(tmp_path, modules(tmp_path / "a.py"))
    assert (state.git["commit"], state.git["branch"], state.git["diff"]) == (None, "main", None)
    assert states(state) == {"a.py": "untracked"}


def test_a_linked_working_copy_has_its_own_state(repository, tmp_path):
    git(repository, "worktree", "add", "-q", "--detach", str(tmp_path / "other"))
    (tmp_path / "other/pkg/model.py").write_text("x = 5\n")
    (repository / "pkg/model.py").write_text("x = 1\n")
    found = code_state(tmp_path / "other", modules(tmp_path / "other/pkg/model.py"))
    assert (states(found), found.git["branch"]) == ({"pkg/model.py": "modified"}, None)
    git(tmp_path / "other", "add", ".")
    git(tmp_path / "other", "commit", "-q", "-m", "second")
    assert states(code_state(tmp_path / "other", modules(tmp_path / "other/pkg/model.py"))) == {}


def test_a_module_of_a_submodule_is_compared_with_the_submodules_commit(repository, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q", "-b", "main")
    (library / "tool.py").write_text("x = 1\n")
    git(library, "add", ".")
    git(library, "commit", "-q", "-m", "first")
    git(repository, "submodule", "--quiet", "add", str(library), "lib")
    git(repository, "commit", "-q", "-m", "with library")
    file = repository / "lib/tool.py"
    assert states(code_state(repository, modules(file))) == {}
    file.write_text("x = 2\n")
    (repository / "lib/more.py").write_text("x = 1\n")
    found = code_state(repository, modules(file, repository / "lib/more.py"))
    assert states(found) == {"lib/tool.py": "modified", "lib/more.py": "untracked"}


def test_outside_a_repository_modules_of_the_folder_are_kept(tmp_path):
    (tmp_path / "helpers.py").write_text("x = 1")
    state = code_state(tmp_path, modules(tmp_path / "helpers.py", os.__file__))
    assert states(state) == {"helpers.py": "unversioned"}
    assert (state.git["commit"], state.git["dirty"]) == (None, None)
    assert code_state(tmp_path, {}).git is None


def test_a_project_without_git_begins_where_it_says_so(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert project_root(tmp_path / "notebooks") == tmp_path
    (tmp_path / "pyproject.toml").unlink()
    assert project_root(tmp_path / "notebooks") == tmp_path / "notebooks"


@pytest.mark.parametrize(
    "harm",
    [
        lambda root: (root / ".git/HEAD").write_text("nonsense"),
        lambda root: (root / ".git/index").write_bytes(b"nonsense"),
        lambda root: (root / ".git/config").write_text("[nonsense"),
    ],
    ids=["head", "index", "settings"],
)
def test_a_broken_repository_leaves_what_the_files_say(repository, harm):
    harm(repository)
    state = code_state(repository, modules(repository / "pkg/model.py"))
    assert states(state) == {"pkg/model.py": "unversioned"}
    assert state.git["commit"] is None
    assert blob(state, "code/pkg/model.py") == b"x = 1\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_a_repository_of_another_user_is_not_asked(repository):
    for path in (repository, repository / ".git"):
        os.chown(path, 12345, 12345)
    state = code_state(repository, modules(repository / "pkg/model.py"))
    assert states(state) == {"pkg/model.py": "unversioned"}


def test_without_git_the_modules_are_kept(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    state = code_state(repository, modules(repository / "pkg/model.py"))
    assert states(state) == {"pkg/model.py": "unversioned"}


def test_a_git_that_hangs_is_ended_with_its_children(repository, tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "git"
    script.write_text(f"#!/bin/sh\nsleep 300 &\necho $! >> {tools}/children\nwait\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    state = code_state(repository, modules(repository / "pkg/model.py"), timeout_s=2.0)
    assert states(state) == {"pkg/model.py": "unversioned"}
    for child in (tools / "children").read_text().split():
        wait_until_gone(int(child))


def wait_until_gone(pid):
    for _ in range(200):
        try:
            letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if letter == "Z":
            return
        time.sleep(0.05)
    pytest.fail("git's child is still there")


def test_a_git_that_never_stops_writing_is_cut_off(repository, tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "git"
    script.write_text("#!/bin/sh\nexec yes\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    state = code_state(repository, modules(repository / "pkg/model.py"))
    assert states(state) == {"pkg/model.py": "unversioned"}


# --- looking again ----------------------------------------------------------------------------


def test_a_second_look_reads_no_file_and_asks_git_once(repository, monkeypatch):
    names = [f"pkg/new{n}.py" for n in range(20)]
    for name in names:
        (repository / name).write_text("x = 1\n")
        os.utime(repository / name, (1_000_000_000, 1_000_000_000))
    (repository / "notes.txt").write_text("two\n")
    monkeypatch.setattr(code_module, "_YOUNG_NS", 0)
    mods = modules(*(repository / name for name in names))
    first = code_state(repository, mods)
    asked = []
    real = code_module.read_status

    def counted(*arguments):
        asked.append(arguments)
        return real(*arguments)

    def forbidden(*arguments, **_):
        raise AssertionError(arguments)

    monkeypatch.setattr(code_module, "read_status", counted)
    monkeypatch.setattr(code_module, "ask_git", forbidden)
    monkeypatch.setattr(code_module, "_read_regular", forbidden)
    assert code_state(repository, mods) == first
    assert len(asked) == 1


def test_a_commit_makes_modules_committed(repository):
    file = repository / "pkg/new.py"
    file.write_text("x = 1\n")
    assert states(code_state(repository, modules(file))) == {"pkg/new.py": "untracked"}
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second")
    state = code_state(repository, modules(file))
    assert (states(state), state.git["dirty"]) == ({}, False)


def test_modules_whose_content_changed_since_the_last_look_are_named(repository):
    first, second = repository / "pkg/model.py", repository / "pkg/new.py"
    second.write_text("y = 1\n")
    mods = modules(first, second)
    assert code_state(repository, mods).changed == ()
    assert code_state(repository, mods).changed == ()
    second.write_text("y = 2\n")
    os.utime(first, (5, 5))
    assert code_state(repository, mods).changed == ("pkg/new.py",)
    assert code_state(repository, mods).changed == ()


def test_a_change_within_one_tick_of_the_clock_is_seen(repository):
    file = repository / "pkg/model.py"
    mods = modules(file)
    code_state(repository, mods)
    times = file.stat()
    for number in range(2, 9):
        file.write_text(f"x = {number}\n")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert code_state(repository, mods).changed == ("pkg/model.py",)


def test_files_written_since_the_last_call_are_named(repository):
    first, second = repository / "pkg/model.py", repository / "pkg/new.py"
    second.write_text("y = 1\n")
    assert changed_modules(repository, modules(first)) == ()
    assert changed_modules(repository, modules(first, second)) == ()
    second.write_text("y = 22\n")
    assert changed_modules(repository, modules(first, second)) == ("pkg/new.py",)
    second.unlink()
    assert changed_modules(repository, modules(first, second)) == ("pkg/new.py",)


def test_only_so_much_is_kept_of_all_modules(repository, monkeypatch):
    monkeypatch.setattr(code_module, "ALL_KEPT_BYTES", 250)
    files = [repository / f"pkg/new{n}.py" for n in range(4)]
    for file in files:
        file.write_text("x = 1\n" + "#" * 93 + "\n")
    state = code_state(repository, modules(*files))
    assert len(state.blobs) == 2
    assert all(module["digest"] for module in state.git["modules"])


def test_a_real_process_tells_what_it_has_imported(repository):
    (repository / "helper.py").write_text("import pkg.model\n")
    program = (
        "import sys, helper, json\n"
        f"sys.path.append({str(Path(code_module.__file__).parents[2])!r})\n"
        "from mlops_nb.environment import code_state\n"
        "state = code_state('.')\n"
        "print(json.dumps([state.git['modules'], dict(state.imported)]))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True
    )
    assert '"helper.py", "state": "untracked"' in answer.stdout
    assert '"pkg/model.py": "sha256:' in answer.stdout
