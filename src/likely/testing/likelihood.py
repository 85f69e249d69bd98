"""What a score promises: it is normalised, the sampler agrees with it, and a bound stays below."""

from __future__ import annotations

import torch
from torch import Tensor

from likely.core import Bounded, Density, Energy, Marginal, Model, Weighted, _values
from likely.spaces import Ragged, Real, holds_reals
from likely.testing.basics import apart, close
from likely.testing.oracle import FEW_NODES, Agreement, Lattice, Law, agreement, enumerable, flat
from likely.testing.subject import DRAWS, ROWS, Subject, expect, masked, one, promise, repeated, summable

CHANCE = 1e-5  #: a p-value below this is a broken promise
SIGMAS = 5.0  #: so many standard errors as well


def _scored(model: Model) -> bool:
    return summable(model) and isinstance(model, (Density, Weighted))


def _given(condition: Tensor | None) -> str:
    return "" if condition is None else f" given {condition.tolist()}"


@promise(Density, when=summable)
def normalised(s: Subject) -> None:
    """The probabilities of the whole space add up to 1."""
    for condition in s.conditions:
        total = s.law(condition).total
        tolerance = 1e-4 if enumerable(s.model.space) else 5e-3
        expect(abs(total - 1) < tolerance, f"exp(log_prob) adds up to {total:.6f}{_given(condition)}.")


@promise(Model, when=_scored)
def sampler_agrees(s: Subject) -> None:
    """Samples are as frequent as the score says."""
    for condition in s.conditions:
        law = s.law(condition)
        expect(
            law.error < 0.1 * law.total,
            f"the sum of the estimated law is {law.total:.3f} +- {law.error:.3f}: too noisy.",
        )
        found = agreement(s.drawn(condition), law)
        expect(found.p > CHANCE, f"of {DRAWS} samples{_given(condition)} {found}.")


@promise(Density, when=lambda model: isinstance(model.space, Real))
def input_gradient(s: Subject) -> None:
    """The gradient of log_prob with respect to x is the slope that small steps find."""
    model = s.copy().double()
    assert isinstance(model, Density)
    x = s.x.double().requires_grad_()
    (slope,) = torch.autograd.grad(model.log_prob(x, s.cond).sum(), x)
    expect(slope.isfinite().all(), "the gradient of log_prob with respect to x is not finite.")
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        ahead, behind = (model.log_prob(x + step * direction, s.cond) for step in (1e-5, -1e-5))
    measured, stated = (ahead - behind) / 2e-5, flat(slope * direction).sum(1)
    expect(close(stated, measured, 1e-3), f"the slope of log_prob, stated and measured: {apart(stated, measured)}.")


# Marginals ---------------------------------------------------------------------------------------------------------


@promise(Marginal)
def marginal_ends(s: Subject) -> None:
    """With everything known log_marginal is log_prob, with nothing known it is 0, and NaN means not known.

    How long a sequence is counts as known: with nothing else known the score is that of its length.
    """
    model = s.model
    assert isinstance(model, Marginal)
    every = torch.ones(_values(s.x).shape, dtype=torch.bool)
    whole, plain = model.log_marginal(s.x, every, s.cond), model.log_prob(s.x, s.cond)
    expect(close(whole, plain, 1e-5), f"log_marginal of everything and log_prob: {apart(whole, plain)}.")
    nothing = model.log_marginal(s.x, ~every, s.cond)
    if isinstance(s.x, Ragged):
        same_length = torch.stack([nothing[s.x.lengths == n].mean() for n in s.x.lengths])
        expect(close(nothing, same_length, 1e-5), "log_marginal of nothing differs between sequences of one length.")
    else:
        expect(close(nothing, torch.zeros_like(nothing), 1e-5), f"log_marginal of nothing is {float(nothing[0]):.6g}.")
    if holds_reals(model.space):
        partial = model.log_prob(masked(s.x, s.known, torch.tensor(torch.nan)), s.cond)
        named = model.log_marginal(s.x, s.known, s.cond)
        expect(close(partial, named, 1e-5), f"log_prob of x with NaN and log_marginal: {apart(partial, named)}.")


@promise(Marginal, when=summable)
def marginals(s: Subject) -> None:
    """log_marginal is log_prob summed, or integrated, over what is not known."""
    model = s.model
    assert isinstance(model, Marginal)
    tolerance = 1e-4 if enumerable(model.space) else 5e-3
    for row in range(2, 8):  # rows 0 and 1 are all known and not at all known
        condition = None if s.cond is None else s.cond[row]
        x, known = one(s.x, row), s.known[row]
        if bool(known.all()):
            continue
        points = s.lattice(condition, x, known)
        exact = (model.log_prob(points.x, condition).double().cpu() + points.log_volume).logsumexp(0)
        own = model.log_marginal(repeated(x, 1), known[None], condition)[0]
        expect(
            close(own.cpu(), exact, tolerance),
            f"log_marginal is {float(own):.6g}, the sum over the unknown entries {float(exact):.6g}.",
        )


# Bounds ------------------------------------------------------------------------------------------------------------


def _total(law: Law, what: str, condition: Tensor | None) -> None:
    slack = SIGMAS * law.error + (1e-4 if law.lattice.cells == len(law.lattice.x) else 5e-3)
    expect(law.error < 0.1, f"the sum of E[exp {what}] is {law.total:.3f} +- {law.error:.3f}: too noisy to judge.")
    expect(
        abs(law.total - 1) < slack,
        f"E[exp {what}]{_given(condition)} adds up to {law.total:.4f} +- {law.error:.4f}, not 1.",
    )


@promise(Weighted, when=summable)
def weights_normalised(s: Subject) -> None:
    """The importance weights' expectations, E[exp log_weight(x)] = p(x), add up to 1 over the space."""
    model = s.model
    assert isinstance(model, Weighted)
    for condition in s.conditions:
        points = s.lattice(condition)
        _total(s.estimate(points, lambda x: model.log_weight(x, condition, seed=12)), "log_weight", condition)  # noqa: B023


@promise(Weighted, when=summable)
def iwelbo_normalised(s: Subject) -> None:
    """E[exp iwelbo(x, k)] = p(x) for every k: only single-sample weights are averaged."""
    model = s.model
    assert isinstance(model, Weighted)
    condition = s.conditions[0]
    law = s.estimate(s.lattice(condition), lambda x: model.iwelbo(x, 3, condition, seed=13))
    _total(law, "iwelbo", condition)


@promise(Weighted)
def iwelbo_grows(s: Subject) -> None:
    """The importance-weighted bound grows with k, on average."""
    model = s.model
    assert isinstance(model, Weighted)
    times = 64
    x = s.x.repeat_interleave(times, 0)
    cond = None if s.cond is None else s.cond.repeat_interleave(times, 0)
    few, many = (model.iwelbo(x, k, cond, seed=k).double().reshape(ROWS, times) for k in (1, 8))
    gain = float((many - few).mean())
    error = float(((many.var(1) + few.var(1)) / times).sum().sqrt() / ROWS)
    expect(gain > -SIGMAS * error - 1e-4, f"iwelbo with k = 8 is {-gain:.4f} +- {error:.4f} below that with k = 1.")


def _mean_elbo(s: Subject, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean of elbo at each row, and its standard error, both (B,)."""
    model = s.model
    assert isinstance(model, Bounded)
    times = max(8, DRAWS // len(x))
    drawn = model.elbo(x.repeat_interleave(times, 0), condition, seed=14).double().cpu().reshape(-1, times)
    return drawn.mean(1), drawn.std(1) / times**0.5


@promise(Bounded, when=_scored)
def elbo_is_below(s: Subject) -> None:
    """The expected elbo is not above log p(x), at any point of the space."""
    for condition in s.conditions:
        law = s.law(condition)
        some = torch.randperm(len(law.lattice.x), generator=torch.Generator().manual_seed(3))[:500]
        bound, error = _mean_elbo(s, law.lattice.x[some], condition)
        if not enumerable(s.model.space):
            exact, spread = _pointwise(s, law.lattice.x[some], condition)
        else:
            exact, spread = law.probability[some].log(), law.variance[some].sqrt() / law.probability[some]
        # The logarithm of an estimate lies low by half its relative variance.
        slack = 6 * (error.square() + spread.square()).sqrt() + spread.square() + 1e-4
        worst = int((bound - exact - slack).argmax())
        expect(
            bound[worst] < exact[worst] + slack[worst],
            f"E[elbo] is {bound[worst]:.4f} +- {error[worst]:.4f}{_given(condition)} where log p is "
            f"{exact[worst]:.4f} +- {spread[worst]:.4f}.",
        )


def _pointwise(s: Subject, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return log p at each row of real data, and its standard error, both (B,)."""
    model = s.model
    if isinstance(model, Density):
        exact = model.log_prob(x, condition).double().cpu()
        return exact, torch.zeros_like(exact)
    assert isinstance(model, Weighted)
    times = 64
    drawn = model.log_weight(x.repeat_interleave(times, 0), condition, seed=15).double().cpu().reshape(-1, times)
    relative = (drawn - drawn.logsumexp(1, keepdim=True)).exp().std(1) * times**0.5
    return drawn.logsumexp(1) - torch.tensor(float(times)).log(), relative


def _only_bounded(model: Model) -> bool:
    return summable(model) and not isinstance(model, (Density, Weighted))


def _promised(s: Subject, condition: Tensor | None) -> tuple[Lattice, Tensor, Tensor, float]:
    """Return the space's cells, the probability exp(E[elbo]) that is promised to each, its standard error, a slack.

    The slack is for quadrature, and for the exponential of a noisy mean, which lies high by half its variance.
    """
    points = s.lattice(condition, nodes=FEW_NODES)
    bound, error = _mean_elbo(s, points.x, condition)
    chance = (bound + points.log_volume).exp()
    sums = torch.zeros(2, points.cells, dtype=torch.float64)
    sums.index_add_(1, points.cell, torch.stack([chance, (chance * error).square()]))
    slack = float((chance * error.square()).sum()) + (1e-4 if enumerable(s.model.space) else 2e-2)
    return points, sums[0], sums[1].sqrt(), slack


@promise(Bounded, when=_only_bounded)
def bound_adds_up_below_one(s: Subject) -> None:
    """exp(E[elbo]) adds up to at most 1 over the space, as a bound on probabilities must."""
    for condition in s.conditions:
        _, promised, error, slack = s.once("promised", condition, _promised)
        total, noise = float(promised.sum()), float(error.square().sum().sqrt())
        expect(
            total < 1 + SIGMAS * noise + slack,
            f"exp(E[elbo]){_given(condition)} adds up to {total:.4f} +- {noise:.4f}, above 1.",
        )


@promise(Bounded, when=_only_bounded)
def sampler_keeps_bound(s: Subject) -> None:
    """Nothing is drawn less often than its bound promises."""
    for condition in s.conditions:
        points, promised, error, slack = s.once("promised", condition, _promised)
        cell = points.cell_of(s.drawn(condition))
        share = torch.bincount(cell, minlength=points.cells).double() / DRAWS
        allowed = 6 * (error.square() + promised / DRAWS).sqrt() + slack * promised + 1e-3
        worst = int((promised - share - allowed).argmax())
        expect(
            promised[worst] < share[worst] + allowed[worst],
            f"a cell was drawn with frequency {share[worst]:.4f}{_given(condition)}, its bound promises at least "
            f"{promised[worst]:.4f} +- {error[worst]:.4f}.",
        )


# Energies ----------------------------------------------------------------------------------------------------------


@promise(Energy, when=summable)
def partition(s: Subject) -> None:
    """log_partition is log Z, within the error that it states."""
    model = s.model
    assert isinstance(model, Energy)
    for condition in s.conditions:
        points = s.lattice(condition)
        exact = float((points.log_volume - model.energy(points.x, condition).double().cpu()).logsumexp(0))
        value, error = (float(part) for part in model.log_partition(condition, seed=0))
        expect(0 <= error < 1, f"the error of log_partition is {error:.4g}.")
        expect(
            abs(value - exact) < SIGMAS * error + 1e-3,
            f"log_partition is {value:.4f} +- {error:.4f}{_given(condition)}, log Z by enumeration {exact:.4f}.",
        )


@promise(Energy, when=lambda model: summable(model) and not isinstance(model, (Density, Weighted)))
def chain_agrees(s: Subject) -> None:
    """The chain's samples follow exp(-energy) / Z, as far as samples of a chain can."""
    for condition in s.conditions:
        found: Agreement = agreement(s.drawn(condition), s.law(condition))
        expect(found.distance < 2 * found.noise + 0.03, f"of {DRAWS} samples{_given(condition)} {found}.")
