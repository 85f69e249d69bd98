"""NADE and the autoregressive family: the blocked pass against the paper's recursion, normalisation, drawing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from likely.errors import LikelyError, UnknownName
from likely.models import nade
from likely.parts import orders
from likely.spaces import Binary, Finite, Real


def recursion(model: nade.NADE, x: Tensor) -> Tensor:
    """Return log p(x) as the paper writes it: one entry at a time, one hidden layer each."""
    x = x.reshape(len(x), -1).long()
    W, V, b = model.W, model.V, model.b
    if isinstance(model.space, Finite) and model.space.ordered:
        W, V, b = (torch.cumsum(one, 1) for one in (W, V, b))
        W, V = (torch.einsum("lk,dkh->dlh", between(model.levels, model.knots).to(W), one) for one in (W, V))
    a, total = model.c.expand(len(x), -1), 0.0
    for i, position in enumerate(model.order.tolist()):
        logits = F.pad(b[i] + model.activation(a) @ V[i].T, (1, 0))
        total = total + logits.log_softmax(1).gather(1, x[:, [position]])[:, 0]
        a = a + F.pad(W[i], (0, 0, 1, 0))[x[:, position]]
    return total


def between(levels: int, knots: int) -> Tensor:
    """Return how much of each knot is in each level above 0, by linear interpolation of the unit vectors."""
    places = np.linspace(1, levels - 1, knots)
    columns = [np.interp(np.arange(1, levels), places, unit) for unit in np.eye(knots)]
    return torch.from_numpy(np.stack(columns, 1)).float()


def build(space: Binary | Finite, *, seed: int = 0, **numbers: object) -> nade.NADE:
    """Return a model whose conditionals are far from uniform."""
    torch.manual_seed(seed)
    model = nade.build(space, **numbers)  # type: ignore[arg-type]
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    return model


SPACES = [
    Binary((3, 37)),  # two blocks of 56, the last one not full
    Binary((7, 8)),  # exactly one block
    Finite((30,), 6),  # three blocks of 11
    Finite((9,), 200),  # 16 knots, three entries a block
    Finite((12,), 5, ordered=False),
]


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("order", orders.ORDERS)
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_blocked_pass_and_its_gradient_equal_the_recursion(space, order, activation):
    model = build(space, hidden=8, activation=activation, order=order).double()
    x = space.random(11, torch.Generator().manual_seed(0))
    x[0], x[1] = 0, space.levels - 1  # the fewest states and the most
    fast, slow = model._log_prob(x, None), recursion(model, x)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    weights = torch.rand(11, dtype=torch.float64)
    parameters = list(model.parameters())
    for quick, plain in zip(
        torch.autograd.grad(fast @ weights, parameters), torch.autograd.grad(slow @ weights, parameters), strict=True
    ):
        torch.testing.assert_close(quick, plain, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("tiny", nade.TINY, ids=str)
def test_probabilities_sum_to_one_and_samples_follow_them(tiny):
    numbers = dict(tiny)
    space = numbers.pop("space")
    model = build(space, **numbers)
    points = space.enumerate()
    p = model.log_prob(points).double().exp()
    assert abs(float(p.sum()) - 1) < 1e-5
    n = 20_000
    drawn = model.sample(n, seed=1)
    place = space.levels ** torch.arange(space.size - 1, -1, -1)
    counts = torch.bincount((drawn.reshape(n, -1).long() * place).sum(1), minlength=len(points))
    expected = n * p
    likely = expected > 5
    chi = float(((counts - expected) ** 2 / expected)[likely].sum())
    assert chi < int(likely.sum()) + 5 * math.sqrt(2 * int(likely.sum()) + 1)
    assert int(counts[~likely].sum()) < 2 * float(expected[~likely].sum()) + 20


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_cached_and_plain_sampling_draw_the_same_values(space):
    model = build(space, hidden=5, order="random").double()
    with torch.no_grad():
        model.V.mul_(0.3)
    assert torch.equal(model.sample(6, seed=3), model.sample(6, seed=3, cached=False))


@given(st.sampled_from(sorted(orders.ORDERS)), st.integers(0, 5), st.integers(0, 11))
@settings(max_examples=30, deadline=None)
def test_a_conditional_listens_only_to_entries_before_it(order, seed, changed):
    space = Finite((3, 4), 4)
    model = build(space, hidden=6, order=order, order_seed=seed).double()
    x = space.random(5, torch.Generator().manual_seed(seed))
    other = x.clone()
    other.view(5, -1)[:, changed] = (other.view(5, -1)[:, changed] + 1) % 4
    differs = (model._conditionals(x, None) - model._conditionals(other, None)).abs().amax((0, 2)) > 1e-9
    assert not bool(differs[model.when <= model.when[changed]].any())
    assert bool(differs[model.when > model.when[changed]].all())


def test_without_weights_every_value_is_as_likely_as_any_other():
    for space in (Binary((28, 28)), Finite((8, 8), 17)):
        model = nade.build(space, hidden=4)
        with torch.no_grad():
            model.V.zero_()
        torch.testing.assert_close(
            model.log_prob(space.random(3)), torch.full((3,), -space.size * math.log(space.levels))
        )


@pytest.mark.parametrize("ordered", [True, False])
def test_start_gives_each_entry_its_frequency(ordered):
    space = Finite((2, 3), 3, ordered=ordered)
    x = space.random(200, torch.Generator().manual_seed(0))
    model = nade.build(space, hidden=4, order="reverse")
    model.start(x)
    with torch.no_grad():
        model.V.zero_()
    p = F.pad(model._conditionals(x[:1], None)[0], (1, 0)).softmax(1)
    frequency = torch.stack([(x.flatten(1) == level).sum(0) + 1 for level in range(3)], 1) / 203
    torch.testing.assert_close(p, frequency)


def test_completion_of_a_prefix_follows_the_enumerated_conditional():
    space = Binary((5,))
    model = build(space, hidden=6, order="reverse")
    known = torch.tensor([False, False, True, True, True])
    given_bits = torch.tensor([0, 0, 1, 0, 1], dtype=torch.uint8)
    points = space.enumerate()
    match = (points[:, 2:] == given_bits[2:]).all(1)
    law = model.log_prob(points[match]).softmax(0)  # of x_0 x_1 = 00, 01, 10, 11
    n = 20_000
    drawn = model.complete(given_bits.expand(n, 5), known, seed=0)
    assert bool((drawn[:, 2:] == given_bits[2:]).all())
    frequency = torch.bincount((2 * drawn[:, 0] + drawn[:, 1]).long(), minlength=4) / n
    assert float((frequency - law).abs().max()) < 5 * 0.5 / math.sqrt(n)


def test_temperature_sharpens_and_flattens_the_conditionals():
    model = build(Binary(()), hidden=3)
    with torch.no_grad():
        model.V.zero_()
        model.b.fill_(1.0)
    for temperature in (0.5, 1.0, 4.0):
        mean = float(model.sample(50_000, seed=0, temperature=temperature).float().mean())
        assert abs(mean - 1 / (1 + math.exp(-1 / temperature))) < 0.012
    with pytest.raises(LikelyError, match="temperature"):
        model.sample(1, temperature=0.0)
    with pytest.raises(LikelyError, match="temperature"):
        model.sample(1, temprature=1.0)


def test_bfloat16_training_loss_stays_close():
    model = nade.build(Binary((12, 12)), hidden=50)
    x = model.space.random(50, torch.Generator().manual_seed(0))
    exact = model.loss(x)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.loss(x)["loss"]
    assert rough.dtype == torch.float32
    assert abs(float(rough.detach()) - float(exact.detach())) < 0.1
    rough.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_finite_at_a_thousand_dimensions_and_for_no_rows():
    model = build(Binary((1000,)), hidden=4)
    assert bool(model.log_prob(model.space.random(3)).isfinite().all())
    assert model.sample(0).shape == (0, 1000)
    assert model.log_prob(model.space.random(0)).shape == (0,)


def test_bad_numbers_get_one_line():
    with pytest.raises(UnknownName, match="snake"):
        nade.build(Binary((4,)), order="snaik")
    with pytest.raises(UnknownName, match="sigmoid"):
        nade.build(Binary((4,)), activation="sigmoit")
    with pytest.raises(LikelyError, match="Binary or Finite"):
        nade.build(Real((4,)))
    with pytest.raises(LikelyError, match="each position"):
        nade.NADE(Binary((3,)), torch.tensor([0, 1, 1]), 2, "relu")
    with pytest.raises(LikelyError, match=r"knots must be 2 to 8 of the levels above 0, not 9\."):
        nade.build(Finite((4,), 9), knots=9)
    with pytest.raises(LikelyError, match="levels without an order need a column each"):
        nade.build(Finite((4,), 9, ordered=False), knots=3)
    with pytest.raises(LikelyError, match=r"nade needs two levels or more, not Finite\(\(4,\), 1\)"):
        nade.build(Finite((4,), 1))


def test_few_knots_of_the_same_columns_are_many_on_a_line():
    space = Finite((3,), 9)
    few, many = build(space, hidden=4, knots=3).double(), build(space, hidden=4).double()
    with torch.no_grad():
        for name in ("b", "c"):
            getattr(many, name).copy_(getattr(few, name))
        for name in ("W", "V"):  # columns of every level, then the steps between them
            columns = torch.einsum("lk,dkh->dlh", between(9, 3).double(), getattr(few, name).cumsum(1))
            getattr(many, name).copy_(columns.diff(dim=1, prepend=torch.zeros_like(columns[:, :1])))
    x = space.random(20, torch.Generator().manual_seed(0))
    torch.testing.assert_close(few.log_prob(x), many.log_prob(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", orders.ORDERS)
def test_orders_are_permutations(name, shape):
    order = orders.order(name, shape, 7)
    assert sorted(order.tolist()) == list(range(math.prod(shape)))
    assert order[orders.inverse(order)].tolist() == list(range(math.prod(shape)))
    assert torch.equal(order, orders.order(name, shape, 7))


def test_a_snake_never_jumps():
    row, column = orders.snake((4, 5)) // 5, orders.snake((4, 5)) % 5
    assert bool((row.diff().abs() + column.diff().abs() == 1).all())
