"""What the two loops that descend share: order of the data, precision, optimiser, learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likely.core import Model
from likely.data.blocks import Blocks
from likely.data.parts import Mapped, Part
from likely.errors import LikelyError, unknown
from likely.parts.threads import native_bfloat16
from likely.training.state import stream

ORDER, UPDATE, START = range(3)  #: what a random stream is for

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "linear")
PRECISIONS = ("auto", "float32", "bfloat16")


SHUFFLED = 2**24  #: of up to so many rows a permutation is stored


class NonFiniteLoss(LikelyError):
    """The loss became infinite or NaN; the step is named and its update was not made."""


@contextmanager
def on_stream(seed: int, *path: int) -> Iterator[None]:
    """Run a block on the random stream of (seed, path); the global stream is untouched.

    `core.seeded` without its generality: a training step may take a tenth of a millisecond.
    """
    generators = [torch.default_generator]
    if torch.cuda.is_available():
        torch.cuda.init()
        generators.append(torch.cuda.default_generators[torch.cuda.current_device()])
    saved = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(stream(seed, *path))
    try:
        yield
    finally:
        for generator, state in zip(generators, saved, strict=True):
            generator.set_state(state)


class Order:
    """The rows of each batch: a fresh permutation each epoch, a function of (seed, epoch) alone.

    All batches have the same size: the rest of an epoch is dropped, since every epoch is shuffled anew. Rows with
    weights are drawn with replacement in proportion to them. Above `SHUFFLED` rows the permutation is computed and not
    stored (`likely.data.blocks`), from another place each epoch.
    """

    def __init__(self, part: Part, batch: int, seed: int) -> None:
        self.rows, self.batch, self.seed, self.weight = len(part), min(batch, len(part)), seed, part.weight
        self.per_epoch = self.rows // self.batch
        self.epoch, self.permutation = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, index: int) -> Tensor:
        """Return the rows of the batch with this number, counted from 0 over all epochs."""
        epoch, position = divmod(index, self.per_epoch)
        first = position * self.batch
        if self.weight is None and self.rows > SHUFFLED:
            drawn = stream(self.seed, ORDER, epoch)
            places = (np.arange(first, first + self.batch) + drawn % self.rows) % self.rows
            return torch.from_numpy(Blocks(self.rows, 0.0, 1.0, drawn)[places])
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(stream(self.seed, ORDER, epoch))
            if self.weight is None:
                self.permutation = torch.randperm(self.rows, generator=generator)
            else:
                self.permutation = _with_replacement(self.weight.double(), self.rows, generator)
            self.epoch = epoch
        return self.permutation[first : first + self.batch]


def _with_replacement(weight: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return n numbers of rows, each with a probability in proportion to its weight.

    Above 2^24 weights, which `torch.multinomial` does not take, by where a uniform number falls among their sums.
    """
    if len(weight) <= SHUFFLED:
        return torch.multinomial(weight, n, True, generator=generator)
    ends = weight.cumsum(0)
    drawn = torch.rand(n, dtype=torch.float64, generator=generator) * ends[-1]
    last = int(weight.nonzero()[-1])  # a number that rounds up to the whole sum falls to the last row that counts
    return torch.searchsorted(ends, drawn, right=True).clamp_(max=last)


def start(model: Model, part: Part, seed: int, rows: int = 20_000) -> None:
    """Let the model set what comes from the data, on at most `rows` random training rows."""
    with on_stream(seed, START), torch.no_grad():
        chosen: Tensor | slice = slice(0, len(part))
        if len(part) > SHUFFLED:  # twice as many numbers as are wanted, of which few are equal
            drawn = torch.randint(len(part), (2 * rows,)).unique()
            chosen = drawn[torch.randperm(len(drawn))[:rows]].sort().values
        elif len(part) > rows:
            chosen = torch.randperm(len(part))[:rows].sort().values
        model.start(*draw(model, part, chosen))


def draw(model: Model, part: Part, rows: Tensor | slice) -> tuple[Any, Any]:
    """Return x and cond of these rows on the model's device; cond is None where the model takes none."""
    x, cond = part.batch(rows)
    return to(x, model.device), to(cond, model.device) if model.cond_space is not None else None


def to(x: Any, device: torch.device) -> Any:
    """Move a batch, which may be None or a tuple of tensors."""
    if x is None:
        return None
    return type(x)(*(v.to(device) for v in x)) if isinstance(x, tuple) else x.to(device, non_blocking=True)


def has_missing(part: Part) -> bool:
    """Whether any value of the part is NaN; what cannot be NaN, or was seen to be none, is not read."""
    if isinstance(part.x, Mapped) and part.x.complete:
        return False
    for rows in part.sweep(10_000):
        x = part.batch(rows)[0]
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            return False
        if bool(x.isnan().any()):
            return True
    return False


class Plain(torch.optim.SGD):
    """Descent without momentum and decay in one call: the general step takes longer than a small model's update."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            torch._foreach_add_(moved, [p.grad for p in moved], alpha=-group["lr"])


def make_optimizer(
    parameters: Iterable[nn.Parameter], kind: str, learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return a fused optimiser: one pass over the parameters an update, on processors too."""
    parameters = [p for p in parameters if p.requires_grad]
    if not parameters:
        raise LikelyError("the model has no parameters to train by descent.")
    if kind == "adam":
        return torch.optim.Adam(parameters, learning_rate, (momentum, 0.999), weight_decay=weight_decay, fused=True)
    if kind == "adamw":
        return torch.optim.AdamW(parameters, learning_rate, (momentum, 0.999), weight_decay=weight_decay, fused=True)
    if kind == "sgd" and not momentum and not weight_decay:
        return Plain(parameters, learning_rate)
    if kind == "sgd":
        return torch.optim.SGD(parameters, learning_rate, momentum, weight_decay=weight_decay, fused=True)
    raise unknown("optimizer", kind, OPTIMIZERS)


def rate(schedule: str, step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate for update number `step`, counted from 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if schedule == "linear":
        return 1 - done
    raise unknown("schedule", schedule, SCHEDULES)


def autocast(model: Model, precision: str) -> torch.autocast:
    """Return the context in which losses are computed: bfloat16 where the processor multiplies it natively."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    kind = model.device.type
    native = torch.cuda.is_bf16_supported() if kind == "cuda" else native_bfloat16(model.device)
    enabled = precision == "bfloat16" or (precision == "auto" and model.autocast and native)
    return torch.autocast(kind, torch.bfloat16, enabled=enabled)


def finite(losses: dict[str, Tensor], step: int, player: str = "") -> dict[str, float]:
    """Return the terms as numbers, or raise before a bad update is made.

    Raises:
        NonFiniteLoss: the loss is infinite or NaN.
    """
    terms = {f"{player}/{k}" if player else k: float(v.detach()) for k, v in losses.items()}
    value = terms[f"{player}/loss" if player else "loss"]
    if not math.isfinite(value):
        of = f" of the {player}" if player else ""
        raise NonFiniteLoss(
            f"the loss{of} became {value} at step {step}; lower learning_rate, or set clip or precision='float32'."
        )
    return terms
