"""Planted faults: small sound models, each of which can be given one fault, and the check that must catch it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from likely import registry
from likely.core import (
    Bijective,
    Bounded,
    Completer,
    Density,
    Energy,
    Estimate,
    Gradient,
    Marginal,
    Model,
    Statistics,
    Turns,
    Weighted,
)
from likely.families.autoregressive import Autoregressive
from likely.spaces import Binary, Finite, Ragged, Real, Sequence, Space
from likely.testing import check_model, checks
from likely.testing.oracle import Law, agreement, lattice
from likely.testing.subject import PROMISES


class Coins(Marginal, Completer, Statistics):
    """Independent bits: counts are its statistics, and every question has an exact answer."""

    completion = "exact"

    def __init__(self, fault: str = "") -> None:
        super().__init__(Binary((2, 2)))
        self.fault = fault
        self.own_generator = torch.Generator().manual_seed(0)
        self.register_buffer("asked", torch.zeros(()))
        chances = torch.full((2, 2), 0.3)
        if fault == "weights in a plain attribute":
            self.chances = chances
        else:
            self.register_buffer("chances", chances)

    def _given(self, x: Any, cond: Any, *, missing: bool = False) -> tuple[Any, Any]:
        if self.fault == "values outside are taken":
            return torch.as_tensor(x), cond
        return super()._given(x, cond, missing=missing)

    def _bits(self, n: int, chances: Tensor) -> Tensor:
        generator = self.own_generator if self.fault == "an unseeded draw" else None
        if self.fault == "the global state of numpy":
            np.random.rand()  # noqa: NPY002
        if self.fault == "a sampler that disagrees":
            chances = 0.8 * chances + 0.1
        if self.fault == "a draw that leaves a trace":
            self.asked += 1
        return (torch.rand((n, 2, 2), generator=generator) < chances).to(torch.uint8)

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
        return self._bits(n + 1 if self.fault == "one value too many" else n, self.chances)

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        each = torch.where(x == 1, self.chances, 1 - self.chances).log()
        if self.fault == "a batch that decides":
            each = each + 0.01 * (x.float().mean() - 0.5)
        score = torch.where(known, each, 0.0).flatten(1).sum(1)
        if self.fault == "a marginal of everything":
            score = torch.where(known.flatten(1).any(1), each.flatten(1).sum(1), score)
        if self.fault == "nothing known costs":
            score = score - 0.1 * (~known).flatten(1).all(1).float()
        if self.fault == "an infinite score":
            score = score + torch.where(x.flatten(1).all(1), -torch.inf, 0.0)
        return score

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        return self._bits(len(x), torch.tensor(0.5) if self.fault == "a completion by fair coins" else self.chances)

    def _e_step(self, x: Any, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        known = torch.ones_like(x, dtype=torch.bool) if known is None else known
        if self.fault == "weights ignored":
            weight = torch.ones_like(weight)
        w = weight[:, None, None].double()
        self.last = (w * (x == 1) * known).sum(0) / (w * known).sum(0).clamp(min=1)
        stats = {
            "ones": (w * (x == 1) * (known | (x == 1))).sum(0),
            "seen": (w * known).sum(0),
            "log_likelihood": (weight * self._log_marginal(x, known, cond)).sum(),
            "count": weight.sum(),
        }
        if self.fault == "statistics that are means":
            stats["ones"], stats["seen"] = stats["ones"] / len(x), stats["seen"] / len(x)
        return stats

    def m_step(self, stats: dict[str, Tensor]) -> None:
        best = ((stats["ones"] + 0.0) / stats["seen"]).float()
        if self.fault == "a step that sees the last batch":
            best = self.last.float()
        if self.fault == "a step to the wrong side":
            best = 0.6 - 0.5 * best
        if self.fault == "a closed form that goes half-way":
            best = (best + self.chances) / 2
        self.chances = best


class OverwritingCoins(Coins):
    """Coins whose public method was overridden: it does not keep what is known."""

    def complete(self, x: Any, known: Any = None, cond: Any = None, *, seed: int | None = None) -> Tensor:  # type: ignore[misc]
        return self.sample(len(x), seed=seed)


class SlopCoins(Coins):
    """Coins whose public method looks at what stands at missing entries."""

    def e_step(self, x: Any, cond: Any = None, *, known: Any = None, weight: Any = None) -> dict[str, Tensor]:  # type: ignore[misc]
        stats = super().e_step(x, cond, known=known, weight=weight)
        return stats | {"sum": torch.as_tensor(x).double().sum()}


class Spells(Marginal, Completer, Statistics):
    """Sequences of up to three coins, each length with a probability of its own: a sequence's parts are its steps."""

    completion = "exact"

    def __init__(self, fault: str = "") -> None:
        super().__init__(Sequence(step=Finite((), 2), length=3))
        self.fault = fault
        self.register_buffer("chance", torch.tensor(0.3))
        self.register_buffer("lengths", torch.tensor([0.1, 0.2, 0.3, 0.4]))

    def _inside(self, x: Ragged) -> Tensor:
        return torch.arange(x.values.shape[1]) < x.lengths[:, None]

    def _log_prob(self, x: Ragged, cond: Tensor | None) -> Tensor:
        return self._log_marginal(x, torch.ones_like(x.values, dtype=torch.bool), cond)

    def _log_marginal(self, x: Any, known: Tensor, cond: Tensor | None) -> Tensor:
        each = torch.where(x.values == 1, self.chance, 1 - self.chance).log()
        score = torch.where(known & self._inside(x), each, 0).sum(1)
        if self.fault == "padding that counts":
            score = torch.where(known, each, 0).sum(1)
        return score if self.fault == "lengths without probability" else score + self.lengths.log()[x.lengths]

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Ragged:
        chances = torch.ones(4) if self.fault == "lengths drawn evenly" else self.lengths
        lengths = torch.multinomial(chances, n, replacement=True) if n else torch.zeros(0).long()
        values = (torch.rand(n, 3) < self.chance) & (torch.arange(3) < lengths[:, None])
        return Ragged(values.to(torch.uint8), lengths)

    def _complete(self, x: Any, known: Tensor, cond: Tensor | None) -> Tensor:
        chance = 0.5 if self.fault == "steps filled by fair coins" else self.chance
        return ((torch.rand(x.values.shape) < chance) & self._inside(x)).to(torch.uint8)

    def _e_step(self, x: Any, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        known = torch.ones_like(x.values, dtype=torch.bool) if known is None else known
        seen = weight[:, None].double() * (known & self._inside(x))
        if self.fault == "the longest of a batch":
            seen = seen * x.lengths.max() / (x.lengths.double().mean())
        return {
            "ones": (seen * (x.values == 1)).sum(),
            "seen": seen.sum(),
            "lengths": x.lengths.bincount(weight.double(), minlength=4),
            "log_likelihood": weight @ self._log_marginal(x, known, cond),
            "count": weight.sum(),
        }

    def m_step(self, stats: dict[str, Tensor]) -> None:
        self.chance = (stats["ones"] / stats["seen"]).float()
        self.lengths = ((stats["lengths"] + 0.25) / (stats["count"] + 1)).float()


class Mixture(Density):
    """A mixture of two normal distributions on the line."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(Real((1,)))
        self.fault = fault
        for name, value in {"logits": [0.0, 1.0], "means": [-2.0, 1.0], "widths": [0.5, 1.0]}.items():
            self.register_buffer(name, torch.tensor(value))

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
        which = torch.multinomial(self.logits.softmax(0), n, replacement=True) if n else torch.zeros(0).long()
        if self.fault == "one component is drawn":
            which = torch.ones_like(which)
        return (self.means[which] + self.widths[which] * torch.randn(n))[:, None]

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        logits = self.logits if self.fault == "an unnormalised mixture" else self.logits.log_softmax(0)
        if self.fault == "a cut gradient":
            x = x.detach() + 0 * x
        if self.fault == "half precision":
            x = x.to(torch.bfloat16).to(x.dtype) if x.dtype == torch.float32 else x
        z = (x - self.means) / self.widths
        return (logits - self.widths.log() - math.log(2 * math.pi) / 2 - z.square() / 2).logsumexp(1)


class Affine(Bijective, Density, Gradient):
    """z = L (x - b), with a base of independent normals."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(Real((2,)))
        self.fault = fault
        self.shift = nn.Parameter(torch.zeros(2))
        self.log_scale = nn.Parameter(torch.zeros(2))
        self.shear = nn.Parameter(torch.zeros(()))
        self.spare = nn.Parameter(torch.zeros(())) if fault == "a parameter without gradient" else None

    def _matrix(self) -> Tensor:
        zero = torch.zeros_like(self.shear)
        scale = self.log_scale.exp()
        return torch.stack([torch.stack([scale[0], zero]), torch.stack([self.shear, scale[1]])])

    def _encode_and_log_det(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det = self.log_scale[0] if self.fault == "a wrong log-determinant" else self.log_scale.sum()
        return (x - self.shift).to(self.shift.dtype) @ self._matrix().T, log_det.expand(len(x))

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        if self.fault == "a representation that breaks decoding":
            z = torch.where(z.abs() > 0.5, torch.nan, z)
        x = torch.linalg.solve_triangular(self._matrix(), z.T.to(self.shift.dtype), upper=False).T
        return x + self.shift * (2 if self.fault == "a wrong way back" else 1)

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
        return torch.linalg.solve_triangular(self._matrix(), torch.randn(2, n), upper=False).T + self.shift

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        z, log_det = self._encode_and_log_det(x, cond)
        return log_det - z.square().sum(1) / 2 - math.log(2 * math.pi)

    def loss(self, x: Any, cond: Tensor | None = None) -> dict[str, Tensor]:
        return {"loss": -self._log_prob(x, cond).mean()}


class Chain(Autoregressive):
    """Each bit is a logistic regression on the bits before it, and on the condition."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(Binary((4,)), torch.tensor([2, 0, 3, 1]), Finite((), 3))
        self.fault = fault
        before = self.when[None, :] < self.when[:, None]
        if fault == "a leaked pixel":
            before[2, 1] = True
        self.register_buffer("mask", before)
        self.pull = nn.Parameter(torch.zeros(4, 4))
        self.bias = nn.Parameter(torch.zeros(3, 4))

    def _conditionals(self, x: Tensor, cond: Tensor | None) -> Tensor:
        assert cond is not None
        if self.fault == "a condition ignored":
            cond = torch.zeros_like(cond)
        logits = 2 * x.to(self.pull.dtype) @ (self.mask * self.pull).T + self.bias[cond.long()]
        return logits[..., None]

    def _walk(self, n: int, cond: Tensor | None) -> Generator[Tensor, Tensor, None]:
        if self.fault == "a cache that forgets":
            for position in self.order:
                yield self._conditionals(torch.zeros(n, 4), cond)[:, position]
        else:
            yield from super()._walk(n, cond)


class Boltzmann(Energy, Gradient):
    """Three bits with an energy for each pair, and a chain of Gibbs steps."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(Binary((3,)))
        self.fault = fault
        self.coupling = nn.Parameter(torch.zeros(3, 3))
        self.bias = nn.Parameter(torch.zeros(3))

    def _energy(self, x: Tensor, cond: Tensor | None) -> Tensor:
        x = x.float()
        return -x @ self.bias - (x @ self.coupling.triu(1) * x).sum(1)

    def _log_partition(self, cond: Tensor | None) -> Estimate:
        energies = self._energy(self.space.enumerate(), None)
        offset = 0.1 if self.fault == "a wrong log Z" else 0.0
        return Estimate((-energies).logsumexp(0) + offset, torch.zeros(()))

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
        x = torch.zeros(n, 3) if self.fault == "a chain that does not move" else torch.randint(2, (n, 3)).float()
        both = self.coupling.triu(1) + self.coupling.triu(1).T
        for _ in range(1 if self.fault == "a chain that does not move" else 20):
            for i in range(0 if self.fault == "a chain that does not move" else 3):
                x[:, i] = (torch.rand(n) < (self.bias[i] + x @ both[:, i]).sigmoid()).float()
        return x.to(torch.uint8)

    def loss(self, x: Any, cond: Tensor | None = None) -> dict[str, Tensor]:
        return {"loss": self._energy(x, cond).mean() + self._log_partition(None).value}


class Forgotten(Density):
    """The Boltzmann machine that claims a density; its fault is to drop log Z."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(Binary((3,)))
        self.fault = fault
        self.inner = Boltzmann()
        nn.init.constant_(self.inner.bias, 0.4)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        log_z = 0.0 if self.fault == "a dropped log Z" else self.inner._log_partition(None).value
        return -self.inner._energy(x, cond) - log_z

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
        return self.inner._sample(n, cond)


class _Hidden(Bounded, Gradient):
    """Two bits that depend on one hidden bit z, with a recognition model q(z = 1 | x)."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(Binary((2,)))
        self.fault = fault
        self.prior = nn.Parameter(torch.zeros(()))
        self.decoder = nn.Parameter(torch.tensor([[-1.5, -1.0], [1.5, 2.0]]))
        self.recognition = nn.Parameter(torch.zeros(4))

    def _terms(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log p(x | z), log p(z) and log q(z | x), each (B, 2)."""
        x = x.float()
        likelihood = -F.binary_cross_entropy_with_logits(
            self.decoder.expand(len(x), 2, 2), x[:, None].expand(len(x), 2, 2), reduction="none"
        ).sum(2)
        q = self.recognition[(2 * x[:, 0] + x[:, 1]).long()]
        return likelihood, _log_chances(self.prior).expand(len(x), 2), _log_chances(q)

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
        z = (torch.rand(n) < self.prior.sigmoid()).long()
        sharper = 3 if self.fault == "a sampler against its bound" else 1
        return torch.bernoulli((sharper * self.decoder[z]).sigmoid()).to(torch.uint8)

    def _elbo(self, x: Any, cond: Tensor | None) -> Tensor:
        likelihood, prior, q = self._terms(x)
        if self.fault == "a bound without its KL":
            return likelihood.amax(1)
        return (q.exp() * (likelihood + prior - q)).sum(1)

    def loss(self, x: Any, cond: Tensor | None = None) -> dict[str, Tensor]:
        likelihood, prior, q = self._terms(x)
        return {"loss": -(q.exp() * (likelihood + prior - q)).sum(1).mean()}


def _log_chances(logit: Tensor) -> Tensor:
    return torch.stack([F.logsigmoid(-logit), F.logsigmoid(logit)], -1)


class HiddenBound(_Hidden):
    """The hidden bit with a bound alone."""


class HiddenWeighted(_Hidden, Weighted):
    """The hidden bit with single-sample importance weights."""

    def _log_weight(self, x: Any, cond: Tensor | None) -> Tensor:
        likelihood, prior, q = self._terms(x)
        z = torch.bernoulli(q[:, 1].exp()).long()[:, None]
        if self.fault == "an averaged bound with its KL in closed form":
            return likelihood.gather(1, z)[:, 0] - (q.exp() * (q - prior)).sum(1)
        return (likelihood + prior - q).gather(1, z)[:, 0]

    def _iwelbo(self, x: Any, k: int, cond: Tensor | None) -> Tensor:
        if self.fault == "a sum instead of a mean":
            return super()._iwelbo(x, k, cond) + math.log(k)
        if self.fault == "a bound that shrinks":
            return super()._iwelbo(x, 1, cond) - 0.5 * math.log(k)
        return super()._iwelbo(x, k, cond)


class Rivals(Turns):
    """A generator that shifts noise, and a critic that is linear in x and x^2."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(Real((2,)))
        self.fault = fault
        self.generator, self.critic = nn.Linear(3, 2), nn.Linear(4, 1)
        self.lonely = nn.Parameter(torch.zeros(2)) if fault == "a parameter of nobody" else None

    @property
    def players(self) -> dict[str, nn.Module]:
        critic = nn.ModuleList([self.critic, self.generator]) if self.fault == "a shared parameter" else self.critic
        return {"critic": critic, "generator": self.generator}

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
        return self.generator(torch.randn(n, 3))

    def _judge(self, x: Tensor) -> Tensor:
        return self.critic(torch.cat([x, x.square()], 1))

    def loss(self, x: Any, cond: Tensor | None = None, player: str = "") -> dict[str, Tensor]:
        if player == "critic":
            if self.fault == "a turn that moves the other":
                with torch.no_grad():
                    self.generator.weight.clamp_(-0.1, 0.1)
            return {
                "loss": F.softplus(-self._judge(x)).mean() + F.softplus(self._judge(self._sample(len(x), None))).mean()
            }
        return {"loss": F.softplus(-self._judge(self._sample(len(x), None))).mean()}


SOUND: list[Callable[..., Model]] = [
    Coins,
    Spells,
    Mixture,
    Affine,
    Chain,
    Boltzmann,
    Forgotten,
    HiddenBound,
    HiddenWeighted,
    Rivals,
]

#: model, its one fault, the check that must name it
FAULTS: list[tuple[Callable[..., Model], str, str]] = [
    (OverwritingCoins, "", "final_methods"),
    (OverwritingCoins, "", "known_kept"),
    (Coins, "one value too many", "samples"),
    (Coins, "an unseeded draw", "seeds"),
    (Coins, "the global state of numpy", "global_random_state"),
    (Coins, "a draw that leaves a trace", "no_trace"),
    (Coins, "weights in a plain attribute", "save_and_load"),
    (Coins, "values outside are taken", "refusals"),
    (Coins, "an infinite score", "finite_scores"),
    (Coins, "a batch that decides", "rows_are_independent"),
    (Coins, "a sampler that disagrees", "sampler_agrees"),
    (Coins, "nothing known costs", "marginal_ends"),
    (Coins, "a marginal of everything", "marginals"),
    (Coins, "a completion by fair coins", "completion_law"),
    (Coins, "statistics that are means", "additive"),
    (Coins, "a step that sees the last batch", "streams"),
    (Coins, "weights ignored", "weights"),
    (Coins, "a step to the wrong side", "likelihood_rises"),
    (Coins, "a closed form that goes half-way", "closed_form"),
    (SlopCoins, "", "missing"),
    (Spells, "lengths without probability", "normalised"),
    (Spells, "padding that counts", "normalised"),
    (Spells, "lengths drawn evenly", "sampler_agrees"),
    (Spells, "steps filled by fair coins", "completion_law"),
    (Spells, "the longest of a batch", "additive"),
    (Mixture, "an unnormalised mixture", "normalised"),
    (Mixture, "one component is drawn", "sampler_agrees"),
    (Mixture, "a cut gradient", "input_gradient"),
    (Mixture, "half precision", "double_precision"),
    (Affine, "a wrong log-determinant", "log_determinant"),
    (Affine, "a wrong log-determinant", "normalised"),
    (Affine, "a wrong way back", "round_trip"),
    (Affine, "a representation that breaks decoding", "representation"),
    (Affine, "a parameter without gradient", "gradients"),
    (Chain, "a leaked pixel", "triangular"),
    (Chain, "a cache that forgets", "cached_sampler"),
    (Chain, "a condition ignored", "condition"),
    (Boltzmann, "a wrong log Z", "partition"),
    (Boltzmann, "a chain that does not move", "chain_agrees"),
    (Forgotten, "a dropped log Z", "normalised"),
    (HiddenBound, "a bound without its KL", "bound_adds_up_below_one"),
    (HiddenBound, "a sampler against its bound", "sampler_keeps_bound"),
    (HiddenWeighted, "a bound without its KL", "elbo_is_below"),
    (HiddenWeighted, "a sampler against its bound", "sampler_agrees"),
    (HiddenWeighted, "an averaged bound with its KL in closed form", "weights_normalised"),
    (HiddenWeighted, "a sum instead of a mean", "iwelbo_normalised"),
    (HiddenWeighted, "a bound that shrinks", "iwelbo_grows"),
    (Rivals, "a turn that moves the other", "turns"),
    (Rivals, "a shared parameter", "players"),
    (Rivals, "a parameter of nobody", "players"),
]


@pytest.mark.parametrize("kind", SOUND, ids=lambda kind: kind.__name__)
def test_the_sound_model_passes(kind: Callable[..., Model]) -> None:
    torch.manual_seed(0)
    assert check_model(kind()) == len(checks(kind())) >= 7


@pytest.mark.parametrize(("kind", "fault", "check"), FAULTS, ids=[f"{k.__name__}-{c}-{f}" for k, f, c in FAULTS])
def test_the_fault_is_caught_by_its_check(kind: Callable[..., Model], fault: str, check: str) -> None:
    torch.manual_seed(0)
    model = kind(fault)
    with pytest.raises(AssertionError) as caught:
        check_model(model)
    lines = str(caught.value).splitlines()
    assert any(f".{check} (" in line for line in lines), lines
    assert all(line.startswith(f"{kind.__name__} breaks ") for line in lines)


def test_a_score_that_overflows_at_a_thousand_dimensions_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Product(Density):
        """Independent coins whose probabilities are multiplied: they vanish where there are many."""

        def __init__(self, space: Space) -> None:
            super().__init__(space)
            self.name = "product"

        def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
            return self.space.random(n)

        def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
            return torch.full(x.shape, 0.5).flatten(1).prod(1).log()

    monkeypatch.setattr(registry, "build", lambda name, space, cond=None, *, seed=0, **numbers: Product(space))
    with pytest.raises(AssertionError, match=r"breaks Model.thousand_dimensions .* shape \(1000,\) is -inf, -inf"):
        check_model(Product(Binary((4,))))


def test_every_check_has_a_fault_that_it_catches() -> None:
    caught = {check for _, _, check in FAULTS} | {"thousand_dimensions"}
    assert caught == {promise.name for promise in PROMISES}


# The instruments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
def test_the_quadrature_integrates_a_normal_density(size: int) -> None:
    middle, scale = torch.tensor([3.0, -1.0]).double()[:size], torch.tensor([0.5, 20.0]).double()[:size]
    points = lattice(Real((size,)), middle, scale)
    z = (points.x.double() - middle) / scale
    log_density = (-z.square() / 2 - scale.log() - math.log(2 * math.pi) / 2).sum(1)
    assert float((log_density + points.log_volume).exp().sum()) == pytest.approx(1, abs=1e-5)
    assert float((log_density + points.log_volume).exp() @ z[:, 0].square()) == pytest.approx(1, abs=1e-4)
    near = z.abs().amax(1) < 4  # where mass lies, rounding of the nodes to float32 moves none into another cell
    assert torch.equal(points.cell_of(points.x)[near], points.cell[near])


def test_the_lattice_keeps_what_is_known() -> None:
    space, x, known = Finite((3,), 4), torch.tensor([1, 2, 3]), torch.tensor([False, True, False])
    points = lattice(space, torch.zeros(0), torch.zeros(0), x=x, known=known)
    assert len(points.x) == 16
    assert (points.x[:, 1] == 2).all()
    assert torch.equal(points.cell_of(points.x), torch.arange(16))
    assert points.cell_of(torch.tensor([[0, 0, 0]])).tolist() == [-1]
    real = lattice(
        Real((2,)), torch.zeros(2).double(), torch.ones(2).double(), x=torch.tensor([7.0, 0.0]), known=known[1:]
    )
    assert (real.x[:, 0] == 7).all()
    assert real.x[:, 1].unique().numel() == len(real.x)


def test_agreement_has_the_p_values_of_a_chi_square_test() -> None:
    """Under the law itself p-values are uniform; a law mixed with 30 % of another is refused."""
    points = lattice(Finite((1,), 8), torch.zeros(0), torch.zeros(0))
    chances = torch.arange(1, 9).double() / 36
    law, none = Law(points, chances, torch.zeros(8).double()), torch.zeros(8).double()
    generator = torch.Generator().manual_seed(0)
    draws = [torch.multinomial(chances, 2000, replacement=True, generator=generator)[:, None] for _ in range(300)]
    p = torch.tensor([agreement(x, law).p for x in draws])
    assert 0.44 < p.mean() < 0.56
    assert 0.05 < (p < 0.1).float().mean() < 0.15
    other = Law(points, (chances + 0.3 / 8) / 1.3, none)
    assert torch.tensor([agreement(x, other).p for x in draws]).median() < 1e-3
    impossible = Law(points, torch.tensor([0.0, *[1 / 7] * 7]).double(), none)
    assert agreement(torch.zeros(1000, 1), impossible).p == 0
