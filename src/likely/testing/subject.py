"""What a check is asked about: a model in a generic position, data of its space, and the law it claims to follow."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from likely.core import (
    Bijective,
    Bounded,
    Completer,
    Density,
    Energy,
    Gradient,
    Latent,
    Marginal,
    Model,
    Statistics,
    Turns,
    Weighted,
    _move,
    _values,
    _with_values,
    seeded,
)
from likely.spaces import Real, Sequence, Space
from likely.testing.oracle import NODES, Lattice, Law, Nodes, enumerable, flat, lattice

DATA = 200  #: how many data a model learns from here
ROWS = 16  #: how many data the cheap checks look at
DRAWS = 4000  #: how many samples a law is compared with
WEIGHTS = 40_000  #: how many importance weights a law is estimated from


@dataclass(frozen=True)
class Promise:
    """One check: the ability that makes the promise, the promise in words, and the test of it."""

    ability: Any  #: the abstract class
    name: str
    says: str
    when: Callable[[Model], bool]
    test: Callable[[Subject], None]


PROMISES: list[Promise] = []  #: every check there is, in the order in which the modules define them


def promise(
    ability: Any, when: Callable[[Model], bool] = lambda model: True
) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Register a function as the check of an ability's promise; its docstring is the promise in one line."""

    def register(test: Callable[[Subject], None]) -> Callable[[Subject], None]:
        says = " ".join((test.__doc__ or "").split())
        PROMISES.append(Promise(ability, test.__name__, says, when, test))
        return test

    return register


def expect(holds: bool | Tensor, message: str) -> None:
    """Raise AssertionError with the message unless it holds (unlike `assert`, also under `python -O`)."""
    if not bool(holds):
        raise AssertionError(message)


def summable(model: Model) -> bool:
    """Whether the model's whole law can be summed up: few points, or reals of one or two dimensions."""
    return enumerable(model.space) or (type(model.space) is Real and 1 <= model.space.size <= 2)


class Subject:
    """A model brought to a generic position, so that no zero-initialised layer hides a fault.

    Arguments:
        model: the model; it is copied, and the original stays as it was.
        label: what to call it in messages.
    """

    def __init__(self, model: Model, label: str) -> None:
        self.initial = copy.deepcopy(model)
        self.label = label

    @cached_property
    def model(self) -> Model:
        """The model, started on data, moved away from its initial weights, in evaluation mode."""
        for seed in range(1, 9):
            model = self._moved(seed)
            drawn = model.sample(4 * ROWS, seed=0)
            # A generator of bits may land where it says the same whatever its noise: then move it elsewhere.
            if isinstance(drawn, tuple) or bool((drawn != drawn[:1]).any()):
                break
        return model

    def _moved(self, seed: int) -> Model:
        model = copy.deepcopy(self.initial)
        x, cond = self.data(DATA)
        with seeded(seed):
            model.start(x, cond)
            if isinstance(model, Statistics):
                for _ in range(4):
                    model.m_step(model.e_step(x, cond))
            if isinstance(model, (Gradient, Turns)):
                perturb(model)
            if isinstance(model, Gradient) and isinstance(model, Bounded):
                descend(model, x, cond)
        return model.eval()

    def copy(self) -> Model:
        """Return a copy of the model, for a check that changes it."""
        return copy.deepcopy(self.model)

    def data(self, n: int, seed: int = 0) -> tuple[Any, Any]:
        """Return n data that have something to learn, and their conditions, on the model's device."""
        space, cond_space, device = self.initial.space, self.initial.cond_space, self.initial.device
        generator = torch.Generator().manual_seed(seed)
        cond = None if cond_space is None else cond_space.random(n, generator)
        x = structured(space, n, generator, cond)
        return _move(x, device), None if cond is None else _move(cond, device)

    @cached_property
    def x(self) -> Any:
        """A few data: half of them structured, half arbitrary points of the space; `cond` belongs to them."""
        x, _ = self.data(ROWS)
        other = _move(self.initial.space.random(ROWS, torch.Generator().manual_seed(2)), self.initial.device)
        if isinstance(x, tuple):
            return x
        return torch.cat([x[: ROWS // 2], other[ROWS // 2 :]])

    @cached_property
    def cond(self) -> Any:
        return self.data(ROWS)[1]

    @cached_property
    def known(self) -> Tensor:
        """A mask over `x`, some of whose rows are all known and some not at all."""
        known = torch.rand(_values(self.x).shape, generator=torch.Generator().manual_seed(3)) < 0.5
        known[0], known[1] = True, False
        return known.to(self.model.device)

    @cached_property
    def conditions(self) -> list[Tensor | None]:
        """A few values of the condition: all where there are at most three; [None] for an unconditional model."""
        space = self.model.cond_space
        if space is None:
            return [None]
        if isinstance(space, Sequence):
            return []
        few = enumerable(space) and (space.points or 0) <= 3
        return list(space.enumerate() if few else space.random(2, torch.Generator().manual_seed(4)))

    # Every question that the model answers ---------------------------------------------------------------------

    def scores(self) -> dict[str, Callable[[Any, Any, int], Tensor]]:
        """Return name -> function of (x, cond, seed) for each score (B,) that the model gives."""
        model, found = self.model, {}
        if isinstance(model, Density):
            found["log_prob"] = lambda x, cond, seed: model.log_prob(x, cond)
        if isinstance(model, Bounded):
            found["elbo"] = lambda x, cond, seed: model.elbo(x, cond, seed=seed)
        if isinstance(model, Weighted):
            found["log_weight"] = lambda x, cond, seed: model.log_weight(x, cond, seed=seed)
            found["iwelbo"] = lambda x, cond, seed: model.iwelbo(x, 3, cond, seed=seed)
        if isinstance(model, Energy):
            found["energy"] = lambda x, cond, seed: model.energy(x, cond)
        return found

    def questions(self) -> dict[str, Callable[[Any, Any, int], Any]]:
        """Return name -> function of (x, cond, seed) for each public method that takes data."""
        model, found = self.model, dict[str, Callable[[Any, Any, int], Any]](self.scores())
        if isinstance(model, Marginal):
            found["log_marginal"] = lambda x, cond, seed: model.log_marginal(x, self.known, cond)
        if isinstance(model, Latent):
            found["encode"] = lambda x, cond, seed: model.encode(x, cond)
            found["decode"] = lambda x, cond, seed: model.decode(model.encode(x, cond), cond)
        if isinstance(model, Bijective):
            found["encode_and_log_det"] = lambda x, cond, seed: model.encode_and_log_det(x, cond)
        if isinstance(model, Completer):
            found["complete"] = lambda x, cond, seed: model.complete(x, self.known, cond, seed=seed)
        if isinstance(model, Statistics):
            found["e_step"] = lambda x, cond, seed: seeded_e_step(model, x, cond, seed=seed)
        return found

    def answers(self, seed: int = 0) -> Iterator[tuple[str, Any]]:
        """Ask everything once; yield name and answer."""
        yield "sample", self.model.sample(ROWS, self.cond, seed=seed)
        for name, ask in self.questions().items():
            yield name, ask(self.x, self.cond, seed)
        if isinstance(self.model, Energy):
            first = None if self.cond is None else self.cond[0]
            yield "log_partition", self.model.log_partition(first, seed=seed)

    # The law that the model claims -----------------------------------------------------------------------------

    def lattice(
        self, condition: Tensor | None, x: Any = None, known: Tensor | None = None, nodes: Nodes = NODES
    ) -> Lattice:
        """Return the points over which the law given a condition is summed; entries that are known stay at x."""
        return lattice(self.model.space, *self._spread(condition), x=x, known=known, nodes=nodes)

    def _spread(self, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return where the samples lie and how far they scatter, both (size,)."""
        if not isinstance(self.model.space, Real):
            return torch.zeros(0), torch.zeros(0)
        x = flat(self.drawn(condition)).double()
        low, middle, high = torch.quantile(x, torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64), dim=0)
        return middle, ((high - low) / 2).clamp(min=1e-3)

    def drawn(self, condition: Tensor | None) -> Any:
        """Return `DRAWS` samples given a condition; drawn once."""
        return self.once("drawn", condition, lambda s, c: s.model.sample(DRAWS, c, seed=11))

    def law(self, condition: Tensor | None) -> Law:
        """Return the probability that the model's score gives each point of the lattice; computed once."""
        return self.once("law", condition, lambda s, c: s.law_on(s.lattice(c), c))

    def law_on(self, points: Lattice, condition: Tensor | None) -> Law:
        """Return the probability (with the volume of each point counted in) and its variance, both (P,)."""
        model = self.model
        if isinstance(model, Density):
            log_prob = model.log_prob(points.x, condition).double().cpu() + points.log_volume
            return Law(points, log_prob.exp(), torch.zeros_like(log_prob))
        if isinstance(model, Energy):
            log_prob = (points.log_volume - model.energy(points.x, condition).double().cpu()).log_softmax(0)
            return Law(points, log_prob.exp(), torch.zeros_like(log_prob))
        assert isinstance(model, Weighted)
        return self.estimate(points, lambda x: model.log_weight(x, condition, seed=12))

    def estimate(self, points: Lattice, log_weight: Callable[[Tensor], Tensor]) -> Law:
        """Return the mean of exp log_weight at each point, and the variance of that mean."""
        k = max(2, WEIGHTS // len(points.x)) if enumerable(self.model.space) else 1
        many = points.x.repeat_interleave(k, 0)
        weights = (log_weight(many).double().cpu().reshape(-1, k) + points.log_volume[:, None]).exp()
        # A single draw per node of a quadrature: its square is an upper bound on its variance, on average.
        variance = weights.var(1) / k if k > 1 else weights[:, 0].square()
        return Law(points, weights.mean(1), variance)

    def once(self, what: str, condition: Tensor | None, compute: Callable[[Subject, Tensor | None], Any]) -> Any:
        """Return what is expensive and used by several checks: computed at the first call."""
        known: dict[tuple[str, str], Any] = self.__dict__.setdefault("_computed", {})
        key = (what, "" if condition is None else str(condition.tolist()))
        if key not in known:
            known[key] = compute(self, condition)
        return known[key]


def one(x: Any, row: int) -> Any:
    """Return one value of a batch, without the batch's dimension."""
    return type(x)(*(part[row] for part in x)) if isinstance(x, tuple) else x[row]


def repeated(x: Any, n: int) -> Any:
    """Return a batch that holds one value n times."""
    return type(x)(*(repeated(part, n) for part in x)) if isinstance(x, tuple) else x.expand(n, *x.shape)


def masked(x: Any, known: Tensor, other: Any) -> Any:
    """Return a batch whose entries that are not known are those of another, or a number."""
    values, other = _values(x), _values(other)
    return _with_values(x, torch.where(known.to(values.device), values, other.to(values.device)))


def structured(space: Space, n: int, generator: torch.Generator, cond: Any = None) -> Any:
    """Draw n points that have something to learn: noisy copies of three prototypes, chosen by cond where there is one.

    Reals get noise that is correlated between entries; discrete entries are replaced by arbitrary ones, one in four.
    """
    if isinstance(space, Sequence):
        x = space.random(n, generator)
        for t in range(1, space.length):  # three steps in four repeat the one before
            keep = (torch.rand(n, generator=generator) < 0.75) & (t < x.lengths)
            x.values[keep, t] = x.values[keep, t - 1]
        return x
    which = torch.randint(3, (n,), generator=generator)
    if isinstance(cond, Tensor):
        which = cond.reshape(n, -1).double().sum(1).abs().ceil().long() % 3
    if isinstance(space, Real):
        prototypes = 2 * torch.randn((3, space.size), generator=generator)
        mixing = torch.randn((space.size, space.size), generator=generator) / math.sqrt(space.size)
        noise = 0.7 * torch.randn((n, space.size), generator=generator) @ mixing
        noise = noise + 0.3 * torch.randn((n, space.size), generator=generator)
        return (prototypes[which] + noise).reshape(n, *space.shape)
    prototypes = space.random(3, generator)
    keep = torch.rand((n, *space.shape), generator=generator) < 0.75
    return torch.where(keep, prototypes[which], space.random(n, generator))


@torch.no_grad()
def perturb(model: Model) -> None:
    """Add noise to every parameter: about as large as a usual initialisation, so that zeros become ordinary values."""
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        scale = 0.8 / math.sqrt(fan_in) if parameter.dim() > 1 else 0.3
        parameter.add_(scale * torch.randn_like(parameter))


def descend(model: Gradient, x: Any, cond: Any) -> None:
    """Take some steps down the loss: a posterior far from the right one makes importance weights too noisy to judge.

    Each parameter moves by a fixed length against the sign of its gradient, the limit of Adam without memory.
    """
    for _ in range(40):
        model.zero_grad()
        model.loss(x, cond)["loss"].backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.02 * parameter.grad.sign()
    model.zero_grad()


def seeded_e_step(model: Statistics, x: Any, cond: Any = None, *, seed: int = 0, **given: Any) -> dict[str, Tensor]:
    """Take statistics on a random stream of their own: like a loss, `e_step` draws from the loop's, where it draws."""
    with seeded(seed):
        return model.e_step(x, cond, **given)
