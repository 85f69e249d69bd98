"""The RBM: free energy, log Z, bounds, chains and gradients against enumeration."""

from __future__ import annotations

import math

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch.nn import functional as F

import likely
from likely.core import seeded
from likely.data.parts import Part
from likely.errors import LikelyError, SpaceError, UnknownName
from likely.models import rbm
from likely.spaces import Binary, Finite, Real


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


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(
    visible=st.integers(1, 9),
    hidden=st.integers(1, 10),
    scale=st.sampled_from([0.1, 1.0, 12.0]),
    seed=st.integers(0, 99),
)
def test_energy_and_log_partition_equal_the_sum_over_all_states(visible, hidden, scale, seed):
    model = build(visible, hidden, scale=scale, seed=seed)
    log_z, error = model.log_partition()
    torch.testing.assert_close(log_z, joint(model).logsumexp((0, 1)))
    assert float(error) == 0
    free = -joint(model).logsumexp(1)
    torch.testing.assert_close(model.energy(model.space.enumerate()).double(), free, rtol=1e-5, atol=1e-5)


def real(visible: int, hidden: int, *, seed: int = 0, **numbers: object) -> rbm.RBM:
    """Return an RBM over reals in odd units, with random parameters."""
    torch.manual_seed(seed)
    model = rbm.build(Real((visible,)), hidden=hidden, **numbers)  # type: ignore[arg-type]
    model.start(torch.randn(50, visible) * torch.logspace(-1, 2, visible) + 100)
    with torch.no_grad():
        for p in (model.W, model.b, model.c):
            p.normal_(0, 0.8)
        model.log_scale.uniform_(-1, 0)
    return model


@pytest.mark.parametrize("seed", range(3))
def test_reals_are_a_mixture_of_gaussians_in_the_units_of_the_data(seed):
    model = real(3, 5, seed=seed)
    with torch.no_grad():
        h = Binary((5,)).enumerate().double()
        W, b, c = model.W.double(), model.b.double(), model.c.double()
        scale = model.spread * model.log_scale.double().exp()
        field = b + h @ W.T
        weights = h @ c + 0.5 * field.square().sum(1)  # of each component: log of what its Gaussian integrates to
        means, law = model.location + field * scale, torch.distributions.Normal
        x = model.sample(40, steps=3, seed=1).double()
        exact = (law(means, scale).log_prob(x[:, None]).sum(2) + weights.log_softmax(0)).logsumexp(1)
    log_z, error = model.log_partition()
    assert float(error) == 0
    torch.testing.assert_close(-model.energy(x).double() - log_z, exact, rtol=1e-4, atol=1e-4)
    known = torch.tensor([True, False, True])
    some = (law(means, scale).log_prob(x[:, None])[:, :, known].sum(2) + weights.log_softmax(0)).logsumexp(1)
    torch.testing.assert_close(-model.free_energy(x, known).double() - log_z, some, rtol=1e-4, atol=1e-4)
    missing = torch.where(known, x, torch.nan)
    torch.testing.assert_close(model.free_energy(missing), model.free_energy(x, known))


def test_unknown_bits_are_summed_out_exactly():
    model = build(5, 4)
    known = torch.tensor([[True, False, True, False, True], [False] * 5, [True] * 5])
    x = torch.tensor([[1, 0, 0, 1, 1]] * 3, dtype=torch.uint8)
    points = model.space.enumerate()
    law = -model.energy(points).double()
    for row in range(3):
        fits = (points[:, known[row]] == x[row, known[row]]).all(1)
        value = float(model.free_energy(x[row : row + 1], known[row]))
        assert abs(value + float(law[fits].logsumexp(0))) < 1e-5
    nan = torch.where(known, x.float(), torch.nan)
    torch.testing.assert_close(model.free_energy(nan), model.free_energy(x, known))
    torch.testing.assert_close(model.free_energy(x), model.energy(x))
    with pytest.raises(LikelyError, match="26"):
        build(5, 26).free_energy(x, known)
    with pytest.raises(SpaceError, match="known"):
        model.free_energy(x, known[:, :2])


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
@pytest.mark.parametrize("make", [lambda seed: build(30, 12, scale=0.5, seed=seed), lambda seed: real(4, 6, seed=seed)])
def test_annealing_agrees_with_enumeration(make, seed):
    model = make(seed)
    exact = float(model.log_partition().value)
    torch.manual_seed(seed)
    with torch.no_grad():
        value, error = model._annealed(torch.linspace(0, 1, 301), 200)
    assert float(error) < 0.2
    assert abs(float(value) - exact) < 3 * float(error)


def test_enumeration_keeps_its_figures_where_products_would_leave_the_range(monkeypatch):
    model = build(27, 9, scale=3.0).double()
    with torch.no_grad():
        model.b.add_(700)  # exp(700)^8 is out of range: each factor alone
        shifted = model._enumerated()
        model.b.sub_(700)
        h = Binary((9,)).enumerate().double()
        exact = h @ model.c + F.softplus(700 + model.b + h @ model.W.T).sum(1)
    torch.testing.assert_close(shifted, exact.logsumexp(0))


@pytest.mark.parametrize("rungs", [1, 4])
def test_conservative_scores_are_unbiased_for_the_law_of_the_climb(rungs):
    """E[exp score] is the probability of x under annealed sampling, which adds up to 1."""
    model = build(3, 3, scale=1.5)
    points, n = model.space.enumerate(), 20_000
    scores = model.conservative_log_prob(points, k=n, rungs=rungs, seed=0)
    law = scores.exp()
    assert abs(float(law.sum()) - 1) < 0.02
    drawn = model.sample(n, steps=rungs, anneal=True, seed=1)
    frequency = torch.bincount((drawn.long() * torch.tensor([4, 2, 1])).sum(1), minlength=8) / n
    assert float((frequency - law).abs().max()) < 0.02
    if rungs == 1:  # far from the model's law: the test can tell them apart
        assert float(((-model.energy(points)).softmax(0) - law).abs().max()) > 0.04


@pytest.mark.parametrize("make", [lambda: build(12, 8, scale=0.7), lambda: real(3, 5)])
def test_conservative_scores_lie_below_and_come_near(make):
    model = make()
    x = model.sample(300, seed=0)
    exact = -model.energy(x).double() - model.log_partition().value
    gaps = [float((exact - model.conservative_log_prob(x, rungs=r, seed=0)).mean()) for r in (5, 400)]
    assert gaps[0] > gaps[1] > -0.02
    assert gaps[1] < 0.1
    averaged = model.conservative_log_prob(x, rungs=5, k=20, seed=0)
    assert float((exact - averaged).mean()) < gaps[0]
    with pytest.raises(LikelyError, match="rungs"):
        model.conservative_log_prob(x, rungs=0)


def test_a_large_model_is_estimated_the_same_for_the_same_seed():
    model = build(30, 26, scale=0.1)
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


def centred(model: rbm.RBM, loss: torch.Tensor) -> list[torch.Tensor]:
    """Return what W, b and c move by when W, b + W hidden_mean and c + W' mean descend on the loss."""
    mean = model.base.sigmoid() if model.bits else torch.zeros_like(model.base)
    W, b, c = torch.autograd.grad(loss, [model.W, model.b, model.c], retain_graph=True)
    W = W - torch.outer(b, model.hidden_mean) - torch.outer(mean, c)  # at b + W hidden_mean and c + W' mean held
    return [W, b - W @ model.hidden_mean, c - mean @ W]


@pytest.mark.parametrize("sampler", ["pcd", "cd", "tempering"])
def test_gradient_of_the_loss_is_that_of_the_likelihood_when_the_chains_have_mixed(sampler):
    model = build(4, 3, scale=0.7, sampler=sampler, chains=40_000, gibbs_steps=15, temperatures=2).double()
    x = model.space.random(20, torch.Generator().manual_seed(0)).repeat(2000, 1)
    with torch.no_grad():
        model.hidden_mean.uniform_()
    torch.manual_seed(0)
    chained = torch.autograd.grad(model.loss(x)["loss"], [model.W, model.b, model.c])
    points = model.space.enumerate()
    exact = model._energy(x[:20], None).mean() + (-model._energy(points, None)).logsumexp(0)
    for mine, wanted in zip(chained, centred(model, exact), strict=True):
        assert float((mine - wanted).abs().max()) < 0.02


@pytest.mark.parametrize("bits", [True, False])
def test_gradient_equals_that_of_autograd_on_the_same_chains(bits, monkeypatch):
    model = (build(5, 4) if bits else real(5, 4)).double().eval()
    x = model.space.random(30, torch.Generator().manual_seed(0)) if bits else 100 + torch.randn(30, 5)
    drawn = model._inside(x[:7]).flip(1).detach()
    monkeypatch.setattr(model, "_chains", lambda u, W: drawn)
    with torch.no_grad():
        model.hidden_mean.uniform_()
    mine = torch.autograd.grad(model.loss(x)["loss"], list(model.parameters()))
    plain = model._energy(x, None).mean() - model._free_energy(drawn).mean()
    names = [name for name, _ in model.named_parameters()]
    wanted = dict(zip(["W", "b", "c"], centred(model, plain), strict=True))
    if not bits:
        wanted["log_scale"] = torch.autograd.grad(plain, model.log_scale)[0]
    for name, gradient in zip(names, mine, strict=True):
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-6, atol=1e-8)


def test_a_gradient_is_used_up_by_one_backward_pass():
    model = build(6, 4, chains=5).eval()
    loss = 3 * model.loss(Binary((6,)).random(5, torch.Generator().manual_seed(0)))["loss"]
    loss.backward(retain_graph=True)
    assert bool(model.W.grad.isfinite().all())
    with pytest.raises(RuntimeError, match="gradients"):
        loss.backward()


def test_bfloat16_gives_nearly_the_same_gradient():
    model = build(40, 30, scale=0.3, chains=4000).eval()
    x = model.space.random(4000, torch.Generator().manual_seed(0))
    found = []
    for enabled in (False, True):
        with seeded(0), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(torch.autograd.grad(model.loss(x)["loss"], [model.W, model.b, model.c]))
    for single, half in zip(*found, strict=True):
        assert half.dtype == torch.float32
        assert float((single - half).norm() / single.norm()) < 0.05


def test_one_byte_a_unit_gives_the_exact_probability_to_each_chain():
    p = torch.tensor([0.0, 0.001, 0.3 / 256, 0.5, 0.7021, 0.999, 1.0])
    chains, units = 20, 100_000
    torch.manual_seed(0)
    drawn = torch.stack([rbm._draw_chains(q.expand(chains, units)) for q in p])
    assert set(drawn.unique().tolist()) == {0, 1}
    error = (p * (1 - p) / (chains * units) + 2.0**-18 / units).sqrt()
    assert bool(((drawn.mean((1, 2)) - p).abs() <= 5 * error).all())
    both = (drawn[:, :, 1:] * drawn[:, :, :-1]).mean((1, 2))  # neighbours in a chain are independent
    assert bool(((both - p**2).abs() <= 5 * (p / (chains * units)).sqrt() + 1e-6).all())


def test_tempered_chains_follow_every_law_of_the_ladder():
    n = 20_000
    model = build(3, 3, scale=1.2, sampler="tempering", temperatures=3, chains=n).train()
    with torch.no_grad():
        model.chains.zero_()
        for _ in range(40):
            model._tempered(model.W)
        h = Binary((3,)).enumerate().float()
        for rung, beta in enumerate((0.0, 0.5, 1.0)):
            field = torch.lerp(model.base, model.b + h @ model.W.T, beta)
            law = (beta * h @ model.c + F.softplus(field).sum(1)).softmax(0)
            codes = (model.chains[rung].long() * torch.tensor([4, 2, 1])).sum(1)
            frequency = torch.bincount(codes, minlength=8) / n
            assert float((frequency - law).abs().max()) < 5 * 0.5 / math.sqrt(n)


def test_tempering_crosses_between_modes_where_plain_chains_stay():
    share = {}
    for sampler in ("pcd", "tempering"):
        model = rbm.build(Binary((16,)), hidden=2, sampler=sampler, temperatures=8, chains=400).train()
        with torch.no_grad():  # all 0 or all 1, equally likely
            model.W.fill_(3.0)
            model.b.fill_(-3.0)
            model.c.fill_(-24.0)
            model.chains.zero_()
            for _ in range(100):
                x = model._chains(torch.zeros(1, 16), model.W)
                if sampler == "pcd":
                    model.chains[0].copy_(model._draw_hidden(x))
        share[sampler] = float(x.mean())
    assert share["pcd"] < 0.1
    assert abs(share["tempering"] - 0.5) < 0.12


def test_pseudo_likelihood_is_that_of_each_bit_given_the_others():
    model = build(5, 3, chains=6)
    x = model.space.random(6, torch.Generator().manual_seed(0))
    total = torch.zeros(6)
    for i in range(5):
        other = x.clone()
        other[:, i] = 1 - other[:, i]
        total += (model.energy(x) - model.energy(other)).neg().sigmoid().log()
    torch.manual_seed(0)
    estimate = float(torch.stack([model.loss(x)["pseudo_nll"] for _ in range(500)]).mean())
    assert abs(estimate + float(total.mean())) < 0.3


@pytest.mark.parametrize("space", [Binary((6,)), Real((2,))])
def test_the_gradient_that_is_written_out_is_that_of_the_loss(space):
    x, grads = space.random(10, torch.Generator().manual_seed(0)), []
    for terms in (True, False):
        model = likely.build("rbm", space, hidden=4, chains=7, seed=0)
        torch.manual_seed(1)
        said, gradient = model.gradient(x, terms=terms)
        assert not any(value.requires_grad for value in said.values())
        assert ("pseudo_nll" in said) == (terms and isinstance(space, Binary))
        grads.append(gradient)
    model = likely.build("rbm", space, hidden=4, chains=7, seed=0)
    torch.manual_seed(1)
    loss = model.loss(x)["loss"]
    assert torch.equal(loss.detach(), said["loss"])
    loss.backward()
    for parameter, a, b in zip(model.parameters(), *grads, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(parameter.grad, a)


def test_training_takes_all_terms_at_every_tenth_update():
    x = Binary((6,)).random(50, torch.Generator().manual_seed(0))
    model = build(6, 4, chains=30)
    said = [step.metrics for step in likely.fit(model, Part(x), steps=12, batch=10)]
    assert [i for i, metrics in enumerate(said) if "pseudo_nll" in metrics] == [0, 10]
    assert all("loss" in metrics for metrics in said)


def test_chains_move_in_training_only_and_only_if_they_persist():
    x = Binary((6,)).random(10, torch.Generator().manual_seed(0))
    for sampler in ("pcd", "tempering", "cd"):
        model = build(6, 4, sampler=sampler, chains=30)
        before = model.chains.clone()
        model.eval().loss(x)
        assert torch.equal(model.chains, before)
        model.train().loss(x)
        assert torch.equal(model.chains, before) == (sampler == "cd")
    assert "chains" in model.state_dict()


def test_start_takes_frequencies_and_chains_from_the_data():
    x = (torch.rand(500, 6, generator=torch.Generator().manual_seed(0)) < 0.3).to(torch.uint8)
    model = rbm.build(Binary((6,)), hidden=3, chains=7)
    model.start(x)
    torch.testing.assert_close(model.b.detach().sigmoid(), (x.sum(0) + 1) / 502)
    mean = torch.zeros(7, 3)
    for _ in range(400):
        model.start(x)
        mean += model.chains[0] / 400
    assert float((mean - model.encode(x[:7])).abs().max()) < 5 * 0.5 / math.sqrt(400)
    data = torch.stack([torch.full((9,), 5.0), torch.arange(9.0)], 1)
    reals = rbm.build(Real((2,)), hidden=3, chains=4)
    reals.start(data)
    assert reals.location.tolist() == [5, 4]
    assert bool((reals.spread > 0).all())
    assert bool(reals.energy(data).isfinite().all())


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
    for _ in range(300):
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
    with pytest.raises(LikelyError, match="steps"):
        build(3, 2).sample(1, steps=0, anneal=True)
    with pytest.raises(LikelyError, match="temperatures"):
        rbm.build(Binary((4,)), temperatures=1)
    with pytest.raises(UnknownName, match="tempering"):
        rbm.build(Binary((4,)), sampler="temperign")
    with pytest.raises(LikelyError, match="Binary or Real"):
        rbm.build(Finite((4,), 3))


def test_training_learns_reals_in_their_units():
    """Two clusters, far apart and narrow: the learned law has their means, their width, and nats near the truth."""
    torch.manual_seed(0)
    side = torch.randint(2, (4000, 1)) * 2.0 - 1
    x = 1000 + 50 * (side * torch.tensor([1.0, -0.5]) + 0.3 * torch.randn(4000, 2))
    model = rbm.build(Real((2,)), hidden=4, chains=200)
    model.start(x)
    alone = float((model.energy(x).mean() + model.log_partition().value).detach())
    descent = torch.optim.SGD(model.parameters(), 0.05)
    for step in range(1300):
        descent.zero_grad()
        model.loss(x[torch.arange(100) + 100 * (step % 40)])["loss"].backward()
        descent.step()
    nats = float((model.energy(x).mean() + model.log_partition().value).detach())
    clusters = [torch.distributions.Normal(1000 + 50 * s * torch.tensor([1.0, -0.5]), 15.0) for s in (-1, 1)]
    truth = -float(torch.stack([c.log_prob(x).sum(1) - math.log(2) for c in clusters]).logsumexp(0).mean())
    assert alone > truth + 0.5
    assert nats < truth + 0.15
    drawn = model.sample(2000, seed=0)
    right = drawn[:, 0] > 1000
    assert 0.3 < float(right.float().mean()) < 0.7
    torch.testing.assert_close(drawn[right].mean(0), torch.tensor([1050.0, 975.0]), rtol=0, atol=4)
