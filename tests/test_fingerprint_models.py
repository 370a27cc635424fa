"""Estimators and boosters: what they were given and what they learnt, and nothing else."""

from __future__ import annotations

import copy
import functools
import inspect
import operator
import pickle
import warnings

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import Bunch, all_estimators

from mlops_nb.errors import CannotFingerprint
from mlops_nb.fingerprint import fingerprint

X, Y = make_classification(60, 6, random_state=0)
X = np.abs(X)
FRAME = pd.DataFrame(X, columns=list("abcdef"))
QUESTIONS = ["predict", "transform", "predict_proba", "decision_function", "kneighbors", "score"]

# They only look at the shape, keep no trace of the data, or find the same groups in both.
LEARN_NOTHING = {
    "AdditiveChi2Sampler",
    "Binarizer",
    "DBSCAN",
    "FeatureHasher",
    "FunctionTransformer",
    "HashingVectorizer",
    "MissingIndicator",
    "Normalizer",
    "PatchExtractor",
    "PolynomialCountSketch",
    "PolynomialFeatures",
    "RBFSampler",
    "SGDOneClassSVM",
    "SpectralBiclustering",
    "SkewedChi2Sampler",
    "TfidfTransformer",
}
LEAST_ESTIMATORS = 140


def digest(value):
    found = fingerprint(value, strict=True)
    assert found.assurance == "exact"
    assert found.columns == {}
    assert found.digest.startswith("nbfp1:")
    return found.digest


def pickled(model):
    return pickle.loads(pickle.dumps(model))  # noqa: S301  made here


def other_data():
    other, labels = X.copy(), Y.copy()
    other[7] *= 1.5
    labels[:2] = 1 - labels[:2]
    return other, labels


def ask(model, data):
    for question in QUESTIONS:
        try:
            arguments = (data, Y) if question == "score" else (data,)
            getattr(model, question)(*arguments)
        except (AttributeError, TypeError, ValueError, NotImplementedError):
            continue


def assert_holds_what_it_learnt(model, *, data=X, leaves_trace=True):
    """Check what must and what must not change the digest of a fitted model."""
    before = digest(model)
    ask(model, data)
    assert digest(model) == before, "a question changed it"
    assert digest(pickled(model)) == before, "a pickle changed it"
    assert digest(copy.deepcopy(model)) == before, "a copy changed it"
    assert digest([model]) == digest([copy.deepcopy(model)])
    assert digest(clone(model).fit(data, Y)) == before, "the same fit changed it"
    assert digest(clone(model)) != before or not leaves_trace, "the fit left no trace"


# --- all of scikit-learn ----------------------------------------------------------------------


def fitted_estimators():
    """Fit every estimator that needs no argument and takes a small table."""
    for name, cls in all_estimators():
        parameters = inspect.signature(cls).parameters.values()
        if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters):
            continue
        model = cls()
        if "random_state" in model.get_params():
            model.set_params(random_state=0)
        if "max_iter" in model.get_params():
            model.set_params(max_iter=20)
        if "n_estimators" in model.get_params():
            model.set_params(n_estimators=5)
        if "n_init" in model.get_params():
            model.set_params(n_init=1)
        try:
            yield name, model.fit(X, Y)
        except (ValueError, TypeError, AttributeError):
            continue


@pytest.mark.filterwarnings("ignore")
def test_every_estimator_of_scikit_learn_holds_what_it_learnt():
    other = other_data()
    seen, alike = 0, set()
    for name, model in fitted_estimators():
        seen += 1
        try:
            assert_holds_what_it_learnt(model, leaves_trace=name not in LEARN_NOTHING)
        except (AssertionError, CannotFingerprint) as error:
            pytest.fail(f"{name}: {error}")
        if digest(clone(model).fit(*other)) == digest(model):
            alike.add(name)
    assert seen >= LEAST_ESTIMATORS
    assert alike <= LEARN_NOTHING


# --- estimators made of others ----------------------------------------------------------------


def scaled(model):
    return make_pipeline(StandardScaler(), model)


def combined():
    forest = RandomForestClassifier(5, random_state=0)
    logistic = LogisticRegression(C=0.5)
    columns = ColumnTransformer(
        [("one", StandardScaler(), ["a", "b"]), ("rest", "passthrough", slice(2, 4))]
    )
    union = FeatureUnion([("a", StandardScaler()), ("b", FunctionTransformer(np.log1p))])
    return {
        "pipeline": scaled(logistic),
        "columns": Pipeline([("columns", columns), ("forest", forest)]),
        "union": Pipeline([("union", union), ("svc", SVC(probability=False))]),
        "grid": GridSearchCV(
            scaled(logistic),
            {"logisticregression__C": [0.1, 1.0]},
            cv=KFold(3, shuffle=True, random_state=0),
            scoring=make_scorer(f1_score),
        ),
        "random search": RandomizedSearchCV(
            logistic, {"C": stats.uniform(0.1, 1)}, n_iter=3, cv=2, random_state=0
        ),
        "voting": VotingClassifier([("f", forest), ("l", logistic)], voting="soft"),
        "stacking": StackingClassifier([("f", forest), ("l", logistic)], cv=2),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(combined()))
def test_a_model_made_of_models_holds_what_they_learnt(name):
    assert_holds_what_it_learnt(combined()[name].fit(FRAME, Y), data=FRAME)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(LogisticRegression(C=1.0), LogisticRegression(C=0.5), id="number"),
        pytest.param(SVC(kernel="rbf"), SVC(kernel="poly"), id="name"),
        pytest.param(LogisticRegression(), Ridge(), id="class"),
        pytest.param(scaled(LogisticRegression()), scaled(LogisticRegression(C=2)), id="step"),
        pytest.param(
            make_pipeline(StandardScaler(), OneHotEncoder()),
            make_pipeline(OneHotEncoder(), StandardScaler()),
            id="order of steps",
        ),
        pytest.param(
            OneHotEncoder(dtype=np.float32), OneHotEncoder(dtype=np.float64), id="class given"
        ),
        pytest.param(FunctionTransformer(np.log), FunctionTransformer(np.exp), id="ufunc"),
        pytest.param(FunctionTransformer(np.mean), FunctionTransformer(np.sum), id="function"),
        pytest.param(
            FunctionTransformer(functools.partial(operator.mul, 2)),
            FunctionTransformer(functools.partial(operator.mul, 3)),
            id="partial",
        ),
        pytest.param(KFold(3), KFold(4), id="splitter"),
        pytest.param(make_scorer(f1_score), make_scorer(f1_score, average="micro"), id="scorer"),
        pytest.param(
            RandomizedSearchCV(Ridge(), {"alpha": stats.uniform(0, 1)}),
            RandomizedSearchCV(Ridge(), {"alpha": stats.uniform(0, 2)}),
            id="distribution",
        ),
        pytest.param(
            RandomForestClassifier(random_state=np.random.RandomState(1)),
            RandomForestClassifier(random_state=np.random.RandomState(2)),
            id="generator",
        ),
        pytest.param(Bunch(a=1), Bunch(a=2), id="bunch"),
        pytest.param(xgboost.XGBClassifier(max_depth=2), xgboost.XGBClassifier(), id="xgboost"),
        pytest.param(
            lightgbm.LGBMClassifier(max_depth=2), lightgbm.LGBMClassifier(), id="lightgbm"
        ),
    ],
)
def test_what_a_model_was_given_counts(one, other):
    assert digest(one) == digest(copy.deepcopy(one))
    assert digest(one) != digest(other)


def test_a_generator_that_all_share_is_no_part_of_a_model():
    model = RandomForestClassifier(random_state=np.random.mtrand._rand)
    before = digest(model)
    np.random.rand()  # noqa: NPY002
    assert digest(model) == before


def test_times_of_a_search_do_not_count():
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=2).fit(X, Y)
    before = digest(search)
    search.refit_time_ += 1
    search.cv_results_["mean_fit_time"] = search.cv_results_["mean_fit_time"] + 1
    assert digest(search) == before
    search.cv_results_["mean_test_score"] = search.cv_results_["mean_test_score"] + 1
    assert digest(search) != before


def test_the_number_of_cores_does_not_count():
    clusters, forest = KMeans(2, n_init=1).fit(X), HistGradientBoostingClassifier().fit(X, Y)
    before = digest(clusters), digest(forest)
    clusters._n_threads += 8
    forest._bin_mapper.n_threads += 8
    assert (digest(clusters), digest(forest)) == before
    model = Mine()
    before = digest(model)
    model._n_threads = 8
    assert digest(model) != before, "an attribute of the user's own counts whatever its name"


def test_words_of_a_vectorizer_count_and_not_where_they_lie():
    texts = ["a dog", "a cat", "two dogs"]
    fitted = TfidfVectorizer(stop_words=["a"]).fit(texts)
    before = digest(fitted)
    fitted.transform(texts)
    assert digest(fitted) == before == digest(pickled(fitted))
    assert digest(TfidfVectorizer(stop_words=["a"]).fit([*texts, "bird"])) != before


def test_one_changed_threshold_of_a_tree_counts():
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    changed = copy.deepcopy(tree)
    changed.tree_.threshold[0] += 1e-9
    assert digest(changed) != digest(tree)


# --- estimators of the user -------------------------------------------------------------------


class Mine(ClassifierMixin, BaseEstimator):
    def __init__(self, rate=0.1):
        self.rate = rate

    def fit(self, features, labels):
        self.mean_ = np.asarray(features).mean(axis=0)
        self.classes_ = np.unique(labels)
        return self

    def predict(self, features):
        return np.zeros(len(features), int)

    @property
    def coefficients(self):
        msg = "no property of somebody is read"
        raise SystemExit(msg)

    def get_params(self, deep=True):
        return {"rate": self.rate}

    def __getstate__(self):
        return dict(self.__dict__)

    __repr__ = __eq__ = coefficients.fget
    __hash__ = None


def test_an_estimator_of_the_user_is_read_without_its_code():
    model = Mine().fit(X, Y)
    assert digest(model) == digest(Mine().fit(X, Y)) != digest(Mine(0.2).fit(X, Y))
    assert digest(model) != digest(Mine().fit(*other_data()))
    assert digest(make_pipeline(StandardScaler(), model)) != ""


@pytest.mark.parametrize(
    "attribute",
    [
        pytest.param(lambda x: x, id="function of the user"),
        pytest.param(object(), id="unknown object"),
        pytest.param(iter([1]), id="iterator"),
        pytest.param(open, id="function under another name"),
    ],
)
def test_an_unknown_attribute_makes_a_model_opaque(attribute):
    model = Mine()
    model.extra = attribute
    found = fingerprint(model)
    if attribute is open:
        assert found.assurance == "exact"
    else:
        assert (found.assurance, found.digest) == ("opaque", "")


def test_content_outside_of_attributes_makes_a_model_opaque():
    class Slotted(BaseEstimator):
        __slots__ = ("hidden",)

    class Listed(list, BaseEstimator):
        pass

    class Counted(BaseEstimator, int):
        pass

    for model in (Slotted(), Listed([1]), Counted(5)):
        assert fingerprint(model).assurance == "opaque"


def test_a_class_that_only_says_that_it_is_an_estimator_is_opaque():
    class LogisticRegression:
        def __reduce__(self):
            raise SystemExit

        __getattr__ = __reduce__

    LogisticRegression.__module__ = "sklearn.linear_model._logistic"
    assert fingerprint(LogisticRegression()).assurance == "opaque"


def test_an_estimator_may_hold_itself():
    def loop(rate):
        model = Mine(rate)
        model.parts = {"me": [model]}
        return model

    assert digest(loop(1)) == digest(loop(1)) != digest(loop(2))


def test_a_model_over_the_budget_is_skipped():
    model = RandomForestClassifier(5, random_state=0).fit(X, Y)
    found = fingerprint(model, budget_bytes=100)
    assert (found.assurance, found.digest) == ("skipped:budget", "")


# --- boosters ---------------------------------------------------------------------------------

BOOSTED = {
    "xgboost classifier": xgboost.XGBClassifier(n_estimators=5, random_state=0),
    "xgboost regressor": xgboost.XGBRegressor(n_estimators=5, subsample=0.8, random_state=0),
    "xgboost forest": xgboost.XGBRFClassifier(n_estimators=5, random_state=0),
    "lightgbm classifier": lightgbm.LGBMClassifier(n_estimators=5, random_state=0, verbose=-1),
    "lightgbm regressor": lightgbm.LGBMRegressor(n_estimators=5, random_state=0, verbose=-1),
}


@pytest.mark.parametrize("data", [X, FRAME], ids=["array", "frame"])
@pytest.mark.parametrize("name", list(BOOSTED))
def test_a_boosted_model_holds_what_it_learnt(name, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = clone(BOOSTED[name]).fit(data, Y)
        assert_holds_what_it_learnt(model, data=data)
        assert digest(clone(model).fit(*other_data())) != digest(model)


def xgboost_trained(**parameters):
    return xgboost.train({"max_depth": 2} | parameters, xgboost.DMatrix(X, Y), 5)


def lightgbm_trained(**parameters):
    settings = {"num_leaves": 4, "verbose": -1, "min_data_in_leaf": 5} | parameters
    return lightgbm.train(settings, lightgbm.Dataset(X, Y), 5)


@pytest.mark.parametrize(
    ("train", "other", "unimportant"),
    [
        pytest.param(xgboost_trained, {"eta": 0.01}, {"nthread": 1, "verbosity": 0}, id="xgboost"),
        pytest.param(
            lightgbm_trained,
            {"learning_rate": 0.01},
            {"num_threads": 1, "force_row_wise": True},
            id="lightgbm",
        ),
    ],
)
def test_a_booster_differs_by_its_trees_and_not_by_how_they_were_computed(
    train, other, unimportant
):
    before = digest(train())
    assert digest(train(**unimportant)) == before
    assert digest(pickled(train())) == before
    assert digest(copy.deepcopy(train())) == before
    assert digest(train(**other)) != before


def test_a_saved_booster_is_the_same(tmp_path):
    ours, theirs = xgboost_trained(), lightgbm_trained()
    ours.save_model(tmp_path / "x.ubj")
    theirs.save_model(tmp_path / "l.txt")
    assert digest(xgboost.Booster(model_file=tmp_path / "x.ubj")) == digest(ours)
    assert digest(lightgbm.Booster(model_file=tmp_path / "l.txt")) == digest(theirs)


def test_names_of_features_count():
    models = [
        xgboost.train({}, xgboost.DMatrix(X, Y, feature_names=list(names)), 2)
        for names in ("abcdef", "fedcba")
    ]
    assert digest(models[0]) != digest(models[1])


@pytest.mark.parametrize(
    "value",
    [
        xgboost.DMatrix(X),
        lightgbm.Dataset(X),
        type("Mine", (xgboost.Booster,), {})(),
    ],
    ids=["matrix", "data set", "subclass"],
)
def test_what_a_booster_keeps_in_its_own_memory_is_opaque(value):
    assert fingerprint(value).assurance == "opaque"
