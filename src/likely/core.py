"""What a model can do: the abilities.

An ability is an abstract base class with one promise. A model has it by inheriting it, never by a flag or a method
that raises. The public method checks its arguments against the space, takes care of the seed and of evaluation mode,
and calls an underscored twin, which is pure mathematics. *The method's name is the guarantee*: `log_prob` is exact and
normalised, `elbo` and `iwelbo` are lower bounds, an `energy` lacks its normaliser, and a model with none of them says
nothing about likelihood. All scores are in nats per datum of the data's own units, shape (B,).
"""

from __future__ import annotations

import inspect
import itertools
import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn

from likely.errors import LikelyError, SpaceError, check_plain, unknown
from likely.parts.counting import counts_of
from likely.spaces import Ragged, Real, Space, batches, holds_reals


@contextmanager
def seeded(seed: int | None, device: torch.device | None = None) -> Iterator[None]:
    """Run a block on a random stream of its own; the global stream is untouched. `None` takes a fresh seed."""
    if seed is not None and not (isinstance(seed, int) and 0 <= seed < 2**63):
        raise LikelyError(f"seed must be a whole number from 0 to 2^63 - 1, or None, not {seed!r}.")
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(secrets.randbits(62) if seed is None else seed)
        yield


_told: ContextVar[Callable[[int], None]] = ContextVar("told", default=lambda rows: None)


@contextmanager
def watched(rows: int, tell: Callable[[float], None]) -> Iterator[None]:
    """Tell within a block which share of so many rows models have drawn or answered for, after each run of rows.

    Arguments:
        rows: of how many rows all are.
        tell: is told the share, 0 to 1.

    Example:
        >>> import likely
        >>> shares = []
        >>> with watched(3000, shares.append):
        ...     x = likely.build("bernoulli", likely.Binary((2,))).sample(3000, seed=0)
        >>> shares[-1]
        1.0
    """
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        tell(min(1.0, done / max(rows, 1)))

    before = _told.set(count)
    try:
        yield
    finally:
        _told.reset(before)


class Estimate(NamedTuple):
    """A number that was estimated by simulation, with the standard error of that estimate."""

    value: Tensor
    error: Tensor


class Model(nn.Module, ABC):
    """A distribution over a declared space, which can at least be sampled.

    Arguments:
        space: what one x is.
        cond: the space of what is given (labels, captions), or None for an unconditional model.
    """

    rows_at_once: ClassVar[int] = 1000  #: how many rows one pass of a public method takes: bounds memory
    autocast: ClassVar[bool] = True  #: whether training in bfloat16 keeps the contract (nets: yes; statistics: no)
    channels_last: ClassVar[bool] = False  #: whether training pays in channels-last memory (convolutions + batch norm)

    compiles: ClassVar[bool] = True  #: whether torch.compile can take the loss (not where shapes depend on the data)

    #: set by `registry.build`: the file name and the plain numbers this model is rebuilt from
    name: str = ""
    numbers: dict[str, Any]

    def __init__(self, space: Space, cond: Space | None = None) -> None:
        super().__init__()
        self.space = space
        self.cond_space = cond
        self.numbers = {}

    @property
    def device(self) -> torch.device:
        """Where the model's numbers live."""
        tensor = next(itertools.chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    @final
    def sample(self, n: int, cond: Any = None, *, seed: int | None = None, **options: Any) -> Any:
        """Draw n values of the space, (n, *shape).

        Arguments:
            n: how many, 0 or more.
            cond: what is given: one value for all, or one per sample, (n, ...). A conditional model without it draws
                the condition uniformly.
            seed: the same seed gives the same bytes; None draws a fresh one. The global random state is untouched.
            options: the model's own sampling options (a solver and its steps, a temperature).

        Raises:
            SpaceError: `cond` is not of the model's condition space.
            UnknownName: the model has no such sampling option.
            LikelyError: n is negative, an option is of another type than the model says, or the drawn values left the
                space (numbers overflowed: training diverged).
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise LikelyError(f"n must be a whole number, 0 or more, not {n!r}.")
        known = self._sampling_options()
        for name, value in options.items():
            if name not in known:
                raise unknown(f"sampling option of {self._who()}", name, known)
            check_plain(name, value, known[name])
        with self._asked(seed):
            cond = self._conds(cond, n, draw=True)
            parts = [
                self._kept(self._sample(cut.stop - cut.start, _rows(cond, cut), **options))
                for cut in batches(n, self.rows_at_once)
            ] or [self._kept(self.space.random(0))]
        return _join(parts)

    def _kept(self, drawn: Any) -> Any:
        """Return what was drawn in the type that the space keeps it in."""
        if isinstance(drawn, Tensor):
            if not self.space.contains(drawn):
                raise LikelyError(f"{self._who()} drew values outside {self.space}: did its training diverge?")
            drawn = self.space._cast(drawn)
        _told.get()(_count(drawn))
        return drawn

    @abstractmethod
    def _sample(self, n: int, cond: Tensor | None) -> Any:
        """Draw n values of the space."""

    def start(self, x: Any, cond: Tensor | None = None) -> None:
        """Set, before training, what comes from the data: scales, biases, first centres. By default nothing."""

    # What the public methods share ---------------------------------------------------------------------------------

    def _sampling_options(self) -> dict[str, str]:
        """Return name -> annotation of the options that `_sample` takes."""
        parameters = inspect.signature(self._sample).parameters.values()
        return {
            p.name: inspect.formatannotation(p.annotation).strip("'") for p in parameters if p.kind is p.KEYWORD_ONLY
        }

    def _who(self) -> str:
        return self.name or type(self).__name__

    @contextmanager
    def _asked(self, seed: int | None = None, *, grad: bool = False) -> Iterator[None]:
        """Answer a question: own random stream, evaluation mode, and gradients only where x asks for them."""
        with seeded(seed, self.device), self._evaluating(grad=grad):
            yield

    @contextmanager
    def _evaluating(self, *, grad: bool = False) -> Iterator[None]:
        """Run a block in evaluation mode."""
        training = self.training
        self.eval()
        try:
            with torch.set_grad_enabled(grad):
                yield
        finally:
            self.train(training)

    def _conds(self, cond: Any, n: int, *, draw: bool = False) -> Any:
        """Return the conditions of n rows, checked; one value is repeated n times."""
        if self.cond_space is None:
            if cond is not None:
                raise SpaceError(f"{self._who()} is not conditional: it takes no cond. Fit it with `--cond label`.")
            return None
        if cond is None:
            if not draw:
                raise SpaceError(f"{self._who()} is conditional: give cond, one point of {self.cond_space} per row.")
            return self.cond_space.random(n).to(self.device)
        if not isinstance(cond, tuple):
            cond = torch.as_tensor(cond)
            if tuple(cond.shape) == self.cond_space.shape:
                cond = cond.expand(n, *cond.shape)
        cond = self.cond_space.check(cond, "cond")
        if _count(cond) != n:
            raise SpaceError(f"cond has {_count(cond)} rows for {n} data; give one for all or one per row.")
        return _move(cond, self.device)

    def _given(self, x: Any, cond: Any, *, missing: bool = False) -> tuple[Any, Any]:
        """Return x and cond, checked and on the model's device."""
        x = _move(self.space.check(x, "x", missing=missing), self.device)
        return x, self._conds(cond, _count(x))

    def _by_rows(self, ask: Callable[..., Tensor], x: Any, *others: Any, rows: int | None = None) -> Tensor:
        """Answer for x a few rows at a time, so that memory stays bounded."""
        cuts = batches(_count(x), rows or self.rows_at_once)
        parts = []
        for cut in cuts:
            parts.append(ask(_rows(x, cut), *(_rows(other, cut) for other in others)))
            _told.get()(cut.stop - cut.start)
        return torch.cat(parts) if parts else torch.zeros(0, device=self.device)


def _count(x: Any) -> int:
    return len(x[1]) if isinstance(x, tuple) else len(x)


def _rows(x: Any, s: slice | Tensor) -> Any:
    if x is None:
        return None
    return type(x)(*(part[s] for part in x)) if isinstance(x, tuple) else x[s]


def _move(x: Any, device: torch.device) -> Any:
    return type(x)(*(part.to(device) for part in x)) if isinstance(x, tuple) else x.to(device)


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], Ragged):
        longest = max(p.values.shape[1] for p in parts)
        padded = [torch.cat([v, v.new_zeros(len(v), longest - v.shape[1], *v.shape[2:])], 1) for v, _ in parts]
        return Ragged(torch.cat(padded), torch.cat([p.lengths for p in parts]))
    if isinstance(parts[0], tuple):
        return type(parts[0])(*(torch.cat([p[i] for p in parts]) for i in range(len(parts[0]))))
    return torch.cat(parts)


def _values(x: Any) -> Tensor:
    """Return the values of a batch, which for sequences are padded.

    Raises:
        SpaceError: they are no array.
    """
    try:
        return x.values if isinstance(x, Ragged) else torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        hint = "; make sequences one batch with `likely.spaces.ragged`" if "sequence of length" in str(error) else ""
        raise SpaceError(f"x cannot be read as an array of numbers ({error}){hint}.") from None


def _missing(x: Any) -> Tensor | None:
    """Return where the values of a batch are NaN; None where none is."""
    values = _values(x)
    if not values.is_floating_point() or math.isfinite(float(values.detach().sum())):
        return None
    missing = values.isnan()
    return missing if bool(missing.any()) else None


def _known(x: Any) -> Tensor | None:
    """Return where an array or list of numbers is not NaN; None where nothing is missing, and for what is no array."""
    if isinstance(x, tuple):
        return None
    try:
        missing = _missing(x)
    except SpaceError:  # texts, say, which the space reads
        return None
    return None if missing is None else ~missing


def _with_values(x: Any, values: Tensor) -> Any:
    return x._replace(values=values) if isinstance(x, Ragged) else values


def _wants_grad(*xs: Any) -> bool:
    parts = [part for x in xs for part in (x if isinstance(x, tuple) else (x,))]
    return any(isinstance(part, Tensor) and part.requires_grad for part in parts)


class Density(Model):
    """A model whose probability can be computed: exact and normalised."""

    @final
    def log_prob(self, x: Any, cond: Any = None) -> Tensor:
        """Return log p(x | cond) in nats, (B,): exact; of the probability on discrete spaces, of the density on reals.

        Gradients flow to x where `x.requires_grad`. Where the model has the ability `Marginal`, NaN entries of real
        data are integrated out.

        Arguments:
            x: values of the space, (B, *shape).
            cond: what is given, one value or one per row.

        Raises:
            SpaceError: x or cond is not of the declared space; x has missing values and the model cannot marginalise.
        """
        if isinstance(self, Marginal) and holds_reals(self.space):
            x, cond = self._given(x, cond, missing=True)
            if (missing := _missing(x)) is not None:
                return self.log_marginal(x, ~missing, cond)
        elif isinstance(self, Marginal) and (seen := _known(x)) is not None:
            return self.log_marginal(x, seen, cond)  # levels that are missing
        elif isinstance(self.space, Real):
            values = _values(x)
            if values.is_floating_point() and bool(values.isnan().any()):
                row = int(values.isnan().flatten(1).any(1).nonzero()[0, 0]) if values.dim() > 1 else 0
                raise SpaceError(
                    f"x has a missing value (NaN) in row {row} and {self._who()} cannot score partial data; remove the "
                    "row, fill it with `complete`, or take a model of `likely models --can log_marginal`."
                )
        x, cond = self._given(x, cond)
        with self._asked(grad=_wants_grad(x, cond)):
            return self._by_rows(self._log_prob, x, cond)

    @abstractmethod
    def _log_prob(self, x: Any, cond: Tensor | None) -> Tensor:
        """Return log p(x | cond), (B,)."""


class Marginal(Density):
    """A density that can integrate out what is not known, exactly."""

    @final
    def log_marginal(self, x: Any, known: Any, cond: Any = None) -> Tensor:
        """Return log p(x[known] | cond) in nats, (B,): the exact probability of the known entries alone.

        Arguments:
            x: values of the space, (B, *shape); unknown entries may hold anything of the space, or NaN.
            known: True where an entry is observed, (B, *shape) or (*shape).
            cond: what is given, one value or one per row.

        Raises:
            SpaceError: x, known or cond does not fit.
        """
        x, known, cond = _with_known(self, x, known, cond)
        with self._asked(grad=_wants_grad(x, cond)):
            return self._by_rows(self._log_marginal, x, known, cond)

    @abstractmethod
    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        """Return log p(x[known] | cond), (B,); entries of x that are not known hold 0."""

    def _log_prob(self, x: Any, cond: Tensor | None) -> Tensor:
        return self._log_marginal(x, torch.ones_like(x, dtype=torch.bool), cond)


def _with_known(model: Model, x: Any, known: Any, cond: Any) -> tuple[Any, Tensor, Any]:
    """Return x with 0 at unknown entries, the mask at x's shape, and cond; all checked."""
    try:
        known = torch.as_tensor(known)
    except (TypeError, ValueError, RuntimeError):
        raise SpaceError(f"known must be a mask of True (observed) and False, not {str(known)[:40]!r}.") from None
    if known.dtype != torch.bool:
        raise SpaceError(f"known must be a mask of True (observed) and False, not {known.dtype}.")
    values = _values(x)
    if known.shape != values.shape:
        if isinstance(x, Ragged) or tuple(known.shape) != model.space.shape:
            other = "" if isinstance(x, Ragged) else f" or {model.space.shape}"
            raise SpaceError(f"known has shape {tuple(known.shape)}, expected {tuple(values.shape)}{other}.")
        known = known.expand(values.shape)
    values = torch.where(known, values, torch.zeros((), dtype=values.dtype, device=values.device))
    x, cond = model._given(_with_values(x, values), cond)
    return x, known.to(model.device), cond


class Bounded(Model):
    """A model with a lower bound on its log-likelihood."""

    @final
    def elbo(self, x: Any, cond: Any = None, *, seed: int | None = None) -> Tensor:
        """Return an unbiased estimate of a lower bound on log p(x | cond), in nats, (B,).

        Arguments:
            x: values of the space, (B, *shape).
            cond: what is given, one value or one per row.
            seed: the same seed gives the same estimate.

        Raises:
            SpaceError: x or cond is not of the declared space.
        """
        x, cond = self._given(x, cond)
        with self._asked(seed, grad=_wants_grad(x, cond)):
            return self._by_rows(self._elbo, x, cond)

    @abstractmethod
    def _elbo(self, x: Any, cond: Tensor | None) -> Tensor:
        """Return an unbiased estimate of the bound, (B,)."""


class Weighted(Bounded):
    """A model with single-sample importance weights: E[exp log_weight] = p(x)."""

    @final
    def log_weight(self, x: Any, cond: Any = None, *, seed: int | None = None) -> Tensor:
        """Return log w with E[w] = p(x | cond): one importance weight for each row, (B,), nats."""
        x, cond = self._given(x, cond)
        with self._asked(seed, grad=_wants_grad(x, cond)):
            return self._by_rows(self._log_weight, x, cond)

    @final
    def iwelbo(self, x: Any, k: int = 64, cond: Any = None, *, seed: int | None = None) -> Tensor:
        r"""Return the importance-weighted bound log (1/k) sum_i w_i, in nats, (B,).

        It is a lower bound on log p(x) in expectation and grows with k towards it. Only single-sample weights are
        averaged: an ELBO with its KL in closed form must not be, since that mean can exceed p(x).

        Arguments:
            x: values of the space, (B, *shape).
            k: how many importance samples, 1 or more.
            cond: what is given, one value or one per row.
            seed: the same seed gives the same estimate.

        Raises:
            SpaceError: x or cond is not of the declared space.
            LikelyError: k is not a positive whole number.

        Reference: Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016, arxiv.org/abs/1509.00519.
        """
        if not isinstance(k, int) or k < 1:
            raise LikelyError(f"k must be a whole number, 1 or more, not {k!r}.")
        x, cond = self._given(x, cond)
        with self._asked(seed, grad=_wants_grad(x, cond)):
            return self._by_rows(lambda x, cond: self._iwelbo(x, k, cond), x, cond)

    def _iwelbo(self, x: Any, k: int, cond: Tensor | None) -> Tensor:
        """Return the bound; models that can share work among the k samples override this."""
        total = self._log_weight(x, cond)
        for _ in range(k - 1):
            total = torch.logaddexp(total, self._log_weight(x, cond))
        return total - torch.log(torch.tensor(float(k)))

    @abstractmethod
    def _log_weight(self, x: Any, cond: Tensor | None) -> Tensor:
        """Return one log-weight for each row, (B,)."""

    def _elbo(self, x: Any, cond: Tensor | None) -> Tensor:
        return self._log_weight(x, cond)


class Energy(Model):
    """A model with log p(x) = -energy(x) - log Z, whose normaliser Z can only be estimated or is costly."""

    @final
    def energy(self, x: Any, cond: Any = None) -> Tensor:
        """Return E(x) with p(x | cond) = exp(-E(x)) / Z, in nats, (B,)."""
        x, cond = self._given(x, cond)
        with self._asked(grad=_wants_grad(x, cond)):
            return self._by_rows(self._energy, x, cond)

    @final
    def log_partition(self, cond: Any = None, *, seed: int | None = None) -> Estimate:
        """Return log Z and its standard error, which is 0 where Z was enumerated.

        Arguments:
            cond: what is given: one value.
            seed: the same seed gives the same estimate.

        Raises:
            SpaceError: cond is not of the declared space.
        """
        with self._asked(seed):
            return self._log_partition(self._conds(cond, 1) if self.cond_space else None)

    @abstractmethod
    def _energy(self, x: Any, cond: Tensor | None) -> Tensor:
        """Return the energy of each row, (B,)."""

    @abstractmethod
    def _log_partition(self, cond: Tensor | None) -> Estimate:
        """Return log Z and its standard error, both ()."""


class Latent(Model):
    """A model with a representation z of x and a way back."""

    @final
    def encode(self, x: Any, cond: Any = None) -> Tensor:
        """Return the representation of each row, (B, *latent shape): deterministic (a posterior's mean)."""
        x, cond = self._given(x, cond)
        with self._asked(0, grad=_wants_grad(x, cond)):
            return self._by_rows(self._encode, x, cond)

    @final
    def decode(self, z: Any, cond: Any = None) -> Tensor:
        """Return the most plausible value of the space for each representation, (B, *shape): deterministic."""
        z = torch.as_tensor(z)
        z = z.to(self.device) if z.is_floating_point() else z.to(self.device, torch.get_default_dtype())
        cond = self._conds(cond, len(z))
        with self._asked(0, grad=_wants_grad(z)):
            return self.space._cast(self._by_rows(self._decode, z, cond))

    @abstractmethod
    def _encode(self, x: Any, cond: Tensor | None) -> Tensor:
        """Return z, (B, *latent shape)."""

    @abstractmethod
    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        """Return x, (B, *shape)."""


class Bijective(Latent):
    """A model that maps x to z and back without loss."""

    @final
    def encode_and_log_det(self, x: Any, cond: Any = None) -> tuple[Tensor, Tensor]:
        """Return z and log |det dz/dx|, (B, *latent shape) and (B,)."""
        x, cond = self._given(x, cond)
        with self._asked(grad=_wants_grad(x, cond)):
            return self._encode_and_log_det(x, cond)

    @abstractmethod
    def _encode_and_log_det(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant."""

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._encode_and_log_det(x, cond)[0]


class Completer(Model):
    """A model that fills in what is not known."""

    #: what the drawn entries follow: "exact" p(unknown | known); "prefix": exact where everything known comes first in
    #: the model's order; "approximate": a named approximation
    completion: ClassVar[str] = "approximate"

    @final
    def complete(self, x: Any, known: Any = None, cond: Any = None, *, seed: int | None = None) -> Any:
        """Keep the known entries of x and draw the others, (B, *shape).

        Arguments:
            x: values of the space, (B, *shape); unknown entries may hold anything of the space, or NaN.
            known: True where an entry is observed, (B, *shape) or (*shape); None takes NaN for unknown.
            cond: what is given, one value or one per row.
            seed: the same seed gives the same completion.

        Raises:
            SpaceError: x, known or cond does not fit, or known is None and nothing is NaN.
        """
        if known is None:
            known = ~_values(x).isnan()
            if bool(known.all()):
                raise SpaceError("nothing to complete: give known=, True where an entry is observed, or NaN entries.")
        x, known, cond = _with_known(self, x, known, cond)
        with self._asked(seed):
            drawn = self._by_rows(self._complete, x, known, cond)
        values = _values(x)
        return _with_values(x, self.space._cast(torch.where(known, values, drawn.to(values.dtype))))

    @abstractmethod
    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        """Return x with the unknown entries, which hold 0, drawn."""


class Gradient(Model):
    """A model trained by descent on a loss."""

    @abstractmethod
    def loss(self, x: Any, cond: Tensor | None = None) -> dict[str, Tensor]:
        """Return {"loss": the scalar to descend, and named terms to log}: means per datum, in nats if they can be."""


class Written(Gradient):
    """A model trained by descent that writes its gradient out itself: no graph is kept, and training asks for it."""

    compiles: ClassVar[bool] = False

    @abstractmethod
    def gradient(
        self, x: Any, cond: Tensor | None = None, *, terms: bool = True
    ) -> tuple[dict[str, Tensor], list[Any]]:
        """Return what `loss` does, without gradients, and the gradient by each of `parameters()`, in their order.

        Arguments:
            x, cond: as in `loss`.
            terms: whether all terms will be logged; else "loss" is enough.
        """

    def loss(self, x: Any, cond: Tensor | None = None) -> dict[str, Tensor]:
        """Return the terms of `gradient`; "loss" has that gradient."""
        terms, gradients = self.gradient(x, cond)
        return {**terms, "loss": _Given.apply(terms["loss"], gradients, *self.parameters())}


class _Given(torch.autograd.Function):
    """A number whose gradient by some tensors is given, and used up: `apply(value, gradients, *tensors)`."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *tensors: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        gradients, ctx.gradients = ctx.gradients, []  # nobody else holds them: they become .grad without a copy
        return (None, None, *(gradient.mul_(upstream[0]) for gradient in gradients))


class Turns(Model):
    """A model whose players are trained by taking turns."""

    @property
    @abstractmethod
    def players(self) -> dict[str, nn.Module]:
        """Name -> the module that player moves; together they hold every parameter."""

    @property
    def turns(self) -> Sequence[str]:
        """The players in the order in which they move in one step; a name may stand several times."""
        return tuple(self.players)

    @abstractmethod
    def loss(self, x: Any, cond: Tensor | None = None, player: str = "") -> dict[str, Tensor]:
        """Return {"loss": what this player descends, and named terms to log}."""


class Statistics(Model):
    """A model trained by sufficient statistics: one pass is closed form, many are EM.

    Statistics are additive, so they stream over batches and sum over machines.
    """

    closed_form: ClassVar[bool] = True  #: whether one pass reaches the optimum

    @final
    def e_step(self, x: Any, cond: Any = None, *, known: Any = None, weight: Any = None) -> dict[str, Tensor]:
        """Return the additive statistics of a batch, with "count" (sum of weights) and "log_likelihood" among them.

        Arguments:
            x: values of the space, (B, *shape).
            cond: what is given, one value or one per row.
            known: True where an entry is observed, (B, *shape) or (*shape); None means all, or where x is not NaN.
            weight: how much each row counts, (B,), 0 or more; None means 1.

        Raises:
            SpaceError: an argument does not fit, or the model cannot be fitted with missing values.
        """
        checked = known is None and holds_reals(self.space)
        if known is None and not checked:
            known = _known(x)  # levels that are missing
        if checked:
            x, cond = self._given(x, cond, missing=True)
            missing = _missing(x)
            known = None if missing is None else ~missing
        if known is not None:
            if not isinstance(self, Marginal):
                raise SpaceError(
                    f"{self._who()} cannot be fitted with missing values; remove those rows or take a model of "
                    "`likely models --can log_marginal`."
                )
            x, known, cond = _with_known(self, x, known, cond)
        elif not checked:
            x, cond = self._given(x, cond)
        weight = torch.ones(_count(x)) if weight is None else counts_of(weight, _count(x))
        with self._evaluating():  # like `loss`, it draws from the loop's random stream
            return self._e_step(x, cond, known, weight.to(self.device))

    @abstractmethod
    def _e_step(self, x: Any, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        """Return the additive statistics."""

    @abstractmethod
    def m_step(self, stats: dict[str, Tensor]) -> None:
        """Set the parameters to the best for these statistics."""


#: ability -> the public method that stands for it in tables and on the command line
ABILITIES: dict[str, str] = {
    "Model": "sample",
    "Density": "log_prob",
    "Marginal": "log_marginal",
    "Bounded": "elbo",
    "Weighted": "iwelbo",
    "Energy": "energy",
    "Latent": "encode",
    "Bijective": "encode_and_log_det",
    "Completer": "complete",
    "Gradient": "loss",
    "Turns": "turns",
    "Statistics": "e_step",
}


def abilities(model: Model | type[Model]) -> tuple[str, ...]:
    """Return the names of the public methods that this model promises."""
    kind = model if isinstance(model, type) else type(model)
    return tuple(method for name, method in ABILITIES.items() if issubclass(kind, globals()[name]))
