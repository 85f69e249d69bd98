"""The variational autoencoder against a linear-Gaussian model whose likelihood is known, and against integration."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from likely import registry
from likely.core import seeded
from likely.errors import LikelyError, SpaceError
from likely.families.variational import Variational
from likely.models.vae import VAE, build
from likely.parts.heads import Normal, choose
from likely.spaces import Binary, Finite, Real, Sequence

SIZE, LATENT, NOISE = 3, 2, 0.4


class Linear(Variational):
    """Probabilistic PCA, x = W z + m + noise, whose posterior is known; `widen` multiplies the proposal's scales.

    The posterior covariance is made diagonal by a W with orthogonal columns.
    """

    def __init__(self, widen: float = 1.0, importance: int = 1) -> None:
        super().__init__(Real((SIZE,)), importance=importance)
        basis = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0)).double()).Q
        self.register_buffer("weight", basis[:, :LATENT] * torch.tensor([1.5, 0.7]))
        self.register_buffer("offset", torch.tensor([1.0, -2.0, 0.5]).double())
        self.widen = widen

    weight: Tensor
    offset: Tensor

    def _prior(self, n: int, cond: Tensor | None) -> Normal:
        zero = torch.zeros(n, LATENT).double()
        return Normal(zero, zero)

    def _posterior(self, x: Tensor, cond: Tensor | None) -> Normal:
        precision = 1 + (self.weight**2).sum(0) / NOISE**2
        mean = (x - self.offset) @ self.weight / NOISE**2 / precision
        return Normal(mean, (-0.5 * precision.log() + math.log(self.widen)).expand_as(mean))

    def _likelihood(self, z: Tensor, cond: Tensor | None) -> Normal:
        mean = z @ self.weight.T + self.offset
        return Normal(mean, torch.full_like(mean, math.log(NOISE)))

    def exact(self) -> torch.distributions.MultivariateNormal:
        covariance = self.weight @ self.weight.T + NOISE**2 * torch.eye(SIZE).double()
        return torch.distributions.MultivariateNormal(self.offset, covariance)


@pytest.fixture
def x() -> Tensor:
    return 2 * torch.randn(6, SIZE, generator=torch.Generator().manual_seed(1)).double()


def test_with_the_exact_posterior_every_weight_is_the_likelihood(x: Tensor) -> None:
    model = Linear()
    exact = model.exact().log_prob(x)
    torch.testing.assert_close(model.log_weight(x, seed=0), exact)
    for k in (1, 7):
        torch.testing.assert_close(model.iwelbo(x, k, seed=k), exact)
    elbo = model.elbo(x.repeat(2000, 1), seed=0).reshape(2000, -1)
    torch.testing.assert_close(elbo.mean(0), exact, atol=0.1, rtol=0)


def test_with_a_widened_proposal_the_bound_is_below_by_the_divergence_and_rises_with_k(x: Tensor) -> None:
    model, best, widen = Linear(widen=2.0), Linear(), 2.0
    exact = model.exact().log_prob(x)
    divergence = LATENT * (0.5 * (widen**2 - 1) - math.log(widen))
    many = x.repeat(4000, 1)
    weights = model.log_weight(many, seed=0).reshape(4000, -1)
    torch.testing.assert_close(weights.mean(0), exact - divergence, atol=0.2, rtol=0)
    torch.testing.assert_close(model._posterior(x, None).divergence(best._posterior(x, None)).mean().item(), divergence)
    torch.testing.assert_close(model.elbo(many, seed=1).reshape(4000, -1).mean(0), exact - divergence, atol=0.2, rtol=0)
    torch.testing.assert_close(weights.logsumexp(0) - math.log(4000), exact, atol=0.1, rtol=0)
    bounds = [float(model.iwelbo(x.repeat(200, 1), k, seed=2).mean()) for k in (1, 4, 32)]
    assert bounds[0] + 0.3 < bounds[1]
    assert bounds[1] + 0.1 < bounds[2] < float(exact.mean()) + 0.02


def test_the_bound_does_not_depend_on_how_it_is_cut(x: Tensor) -> None:
    model = Linear(widen=1.5)
    whole = model.iwelbo(x, 600, seed=0)
    model.decoded_at_once = 4  # fewer than the rows: both rows and draws are cut
    torch.testing.assert_close(model.iwelbo(x, 600, seed=0), whole, atol=0.2, rtol=0)


def test_the_loss_is_the_negative_bound(x: Tensor) -> None:
    many = x.repeat(3000, 1)
    for importance in (1, 8):
        model = Linear(widen=2.0, importance=importance)
        with seeded(0):
            terms = model.loss(many)
        bound = model.elbo(many, seed=1) if importance == 1 else model.iwelbo(many, importance, seed=1)
        torch.testing.assert_close(terms["loss"], -bound.mean(), atol=0.05, rtol=0)
        posterior = model._posterior(x, None)
        torch.testing.assert_close(
            terms["kl"], posterior.divergence(model._prior(len(x), None)).mean(), atol=0.05, rtol=0
        )


def test_completion_follows_the_exact_conditional() -> None:
    model, law = Linear(widen=1.3), Linear().exact()
    point = torch.tensor([[2.0, -1.0, 0.0]]).double()
    known = torch.tensor([True, False, False])
    drawn = model.complete(point.expand(6000, -1), known, seed=0)
    assert bool((drawn[:, 0] == 2.0).all())
    gain = law.covariance_matrix[1:, :1] / law.covariance_matrix[:1, :1]
    mean = law.loc[1:] + gain[:, 0] * (2.0 - law.loc[0])
    covariance = law.covariance_matrix[1:, 1:] - gain @ law.covariance_matrix[:1, 1:]
    torch.testing.assert_close(drawn[:, 1:].mean(0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(drawn[:, 1:].T.cov(), covariance, atol=0.1, rtol=0)


@pytest.mark.parametrize("decoder", ["bernoulli", "categorical", "logistic", "gaussian"])
def test_weights_average_to_the_integral_over_z(decoder: str) -> None:
    space = Binary((3,)) if decoder == "bernoulli" else Finite((2,), 4)
    with seeded(1):
        model = build(space, latent=1, width=8, decoder=decoder)
    with torch.no_grad():  # a proposal near the prior, so that few draws tell
        for parameter in model.encoder[-1].parameters():  # type: ignore[index]
            parameter *= 0.2
    points = space.enumerate()
    grid = torch.linspace(-7, 7, 2001)[:, None]
    with torch.no_grad():
        given_z = torch.stack([model._likelihood(grid, None).log_prob(p.expand(2001, -1)) for p in points], 1)
        exact = (given_z + model._prior(2001, None).log_prob(grid)[:, None]).logsumexp(0) + math.log(14 / 2000)
    assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(model.iwelbo(points, 8000, seed=0), exact, atol=0.08, rtol=0)


@pytest.mark.parametrize("variance", ["datum", "global"])
def test_real_data_are_scored_in_their_own_units(variance: str) -> None:
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    scale, shift = torch.tensor([1000.0, 1e-3]), torch.tensor([5000.0, -7.0])
    scores = []
    for values in (x, x * scale + shift):
        with seeded(3):
            model = build(Real((2,)), latent=2, width=8, variance=variance)
        model.start(values)
        scores.append(model.elbo(values, seed=0))
    torch.testing.assert_close(scores[1], scores[0] - scale.log().sum(), atol=0.02, rtol=1e-3)


def test_start_alone_is_as_good_as_the_marginals() -> None:
    space = Binary((20,))
    x = (torch.rand(400, 20, generator=torch.Generator().manual_seed(0)) < torch.linspace(0.02, 0.98, 20)).byte()
    with seeded(0):
        model = build(space, latent=2, width=16)
    cold = model.elbo(x, seed=0).mean()
    model.start(x)
    share = x.double().mean(0)
    entropy = -(torch.special.xlogy(share, share) + torch.special.xlogy(1 - share, 1 - share)).sum()
    assert float(model.elbo(x, seed=0).mean()) > float(cold) + 3
    assert float(model.elbo(x, seed=0).mean()) == pytest.approx(-float(entropy), abs=1.5)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_it_learns_what_the_condition_says(architecture: str) -> None:
    cond = Finite((), 2, ordered=False)
    with seeded(0):
        model = build(Binary((1, 2, 2)), cond, latent=1, width=32, architecture=architecture)
        labels = cond.random(256)
        x = labels[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(120):
            optimizer.zero_grad()
            model.loss(x, labels)["loss"].backward()
            optimizer.step()
    for label in (0, 1):
        assert float((model.sample(200, label, seed=0) == label).float().mean()) > 0.95
    assert float(model.iwelbo(x[:8], 16, labels[:8], seed=0).mean()) > -0.5


def test_an_ungraspable_amount_of_levels_is_decoded_in_small_passes() -> None:
    model = registry.build("vae", Finite((1, 28, 28), 256, ordered=False), latent=2, width=4)
    assert isinstance(model, VAE)
    assert model.decoded_at_once * 256 * 784 <= 2**24
    assert model.head.count == 256


def test_global_variance_leaves_one_map_to_the_decoder() -> None:
    def outputs(**numbers: str) -> int:
        return build(Real((5,)), latent=2, width=4, **numbers).decoder(torch.zeros(1, 2)).shape[1]

    assert outputs(variance="global") == 5
    assert outputs(variance="datum") == 10
    assert choose(Real((5,))).count == 2


@pytest.mark.parametrize(
    ("space", "numbers", "says"),
    [
        (Finite((1, 8, 8), 17), {"decoder": "bernoulli"}, "not a likelihood.*discretised logistic"),
        (Binary((4,)), {"architecture": "conv"}, "needs pictures"),
        (Binary((4,)), {"architecture": "cnn"}, "unknown architecture 'cnn'"),
        (Binary((4,)), {"latent": 0}, "latent must be 1 or more"),
        (Binary((4,)), {"variance": "each"}, "unknown variance 'each'"),
        (Binary((4,)), {"beta": -1.0}, "beta must be 0 or more"),
        (Binary((4,)), {"importance": 0}, "importance must be 1 or more"),
        (Sequence((), Finite((), 4), 3), {}, "takes Real or Binary or Finite"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(space, numbers: dict, says: str) -> None:
    with pytest.raises((LikelyError, SpaceError), match=says) as caught:
        build(space, **numbers)
    assert "\n" not in str(caught.value)
