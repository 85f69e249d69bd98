"""The RBM: free energy, log Z and chains against enumeration."""

from __future__ import annotations

import math

import pytest
import torch

from likely.errors import LikelyError
from likely.models import rbm
from likely.spaces import Binary, Finite


def build(visible: int, hidden: int, *, scale: float = 1.0, seed: int = 0, **numbers: object) -> rbm.RBM:
    torch.manual_seed(seed)
    model = rbm.build(Binary((visible,)), hidden=hidden, **numbers)  # type: ignore[arg-type]
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, scale)
        model.base.normal_()
    return model


def joint(model: rbm.RBM) -> torch.Tensor:
    """Return b.x + c.h + x W h for all x and h, (2^D, 2^H), float64."""
    x, h = (Binary((n,)).enumerate().double() for n in model.W.shape)
    return (x @ model.b.double())[:, None] + h @ model.c.double() + x @ model.W.double() @ h.T


@pytest.mark.parametrize(("visible", "hidden"), [(6, 4), (4, 7)])
def test_energy_and_log_partition_equal_the_sum_over_all_states(visible, hidden):
    model = build(visible, hidden)
    log_z, error = model.log_partition()
    torch.testing.assert_close(log_z, joint(model).logsumexp((0, 1)))
    assert float(error) == 0
    free = -joint(model).logsumexp(1)
    torch.testing.assert_close(model.energy(model.space.enumerate()).double(), free, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rungs", [1, 7])
def test_without_weights_annealing_is_exact_at_any_schedule(rungs):
    model = build(50, 30).double()
    with torch.no_grad():
        model.W.zero_()
        model.b.copy_(model.base)
    model.rungs = rungs
    value, error = model.log_partition(seed=0)
    exact = torch.nn.functional.softplus(torch.cat([model.b, model.c])).sum()
    torch.testing.assert_close(value, exact)
    assert float(error) < 1e-10


@pytest.mark.parametrize("seed", range(3))
def test_annealing_agrees_with_enumeration(seed):
    model = build(30, 12, scale=0.5, seed=seed)
    exact = float(model.log_partition().value)
    torch.manual_seed(seed)
    with torch.no_grad():
        value, error = model._annealed(torch.linspace(0, 1, 301), 200)
    assert float(error) < 0.2
    assert abs(float(value) - exact) < 3 * float(error)


def test_a_large_model_is_estimated_the_same_for_the_same_seed():
    model = build(25, 21, scale=0.1)
    model.rungs = 50
    assert model.log_partition(seed=1) == model.log_partition(seed=1)
    assert float(model.log_partition(seed=1).error) > 0
    assert model.log_partition(seed=1).value != model.log_partition(seed=2).value


def test_long_chains_follow_the_enumerated_law_and_leave_the_persistent_ones_alone():
    model = build(4, 3)
    before = model.chains.clone()
    n = 20_000
    drawn = model.sample(n, seed=0)
    assert torch.equal(model.chains, before)
    law = (-model.energy(model.space.enumerate())).softmax(0)
    frequency = torch.bincount((drawn.long() * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16) / n
    assert float((frequency - law).abs().max()) < 5 * 0.5 / math.sqrt(n)


def test_completion_keeps_what_is_known_and_follows_the_enumerated_conditional():
    model = build(5, 4)
    known = torch.tensor([False, True, True, False, True])
    bits = torch.tensor([0, 1, 0, 0, 1], dtype=torch.uint8)
    points = model.space.enumerate()
    points = points[(points[:, known] == bits[known]).all(1)]
    law = (-model.energy(points)).softmax(0)
    n = 10_000
    drawn = model.complete(bits.expand(n, 5), known, seed=0)
    assert bool((drawn[:, known] == bits[known]).all())
    frequency = torch.bincount((2 * drawn[:, 0] + drawn[:, 3]).long(), minlength=4) / n
    assert float((frequency - law).abs().max()) < 5 * 0.5 / math.sqrt(n)


def test_gradient_of_the_loss_is_that_of_the_likelihood_when_the_chains_have_mixed():
    model = build(4, 3, scale=0.7, chains=40_000, gibbs_steps=50).double()
    x = model.space.random(20, torch.Generator().manual_seed(0))
    parameters = [model.W, model.b, model.c]
    chained = torch.autograd.grad(model.loss(x)["loss"], parameters)
    points = model.space.enumerate()
    exact = model._energy(x, None).mean() + (-model._energy(points, None)).logsumexp(0)
    for mine, wanted in zip(chained, torch.autograd.grad(exact, parameters), strict=True):
        assert float((mine - wanted).abs().max()) < 0.02


def test_pseudo_likelihood_is_that_of_each_bit_given_the_others():
    model = build(5, 3, chains=4)
    x = model.space.random(6, torch.Generator().manual_seed(0))
    total = torch.zeros(6)
    for i in range(5):
        other = x.clone()
        other[:, i] = 1 - other[:, i]
        total += (model.energy(x) - model.energy(other)).neg().sigmoid().log()
    torch.manual_seed(0)
    estimate = float(torch.stack([model.loss(x)["pseudo_nll"] for _ in range(1000)]).mean())
    assert abs(estimate + float(total.mean())) < 0.2


def test_chains_move_in_training_only_and_only_if_they_persist():
    x = Binary((6,)).random(10, torch.Generator().manual_seed(0))
    for persistent in (True, False):
        model = build(6, 4, persistent=persistent, chains=30)
        before = model.chains.clone()
        model.eval().loss(x)
        assert torch.equal(model.chains, before)
        model.train().loss(x)
        assert torch.equal(model.chains, before) != persistent
    assert "chains" in model.state_dict()


def test_start_takes_frequencies_and_chains_from_the_data():
    x = (torch.rand(500, 6, generator=torch.Generator().manual_seed(0)) < 0.3).to(torch.uint8)
    model = rbm.build(Binary((6,)), hidden=3, chains=7)
    model.start(x)
    torch.testing.assert_close(model.b.detach().sigmoid(), (x.sum(0) + 1) / 502)
    assert torch.equal(model.chains, x[:7])


def test_training_learns_a_law():
    torch.manual_seed(0)
    pattern = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]).repeat(200, 1)
    x = (pattern ^ (torch.rand(400, 4) < 0.2)).to(torch.uint8)
    counts = torch.bincount((x.long() * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16)
    entropy = float(torch.special.entr(counts / 400).sum())  # the least nats any model can reach
    model = rbm.build(Binary((4,)), hidden=4)
    model.start(x)
    alone = float((model.energy(x).mean() + model.log_partition().value).detach())
    descent = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(600):
        descent.zero_grad()
        model.loss(x)["loss"].backward()
        descent.step()
    nats = float((model.energy(x).mean() + model.log_partition().value).detach())
    assert alone > entropy + 0.25
    assert nats < entropy + 0.05
    agree = model.decode(model.encode(pattern[:2])) == pattern[:2]
    assert bool(agree.all())


def test_bad_numbers_get_one_line():
    for name in ("hidden", "gibbs_steps", "chains"):
        with pytest.raises(LikelyError, match=name):
            rbm.build(Binary((4,)), **{name: 0})
    with pytest.raises(LikelyError, match="steps"):
        build(3, 2).sample(1, step=3)
    with pytest.raises(LikelyError, match="Binary"):
        rbm.build(Finite((4,), 3))
