"""Likelihood heads against scipy, torch.distributions and enumeration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import logistic, norm

from likely.errors import SpaceError
from likely.parts import heads
from likely.spaces import Binary, Finite, Real

LEVELS = 256
ORDERED = Finite((), LEVELS)


def located(mean: float, log_scale: float, n: int) -> torch.Tensor:
    return torch.tensor([mean, log_scale]).expand(n, 2)


@pytest.mark.parametrize("name", ["logistic", "gaussian"])
@pytest.mark.parametrize("mean", [-3.0, -0.4, 0.0, 0.99, 2.0])
@pytest.mark.parametrize("log_scale", [-9.0, -5.0, -2.0, 0.0, 3.0])
def test_discretised_sums_to_one(name: str, mean: float, log_scale: float) -> None:
    head = heads.choose(ORDERED, name)
    log_prob = head.log_prob(located(mean, log_scale, LEVELS), ORDERED.enumerate())
    assert log_prob.dtype == torch.float32
    assert log_prob.isfinite().all()
    assert float(log_prob.double().exp().sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("name", "law"), [("logistic", logistic), ("gaussian", norm)])
@pytest.mark.parametrize(("mean", "scale"), [(0.1, 0.3), (-0.8, 0.02), (0.5, 2.0)])
def test_discretised_is_the_difference_of_the_distribution_function(name: str, law, mean: float, scale: float) -> None:
    head = heads.choose(ORDERED, name, floor=1e-6)
    own = head.log_prob(located(mean, float(np.log(scale)), LEVELS), ORDERED.enumerate())
    middle = np.arange(LEVELS) * 2 / 255 - 1
    low, high = middle - 1 / 255, middle + 1 / 255
    low[0], high[-1] = -np.inf, np.inf
    # the survival function is the accurate one in the upper tail
    mass = np.where(middle > mean, law.sf(low, mean, scale) - law.sf(high, mean, scale), 0)
    mass = np.where(middle > mean, mass, law.cdf(high, mean, scale) - law.cdf(low, mean, scale))
    certain = mass > 1e-12
    assert certain.sum() > 20
    np.testing.assert_allclose(own.numpy()[certain], np.log(mass[certain]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["logistic", "gaussian"])
def test_discretised_keeps_its_gradient_far_away(name: str) -> None:
    head = heads.choose(ORDERED, name)
    for mean, log_scale in [(1.0, -30.0), (80.0, -7.0), (0.0, 40.0)]:
        parameters = torch.tensor([[mean, log_scale]], requires_grad=True)
        log_prob = head.log_prob(parameters, torch.tensor([3], dtype=torch.uint8))
        log_prob.sum().backward()
        assert log_prob.isfinite().all()
        assert parameters.grad is not None
        assert parameters.grad.isfinite().all()


def test_bernoulli_and_categorical_agree_with_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    bits, tokens = Binary((2, 3)), Finite((2, 3), 5, ordered=False)
    logits = 5 * torch.randn(4, 1, 2, 3, generator=generator)
    x = bits.random(4, generator)
    expected = torch.distributions.Bernoulli(logits=logits[:, 0]).log_prob(x.float()).sum((1, 2))
    torch.testing.assert_close(heads.choose(bits).log_prob(logits, x), expected)

    logits = torch.randn(4, 5, 2, 3, generator=generator)
    x = tokens.random(4, generator)
    expected = torch.distributions.Categorical(logits=logits.movedim(1, -1)).log_prob(x.long()).sum((1, 2))
    torch.testing.assert_close(heads.choose(tokens).log_prob(logits, x), expected)


def test_gaussian_agrees_with_torch_and_keeps_its_floor() -> None:
    x, mean = torch.randn(4, 3), torch.randn(4, 3)
    head = heads.choose(Real((3,)), floor=0.5)
    for log_scale, scale in [(0.7, None), (-50.0, 0.5)]:
        parameters = torch.stack([mean, torch.full_like(mean, log_scale)], 1)
        if scale is None:  # softplus over the floor, by its definition
            scale = 0.5 * (1 + np.exp(log_scale) / 0.5)
        expected = torch.distributions.Normal(mean, scale).log_prob(x).sum(1)
        torch.testing.assert_close(head.log_prob(parameters, x), expected)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (Binary((2,)), "bernoulli"),
        (Finite((2,), 4, ordered=False), "categorical"),
        (Finite((2,), 6), "logistic"),
        (Finite((2,), 6), "gaussian"),
    ],
)
def test_samples_are_as_frequent_as_the_score_says_and_the_mode_is_the_best(space, name: str) -> None:
    torch.manual_seed(1)
    head = heads.choose(space, name)
    one = torch.randn(1, head.count, 2)
    points, n = space.enumerate(), 20_000
    probability = head.log_prob(one.expand(len(points), -1, -1), points).exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-6)
    drawn = head.sample(one.expand(n, -1, -1))
    assert drawn.dtype == space.dtype
    code = (drawn.long() * torch.tensor([space.levels, 1])).sum(1)
    frequency = torch.bincount(code, minlength=len(points)) / n
    error = (probability * (1 - probability) / n).sqrt()
    assert bool(((frequency - probability).abs() < 5 * error + 1e-4).all())
    assert head.mode(one)[0].tolist() == points[probability.argmax()].tolist()


def test_mode_may_be_an_edge_that_holds_the_tail() -> None:
    head = heads.choose(Finite((), 5), "logistic")
    assert head.mode(torch.tensor([[0.3, 2.0]])).item() == 4  # a wide law: most mass beyond the upper edge
    assert head.mode(torch.tensor([[0.3, -2.0]])).item() == 3  # a narrow one: the bin around 0.5


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (Binary((3,)), "auto"),
        (Finite((3,), 4, ordered=False), "auto"),
        (Finite((3,), 9), "auto"),
        (Finite((3,), 9), "gaussian"),
        (Real((3,)), "auto"),
    ],
)
def test_start_fits_the_marginals(space, name: str) -> None:
    generator = torch.Generator().manual_seed(2)
    x = space.random(500, generator)
    head = heads.choose(space, name)
    start = head.start(x).expand(500, -1, -1)
    fitted = head.log_prob(start, x).mean()
    for _ in range(5):
        moved = start + 0.5 * torch.randn(1, head.count, 3, generator=generator)
        assert float(head.log_prob(moved, x).mean()) < float(fitted)


def test_one_level_is_certain() -> None:
    head = heads.choose(Finite((2,), 1), "logistic")
    assert head.log_prob(torch.randn(3, 2, 2), torch.zeros(3, 2, dtype=torch.uint8)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("space", "name", "says"),
    [
        (Finite((1, 8, 8), 256), "bernoulli", "discretised logistic.*--view dynamic"),
        (Real((2,)), "bernoulli", "not a likelihood"),
        (Real((2,)), "categorical", "no 'categorical' likelihood"),
        (Binary((2,)), "logistic", "no 'logistic' likelihood"),
        (Binary((2,)), "mse", "unknown decoder 'mse'"),
    ],
)
def test_what_is_no_likelihood_is_refused_in_one_line(space, name: str, says: str) -> None:
    with pytest.raises(SpaceError, match=says) as caught:
        heads.choose(space, name)
    assert "\n" not in str(caught.value)


def test_a_scale_needs_a_positive_floor() -> None:
    with pytest.raises(SpaceError, match="must be positive"):
        heads.choose(Real((1,)), floor=0.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.floats(-3, 3), st.floats(-8, 4))
def test_every_discretised_law_sums_to_one(levels: int, mean: float, log_scale: float) -> None:
    space = Finite((), levels)
    for name in ("logistic", "gaussian"):
        total = heads.choose(space, name).log_prob(located(mean, log_scale, levels), space.enumerate()).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-6)


def test_normal_agrees_with_torch() -> None:
    torch.manual_seed(3)
    one, other = (heads.Normal(torch.randn(4, 3), 0.5 * torch.randn(4, 3)) for _ in range(2))
    p, q = (torch.distributions.Normal(law.mean, law.log_std.exp()) for law in (one, other))
    torch.testing.assert_close(one.divergence(other), torch.distributions.kl_divergence(p, q).sum(1))
    z = one.draw(5)
    assert z.shape == (5, 4, 3)
    torch.testing.assert_close(one.log_prob(z), p.log_prob(z).sum(-1))
    many = one.draw(20_000)
    torch.testing.assert_close(many.mean(0), one.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(many.std(0), one.log_std.exp(), atol=0.05, rtol=0.05)
