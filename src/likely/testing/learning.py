"""What learning promises: gradients for every parameter, turns that keep to their player, statistics that add up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from likely.core import Density, Gradient, Marginal, Model, Statistics, Turns, _rows, _values, seeded
from likely.spaces import holds_reals
from likely.testing.basics import apart, close
from likely.testing.subject import DATA, Subject, expect, masked, promise, seeded_e_step

STREAMED = 1e-6  #: how far parameters from a stream may be from those in memory, relative to their size above 1
STREAMED_SINGLE = 1e-5  #: the same for parameters held in float32, which two passes of EM blow up to this
FALL = 1e-6  #: how far the likelihood may fall by rounding, relative to its size
_FIRST, _SECOND = slice(60), slice(60, DATA)


@promise(Gradient)
def gradients(s: Subject) -> None:
    """The loss is a finite scalar and gives every parameter a finite gradient."""
    model = s.copy().train()
    assert isinstance(model, Gradient)
    with seeded(8):
        _descend("loss", model.loss(s.x, s.cond))
    _graded("loss", dict(model.named_parameters()))


def _descend(name: str, terms: dict[str, Tensor]) -> None:
    expect("loss" in terms, f'{name} returns {", ".join(terms)}: no "loss" among them.')
    for key, term in terms.items():
        value = torch.as_tensor(term).detach()
        expect(value.numel() == 1, f"the term '{key}' of {name} is not one number.")
        expect(value.isfinite().all(), f"the term '{key}' of {name} is {float(value)}.")
    terms["loss"].backward()


def _graded(name: str, parameters: dict[str, nn.Parameter]) -> None:
    for key, parameter in parameters.items():
        if parameter.requires_grad:
            expect(parameter.grad is not None, f"{name} gives the parameter '{key}' no gradient.")
            expect(parameter.grad.isfinite().all(), f"{name} gives '{key}' a gradient that is not finite.")  # type: ignore[union-attr]


@promise(Turns)
def players(s: Subject) -> None:
    """The players hold every parameter, each of them once."""
    model = s.model
    assert isinstance(model, Turns)
    owner: dict[int, str] = {}
    for player, module in model.players.items():
        for parameter in module.parameters():
            other = owner.setdefault(id(parameter), player)
            expect(other == player, f"a parameter belongs to two players, {other} and {player}.")
    for name, parameter in model.named_parameters():
        expect(id(parameter) in owner, f"no player moves the parameter '{name}'.")
    expect(set(model.turns) == set(model.players), f"turns {tuple(model.turns)} are not those of the players.")


@promise(Turns)
def turns(s: Subject) -> None:
    """In each player's turn its own parameters get finite gradients and move, and no other parameter does."""
    assert isinstance(s.model, Turns)
    for player in s.model.players:
        model = s.copy().train()
        assert isinstance(model, Turns)
        own = {id(p) for p in model.players[player].parameters()}
        named = dict(model.named_parameters())
        mine = {name: p for name, p in named.items() if id(p) in own}
        before = {name: p.detach().clone() for name, p in named.items()}
        with seeded(8):
            _descend(f"the loss of {player}", model.loss(s.x, s.cond, player))
        _graded(f"the loss of {player}", mine)
        with torch.no_grad():
            for parameter in model.players[player].parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
        moved = {name for name, p in named.items() if not torch.equal(p, before[name])}
        expect(bool(moved), f"the turn of {player} moves nothing.")
        for name in moved - set(mine):
            raise AssertionError(f"the turn of {player} moves '{name}', which belongs to another player.")


# Learning by statistics --------------------------------------------------------------------------------------------


def _statistics(s: Subject, model: Model | None = None) -> Statistics:
    model = model or s.model
    assert isinstance(model, Statistics)
    return model


@promise(Statistics)
def additive(s: Subject) -> None:
    """The statistics of two batches add up to those of both together."""
    model, (x, cond) = _statistics(s), s.data(DATA)
    whole = seeded_e_step(model, x, cond)
    with seeded(0):  # one stream for both batches: a model that adds noise to its data adds the same
        first, second = (model.e_step(_rows(x, cut), _rows(cond, cut)) for cut in (_FIRST, _SECOND))
    expect({"count", "log_likelihood"} <= whole.keys(), f"the statistics are {', '.join(whole)}.")
    for key, value in whole.items():
        parts = first[key] + second[key]
        expect(close(value, parts, 1e-4), f"'{key}' of all data and the sum over two batches: {apart(value, parts)}.")


@promise(Statistics)
def streams(s: Subject) -> None:
    """Passes over an iterator of unequal batches give the parameters that the same passes in memory give."""
    memory, stream = (_statistics(s, s.copy()) for _ in range(2))
    x, cond = s.data(DATA)
    cuts = (slice(0, 1), slice(1, 90), slice(90, 97), slice(97, DATA))
    for _ in range(2):
        memory.m_step(seeded_e_step(memory, x, cond))
        total: dict[str, Tensor] = {}
        with seeded(0):
            for part, given in ((_rows(x, cut), _rows(cond, cut)) for cut in cuts):
                stats = stream.e_step(part, given)
                total = {key: total[key] + value for key, value in stats.items()} if total else stats
        stream.m_step(total)
    streamed = stream.state_dict()
    for name, value in memory.state_dict().items():
        other = streamed[name]
        allowed = STREAMED if value.dtype is torch.float64 else STREAMED_SINGLE
        if value.shape != other.shape or not close(*_without_equal(value, other), allowed):
            raise AssertionError(f"'{name}' in memory and from a stream: {apart(value, other)}.")


def _without_equal(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entries in which two tensors of one shape differ: the logarithm of 0 is equal to itself, not close."""
    return a[a != b], b[a != b]


@promise(Statistics)
def weights(s: Subject) -> None:
    """A weight counts a row so many times, in `count` and `log_likelihood` too; none at all is a weight of 1."""
    model, (x, cond) = _statistics(s), s.data(DATA)
    weight = torch.randint(4, (DATA,), generator=torch.Generator().manual_seed(8)).float()
    plain, unit, weighted, both = (
        seeded_e_step(model, x, cond, weight=w) for w in (None, torch.ones(DATA), weight, weight + 1)
    )
    for key, value in both.items():
        expect(close(plain[key], unit[key], 1e-6), f"'{key}' changes when every row has the weight 1.")
        parts = weighted[key] + unit[key]
        expect(close(value, parts, 1e-4), f"'{key}' with weights w + 1, and with w plus with 1: {apart(value, parts)}.")
    count = float(weighted["count"])
    expect(count == float(weight.sum()), f"the weights add up to {float(weight.sum()):g}, 'count' says {count:g}.")
    if isinstance(model, Density):
        own, exact = weighted["log_likelihood"], (weight.to(model.device) * model.log_prob(x, cond).double()).sum()
        expect(close(own, exact, 1e-4), f"'log_likelihood' and the sum of log_prob: {apart(own, exact)}.")


@promise(Statistics)
def likelihood_rises(s: Subject) -> None:
    """The likelihood of the data does not fall from one pass to the next, with missing values neither."""
    x, cond = s.data(DATA)
    masks: list[Tensor | None] = [None]
    if isinstance(s.model, Marginal):
        masks.append(torch.rand(_values(x).shape, generator=torch.Generator().manual_seed(9)) < 0.7)
    for known in masks:
        model = _statistics(s, s.copy())
        with seeded(3):
            model.start(*s.data(DATA, seed=1))
        last = -torch.inf
        for number in range(6):
            stats = seeded_e_step(model, x, cond, known=known)
            now = float(stats["log_likelihood"] / stats["count"])
            fall = last - now
            expect(
                fall <= FALL * max(1, abs(last)),
                f"pass {number} lowers the log-likelihood{'' if known is None else ' of data with missing values'} "
                f"from {last:.8f} to {now:.8f} nats per datum.",
            )
            model.m_step(stats)
            last = now


@promise(Statistics)
def closed_form(s: Subject) -> None:
    """A model with a closed form is where it stays after one pass."""
    model = _statistics(s, s.copy())
    if not model.closed_form:
        return
    x, cond = s.data(DATA)
    model.m_step(seeded_e_step(model, x, cond))
    first = {name: value.clone() for name, value in model.state_dict().items()}
    model.m_step(seeded_e_step(model, x, cond))
    for name, value in model.state_dict().items():
        expect(close(value, first[name], 1e-4), f"a second pass changes '{name}': {apart(first[name], value)}.")


@promise(Statistics, when=lambda model: isinstance(model, Marginal))
def missing(s: Subject) -> None:
    """What stands at a missing entry does not matter, and NaN means missing."""
    model, (x, cond) = _statistics(s), s.data(DATA)
    known = torch.rand(_values(x).shape, generator=torch.Generator().manual_seed(9)) < 0.7
    named = model.e_step(x, cond, known=known)
    other = masked(x, known, s.data(DATA, seed=5)[0])
    variants = {"another value": model.e_step(other, cond, known=known)}
    if holds_reals(model.space):
        variants["NaN"] = model.e_step(masked(x, known, torch.tensor(torch.nan)), cond)
    for what, stats in variants.items():
        for key, value in named.items():
            expect(close(value, stats[key], 1e-5), f"{what} at a missing entry changes '{key}'.")
