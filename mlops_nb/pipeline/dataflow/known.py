"""What functions and methods of well-known libraries do to what they are given.

Only what is sure stands here. A function of a library that is not listed is taken to leave its
arguments as they are, which a guard checks when the step runs; a method that is not listed is
taken to change its receiver.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ATOMS = _words("""
abs all any ascii bin bool bytes callable chr complex divmod float format hash hex id int
isinstance issubclass len oct ord pow print range repr round slice str hasattr object help
input breakpoint delattr setattr compile
""")
"""Builtins that give what nobody can change."""

CONTAINERS = _words("list tuple set frozenset dict sorted")
"""Builtins that give a new container with the parts of what they are given."""

ITERATORS = _words("iter zip map filter enumerate reversed aiter")
PARTS = _words("next min max sum getattr anext vars")

PURE_METHODS = _words("""
abs absolute add_prefix add_suffix agg aggregate all any apply applymap argmax argmin
argpartition argsort as_integer_ratio as_posix asfreq asof assign astype at_time autocorr
between between_time bfill bit_length bool capitalize casefold ceil center clip clone combine
combine_first compare conj contains convert_dtypes copy corr corrwith
cost_complexity_pruning_path count cov cumcount cummax cummin cumprod cumsum date day_name
decision_function decode deepcopy describe diff difference div dot drop drop_duplicates
droplevel dropna dt dump dumps duplicated encode endswith eq equals eval ewm exists expanding
expandtabs expanduser explained_variance explode extract extractall ffill fillna find findall
first first_valid_index floor floordiv format format_map from_records fullmatch ge get
get_depth get_dummies get_feature_names_out get_figure get_indices get_label get_level_values
get_lines get_linewidth get_n_leaves get_params get_support get_title get_xlim get_ylim glob
group groupby groupdict groups gt head hexdigest idxmax idxmin index infer_objects info
interpolate intersection inverse_transform is_dir is_file is_integer isalnum isalpha isascii
isdecimal isdigit isdisjoint isidentifier isin isinf islower isna isnan isnull isnumeric
isocalendar isoformat isoweekday isprintable isspace issubset issuperset istitle isupper item
items iterdir iterrows itertuples join joinpath keys kneighbors kneighbors_graph kurt kurtosis
last last_valid_index le ljust lower lstrip lt map mask match max mean median melt memory_usage
merge min mod mode month_name mro mul multiply ne ngroup nlargest nonzero normalize notna
notnull nsmallest nth numerator nunique pad pct_change pipe pivot pivot_table pow predict
predict_log_proba predict_proba prod product quantile query rank rdiv read_bytes read_text
reindex reindex_like relative_to removeprefix removesuffix rename rename_axis reorder_levels
repeat replace resample reset_index resolve rfind rglob rindex rjust rolling round rpartition
rsplit rstrip samefile sample savefig score score_samples search searchsorted finditer start
end span group select_dtypes sem set_axis set_index shift size skew sort_index sort_values
split splitlines squeeze stack staged_predict startswith stat std str strftime strip sub
subtract sum swapcase swaplevel symmetric_difference tail take time timestamp timetuple title
to_arrow to_bytes to_clipboard to_coo to_csv to_datetime to_dict to_dicts to_excel to_feather
to_flat_index to_frame to_hdf to_html to_json to_latex to_list to_markdown to_numpy to_pandas
to_parquet to_period to_pickle to_pydatetime to_records to_series to_sql to_string to_timestamp
toarray tobytes todense tolist toordinal total_seconds transform translate transpose truediv
truncate tz_convert tz_localize union unique unstack upper utcoffset utctimetuple value_counts
values var weekday where with_columns with_name with_suffix wrap xs zfill
""")
"""Methods that leave receiver and arguments as they are, without ``inplace=True`` or ``out=``."""

SAME = _words("""
reshape ravel view transpose T squeeze swapaxes diagonal real imag flat getfield asarray detach
numpy flatten_ contiguous
""")
"""Methods and attributes whose result may share memory with the receiver."""

FRAME_CHANGES = _words("""
insert pop update setflags fill resize put itemset sort partition byteswap popitem setdefault
__setitem__ __delitem__
""")
"""The only methods that change a table in place without being told to."""

GROUPS = _words("groupby rolling expanding ewm resample")
"""Methods that give an object which reads the table when it is asked for something."""

LAZY = _words("""
groupby rolling expanding ewm resample lazy plot str dt cat iterrows itertuples items keys
values style pipe apply_ map_ glob rglob iterdir loc iloc at iat
""")
"""Methods whose result looks at the receiver again when it is used."""

PART = _words("get setdefault pop popitem popleft __getitem__ most_common get_group item_")
"""Methods that give something out of a container."""

ATOM_ATTRIBUTES = _words("""
shape size ndim dtype itemsize nbytes empty year month day hour minute second __name__ __doc__
__module__ __qualname__ n_features_in_ n_iter_ best_score_ returncode name_ suffix stem stdout
""")

ATOM_METHODS = _words("""
count index find rfind startswith endswith isdigit isalpha isupper islower isspace upper lower
strip lstrip rstrip title capitalize encode decode format join hexdigest item score isdisjoint
issubset issuperset isoformat total_seconds timestamp strftime read_text read_bytes exists
is_file is_dir as_posix tobytes zfill
""")

STORES = _words("""
append add extend insert update setdefault put put_nowait appendleft extendleft push register
__setitem__ setattr add_step set
""")
"""Methods that change only the container and put their arguments into it."""

TAKES_OUT = _words("""
pop popitem popleft remove discard clear sort reverse rotate move_to_end __delitem__ subtract_
difference_update intersection_update symmetric_difference_update
""")
"""Methods that change only the container."""

FITS = _words("fit fit_transform fit_predict partial_fit fit_resample train")
"""Methods that change their receiver by what they read of their arguments."""

GIVES_ITSELF = _words("fit partial_fit set_params train eval to requires_grad_ set_output")

# Which argument a function of a library changes.
CHANGES: dict[str, tuple[int, ...]] = {
    "heapq.heapify": (0,),
    "heapq.heappush": (0,),
    "heapq.heappop": (0,),
    "heapq.heappushpop": (0,),
    "heapq.heapreplace": (0,),
    "bisect.insort": (0,),
    "bisect.insort_left": (0,),
    "bisect.insort_right": (0,),
    "random.shuffle": (0,),
    "numpy.random.shuffle": (0,),
    "operator.setitem": (0,),
    "operator.delitem": (0,),
    "builtins.setattr": (0,),
    "builtins.delattr": (0,),
    "numpy.put": (0,),
    "numpy.place": (0,),
    "numpy.copyto": (0,),
    "numpy.putmask": (0,),
    "numpy.fill_diagonal": (0,),
    "numpy.put_along_axis": (0,),
    "json.dump": (1,),
    "pickle.dump": (1,),
    "torch.nn.init": (0,),
}
for _name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "iand", "ior", "ixor"):
    CHANGES[f"operator.{_name}"] = (0,)
# Those that put what they are given into what they change.
STORING_FUNCTIONS = _words("""
heapq.heappush bisect.insort bisect.insort_left bisect.insort_right operator.setitem
builtins.setattr
""")

NUMPY_VIEWS = _words("""
asarray asanyarray ascontiguousarray asfortranarray require reshape ravel transpose squeeze
expand_dims atleast_1d atleast_2d atleast_3d broadcast_to broadcast_arrays split array_split
hsplit vsplit dsplit swapaxes moveaxis rollaxis diagonal real imag nditer flip flipud fliplr
rot90 frombuffer memmap matrix permute_dims matrix_transpose
""")
"""Functions of NumPy that may give a view of what they are given."""

FRESH_MODULES = re.compile(
    r"(numpy|pandas|scipy|polars|pyarrow|statsmodels|math|cmath|statistics|json|re|datetime"
    r"|pickle|cPickle|joblib|dill|cloudpickle|yaml|toml|tomllib|tomli|plistlib|marshal"
    r"|time|calendar|hashlib|base64|textwrap|string|struct|decimal|fractions|platform"
    r"|sklearn\.(metrics|datasets|preprocessing\.[a-z]\w*|model_selection\.[a-z]\w*|utils\.[a-z]\w*"
    r"|base\.clone))(\.|$)"
)
"""Functions of these give something new that shares nothing with their arguments."""

HOLDS_ANYWAY = re.compile(r"(re\.(compile|finditer)|json\.JSON|numpy\.(lib|nditer|vectorize))")
COPIES = _words("copy.deepcopy sklearn.base.clone")

STUCK: dict[str, str] = {
    "builtins.open": "an open file",
    "io.open": "an open file",
    "gzip.open": "an open file",
    "bz2.open": "an open file",
    "lzma.open": "an open file",
    "codecs.open": "an open file",
    "tempfile.TemporaryFile": "an open file",
    "tempfile.NamedTemporaryFile": "an open file",
    "zipfile.ZipFile": "an open archive",
    "tarfile.open": "an open archive",
    "h5py.File": "an open file",
    "sqlite3.connect": "a connection",
    "psycopg2.connect": "a connection",
    "psycopg.connect": "a connection",
    "pymysql.connect": "a connection",
    "duckdb.connect": "a connection",
    "socket.socket": "a socket",
    "sqlalchemy.create_engine": "a connection",
    "threading.Thread": "a thread",
    "threading.Lock": "a lock",
    "threading.RLock": "a lock",
    "threading.Event": "an event of threads",
    "threading.Condition": "a lock",
    "threading.Semaphore": "a lock",
    "threading.local": "values of threads",
    "asyncio.Lock": "a lock",
    "asyncio.Queue": "a queue",
    "asyncio.create_task": "a task",
    "asyncio.ensure_future": "a task",
    "queue.Queue": "a queue",
    "multiprocessing.Pool": "a pool of processes",
    "multiprocessing.Process": "a process",
    "multiprocessing.Queue": "a queue",
    "multiprocessing.Lock": "a lock",
    "concurrent.futures.ThreadPoolExecutor": "a pool of threads",
    "concurrent.futures.ProcessPoolExecutor": "a pool of processes",
    "subprocess.Popen": "a process",
    "builtins.memoryview": "a view of memory",
    "weakref.ref": "a weak reference",
    "weakref.WeakValueDictionary": "weak references",
}
"""Calls that give what no file can hold."""
CLOSED = frozenset({"an open file", "an open archive", "a pool of threads", "a pool of processes"})
"""What ``with`` closes at its end."""
STUCK_METHODS = {
    "cursor": "a cursor of a connection",
    "connect": "a connection",
    "submit": "a future",
    "apply_async": "a future",
    "map_async": "a future",
}

CONSTANT_MAKERS = _words("""
collections.namedtuple typing.NamedTuple typing.TypedDict typing.NewType typing.TypeVar
enum.Enum enum.IntEnum enum.Flag typing.ParamSpec
""")
"""Calls that make a class or a type: with constants, the statement is a definition."""

PLAIN_DECORATORS = _words("""
dataclasses.dataclass builtins.staticmethod builtins.classmethod builtins.property
functools.lru_cache functools.cache functools.wraps functools.total_ordering
functools.singledispatch functools.cached_property contextlib.contextmanager
contextlib.asynccontextmanager abc.abstractmethod typing.final typing.overload
typing.no_type_check typing.runtime_checkable enum.unique numba.jit numba.njit numba.vectorize
torch.no_grad torch.inference_mode attr.s attrs.define attrs.frozen warnings.deprecated
""")
"""Decorators that leave a definition what it is, wherever it is made."""
CACHES = _words("functools.lru_cache functools.cache functools.cached_property")

NOT_AGAIN = _words("""
time.time time.time_ns time.perf_counter time.monotonic time.process_time time.localtime
time.strftime time.gmtime time.ctime datetime.datetime.now datetime.datetime.today
datetime.datetime.utcnow datetime.date.today uuid.uuid1 uuid.uuid4 os.urandom os.getpid
secrets.token_hex secrets.token_bytes secrets.token_urlsafe secrets.choice secrets.randbelow
builtins.input getpass.getpass pandas.Timestamp.now pandas.Timestamp.today
pandas.Timestamp.utcnow numpy.datetime64 tempfile.mkdtemp tempfile.mkstemp
tempfile.TemporaryDirectory tempfile.NamedTemporaryFile socket.gethostname
""") - {"numpy.datetime64"}
"""Calls that give something else each time."""
NETWORK = re.compile(
    r"(requests|httpx|urllib3|aiohttp|boto3|urllib\.request|yfinance|openml|wget|gdown|kagglehub"
    r"|sklearn\.datasets\.fetch_|datasets\.load_dataset)(\.|$)|sklearn\.datasets\.fetch_"
)

SECRET_CALLS = _words("getpass.getpass os.getenv os.environ.get dotenv.dotenv_values")

# Setters of state that a later step has to take over.
STATE_CALLS: dict[str, str] = {
    "os.chdir": "<cwd>",
    "os.putenv": "<environ>",
    "os.unsetenv": "<environ>",
    "dotenv.load_dotenv": "<environ>",
    "sys.path.append": "<sys.path>",
    "sys.path.insert": "<sys.path>",
    "sys.path.extend": "<sys.path>",
    "sys.path.remove": "<sys.path>",
    "sys.path.pop": "<sys.path>",
    "site.addsitedir": "<sys.path>",
    "warnings.filterwarnings": "<warnings>",
    "warnings.simplefilter": "<warnings>",
    "warnings.resetwarnings": "<warnings>",
    "pandas.set_option": "<options:pandas>",
    "pandas.reset_option": "<options:pandas>",
    "numpy.set_printoptions": "<options:numpy>",
    "numpy.seterr": "<options:numpy>",
    "numpy.seterrcall": "<options:numpy>",
    "numpy.setbufsize": "<options:numpy>",
    "matplotlib.use": "<options:matplotlib>",
    "matplotlib.rc": "<options:matplotlib>",
    "matplotlib.rcdefaults": "<options:matplotlib>",
    "matplotlib.rcParams.update": "<options:matplotlib>",
    "matplotlib.pyplot.rc": "<options:matplotlib>",
    "matplotlib.pyplot.rcdefaults": "<options:matplotlib>",
    "matplotlib.pyplot.rcParams.update": "<options:matplotlib>",
    "matplotlib.pyplot.style.use": "<options:matplotlib>",
    "matplotlib.style.use": "<options:matplotlib>",
    "matplotlib.pyplot.switch_backend": "<options:matplotlib>",
    "matplotlib.pyplot.set_cmap": "<options:matplotlib>",
}
STATE_PATHS: tuple[tuple[str, str], ...] = (
    ("os.environ", "<environ>"),
    ("sys.path", "<sys.path>"),
    ("pandas.options", "<options:pandas>"),
    ("matplotlib.rcParams", "<options:matplotlib>"),
    ("matplotlib.pyplot.rcParams", "<options:matplotlib>"),
)
"""Objects of libraries whose change is a change of state."""
READS_ENVIRON = ("os.environ", "os.getenv")

SEABORN_SETTERS = re.compile(
    r"seaborn\.(set|set_theme|set_style|set_context|set_palette|reset_\w+)$"
)

SET_UPS = re.compile(
    r"(sklearn\.set_config|tqdm(\.\w+)*\.pandas|pandarallel\.\w+\.initialize"
    r"|pandarallel\.initialize|nltk\.data\.path\.\w+|torch\.set_\w+|torch\.use_deterministic_\w+"
    r"|logging\.(basicConfig|disable|captureWarnings|addLevelName|set\w+)|locale\.setlocale"
    r"|decimal\.(setcontext|getcontext)|sys\.set(recursionlimit|switchinterval)"
    r"|polars\.Config\.set_\w+|plotly\.io\.\w+|altair\.\w+\.(enable|disable_max_rows)"
    r"|tensorflow\.config\..*"
    r"|keras\.backend\.set_\w+|mlflow\.(set_\w+|\w*autolog)|mlflow\.\w+\.autolog"
    r"|seaborn\.set_\w+|transformers\.(set_seed|logging\.set_\w+)|multiprocessing\.set_start_method"
    r"|matplotlib_inline\.backend_inline\.set_matplotlib_formats|faulthandler\.enable"
    r"|csv\.(field_size_limit|register_dialect)|copyreg\.pickle|mimetypes\.add_type"
    r"|socket\.setdefaulttimeout|gc\.(disable|enable)|signal\.signal|atexit\.register"
    r"|codecs\.register|pint\.set_application_registry|pandas\.api\.extensions\.\w+)$"
)
"""Calls that set a library up, for which there is no state to pass on: they are repeated."""

SEEDS: dict[str, str] = {
    "random.seed": "<rng:random>",
    "random.setstate": "<rng:random>",
    "numpy.random.seed": "<rng:numpy>",
    "numpy.random.set_state": "<rng:numpy>",
    "torch.manual_seed": "<rng:torch>",
    "torch.random.manual_seed": "<rng:torch>",
    "torch.set_rng_state": "<rng:torch>",
    "torch.cuda.manual_seed": "<rng:torch>",
    "torch.cuda.manual_seed_all": "<rng:torch>",
}
TENSORFLOW = "<rng:tensorflow>"
"""Chance that has no state to pass on: steps that share it are one."""
_TENSORFLOW_SEEDS = re.compile(r"(tensorflow|keras|tf_keras)\.(.*\.)?set_(random_)?seed$")
_TENSORFLOW_DRAWS = re.compile(
    r"((tensorflow\.)?keras|tf_keras)\.(\w+\.)*[A-Z]\w*$|tensorflow\.(random|image)\.(random_)?\w+$"
)
SEEDS_ALL = re.compile(r"(?i).*(seed|determinis|reproducib)")
RNGS = ("<rng:random>", "<rng:numpy>", "<rng:torch>")
_NOT_DRAWING = _words("""
default_rng RandomState Generator SeedSequence Random SystemRandom get_state getstate PCG64
MT19937 Philox SFC64 BitGenerator bit_generator
""")
_TORCH_DRAWS = re.compile(
    r"torch\.(rand|randn|randint|randperm|normal|bernoulli|multinomial|poisson|rand_like"
    r"|randn_like|randint_like|nn\.[A-Z]\w*|nn\.init\.\w+|utils\.data\.(random_split|DataLoader"
    r"|RandomSampler|WeightedRandomSampler))$"
)
_SKLEARN_DRAWS = re.compile(
    r"sklearn\.(model_selection\.train_test_split|utils\.(resample|shuffle)"
    r"|datasets\.make_\w+|random_projection\.\w+|model_selection\.permutation_test_score"
    r"|inspection\.permutation_importance|utils\.random\.\w+)$"
)
RANDOM_CLASSES = re.compile(
    r"(RandomForest|ExtraTree|GradientBoosting|Bagging|AdaBoost|DecisionTree|IsolationForest"
    r"|MLP|SGD|KMeans|RandomizedSearch|HalvingRandom|HalvingGrid|GaussianMixture|Perceptron"
    r"|PassiveAggressive|RandomTreesEmbedding|TSNE|NMF|SparsePCA|DictionaryLearning"
    r"|LatentDirichlet|ShuffleSplit|FastICA|TruncatedSVD|GaussianProcess|BernoulliRBM"
    r"|IterativeImputer|Nystroem|RBFSampler|PolynomialCountSketch|RANSAC|TheilSen|SpectralClustering"
    r"|SpectralEmbedding|MDS|QuantileTransformer|KBinsDiscretizer|RandomOver|RandomUnder|SMOTE"
    r"|ADASYN|XGB|LGBM|CatBoost|GaussianRandomProjection|SparseRandomProjection|SGDOneClass"
    r"|BayesianGaussian|BisectingKMeans|MinCovDet|EllipticEnvelope|CalibratedClassifier)"
)
NOT_SCIKIT = ("torch", "tensorflow", "keras", "jax", "flax", "optax")
CLONES = re.compile(
    r"(\w*SearchCV|Voting\w+|Stacking\w+|Bagging\w+|AdaBoost\w+|OneVs\w+|MultiOutput\w+"
    r"|CalibratedClassifierCV|RFE|RFECV|SelectFromModel|ColumnTransformer|ClassifierChain)$"
)
"""Estimators that fit copies of those they are given."""
NOT_ALWAYS_DRAWING = re.compile(
    r"(XGB|LGBM|CatBoost|GaussianProcessRegressor|CalibratedClassifier)"
)
SPLITTERS = re.compile(r"(KFold|StratifiedKFold|StratifiedGroupKFold)$")


def drawn_by_call(path: str) -> str:
    """Name the generator of the process that a function of a library draws from.

    Examples
    --------
    >>> drawn_by_call("numpy.random.rand")
    '<rng:numpy>'
    """
    owner, _, tail = path.rpartition(".")
    if tail in _NOT_DRAWING:
        return ""
    if owner == "numpy.random" and path not in SEEDS:
        return "<rng:numpy>"
    if owner == "random" and path not in SEEDS:
        return "<rng:random>"
    if _TENSORFLOW_DRAWS.match(path):
        return TENSORFLOW
    return "<rng:torch>" if _TORCH_DRAWS.match(path) else ""


def seeded_by_call(path: str) -> tuple[str, ...]:
    """Name the generators of the process that a function seeds.

    Examples
    --------
    >>> seeded_by_call("numpy.random.seed")
    ('<rng:numpy>',)
    """
    if path in SEEDS:
        return (SEEDS[path],)
    if _TENSORFLOW_SEEDS.match(path):
        return (*RNGS[:2], TENSORFLOW) if "random_seed" in path else (TENSORFLOW,)
    return ()


def draws_unless_told(path: str) -> bool:
    """Whether a function of scikit-learn draws from NumPy's generator without ``random_state``."""
    return _SKLEARN_DRAWS.match(path) is not None
