r"""A hidden Markov model: p(x) = sum over paths z of p(z_1) p(x_1 | z_1) prod_t>1 p(z_t | z_t-1) p(x_t | z_t).

A sequence is thought to be told by something that is in one of K states at a time and that moves on at random, knowing
only where it is; each step shows what the present state emits. Summing over all K^T paths takes T K^2 products. EM (the
Baum-Welch algorithm) alternates between the probability of each state at each step and the most likely chances and
emissions for these shares; no pass lowers the likelihood. Any step or entry may be missing, in scores, in learning and
in completion: it is summed out exactly.

What is emitted follows the space of a step: tables of probabilities for levels (categorical) and bits (Bernoulli), or
with `counts` the Poisson law; for reals a Gaussian, or a mixture of them. Pictures are read as sequences of rows, and
other vectors as sequences of numbers. Over `Sequence` spaces lengths have probabilities as well, so that scores add up
to 1 over sequences of every length: p(x) = p(length) p(x | length), where p(length) is the share of training sequences
of that length after one imaginary sequence is spread evenly over all lengths from 0 to the longest.

EM finds a local maximum, so another seed may give another fit; of `n_init` starts the best is taken. The model forgets:
how long it stays in a state follows a geometric law, and what it remembers of the past is one of K things, so it fails
on texts and wherever two properties must be remembered at a time.

Reference: Baum, Petrie, Soules and Weiss, A Maximization Technique Occurring in the Statistical Analysis of
Probabilistic Functions of Markov Chains, 1970, doi.org/10.1214/aoms/1177697196; Rabiner, A Tutorial on Hidden Markov
Models and Selected Applications in Speech Recognition, 1989, doi.org/10.1109/5.18626.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from likely.core import Model
from likely.errors import LikelyError, SpaceError
from likely.families import emissions
from likely.families.gaussian_emissions import Gaussians
from likely.families.hidden_learning import Learned
from likely.parts.counting import check_total
from likely.parts.recursions import Packing, Scratch
from likely.spaces import Binary, Finite, Real, Sequence, Space, accept

START_STEPS = 50_000  #: how many steps tell where to start
TRIAL_PASSES = 10  #: how many passes choose the best of several starts
PARTS = ("initial", "transition", "emission", "lengths")  #: what is learned, and what can be frozen


class HMM(Learned):
    """A hidden Markov model over sequences, or over pictures as sequences of rows.

    Arguments:
        space: what one x is: a `Sequence`, or levels, bits or reals of any shape.
        states: the number K of hidden states.
        covariance: for reals: full, tied (one for all states), diagonal or spherical.
        components: for reals, the number of Gaussians mixed in each state.
        counts: whether levels are counts, to be emitted by a Poisson law.
        floor: the smallest variance of a state, relative to the data's; for levels the smallest probability, relative
            to 1 / levels.
        frozen: names of what learning leaves alone: initial, transition, emission, lengths, separated by commas.
        n_init: how many starts are tried; the likeliest after a few passes stays.

    Raises:
        LikelyError: a number is out of range.
        SpaceError: `counts` or `components` does not go with the space.
    """

    closed_form: ClassVar[bool] = False
    completion: ClassVar[str] = "exact"
    autocast: ClassVar[bool] = False

    def __init__(
        self,
        space: Space,
        *,
        states: int = 8,
        covariance: str = "diagonal",
        components: int = 1,
        counts: bool = False,
        floor: float = 1e-3,
        frozen: str = "",
        n_init: int = 1,
    ) -> None:
        super().__init__(space)
        if min(states, components, n_init) < 1:
            raise LikelyError(
                f"states, components and n_init must be 1 or more, not {states}, {components} and {n_init}."
            )
        if not 0 < floor < 1:
            raise LikelyError(f"floor must be between 0 and 1, not {floor}.")
        self.frozen = tuple(name for name in (part.strip() for part in frozen.split(",")) if name)
        for name in self.frozen:
            if name not in PARTS:
                raise LikelyError(f"frozen names parts among {', '.join(PARTS)}, not {name!r}.")
        step = space.step if isinstance(space, Sequence) else space
        if isinstance(space, Sequence):
            self.longest, self.step_shape = space.length, step.shape
        else:
            self.longest = 1 if not space.shape else space.shape[-2 if len(space.shape) > 1 else 0]
            self.step_shape = (*space.shape[:-2], space.shape[-1]) if len(space.shape) > 1 else ()
        size = math.prod(self.step_shape)
        if isinstance(step, Real):
            if counts:
                raise SpaceError(
                    f"counts needs whole numbers: Finite or Binary, not {step}; load them with view='bytes'."
                )
            self.emission = Gaussians(states, size, components, covariance, floor)
        else:
            if components > 1:
                raise SpaceError(f"components mixes Gaussians and needs Real, not {step}.")
            assert isinstance(step, (Binary, Finite))
            table = emissions.Poisson if counts else emissions.Table
            self.emission = table(states, size, step.levels, floor)
        self.states, self.n_init = states, n_init
        self._scratch = Scratch()
        wide = torch.float64
        self.register_buffer("initial", torch.full((states,), 1 / states, dtype=wide))
        self.register_buffer("transition", _random_moves(torch.ones(states, states, dtype=wide)))
        known = self.longest + 1 if isinstance(space, Sequence) else 0
        self.register_buffer("lengths", torch.full((known,), 1 / max(known, 1), dtype=wide))

    # Learning -------------------------------------------------------------------------------------------------------

    def start(self, x: Any, cond: Tensor | None = None) -> None:
        """Take units, and clusters of steps, from these data; moves start at random, and never where they are 0.

        Of `n_init` starts the likeliest after a few passes stays.
        """
        x, known = self._observed(x)
        steps, lengths, mask = self._steps(x, known)
        packing = Packing(lengths)
        flat, seen = packing.take(steps), None if mask is None else packing.take(mask)
        if not len(flat):
            raise LikelyError(f"{self._who()} needs at least one step to start from.")
        if len(flat) > START_STEPS:
            some = torch.randperm(len(flat), device=flat.device)[:START_STEPS]
            flat, seen = flat[some], None if seen is None else seen[some]
        seen = torch.ones_like(flat, dtype=torch.bool) if seen is None else seen
        if len(self.lengths) and "lengths" not in self.frozen:
            self._set_lengths(lengths.bincount(minlength=self.longest + 1).to(self.lengths))
        first, moves = self.initial > 0, self.transition > 0
        best, kept = -math.inf, {}
        for _ in range(self.n_init):
            if "emission" not in self.frozen:
                self.emission.start(flat, seen)
            if "initial" not in self.frozen:
                self.initial = _normalised(first.double())
            if "transition" not in self.frozen:
                self.transition = _random_moves(moves.double())
            if self.n_init == 1:
                return
            for _ in range(TRIAL_PASSES):
                self.m_step(self._learned(x, known))
            score = float(self._learned(x, known)["log_likelihood"])
            if score > best:
                best, kept = score, {name: value.clone() for name, value in self.state_dict().items()}
        self.load_state_dict(kept)

    def _learned(self, x: Any, known: Tensor | None) -> dict[str, Tensor]:
        """Return the statistics of values that were checked, each counting 1."""
        _, lengths, _ = self._steps(x)
        with self._asked():
            return self._statistics(x, known, torch.ones(len(lengths), device=self.device), None)

    @torch.no_grad()
    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set what is not frozen to the most likely; a state that no step was spent in keeps what it had.

        Raises:
            LikelyError: the weights sum to 0.
        """
        check_total(stats["count"])
        if "initial" not in self.frozen and float(stats["initial"].sum()) > 0:
            self.initial = _normalised(stats["initial"])
        if "transition" not in self.frozen:
            spent = stats["transition"].sum(1, keepdim=True) > 0
            self.transition = _normalised(torch.where(spent, stats["transition"], self.transition))
        if len(self.lengths) and "lengths" not in self.frozen:
            self._set_lengths(stats["lengths"])
        if "emission" not in self.frozen and float(stats["initial"].sum()) > 0:
            self.emission.maximise(stats)

    def _set_lengths(self, counts: Tensor) -> None:
        self.lengths = _normalised(counts + 1 / len(counts))

    def set_parts(self, *, initial: Any = None, transition: Any = None, **emission: Any) -> None:
        """Set parts of the model to given numbers; with `frozen`, learning then leaves them alone.

        A transition of probability 0 stays 0 in learning, so that is how a left-to-right model is made.

        Arguments:
            initial: (K,), sums to 1.
            transition: (K, K), rows sum to 1.
            emission: for levels `probabilities` (K, *step shape, levels); for counts `rates` (K, *step shape); for
                reals `means` (K, M, *step shape), `covariances` (K, M, D, D) and `mixture` (K, M), where M may be left
                out if it is 1.

        Raises:
            LikelyError: a shape does not fit, probabilities do not sum to 1, or a covariance has no inverse.
        """
        if initial is not None:
            self.initial = _chances("initial", initial, (self.states,), self.initial)
        if transition is not None:
            self.transition = _chances("transition", transition, (self.states, self.states), self.transition)
        if not emission:
            return
        size, part = self.emission.size, self.emission
        if isinstance(part, emissions.Poisson) and set(emission) == {"rates"}:
            rates = _shaped("rates", emission["rates"], (self.states, size))
            if not bool((rates > 0).all()):
                raise LikelyError("rates must be above 0.")
            part.put(rates)
        elif type(part) is emissions.Table and set(emission) == {"probabilities"}:
            shape = (self.states, size, part.levels)
            part.put(_chances("probabilities", emission["probabilities"], shape, self.initial))
        elif isinstance(part, Gaussians) and {"means", "covariances"} <= set(emission) <= _GAUSSIAN:
            many = (self.states, part.components)
            mixture = emission.get("mixture")
            covariances = _shaped("covariances", emission["covariances"], (*many, size, size))
            if not bool((torch.linalg.cholesky_ex(covariances.double()).info == 0).all()):
                raise LikelyError("covariances must be symmetric and positive definite.")
            part.put(
                _shaped("means", emission["means"], (*many, size)),
                covariances,
                None if mixture is None else _chances("mixture", mixture, many, self.initial),
            )
        else:
            raise LikelyError(f"{', '.join(emission)} cannot be set: see what `set_parts` takes for {self.space}.")

    # Choosing among models ------------------------------------------------------------------------------------------

    @property
    def free_parameters(self) -> int:
        """How many numbers learning may choose: a zero among the chances stays zero and is not counted.

        The law of lengths is the same for every number of states, and is not counted either.
        """
        free = 0
        if "initial" not in self.frozen:
            free += int((self.initial > 0).sum()) - 1
        if "transition" not in self.frozen:
            free += int((self.transition > 0).sum()) - self.states
        return free + (0 if "emission" in self.frozen else self.emission.free_parameters)

    def aic(self, x: Any) -> float:
        """Return Akaike's criterion 2 p - 2 log p(x) for p free parameters: lower is better; NaN is summed out."""
        return 2 * self.free_parameters - 2 * self._total(x)[0]

    def bic(self, x: Any) -> float:
        """Return the Bayesian criterion p log n - 2 log p(x), where n counts steps: lower is better; NaN is summed out.

        Raises:
            SpaceError: x is not of the space.
        """
        total, steps = self._total(x)
        return self.free_parameters * math.log(max(steps, 1)) - 2 * total

    def _total(self, x: Any) -> tuple[float, int]:
        """Return log p(x) of all sequences together, and how many steps they have."""
        x, known = self._observed(x)
        _, lengths, _ = self._steps(x)
        with self._asked():
            return float(self._score(x, known).double().sum()), int(lengths.sum())


_GAUSSIAN = {"means", "covariances", "mixture"}


def _normalised(chances: Tensor) -> Tensor:
    return chances / chances.sum(-1, keepdim=True)


def _random_moves(allowed: Tensor) -> Tensor:
    """Return random chances of the moves that are allowed, none of them small."""
    return _normalised(allowed * (1 + torch.rand(allowed.shape, dtype=torch.float64).to(allowed.device)))


def _shaped(name: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    try:
        value = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LikelyError(f"{name} cannot be read as an array of numbers ({error}); expected {shape}.") from None
    if value.numel() != math.prod(shape) or not value.dim() or len(value) != shape[0]:
        raise LikelyError(f"{name} has shape {tuple(value.shape)}, expected {shape}.")
    if not bool(value.isfinite().all()):
        raise LikelyError(f"{name} must be finite numbers.")
    return value.reshape(shape)


def _chances(name: str, value: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
    value = _shaped(name, value, shape).to(like)
    total = value.sum(-1)
    if not bool((value >= 0).all()) or not bool(((total - 1).abs() < 1e-6).all()):
        worst = float(total.flatten()[(total - 1).abs().argmax()])
        raise LikelyError(f"{name} must be 0 or more and sum to 1; there is a sum of {worst:g}.")
    return _normalised(value)


def build(
    space: Space,
    *,
    states: int = 8,
    covariance: str = "diagonal",
    components: int = 1,
    counts: bool = False,
    floor: float = 1e-3,
    frozen: str = "",
    n_init: int = 1,
) -> Model:
    """Return a hidden Markov model over sequences, or over pictures as sequences of rows.

    Arguments:
        states: the number of hidden states.
        covariance: for reals, full, tied (one for all states), diagonal or spherical.
        components: for reals, the number of Gaussians mixed in each state.
        counts: whether levels are counts, to be emitted by a Poisson law.
        floor: the smallest variance of a state, as a fraction of the data's; for levels the smallest probability, as a
            fraction of 1 / levels.
        frozen: what learning leaves alone, of initial, transition, emission and lengths, separated by commas.
        n_init: how many starts are tried; the likeliest after a few passes stays.
    """
    accept(space, Sequence, Binary, Finite, Real, model="hmm")
    if isinstance(space, Sequence):
        accept(space.step, Binary, Finite, Real, model="hmm")
    return HMM(
        space,
        states=states,
        covariance=covariance,
        components=components,
        counts=counts,
        floor=floor,
        frozen=frozen,
        n_init=n_init,
    )


TINY = (
    {"space": Sequence(step=Finite((), 2), length=3), "states": 2},
    {"space": Sequence(step=Binary((2,)), length=2), "states": 3},
    {"space": Sequence(step=Finite((), 4), length=3), "states": 2, "counts": True},
    {"space": Sequence(step=Real((2,)), length=4), "states": 2, "covariance": "full"},
    {"space": Binary((1, 3, 2)), "states": 2},
    {"space": Finite((3,), 4), "states": 2, "frozen": "initial", "n_init": 2},
    {"space": Real((2,)), "states": 2, "covariance": "spherical"},
    {"space": Real((1, 1, 2)), "states": 2, "covariance": "full", "components": 2},
    {"space": Real((2, 1)), "states": 3, "covariance": "tied"},
)

PRESETS = {
    "digits": {"states": 32, "floor": 0.01, "passes": 50},
    "mnist": {"states": 64, "floor": 0.01, "passes": 30},
    "binarized-mnist": {"states": 128, "floor": 0.01, "passes": 50},
}
