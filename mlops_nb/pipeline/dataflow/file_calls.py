"""Which files calls read and write, by the names of functions and the texts they are given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow import known
from mlops_nb.pipeline.dataflow.calls import Calls
from mlops_nb.pipeline.dataflow.paths import is_address, looks_like_path, shell_uses

if TYPE_CHECKING:
    from mlops_nb.pipeline.dataflow.calls import Given
    from mlops_nb.pipeline.dataflow.values import Value

UNKNOWN_PATH = "{…}"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPENS = _words("""
builtins.open io.open gzip.open bz2.open lzma.open codecs.open zipfile.ZipFile tarfile.open
h5py.File shelve.open dbm.open netCDF4.Dataset
""")
# Where the path stands among the arguments, by the last part of the name.
_WRITERS: dict[str, int] = dict.fromkeys(
    _words("""
to_csv to_parquet to_json to_excel to_pickle to_feather to_hdf to_html to_latex to_markdown
to_xml to_stata to_file to_netcdf to_zarr to_orc to_disk savez savez_compressed savetxt
savefig imsave imwrite save_model save_pretrained save_to_disk save_weights save_npz
write_csv write_parquet write_json write_ndjson write_ipc write_excel write_html write_image
write_feather makedirs mkdir rmdir remove unlink rmtree removedirs ExcelWriter FileHandler
savemat mmwrite dump_svmlight_file export_graphviz extractall tofile
"""),
    0,
)
_WRITERS |= {"urlretrieve": 1, "write_table": 1, "write_dataset": 1, "make_archive": 0}
_SAVES = frozenset({"save", "dump", "export"})
_READERS: dict[str, int] = dict.fromkeys(
    _words("""
loadtxt genfromtxt fromfile imread load_model load_workbook listdir scandir walk glob iglob
isfile isdir getsize getmtime exists stat lstat ImageFolder from_file load_from_disk
load_npz load_weights loadmat mmread load_svmlight_file scan_csv scan_parquet scan_ipc
unpack_archive file_digest run_path memmap open_dataset samefile is_file is_dir
"""),
    0,
)
_PATH_WRITES = _words("""
write_text write_bytes touch unlink rmdir symlink_to
""")
_PATH_READS = _words("""
read_text read_bytes exists is_file is_dir stat iterdir samefile hardlink_to
""")
_COPIES = _words("""
copy copy2 copyfile copytree move rename replace renames link
""")
_FILE_MODULES = frozenset({"shutil", "os"})
_DATABASES = re.compile(r"(sqlite3|duckdb|aiosqlite)\.connect$|sqlalchemy\.create_engine$")
_MAKES_PATHS = _words("""
pathlib.Path pathlib.PurePath pathlib.PosixPath os.fspath os.path.join os.path.basename
os.path.dirname os.path.splitext os.path.abspath os.path.expanduser os.path.normpath
sys.path.append sys.path.insert os.chdir
""")
_RUNS = re.compile(
    r"(subprocess\.(run|call|check_call|check_output|Popen|getoutput|getstatusoutput)"
    r"|os\.(system|popen))$"
)


_PATH_NAMES = ("path", "path_or_buf", "fname", "filename", "filepath", "file", "dst", "fp")


class FileCalls(Calls):
    """Notes the files that calls use."""

    def use_files(self, path: str, given: Given, base: Value | None) -> None:
        """Note which files a call reads and writes."""
        tail = path.rpartition(".")[2]
        if path in _MAKES_PATHS:
            return
        if base is not None and base.text is not None and base.kind == "atom":
            self._path_method(tail, base.text, given)
        elif path in _OPENS or (base is None and tail == "open" and path.startswith("PIL.")):
            self._opened(given, mode_at=1)
        elif _RUNS.match(path):
            self._command(given)
        elif _DATABASES.match(path):
            self._database(given)
        elif tail in _COPIES and path.partition(".")[0] in _FILE_MODULES and base is None:
            self._copied(tail, given)
        elif tail in _WRITERS or (tail in _SAVES and path not in {"json.dump", "pickle.dump"}):
            self._written(path, tail, given, base)
        elif tail in _READERS or tail.startswith(("read_", "load")):
            self._read(tail, given)
        elif base is None and not known.FRESH_MODULES.match(path):
            self._mentioned(given)

    def _path_method(self, name: str, text: str, given: Given) -> None:
        if name == "open":
            self._opened(given, mode_at=0, path=text)
        elif name in _PATH_WRITES:
            self._use_path(text, is_written=True, is_read=name in {"unlink", "touch"})
        elif name == "mkdir":
            self._made(text, given)
        elif name in _PATH_READS:
            self._use_path(text, is_written=False)
        elif name in {"glob", "rglob"}:
            pattern = given.positional[0].text if given.positional else None
            self._use_path(f"{text}/{pattern or UNKNOWN_PATH}", is_written=False)
        elif name in {"rename", "replace"} and len(given.positional) == 1:
            self._use_path(text, is_written=True)
            self._use_path(_text(given.positional[0]), is_written=True, is_read=False)

    def _opened(self, given: Given, *, mode_at: int, path: str | None = None) -> None:
        values = given.positional
        if path is None:
            opened = _argument(given, 0)
            if opened is None or self.objects.why_stuck(opened.nodes):
                return
            path = _text(opened)
        mode = values[mode_at] if len(values) > mode_at else given.keywords.get("mode")
        letters = "r" if mode is None else mode.text if mode.text is not None else "r+"
        is_written = any(letter in letters for letter in "wax+")
        is_read = any(letter in letters for letter in "ra+")
        self._use_path(path, is_written=is_written, is_read=is_read)

    def _written(self, path: str, tail: str, given: Given, base: Value | None) -> None:
        if tail in {"mkdir", "makedirs"}:
            for folder in given.positional[:1]:
                self._made(_text(folder), given)
            return
        place = _WRITERS.get(tail, 0)
        if tail in _SAVES and base is None and not path.startswith(("numpy.", "np.")):
            place = 1
        value = _argument(given, place)
        if value is None or self._is_open_file(value):
            return
        if value.kind == "frame" and value.text is None:
            return
        removes = tail in {"remove", "unlink", "rmdir", "rmtree", "removedirs"}
        self._use_path(_text(value), is_written=True, is_read=removes)

    def _is_open_file(self, value: Value) -> bool:
        return bool(self.objects.why_stuck(value.nodes))

    def _read(self, tail: str, given: Given) -> None:
        value = _argument(given, _READERS.get(tail, 0))
        if value is None or self._is_open_file(value) or value.kind in {"frame", "array", "list"}:
            return
        if tail.startswith("load") and tail not in _READERS:
            # load(file), loads(text), load_iris(): only a text that is a path is one.
            is_path = value.text is not None and (
                looks_like_path(value.text) or "{" in value.text or tail == "load"
            )
            if not is_path or tail == "loads":
                return
        elif tail in {"read_sql", "read_sql_query", "read_sql_table", "read_clipboard"}:
            return
        self._use_path(_text(value), is_written=False)

    def _made(self, path: str, given: Given) -> None:
        exist_ok = given.keywords.get("exist_ok")
        is_repeatable = exist_ok is not None and exist_ok.text == "True"
        self.world.use_file(path, is_written=True, is_read=False, is_repeatable=is_repeatable)

    def _copied(self, name: str, given: Given) -> None:
        if len(given.positional) > 1:
            self._use_path(_text(given.positional[0]), is_written=not name.startswith("copy"))
            self._use_path(_text(given.positional[1]), is_written=True, is_read=False)

    def _database(self, given: Given) -> None:
        for value in given.positional[:1]:
            text = _text(value).removeprefix("sqlite:///").removeprefix("duckdb:///")
            if text not in {":memory:", "", "sqlite://"} and not is_address(text):
                self._use_path(text, is_written=True)

    def _command(self, given: Given) -> None:
        for value in given.positional[:1]:
            words = [item.text or UNKNOWN_PATH for item in value.elements or ()]
            if words:
                self.command(" ".join(words))
            elif value.text is not None:
                self.command(value.text)
            else:
                self._use_path(UNKNOWN_PATH, is_written=True)

    def command(self, text: str) -> None:
        """Note the files of a command of the system."""
        for use in shell_uses(text):
            self.world.use_file(use.path, is_written=use.is_written, is_read=use.is_read)

    def _mentioned(self, given: Given) -> None:
        """A function that nobody knows is given a path: it may read or write there."""
        for value in given.all:
            if value.text is not None and looks_like_path(value.text):
                self._use_path(value.text, is_written=True)

    def _use_path(self, path: str, *, is_written: bool, is_read: bool = True) -> None:
        if is_address(path):
            self._of_network(path)
        else:
            self.world.use_file(path, is_written=is_written, is_read=is_read)

    def _of_network(self, path: str) -> None:
        if path.startswith(("http", "ftp", "s3", "gs", "az", "abfs")):
            cell = self.world.cell
            cell.chance = cell.chance or (
                f"what it reads from {path.partition('://')[0]}://",
                self.world.line,
            )


def _argument(given: Given, place: int) -> Value | None:
    """Find the argument that is the path: at its place, or by name."""
    if place < len(given.positional):
        return given.positional[place]
    for name in (
        "path",
        "path_or_buf",
        "fname",
        "filename",
        "filepath",
        "file",
        "filepath_or_buffer",
    ):
        if name in given.keywords:
            return given.keywords[name]
    return None


def _text(value: Value) -> str:
    return value.text if value.text is not None else UNKNOWN_PATH
