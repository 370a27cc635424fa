"""scikit-learn while it is watched: the same results, and what is read from its objects."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import sklearn.metrics.cluster
import sklearn.model_selection as selection
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import RFE
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC
from sklearn.utils import all_estimators

from mlops_nb.autolog import install
from mlops_nb.autolog import sklearn as kit
from mlops_nb.capture import guard

IRIS, SPECIES = load_iris(return_X_y=True)
ROWS = np.arange(0, 150, 3)
X, Y = IRIS[ROWS], SPECIES[ROWS]
TABLE = pd.DataFrame(X, columns=list("abcd")).assign(colour=["red", "blue"] * 25)


class Listener:
    def __init__(self):
        self.told = []

    def call_started(self, call):
        self.told.append((call.kind, call.function))
        call.arguments()

    def call_ended(self, call, result):
        if call.receiver is not None:
            list(kit.parts(call.receiver))
            kit.model_params(call.receiver)

    def call_failed(self, call, error):
        self.told.append(("failed", call.function))


@pytest.fixture
def heard():
    guard.reset()
    listener = Listener()
    installed = install(listener, {})
    yield listener
    installed.uninstall()
    assert [fault.where for fault in guard.faults] == []


class Nearest(ClassifierMixin, BaseEstimator):
    """Of the notebook."""

    def __init__(self, power=2):
        self.power = power

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.centers_ = np.array([np.asarray(X)[y == label].mean(0) for label in self.classes_])
        return self

    def predict(self, X):
        distances = np.abs(np.asarray(X)[:, None] - self.centers_) ** self.power
        return self.classes_[distances.sum(-1).argmin(1)]


def columns():
    return ColumnTransformer(
        [("numbers", StandardScaler(), list("abcd")), ("names", OneHotEncoder(), ["colour"])]
    )


MODELS = [
    pytest.param(LogisticRegression, X, id="LogisticRegression"),
    pytest.param(Nearest, X, id="own"),
    pytest.param(lambda: make_pipeline(StandardScaler(), PCA(2), SVC()), X, id="Pipeline"),
    pytest.param(lambda: make_pipeline(columns(), Nearest()), TABLE, id="ColumnTransformer"),
    pytest.param(
        lambda: selection.GridSearchCV(SVC(), {"C": [1, 10]}, cv=3), X, id="GridSearchCV"
    ),
    pytest.param(
        lambda: selection.RandomizedSearchCV(
            SVC(), {"C": [1, 2, 3]}, n_iter=2, random_state=0, cv=3, scoring="f1_macro"
        ),
        X,
        id="RandomizedSearchCV",
    ),
    pytest.param(
        lambda: VotingClassifier([("a", GaussianNB()), ("b", Nearest())]), X, id="Voting"
    ),
    pytest.param(
        lambda: StackingClassifier([("a", GaussianNB()), ("b", Nearest())], cv=3), X, id="Stacking"
    ),
    pytest.param(lambda: CalibratedClassifierCV(SVC(), cv=3), X, id="Calibrated"),
    pytest.param(lambda: BaggingClassifier(Nearest(), 3, random_state=0), X, id="Bagging"),
    pytest.param(
        lambda: RandomForestClassifier(5, random_state=0, n_jobs=2), X, id="RandomForest"
    ),
    pytest.param(
        lambda: GradientBoostingClassifier(n_estimators=3, random_state=0),
        X,
        id="GradientBoosting",
    ),
    pytest.param(
        lambda: HistGradientBoostingClassifier(max_iter=3, early_stopping=True, random_state=0),
        X,
        id="HistGradientBoosting",
    ),
    pytest.param(lambda: OneVsRestClassifier(SVC()), X, id="OneVsRest"),
    pytest.param(lambda: RFE(LogisticRegression(), n_features_to_select=2), X, id="RFE"),
    pytest.param(lambda: MLPClassifier(3, max_iter=5, random_state=0), X, id="MLP"),
    pytest.param(
        lambda: SelfTrainingClassifier(SVC(probability=False), criterion="k_best"), X, id="Self"
    ),
    pytest.param(
        lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
        X,
        id="TransformedTarget",
    ),
    pytest.param(
        lambda: GaussianProcessRegressor(RBF() + WhiteKernel(), random_state=0), X, id="Process"
    ),
    pytest.param(lambda: KMeans(3, random_state=0, n_init=1), X, id="KMeans"),
    pytest.param(DBSCAN, X, id="DBSCAN"),
    pytest.param(lambda: IsolationForest(n_estimators=5, random_state=0), X, id="IsolationForest"),
    pytest.param(LocalOutlierFactor, X, id="LocalOutlierFactor"),
    pytest.param(lambda: GaussianMixture(2, random_state=0), X, id="GaussianMixture"),
    pytest.param(lambda: PCA(2), X, id="PCA"),
    pytest.param(KernelDensity, X, id="KernelDensity"),
]


def everything_it_does(make, data):
    """Call all there is on a new estimator; give what came back, as text or bytes."""
    results, told = {}, []
    for first in ("fit", "fit_predict", "fit_transform", "partial_fit"):
        model = make()
        if not hasattr(model, first):
            continue
        try:
            results[first] = getattr(model, first)(data, Y)
        except (TypeError, ValueError, AttributeError) as error:
            results[first] = error
            continue
        told.append(first)
        for name in [name for name in kit.METHODS if "fit" not in name and hasattr(model, name)]:
            arguments = (data, Y) if name == "score" else (data,)
            try:
                results[first, name] = getattr(model, name)(*arguments)
                told.append(name)
            except (TypeError, ValueError, AttributeError) as error:
                results[first, name] = error
    return {key: comparable(value) for key, value in results.items()}, told


def comparable(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return str(value)


@pytest.mark.filterwarnings("ignore")
def case_id(value):
    """The same in every process: no address, and a set in order."""
    if isinstance(value, set):
        return ",".join(sorted(value)) or "none"
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(("make", "data"), MODELS)
def test_results_are_the_same_and_each_outermost_call_is_told(make, data):
    guard.reset()
    before, called = everything_it_does(make, data)
    listener = Listener()
    installed = install(listener, {})
    try:
        after, _ = everything_it_does(make, data)
    finally:
        installed.uninstall()
    assert after == before
    failed = {function for kind, function in listener.told if kind == "failed"}
    told = [function for kind, function in listener.told if kind != "failed"]
    assert [function for function in told if function not in failed] == [
        function for function in called if function not in failed
    ]
    assert "fit" in {kind for kind, _ in listener.told}
    assert [fault.where for fault in guard.faults] == []


def signatures():
    return {
        (name, method): (
            inspect.signature(getattr(cls, method)),
            inspect.getfullargspec(getattr(cls, method)),
        )
        for name, cls in all_estimators()
        for method in kit.METHODS
        if callable(getattr(cls, method, None))
    }


def test_signatures_of_all_estimators_and_functions_are_the_same():
    def of_functions():
        modules = (sklearn.metrics, selection, sklearn.metrics.cluster)
        return {
            (module.__name__, name): (str(inspect.signature(value)), str(value))
            for module in modules
            for name, value in vars(module).items()
            if inspect.isfunction(value)
        }

    before = signatures(), of_functions()
    installed = install(Listener(), {})
    try:
        assert (signatures(), of_functions()) == before
    finally:
        installed.uninstall()


def test_every_estimator_tells_of_the_methods_it_has(heard):
    from mlops_nb.autolog.patch import MethodPatch

    for name, cls in all_estimators():
        for method in kit.METHODS:
            attribute = inspect.getattr_static(cls, method, None)
            if attribute is not None and not isinstance(attribute, property):
                assert isinstance(attribute, MethodPatch), (name, method)


NO_METRICS = {
    "check_scoring",
    "get_scorer",
    "get_scorer_names",
    "make_scorer",
    "euclidean_distances",
    "nan_euclidean_distances",
    "pairwise_distances",
    "pairwise_distances_argmin",
    "pairwise_distances_argmin_min",
    "pairwise_distances_chunked",
    "pairwise_kernels",
}


def test_every_public_function_of_metrics_that_takes_data_is_watched():
    before = {
        name: value.__code__
        for name, value in vars(sklearn.metrics).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    installed = install(Listener(), {})
    watched = {n for n, c in before.items() if getattr(sklearn.metrics, n).__code__ is not c}
    installed.uninstall()
    assert set(before) - watched == NO_METRICS
    assert {"accuracy_score", "roc_curve", "confusion_matrix", "log_loss", "auc"} <= watched


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("accuracy_score", ([0, 1], [0, 1])),
        ("classification_report", ([0, 1], [0, 1])),
        ("confusion_matrix", ([0, 1], [0, 1])),
        ("roc_curve", ([0, 1], [0.1, 0.9])),
        ("log_loss", ([0, 1], [0.1, 0.9])),
        ("mean_squared_error", ([0, 1], [0.1, 0.9])),
        ("r2_score", ([0, 1], [0.1, 0.9])),
        ("silhouette_score", (X, Y)),
        ("adjusted_rand_score", (Y, Y)),
        ("ndcg_score", ([[0, 1]], [[0.1, 0.9]])),
    ],
)
def test_a_metric_gives_the_same_and_is_told_once(name, arguments):
    function = getattr(sklearn.metrics, name)
    before = function(*arguments)
    listener = Listener()
    installed = install(listener, {})
    after = function(*arguments)
    installed.uninstall()
    assert str(after) == str(before)
    assert listener.told == [("metric", name)]


VALIDATIONS = {
    "cross_validate": {},
    "cross_val_score": {},
    "cross_val_predict": {},
    "learning_curve": {"train_sizes": [0.7, 1.0], "shuffle": True, "random_state": 0},
    "validation_curve": {"param_name": "power", "param_range": [1, 2]},
    "permutation_test_score": {"n_permutations": 3, "random_state": 0},
}


def validated(function, **more):
    arguments = {"cv": 3, **VALIDATIONS[function], **more}
    return getattr(selection, function)(Nearest(), X, Y, **arguments)


@pytest.mark.parametrize("function", VALIDATIONS)
def test_a_validation_gives_the_same_and_is_told_once(function):
    def read(result):
        if isinstance(result, dict):
            result = [value for key, value in result.items() if not key.endswith("_time")]
        return str(result)

    before = read(validated(function))
    listener = Listener()
    installed = install(listener, {})
    after = read(validated(function))
    installed.uninstall()
    assert after == before
    assert listener.told == [("validate", function)]


# --- what an estimator is ---------------------------------------------------------------------


class OnlyPredicts:
    def predict(self, X):
        return X


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LogisticRegression(), True),
        (LinearRegression(), True),
        (KMeans(), True),
        (DBSCAN(), True),
        (IsolationForest(), True),
        (LocalOutlierFactor(), True),
        (GaussianMixture(), True),
        (make_pipeline(StandardScaler(), SVC()), True),
        (selection.GridSearchCV(SVC(), {}), True),
        (OnlyPredicts(), True),
        (Nearest(), True),
        (StandardScaler(), False),
        (PCA(), False),
        (make_pipeline(StandardScaler(), PCA()), False),
        (columns(), False),
        (NearestNeighbors(), False),
        (KernelDensity(), False),
        (OnlyPredicts, False),
        (None, False),
        (TABLE, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_predictor_classifies_regresses_clusters_or_finds_outliers(estimator, expected):
    assert kit.is_predictor(estimator) is expected


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (LogisticRegression(), "accuracy"),
        (make_pipeline(StandardScaler(), SVC()), "accuracy"),
        (Ridge(), "r2"),
        (selection.GridSearchCV(Ridge(), {}), "r2"),
        (selection.GridSearchCV(SVC(), {}, scoring="roc_auc"), "roc_auc"),
        (selection.GridSearchCV(SVC(), {}, scoring=["accuracy", "f1"], refit="f1"), "score"),
        (KMeans(), "score"),
        (OnlyPredicts(), "score"),
        (None, "score"),
    ],
    ids=case_id,
)
def test_a_score_has_the_name_of_what_it_is(estimator, name):
    assert kit.score_name(estimator) == name


def test_a_class_path_is_where_the_class_stands():
    assert kit.class_path(SVC()) == "sklearn.svm._classes.SVC"


# --- parameters -------------------------------------------------------------------------------


def test_parameters_have_scikit_learns_keys_and_changed_ones_come_first():
    params = kit.model_params(make_pipeline(StandardScaler(), SVC(C=np.float64(3), tol=0.001)))
    assert params["estimator"] == "Pipeline"
    assert params["svc"] == "SVC"
    assert params["svc__C"] == 3.0
    assert type(params["svc__C"]) is float
    assert params["svc__kernel"] == "rbf"
    assert list(params).index("svc__C") < list(params).index("svc__tol")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (True, True),
        (np.True_, True),
        (np.int64(3), 3),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ((10, 20), [10, 20]),
        (None, None),
        ("auto", "auto"),
        (np.zeros(3), "ndarray"),
        (TABLE, "DataFrame"),
        (RBF(), "RBF"),
        (len, "len"),
        (SVC, "SVC"),
        (object(), "object"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_parameter_is_json_or_the_name_of_its_type(value, expected):
    found = kit.model_params(Nearest(power=value))["power"]
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("estimator", "changed"),
    [
        (SVC(), set()),
        (SVC(C=1.0), set()),
        (SVC(C=2), {"C"}),
        (Nearest(math.nan), {"power"}),
        (Nearest(np.zeros(2)), {"power"}),
        (MLPClassifier(hidden_layer_sizes=(100,)), set()),
        (MLPClassifier(hidden_layer_sizes=[5]), {"hidden_layer_sizes"}),
        (make_pipeline(SVC(gamma="auto")), {"steps", "svc", "svc__gamma"}),
        (
            selection.GridSearchCV(SVC(C=4), {"C": [1]}),
            {"estimator", "estimator__class", "estimator__C", "param_grid"},
        ),
    ],
    ids=case_id,
)
def test_parameters_that_differ_from_the_default_are_known(estimator, changed):
    assert kit.changed_params(estimator) == changed | {"estimator"}
    assert kit.changed_params(estimator) <= set(kit.model_params(estimator))


def test_defaults_of_a_base_count_where_the_constructor_passes_the_rest_on():
    class Passing(Nearest):
        def __init__(self, *, depth=3, **rest):
            super().__init__(**rest)
            self.depth = depth

        def get_params(self, deep=True):
            return {"depth": self.depth, "power": self.power}

    assert kit.changed_params(Passing()) == {"estimator"}
    assert kit.changed_params(Passing(power=3)) == {"estimator", "power"}


def test_a_default_that_is_nan_is_no_change():
    from sklearn.impute import SimpleImputer

    assert kit.changed_params(SimpleImputer(missing_values=float("nan"))) == {"estimator"}


def test_an_estimator_inside_is_named_with_the_one_around_it():
    params = kit.model_params(selection.GridSearchCV(SVC(), {}))
    assert (params["estimator"], params["estimator__class"]) == ("GridSearchCV", "SVC")


class Hostile(BaseEstimator):
    """Breaks whatever asks."""

    def __init__(self, error=None):
        self.error = error

    def get_params(self, deep=True):
        raise self.error

    def fit(self, X, y=None):
        return self

    def __sklearn_tags__(self):
        raise self.error

    @property
    def cv_results_(self):
        raise self.error

    @property
    def scoring(self):
        raise self.error

    @property
    def predict(self):
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("no"), AttributeError("no"), RecursionError("no")])
def test_a_hostile_estimator_breaks_nothing(error):
    guard.reset()
    hostile = Hostile(error)
    assert kit.model_params(hostile) == {"estimator": "Hostile"}
    assert kit.changed_params(hostile) == {"estimator"}
    assert kit.is_predictor(hostile) is False
    assert kit.score_name(hostile) == "score"
    assert kit.search_table(hostile) is None
    assert list(kit.parts(hostile)) == []
    guard.reset()


def test_an_estimator_that_gives_nonsense_as_parameters_has_none():
    class Odd(OnlyPredicts):
        def get_params(self, deep):
            return ["C"]

    assert kit.model_params(Odd()) == {"estimator": "Odd"}
    assert kit.model_params(Odd) == {"estimator": "type"}


# --- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "find"),
    [
        pytest.param(
            lambda: make_pipeline(StandardScaler(), SVC()), lambda m: [m[0], m[1]], id="steps"
        ),
        pytest.param(
            lambda: selection.GridSearchCV(make_pipeline(StandardScaler(), SVC()), {}, cv=2),
            lambda m: [m.best_estimator_, m.best_estimator_[1], m.estimator],
            id="search",
        ),
        pytest.param(
            lambda: RandomForestClassifier(3), lambda m: list(m.estimators_), id="forest"
        ),
        pytest.param(
            lambda: GradientBoostingClassifier(n_estimators=2),
            lambda m: list(m.estimators_.ravel()),
            id="boosting",
        ),
        pytest.param(
            lambda: CalibratedClassifierCV(GaussianNB(), cv=2),
            lambda m: [c.estimator for c in m.calibrated_classifiers_],
            id="calibrated",
        ),
        pytest.param(
            lambda: VotingClassifier([("a", GaussianNB()), ("b", make_pipeline(SVC()))]),
            lambda m: [*m.estimators_, m.named_estimators_["b"][0]],
            id="voting",
        ),
        pytest.param(
            lambda: StackingClassifier([("a", GaussianNB())], cv=2),
            lambda m: [m.final_estimator_],
            id="stacking",
        ),
        pytest.param(
            lambda: ColumnTransformer([("a", StandardScaler(), [0])]),
            lambda m: [m.named_transformers_["a"]],
            id="columns",
        ),
        pytest.param(
            lambda: MultiOutputClassifier(GaussianNB()), lambda m: m.estimators_, id="outputs"
        ),
        pytest.param(
            lambda: TransformedTargetRegressor(Ridge()), lambda m: [m.regressor_], id="target"
        ),
    ],
)
def test_parts_are_all_estimators_inside(make, find):
    model = make()
    target = np.column_stack([Y, Y]) if isinstance(model, MultiOutputClassifier) else Y
    model.fit(X, target)
    found = list(kit.parts(model))
    ids = {id(part) for part in found}
    assert {id(part) for part in find(model)} <= ids
    assert len(ids) == len(found)
    assert id(model) not in ids


def test_parts_end_where_an_estimator_holds_itself():
    model = Nearest()
    model.power, model.friend = [model], SVC()
    model.friend.friend = model
    assert list(kit.parts(model)) == [model.friend]


def test_parts_are_bounded():
    model = Nearest(power=[SGDClassifier() for _ in range(3_000)])
    assert len(list(kit.parts(model))) == 2_000


# --- tables -----------------------------------------------------------------------------------


def test_a_search_is_a_table_with_a_row_for_each_candidate():
    grid = [{"C": [1, 10]}, {"kernel": ["linear"]}]
    search = selection.GridSearchCV(SVC(), grid, cv=2).fit(X, Y)
    rows = kit.search_table(search)
    assert [(row.get("C"), row.get("kernel")) for row in rows] == [
        (1, None),
        (10, None),
        (None, "linear"),
    ]
    assert [row["rank_test_score"] for row in rows] == search.cv_results_[
        "rank_test_score"
    ].tolist()
    assert rows[0]["mean_test_score"] == search.cv_results_["mean_test_score"][0]
    assert not any(key.startswith("param") for row in rows for key in row)


@pytest.mark.parametrize("model", [SVC(), selection.GridSearchCV(SVC(), {}), None])
def test_what_is_no_fitted_search_has_no_table(model):
    assert kit.search_table(model) is None


def test_a_validation_has_its_means_and_a_row_for_each_fold():
    result = validated("cross_validate", scoring=["accuracy", "f1_macro"], return_train_score=True)
    metrics, rows = kit.validation_results("cross_validate", result, "score")
    assert set(metrics) == {
        "cv.accuracy",
        "cv.accuracy.std",
        "cv.f1_macro",
        "cv.f1_macro.std",
        "cv.train.accuracy",
        "cv.train.f1_macro",
    }
    assert metrics["cv.accuracy"] == pytest.approx(result["test_accuracy"].mean())
    assert metrics["cv.accuracy.std"] == pytest.approx(result["test_accuracy"].std())
    assert [row["fold"] for row in rows] == [1, 2, 3]
    assert [row["train.f1_macro"] for row in rows] == result["train_f1_macro"].tolist()
    assert {"fit_time", "score_time"} <= set(rows[0])


def test_estimators_and_indices_of_a_validation_are_no_numbers():
    result = validated("cross_validate", return_estimator=True, return_indices=True)
    metrics, rows = kit.validation_results("cross_validate", result, "accuracy")
    assert set(metrics) == {"cv.accuracy", "cv.accuracy.std"}
    assert set(rows[0]) == {"fold", "accuracy", "fit_time", "score_time"}


@pytest.mark.parametrize(
    ("function", "keys", "columns"),
    [
        ("cross_val_score", {"cv.accuracy", "cv.accuracy.std"}, {"fold", "accuracy"}),
        (
            "learning_curve",
            {"cv.accuracy", "cv.accuracy.std", "cv.train.accuracy"},
            {"train_size", "cv.train.accuracy", "cv.accuracy", "cv.accuracy.std"},
        ),
        (
            "validation_curve",
            set(),
            {"point", "cv.train.accuracy", "cv.accuracy", "cv.accuracy.std"},
        ),
        ("permutation_test_score", {"cv.accuracy", "p_value"}, None),
        ("cross_val_predict", set(), None),
    ],
)
def test_the_other_validations_are_read_too(function, keys, columns):
    metrics, rows = kit.validation_results(function, validated(function), "accuracy")
    assert set(metrics) == keys
    assert (None if rows is None else set(rows[0])) == columns


def test_a_fold_that_failed_leaves_no_mean():
    scores = np.array([0.5, math.nan])
    metrics, rows = kit.validation_results("cross_val_score", scores, "accuracy")
    assert metrics == {}
    assert [row["accuracy"] for row in rows] == [0.5, "nan"]


@pytest.mark.parametrize("result", [None, 3, "text", {"test_score": None}, ()])
@pytest.mark.parametrize("function", VALIDATIONS)
def test_a_result_of_another_form_is_nothing(function, result):
    guard.reset()
    metrics, rows = kit.validation_results(function, result, "accuracy")
    assert not metrics
    assert not rows
    guard.reset()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("accuracy_score", "accuracy"),
        ("roc_auc_score", "roc_auc"),
        ("mean_squared_error", "mean_squared_error"),
        ("r2_score", "r2"),
    ],
)
def test_a_metric_is_named_as_its_function_without_score(function, name):
    assert kit.metric_name(function) == name
