"""How calls are watched: what is told, what is not, and that nobody else can tell."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import io
import os
import pickle
import pydoc
import subprocess
import sys
import textwrap
import threading
import traceback
import types
from importlib import util
from importlib.machinery import SourceFileLoader

import cloudpickle
import joblib
import numpy as np
import pytest
import sklearn.metrics
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, get_scorer, make_scorer
from sklearn.metrics import accuracy_score as acc
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mlops_nb.autolog import install
from mlops_nb.autolog.installation import Functions, Installed
from mlops_nb.autolog.patch import MethodPatch
from mlops_nb.capture import guard

X, Y = load_iris(return_X_y=True)
HELD_BEFORE = {"metrics": [accuracy_score], "macro": functools.partial(f1_score, average="macro")}


class Recorder:
    """A listener that remembers."""

    def __init__(self):
        self.told, self.calls, self.results, self.errors = [], [], [], []
        self.on_start = lambda _call: None

    def call_started(self, call):
        self.calls.append(call)
        self.told.append((call.kind, call.function))
        self.on_start(call)

    def call_ended(self, call, result):
        self.results.append(result)

    def call_failed(self, call, error):
        self.errors.append(error)


@pytest.fixture
def heard():
    guard.reset()
    listener = Recorder()
    installed = install(listener, {})
    listener.installed = installed
    yield listener
    installed.uninstall()
    assert [fault.error for fault in guard.faults] == []


def notebook(source):
    """Run a cell, as `__main__` would."""
    namespace = {"__name__": "__main__"}
    exec(textwrap.dedent(source), namespace)  # noqa: S102
    return namespace


def python(source, *arguments):
    """Run a script in a process of its own, give what it printed."""
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.split()


# --- what is told -----------------------------------------------------------------------------


def test_a_call_is_told_with_receiver_arguments_and_result(heard):
    model = LogisticRegression()
    assert model.fit(X, y=Y) is model
    call = heard.calls[0]
    assert (call.kind, call.function, call.receiver) == ("fit", "fit", model)
    assert {name: id(value) for name, value in call.arguments().items()} == {
        "X": id(X),
        "y": id(Y),
    }
    assert heard.results[0] is model


def test_only_the_outermost_call_is_told(heard):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    model.score(X, Y)
    cross_validate(model, X, Y, cv=3, scoring="f1_macro")
    assert heard.told == [("fit", "fit"), ("score", "score"), ("validate", "cross_validate")]


def test_calls_in_threads_of_a_call_are_part_of_it(heard):
    forest = RandomForestClassifier(8, n_jobs=2).fit(X, Y)
    with joblib.parallel_backend("threading", n_jobs=2):
        GridSearchCV(forest, {"max_depth": [1, 2]}, cv=2).fit(X, Y)
    assert heard.told == [("fit", "fit"), ("fit", "fit")]


def test_what_the_listener_calls_itself_is_not_told(heard):
    heard.on_start = lambda _call: LogisticRegression().fit(X, Y).predict(X)
    accuracy_score(Y, Y)
    assert heard.told == [("metric", "accuracy_score")]


def test_a_call_through_super_is_told_once(heard):
    class Loud(LogisticRegression):
        def fit(self, X, y):
            return super().fit(X, y)

    Loud().fit(X, Y)
    assert heard.told == [("fit", "fit")]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_an_exception_reaches_the_caller_unchanged_and_the_next_call_is_told(heard, error):
    class Broken(BaseEstimator):
        def fit(self, X, y=None):
            raise error

    with pytest.raises(type(error)) as caught:
        Broken().fit(X)
    assert caught.value is error
    assert heard.errors == [error]
    assert traceback.extract_tb(error.__traceback__)[-1].line == "raise error"
    accuracy_score(Y, Y)
    assert heard.told == [("fit", "fit"), ("metric", "accuracy_score")]


def test_a_listener_that_raises_is_never_noticed(heard):
    def fail(_call):
        raise RuntimeError("ours")

    heard.on_start = fail
    assert accuracy_score(Y, Y) == 1.0
    assert [fault.error for fault in guard.faults] == ["RuntimeError: ours"]
    guard.reset()


def test_a_listener_that_keeps_failing_is_told_no_more(heard):
    def fail(_call):
        raise RuntimeError("ours")

    heard.on_start = fail
    for _ in range(5):
        assert accuracy_score(Y, Y) == 1.0
    assert len(heard.told) == guard.FAULTS_UNTIL_OFF
    guard.reset()


def test_an_interrupt_in_the_listener_stops_the_call_and_not_the_watching(heard):
    def interrupt(_call):
        raise KeyboardInterrupt

    heard.on_start = interrupt
    with pytest.raises(KeyboardInterrupt):
        accuracy_score(Y, Y)
    heard.on_start = lambda _call: None
    accuracy_score(Y, Y)
    assert len(heard.results) == 1


def test_the_original_is_called_once_even_if_it_fails(heard):
    calls = []

    class Counting(BaseEstimator):
        def fit(self, X, y=None):
            calls.append(X)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        Counting().fit(X)
    assert len(calls) == 1


def test_a_call_that_an_interrupt_left_behind_is_forgotten_at_the_next_cell(heard):
    from mlops_nb.autolog import patch

    patch._inside["left behind"] = threading.get_ident()
    accuracy_score(Y, Y)
    assert heard.told == []
    heard.installed.refresh({}, [])
    accuracy_score(Y, Y)
    assert heard.told == [("metric", "accuracy_score")]


def test_the_users_frame_is_the_one_that_called(heard):
    frames = []
    heard.on_start = lambda call: frames.append(call.user_frame())

    def of_the_user():
        accuracy_score(Y, Y)
        LogisticRegression().fit(X, Y)
        return inspect.currentframe()

    assert [frame.f_code for frame in frames] == [] == heard.told
    mine = of_the_user()
    assert frames == [mine, mine]


@pytest.mark.parametrize(
    ("call", "names"),
    [
        pytest.param(lambda m: m.fit(X, Y), {"X", "y"}, id="by position"),
        pytest.param(lambda m: m.fit(y=Y, X=X), {"X", "y"}, id="by name"),
        pytest.param(lambda m: m.fit(X, Y, None), {"X", "y", "sample_weight"}, id="all"),
        pytest.param(
            lambda m: make_pipeline(m).fit(X, Y, logisticregression__sample_weight=None),
            {"X", "y", "logisticregression__sample_weight"},
            id="in the rest",
        ),
        pytest.param(lambda m: m.fit(X, Y, nothing_such=1), set(), id="that do not bind"),
    ],
)
def test_arguments_have_the_names_of_the_originals_parameters(heard, call, names):
    try:
        call(LogisticRegression())
    except TypeError:
        assert not names
    assert set(heard.calls[0].arguments()) == names


# --- what is watched --------------------------------------------------------------------------


def test_functions_imported_before_are_watched_under_any_name_and_in_any_container(heard):
    acc(Y, Y)
    HELD_BEFORE["metrics"][0](Y, Y)
    HELD_BEFORE["macro"](Y, Y)
    assert [name for _, name in heard.told] == ["accuracy_score", "accuracy_score", "f1_score"]


def test_classes_of_the_notebook_are_watched_from_their_definition(heard):
    cell = notebook("""
        from sklearn.base import BaseEstimator, TransformerMixin
        class Mixin:
            def predict(self, X):
                return [0 for _ in X]
        class Own(Mixin, BaseEstimator):
            def fit(self, X, y=None):
                return self
        class Doubler(TransformerMixin, BaseEstimator):
            def fit(self, X, y=None):
                return self
            def transform(self, X):
                return 2 * X
    """)
    cell["Own"]().fit(X).predict(X)
    cell["Doubler"]().fit(X).transform(X)
    cell["Doubler"]().fit_transform(X)
    assert heard.told == [
        ("fit", "fit"),
        ("predict", "predict"),
        ("fit", "fit"),
        ("transform", "transform"),
        ("fit", "fit_transform"),
    ]


@pytest.mark.parametrize("bound", ["Alone", "model", "module"])
def test_a_class_that_only_looks_like_an_estimator_is_watched_once_it_is_seen(heard, bound):
    class Alone:
        def fit(self, X, y=None):
            return self

        def predict(self, X):
            return 0

        def transform(self, X):
            return X

    module = types.ModuleType("catlike")
    module.Alone = Alone
    namespace = {"Alone": Alone, "model": Alone(), "module": module}
    heard.installed.refresh(namespace, [bound, "gone"])
    assert Alone().fit(X).predict(Alone().transform(X)) == 0
    assert heard.told == [("fit", "fit"), ("predict", "predict")]
    heard.installed.uninstall()
    assert inspect.isfunction(vars(Alone)["fit"])


def test_classes_without_fit_and_predict_are_left_alone(heard):
    class Curve:
        def fit(self, X):
            return self

    before = dict(vars(Curve))
    heard.installed.refresh({"Curve": Curve, "list": list, "n": np}, None)
    assert dict(vars(Curve)) == before


def test_a_lazy_module_in_the_namespace_stays_unloaded(heard, tmp_path, monkeypatch):
    (tmp_path / "lazybones.py").write_text("raise RuntimeError('loaded')")
    monkeypatch.syspath_prepend(tmp_path)
    spec = util.find_spec("lazybones")
    spec.loader = util.LazyLoader(spec.loader)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    heard.installed.refresh({"lazybones": module}, ["lazybones"])
    with pytest.raises(RuntimeError, match="loaded"):
        _ = module.anything


def test_methods_that_somebody_else_replaces_are_watched_again_and_left_to_them(heard):
    own = notebook("""
        from sklearn.linear_model import Ridge
        class Own(Ridge):
            def fit(self, X, y):
                return super().fit(X, y)
    """)["Own"]

    def other(self, X, y):
        return "other"

    own.fit = other
    heard.installed.refresh({}, [])
    assert own().fit(X, Y) == "other"
    assert heard.told == [("fit", "fit")]
    heard.installed.uninstall()
    assert vars(own)["fit"] is other


# --- nobody can tell --------------------------------------------------------------------------


def described(estimator):
    """What a user can ask of a class and its object."""
    text = io.StringIO()
    pydoc.Helper(output=text)(type(estimator))
    methods = [name for name in dir(estimator) if name in {"fit", "predict", "transform", "score"}]
    return (
        text.getvalue(),
        methods,
        [inspect.signature(getattr(estimator, name)) for name in methods],
        [inspect.getfullargspec(getattr(estimator, name)) for name in methods],
        [inspect.getsource(getattr(estimator, name)) for name in methods],
        [pydoc.render_doc(getattr(estimator, name)) for name in methods],
        [inspect.ismethod(getattr(estimator, name)) for name in methods],
        [getattr(estimator, name).__qualname__ for name in methods],
        estimator.get_metadata_routing(),
    )


@pytest.mark.parametrize(
    "make",
    [
        LogisticRegression,
        StandardScaler,
        lambda: make_pipeline(StandardScaler(), SVC()),
        lambda: GridSearchCV(SVC(), {"C": [1]}),
    ],
    ids=["LogisticRegression", "StandardScaler", "Pipeline", "GridSearchCV"],
)
def test_documentation_and_signatures_are_as_before(make):
    before = described(make())
    installed = install(Recorder(), {})
    try:
        after = described(make())
    finally:
        installed.uninstall()
    for was, is_now in zip(before[:-1], after[:-1], strict=True):
        assert is_now == was
    assert str(after[-1]) == str(before[-1])


def plain(y_true, y_pred, *, scale=1):
    """Not decorated."""
    return scale * sum(a == b for a, b in zip(y_true, y_pred, strict=True))


def test_a_function_without_decorator_keeps_signature_source_and_behaviour(heard):
    from mlops_nb.autolog.patch import watch_function

    before = inspect.signature(plain), inspect.getfullargspec(plain), inspect.getsource(plain)
    code, attributes = plain.__code__, dict(vars(plain))
    redirection = watch_function(plain, "metric")
    assert before == (
        inspect.signature(plain),
        inspect.getfullargspec(plain),
        inspect.getsource(plain),
    )
    assert plain([1, 2], y_pred=[1, 3], scale=5) == 5
    assert heard.calls[0].arguments() == {"y_true": [1, 2], "y_pred": [1, 3], "scale": 5}
    redirection.undo()
    assert plain.__code__ is code
    assert dict(vars(plain)) == attributes


def test_functions_stay_functions(heard):
    assert inspect.isfunction(accuracy_score)
    assert str(inspect.signature(accuracy_score)).startswith("(y_true, y_pred, *, normalize=True")
    assert "def accuracy_score" in inspect.getsource(accuracy_score)
    assert pydoc.render_doc(accuracy_score).startswith(
        "Python Library Documentation: function accuracy_score in module"
    )
    with pytest.raises(ValueError, match="looks like it is a metric function"):
        cross_validate(SVC(), X, Y, scoring=accuracy_score)


def test_methods_that_only_some_objects_have_are_there_for_these_alone(heard):
    pipeline = make_pipeline(StandardScaler())
    assert not hasattr(pipeline, "predict")
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = pipeline.predict
    assert hasattr(make_pipeline(SVC()), "predict")
    assert not hasattr(make_pipeline(SVC(probability=False)), "predict_proba")


def test_set_output_wraps_as_before(heard):
    class Doubler(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return 2 * X

        def get_feature_names_out(self, names=None):
            return list("abcd")

    table = Doubler().set_output(transform="pandas").fit(X).transform(X)
    assert list(table.columns) == list("abcd")
    assert isinstance(vars(Doubler)["transform"], MethodPatch)


def test_clones_and_copies_are_as_before(heard):
    model = LogisticRegression(C=3).fit(X, Y)
    assert clone(model).C == 3
    assert (copy.deepcopy(model).predict(X) == model.predict(X)).all()
    assert copy.deepcopy(model.predict)(X).shape == Y.shape
    assert model.predict == model.predict


def test_an_abstract_method_stays_abstract(heard):
    from abc import ABC, abstractmethod

    class Base(BaseEstimator, ABC):
        @abstractmethod
        def fit(self, X): ...

    with pytest.raises(TypeError, match="abstract"):
        Base()


# --- pickles ----------------------------------------------------------------------------------

LOAD_WITHOUT_US = """
    import pickle, sys
    sys.modules["mlops_nb"] = None
    with open(sys.argv[1], "rb") as file:
        X, values = pickle.load(file)
    for value in values:
        print(type(value).__name__, len(value(X) if callable(value) else value.predict(X)))
"""

OWN = """
    from sklearn.base import BaseEstimator, ClassifierMixin
    import numpy as np
    class Own(ClassifierMixin, BaseEstimator):
        def __init__(self, label=0):
            super().__init__()
            self.label = label
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self
        def predict(self, X):
            return np.full(len(X), self.label)
"""


def test_what_is_pickled_loads_where_we_are_not_installed(heard, tmp_path):
    own, dummy = notebook(OWN)["Own"]().fit(X, Y), DummyClassifier().fit(X, Y)
    conditional = make_pipeline(SVC()).fit(X, Y).predict
    values = [own, own.predict, dummy, dummy.predict, conditional]
    (tmp_path / "values.pkl").write_bytes(cloudpickle.dumps((X, values)))
    answer = python(LOAD_WITHOUT_US, tmp_path / "values.pkl")
    names = ["Own", "method", "DummyClassifier", "method", "method"]
    assert answer == [word for name in names for word in (name, "150")]


def test_a_class_of_the_notebook_is_pickled_without_a_word_of_us(heard):
    assert b"mlops_nb" not in cloudpickle.dumps(notebook(OWN)["Own"])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(accuracy_score, id="function"),
        pytest.param(make_scorer(f1_score, average="macro"), id="scorer made before"),
        pytest.param(get_scorer("f1_macro"), id="scikit-learn's own scorer"),
        pytest.param(LogisticRegression().fit(X, Y).predict, id="method taken before"),
    ],
)
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_pickles_are_the_same_as_before(heard, value, dumps):
    tracked = dumps(value)
    heard.installed.uninstall()
    assert tracked == dumps(value)


def test_a_scorer_made_while_watching_is_pickled_afterwards_too(heard):
    scorer = make_scorer(sklearn.metrics.f1_score, average="macro")
    tracked = pickle.dumps(scorer)
    heard.installed.uninstall()
    assert pickle.dumps(scorer) == tracked


def test_a_fitted_search_is_saved_and_loaded(heard, tmp_path):
    search = GridSearchCV(SVC(), {"C": [1, 2]}, scoring="f1_macro", cv=2).fit(X, Y)
    joblib.dump(search, tmp_path / "search.joblib")
    assert (joblib.load(tmp_path / "search.joblib").predict(X) == search.predict(X)).all()


def test_worker_processes_fit_estimators_of_library_and_notebook(heard):
    for estimator, grid in [(SVC(), {"C": [1, 2]}), (notebook(OWN)["Own"](), {"label": [0, 1]})]:
        scoring = make_scorer(f1_score, average="macro")
        search = GridSearchCV(estimator, grid, cv=2, n_jobs=2, scoring=scoring).fit(X, Y)
        assert len(search.cv_results_["params"]) == 2
    assert heard.told == [("fit", "fit"), ("fit", "fit")]


def test_a_class_that_comes_back_from_a_worker_is_still_watched(heard):
    model = notebook(OWN)["Own"]()
    found = cross_validate(model, X, Y, cv=2, n_jobs=2, return_estimator=True)
    heard.installed.refresh({}, [])
    found["estimator"][0].predict(X)
    assert heard.told == [("validate", "cross_validate"), ("predict", "predict")]


def test_a_forked_child_tells_nobody(heard):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        accuracy_score(Y, Y)
        os.write(write, bytes([len(heard.told)]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"\x00"
    accuracy_score(Y, Y)
    assert len(heard.told) == 1


# --- in and out -------------------------------------------------------------------------------


def all_subclasses(cls):
    for child in type.__subclasses__(cls):
        yield child
        yield from all_subclasses(child)


def snapshot():
    """Everything of scikit-learn that could be changed, by identity and in order."""
    modules = [m for name, m in sorted(sys.modules.items()) if name.startswith("sklearn")]
    classes = {c for child in all_subclasses(BaseEstimator) for c in child.__mro__}
    values = [v for owner in (*modules, *classes) for v in vars(owner).values()]
    functions = {f for v in values if inspect.isfunction(f := getattr(v, "__func__", v))}
    return {
        "modules": {m.__name__: [(k, id(v)) for k, v in vars(m).items()] for m in modules},
        "classes": {
            c: [(k, id(v)) for k, v in vars(c).items()] for c in classes if c is not object
        },
        "code": {f: (f.__code__, sorted(vars(f)), f.__defaults__) for f in functions},
        "finders": list(sys.meta_path),
    }


def test_uninstall_leaves_everything_identical_to_before():
    from sklearn.utils import all_estimators

    all_estimators()
    before = snapshot()
    installed = install(Recorder(), {"accuracy_score": accuracy_score})
    changed = snapshot()
    assert changed["classes"] != before["classes"]
    assert changed["code"] != before["code"]
    assert changed["finders"] != before["finders"]
    LogisticRegression().fit(X, Y)
    installed.uninstall()
    after = snapshot()
    for what, was in before.items():
        assert after[what] == was, what


def test_a_method_held_since_tracking_works_afterwards(heard):
    predict = LogisticRegression().fit(X, Y).predict
    heard.installed.uninstall()
    assert len(predict(X)) == len(Y)
    assert heard.told == [("fit", "fit")]


def test_a_cell_that_starts_after_uninstalling_changes_nothing(heard):
    cell = notebook(OWN)
    heard.installed.uninstall()
    heard.installed.refresh(cell)
    assert inspect.isfunction(vars(cell["Own"])["fit"])


def test_installing_twice_watches_once_and_the_last_listener_hears(heard):
    other = Recorder()
    assert install(other, {}) is heard.installed
    accuracy_score(Y, Y)
    assert (heard.told, other.told) == ([], [("metric", "accuracy_score")])


def test_installing_again_after_uninstalling_watches_again(heard):
    heard.installed.uninstall()
    accuracy_score(Y, Y)
    heard.installed = install(heard, {})
    accuracy_score(Y, Y)
    LogisticRegression().fit(X, Y)
    assert len(heard.told) == 2
    heard.installed.uninstall()


def test_a_class_of_the_notebook_can_still_be_forgotten(heard):
    import gc
    import weakref

    cell = notebook(OWN)
    cell["Own"]().fit(X, Y)
    gone = weakref.ref(cell["Own"])
    heard.calls.clear()
    heard.results.clear()
    cell.clear()
    gc.collect()
    assert gone() is None


def test_a_patch_list_that_fails_is_reported_and_harms_nothing(heard):
    def fail(_module):
        raise RuntimeError("broken list")

    heard.installed.uninstall()
    broken = types.SimpleNamespace(
        __name__="broken", MODULES=("json", "sklearn.base"), patches=fail
    )
    installed = Installed([broken])
    installed.start({})
    installed.uninstall()
    assert {fault.what for fault in guard.faults} == {"autolog broken"}
    guard.reset()


def test_many_threads_call_and_nothing_is_lost_or_doubled(heard):
    def work():
        for _ in range(20):
            accuracy_score(Y, Y)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accuracy_score(Y, Y)
    # Calls that overlap with another thread's count as part of it; no call is told twice.
    assert heard.told[-1] == ("metric", "accuracy_score")
    assert 1 <= len(heard.told) <= 81
    assert len(heard.results) == len(heard.told)


# --- imports ----------------------------------------------------------------------------------

QUIET = """
    import sys
    from mlops_nb.autolog import install
    class Listener:
        told = []
        def call_started(self, call): self.told.append(call.function)
        def call_ended(self, call, result): pass
        def call_failed(self, call, error): pass
    finders = list(sys.meta_path)
    installed = install(Listener(), {})
"""


def test_scikit_learn_is_not_imported_by_us():
    source = (
        QUIET + "    print(any(n.startswith(('sklearn', 'numpy', 'pandas')) for n in sys.modules))"
    )
    assert python(source) == ["False"]


def test_a_library_imported_later_is_watched_in_the_same_cell_and_keeps_its_loader():
    answer = python(
        QUIET
        + """
    from importlib.machinery import SourceFileLoader
    from sklearn.metrics import accuracy_score
    accuracy_score([1], [1])
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import cross_val_score
    DummyClassifier().fit([[1]], [1]).score([[1]], [1])
    print(*Listener.told)
    module = sys.modules["sklearn.metrics"]
    assert type(module.__spec__.loader) is type(module.__loader__) is SourceFileLoader
    assert "exec_module" not in vars(module.__loader__)
    installed.uninstall()
    assert sys.meta_path == finders
    print(accuracy_score([1], [1]), len(Listener.told))
    """
    )
    assert answer == ["accuracy_score", "fit", "score", "1.0", "3"]


@pytest.fixture
def birds(heard, tmp_path, monkeypatch):
    """A library that is not imported yet, and a patch list for it."""
    (tmp_path / "birdlib.py").write_text("def sing(times):\n    return 'la' * times\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    patches = types.SimpleNamespace(
        __name__="birds",
        MODULES=("birdlib",),
        patches=lambda module: [Functions("metric", (module.sing,))],
    )
    installed = Installed([patches])
    installed.start({})
    yield tmp_path / "birdlib.py"
    installed.uninstall()
    sys.modules.pop("birdlib", None)


def test_a_module_is_watched_from_its_import_and_keeps_its_loader(birds, heard):
    import birdlib

    assert birdlib.sing(2) == "lala"
    assert heard.told == [("metric", "sing")]
    assert type(birdlib.__loader__) is SourceFileLoader
    assert birdlib.__spec__.loader is birdlib.__loader__
    assert "exec_module" not in vars(birdlib.__loader__)


def test_a_reloaded_module_has_one_layer(birds, heard):
    import birdlib

    first = birdlib.sing
    importlib.reload(birdlib)
    assert birdlib.sing is not first
    assert birdlib.sing(1) == "la"
    assert heard.told == [("metric", "sing")]


def test_a_spec_that_is_only_looked_at_imports_nothing(birds):
    assert "def sing" in util.find_spec("birdlib").loader.get_source("birdlib")
    assert "birdlib" not in sys.modules


def test_a_lazy_loader_stays_lazy_and_is_watched_once_it_loads(birds, heard):
    spec = util.find_spec("birdlib")
    spec.loader = util.LazyLoader(spec.loader)
    module = sys.modules["birdlib"] = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "sing" not in object.__getattribute__(module, "__dict__")
    assert module.sing(1) == "la"
    assert heard.told == [("metric", "sing")]


def test_an_import_that_fails_fails_as_before_and_the_next_one_is_watched(birds, heard):
    good = birds.read_text()
    birds.write_text("raise RuntimeError('broken library')")
    with pytest.raises(RuntimeError, match="broken library"):
        import birdlib
    # Longer, because the cached bytecode goes by time and size.
    birds.write_text(good + "# mended, and a little longer than it was broken\n")
    importlib.invalidate_caches()
    import birdlib

    assert birdlib.sing(1) == "la"
    assert heard.told == [("metric", "sing")]


def test_a_module_that_came_past_the_hook_is_found_at_the_next_cell(heard):
    patches = types.SimpleNamespace(
        MODULES=("pastlib",), patches=lambda module: [Functions("metric", (module.plain,))]
    )
    installed = Installed([patches])
    installed.start({})
    module = sys.modules["pastlib"] = types.ModuleType("pastlib")
    module.plain = plain
    try:
        plain([], [])
        installed.refresh({}, [])
        plain([], [])
    finally:
        del sys.modules["pastlib"]
        installed.uninstall()
    assert heard.told == [("metric", "plain")]


class Lookalike(ClassifierMixin, BaseEstimator):
    """Of this module, so that plain pickle finds it."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X))


def test_multiprocessing_pickles_estimators_by_name(heard):
    again = pickle.loads(pickle.dumps(Lookalike().fit(X, Y)))  # noqa: S301
    assert type(again) is Lookalike
    again.predict(X)
    assert heard.told == [("fit", "fit"), ("predict", "predict")]
