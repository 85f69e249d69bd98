r"""The inception score: are the samples each of one class, and together of all classes?

IS = exp(E_x KL(p(y | x) || p(y))), between 1 and the number of classes, where p(y | x) is what a classifier says of the
sample and p(y) its mean over the samples. No real data are looked at.

How it is fooled: one perfect picture per class scores best of all; it is bounded by the classes of the classifier, and
confident nonsense counts as much as a good picture. It is biased downwards in small splits, since their p(y) is fitted
to few samples: always give n and splits. Where samples are sorted by class, splits in their order hold a few classes
each and the score collapses (62 instead of 298 for one published model): the samples are therefore shuffled.

Reference: Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, Improved Techniques for Training GANs, 2016,
arxiv.org/abs/1606.03498; Barratt and Sharma, A Note on the Inception Score, 2018, arxiv.org/abs/1801.01973.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from likely.errors import LikelyError
from likely.evaluation.matrices import choose, matrix


class InceptionScore(NamedTuple):
    """The mean over splits, its standard error, and the spread that tables print (both None for one split).

    The spread is the standard deviation over splits, divided by their number and not by one less.
    """

    value: float
    error: float | None
    spread: float | None


def inception_score(outputs: Any, *, logits: bool = True, splits: int = 10, seed: int | None = 0) -> InceptionScore:
    """Return exp of the mean KL(p(y | x) || p(y)) of a classifier's outputs, by splits.

    Arguments:
        outputs: logits or probabilities of the classes, (N, C), N >= splits.
        logits: whether the outputs are logits; otherwise they are probabilities.
        splits: how many parts of nearly equal size have a score each.
        seed: decides how the samples are shuffled before they are split; None keeps their order, as some published
            numbers do, which is wrong for samples sorted by class.

    Raises:
        LikelyError: there are fewer samples than splits, an output is not finite, or a row of probabilities is none.

    Example:
        >>> import torch
        >>> inception_score(torch.eye(4), logits=False, splits=1).value
        4.0
    """
    if splits < 1:
        raise LikelyError(f"take at least one split, not {splits}.")
    x = matrix(outputs, rows=splits, name="the set of outputs")
    if not logits and (bool((x < 0).any()) or not bool(((x.sum(1, dtype=torch.float64) - 1).abs() < 1e-3).all())):
        raise LikelyError("probabilities must not be negative and must sum to 1 in each row; are these logits?")
    order = torch.arange(len(x)) if seed is None else choose(len(x), len(x), torch.Generator().manual_seed(seed))
    scores = torch.stack([_score(_logs(x[rows].double(), logits)) for rows in order.tensor_split(splits)])
    if splits == 1:
        return InceptionScore(float(scores[0]), None, None)
    return InceptionScore(
        float(scores.mean()), float(scores.std()) / math.sqrt(splits), float(scores.std(correction=0))
    )


def _logs(outputs: torch.Tensor, logits: bool) -> torch.Tensor:
    return outputs.log_softmax(1) if logits else (outputs / outputs.sum(1, keepdim=True)).log()


def _score(logs: torch.Tensor) -> torch.Tensor:
    shares = logs.exp()
    gain = torch.where(shares > 0, shares * (logs - shares.mean(0).log()), 0.0)  # 0 log 0 = 0
    return gain.sum(1).mean().exp()
