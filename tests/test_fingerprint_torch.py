"""torch: tensors by content, modules by class, settings and parameters in their order."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

try:
    import torch
    from torch import nn
except (ImportError, OSError) as error:
    pytest.skip(f"torch cannot be loaded here: {error}", allow_module_level=True)

from mlops_nb.fingerprint import fingerprint

TABLE = torch.arange(12.0).reshape(3, 4)


def digest(value):
    found = fingerprint(value, strict=True)
    assert found.assurance == "exact"
    return found.digest


# --- tensors ----------------------------------------------------------------------------------

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.float8_e4m3fn,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_is_the_same_in_every_memory_layout_and_differs_by_a_value(dtype):
    tensor = TABLE.to(dtype)
    before = digest(tensor)
    assert digest(tensor.clone()) == before
    assert digest(tensor.t().contiguous().t()) == before
    assert digest(tensor.repeat(2, 2)[:3, :4]) == before
    changed = TABLE.clone()
    changed[1, 2] = 0
    assert digest(changed.to(dtype)) != before or dtype is torch.bool
    others = [TABLE.to(other) for other in DTYPES if other is not dtype]
    assert before not in {digest(other) for other in others}
    assert digest(tensor.reshape(4, 3)) != before


def test_dtypes_of_one_width_are_told_apart():
    zeros = [torch.zeros(3, dtype=dtype) for dtype in DTYPES]
    assert len({digest(one) for one in zeros}) == len(DTYPES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_any_nan_is_the_same_and_the_sign_of_zero_is_not(dtype):
    bits = torch.int32 if dtype is torch.float32 else torch.int16
    nan = torch.tensor([float("nan"), 1.0], dtype=dtype)
    negative = nan.clone()
    negative.view(bits)[0] |= torch.iinfo(bits).min
    assert negative.view(bits)[0] != nan.view(bits)[0]
    assert digest(negative) == digest(nan)
    assert digest(torch.tensor([0.0], dtype=dtype)) != digest(torch.tensor([-0.0], dtype=dtype))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(torch.Tensor.to_sparse, id="coo"),
        pytest.param(torch.Tensor.to_sparse_csr, id="csr"),
        pytest.param(torch.Tensor.to_sparse_csc, id="csc"),
        pytest.param(lambda one: one.to_sparse_bsr((1, 2)), id="bsr"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_tensor_is_read_by_its_entries(make):
    changed = TABLE.clone()
    changed[2, 3] = 5
    assert digest(make(TABLE)) == digest(make(TABLE.clone())) != digest(make(changed))
    assert digest(make(TABLE)) != digest(TABLE)


def test_order_and_splitting_of_sparse_entries_do_not_count():
    places = torch.tensor([[0, 1, 0], [1, 0, 1]])
    split = torch.sparse_coo_tensor(places, torch.tensor([1.0, 2.0, 0.5]), (2, 2))
    whole = torch.sparse_coo_tensor(places[:, [1, 0]], torch.tensor([2.0, 1.5]), (2, 2))
    assert digest(split) == digest(whole)
    assert not split.is_coalesced()


def test_lazy_conjugates_are_read_as_they_are_seen():
    numbers = torch.view_as_complex(TABLE.reshape(6, 2))
    assert digest(numbers.conj()) == digest(numbers.conj().resolve_conj()) != digest(numbers)
    assert digest(numbers.conj().imag) == digest(numbers.conj().imag.clone())


def test_a_wish_for_gradients_does_not_count_but_the_class_does():
    wanting = TABLE.clone().requires_grad_()
    (wanting * 2).sum().backward()
    assert digest(wanting) == digest(TABLE)
    assert digest(nn.Parameter(TABLE)) not in (digest(TABLE), digest(TABLE.numpy()))


def test_a_tensor_has_shape_and_chunks():
    tall = torch.zeros(100_000, 4, dtype=torch.float64)
    before = fingerprint(tall)
    assert (before.kind, before.rows, before.shape) == ("torch.Tensor", 100_000, (100_000, 4))
    tall[before.chunk_rows, 0] = 1
    pairs = zip(before.chunks, fingerprint(tall).chunks, strict=True)
    changed = [i for i, (old, new) in enumerate(pairs) if old != new]
    assert changed == [1]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(TABLE.to("meta"), id="no memory"),
        pytest.param(type("Mine", (torch.Tensor,), {})(3), id="subclass"),
        pytest.param(torch.nested.nested_tensor([TABLE, TABLE[:1]]), id="nested"),
    ],
)
def test_a_tensor_that_cannot_be_read_is_opaque(value):
    found = fingerprint(value)
    assert (found.assurance, found.digest) == ("opaque", "")
    assert fingerprint([value]).assurance == "opaque"


def test_a_tensor_over_the_budget_is_skipped():
    found = fingerprint(TABLE, budget_bytes=10)
    assert (found.assurance, found.digest, found.shape) == ("skipped:budget", "", (3, 4))


# --- modules ----------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, activation=None, dropout=0.1):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.activation = activation or nn.ReLU()
        self.norm = nn.BatchNorm1d(8)
        self.recurrent = nn.LSTM(8, 4, num_layers=2, dropout=dropout, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2)
        self.convolution = nn.Conv2d(1, 2, 3, padding="same")
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

    def forward(self, values):
        return self.norm(self.activation(self.first(values)))

    def __repr__(self):
        raise SystemExit

    state_dict = __repr__


def net(**options):
    torch.manual_seed(0)
    return Net(**options)


def test_a_module_holds_parameters_and_buffers():
    before = digest(net())
    assert digest(pickle.loads(pickle.dumps(net()))) == before  # noqa: S301  made here
    assert digest(copy.deepcopy(net())) == before
    saved = io.BytesIO()
    torch.save(net(), saved)
    saved.seek(0)
    assert digest(torch.load(saved, weights_only=False)) == before
    for change in ("first.weight", "recurrent.bias_hh_l1", "steps", "norm.running_mean"):
        changed = net()
        owner, _, name = change.rpartition(".")
        with torch.no_grad():
            getattr(changed.get_submodule(owner), name)[0] += 1
        assert digest(changed) != before, change


def test_a_prediction_and_gradients_change_nothing():
    model = net().eval()
    before = digest(model)
    model(torch.randn(5, 4)).sum().backward()
    assert digest(model) == before == digest(model.train())


def test_a_training_step_counts():
    model = net()
    before = digest(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    assert digest(model) != before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(nn.ReLU(), nn.Tanh(), id="class"),
        pytest.param(nn.Dropout(0.1), nn.Dropout(0.2), id="setting"),
        pytest.param(
            nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sequential(nn.Tanh(), nn.ReLU()), id="order"
        ),
        pytest.param(net(), net(dropout=0.2), id="inner setting"),
        pytest.param(net(activation=torch.relu), net(activation=torch.tanh), id="function in C"),
        pytest.param(
            net(activation=nn.functional.relu), net(activation=nn.functional.gelu), id="function"
        ),
        pytest.param(net().state_dict, None, id="method"),
    ],
)
def test_what_has_no_parameters_counts_too(one, other):
    if other is None:
        assert fingerprint(one).assurance == "opaque"
    else:
        assert digest(one) != digest(other)


def test_a_state_is_read_as_a_mapping_of_tensors():
    state = nn.Linear(4, 2).state_dict()
    changed = copy.deepcopy(state)
    changed["bias"][0] += 1
    assert digest(state) == digest(copy.deepcopy(state)) != digest(changed)


@pytest.mark.parametrize("extra", [lambda x: x, object()], ids=["function", "object"])
def test_an_unknown_attribute_makes_a_module_opaque(extra):
    model = net()
    model.extra = extra
    assert fingerprint(model).assurance == "opaque"


def test_settings_of_torch_are_read_inside_of_containers():
    assert digest([torch.float32]) != digest([torch.float64])
    assert digest([torch.Size([1, 2])]) != digest([torch.Size([2, 1])])
    assert digest([torch.device("cpu")]) == digest([torch.device("cpu")])


def test_a_tensor_shares_memory_and_is_not_copied():
    import tracemalloc

    tensor = torch.from_numpy(np.zeros(12_000_000))
    tracemalloc.start()
    try:
        digest(tensor)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4_000_000
