r"""The Vendi score: how many different things are among these? An effective number, from 1 to n.

VS_q = exp(H_q(l)), the exponential of the Renyi entropy of order q of the eigenvalues l of K / n, where K is a matrix
of similarities with ones on the diagonal: n equal rows have 1, n rows that are orthogonal have n. Order 1 is the
Shannon entropy; a small q counts rare things as much as common ones (0: the rank), a large q sees the common ones only
(infinity: 1 / the largest eigenvalue).

How it is fooled: it measures diversity, not quality, and noise is most diverse of all. It grows with n and depends on
the similarity: compare it with that of the data, at the same n and in the same features.

Reference: Friedman and Dieng, The Vendi Score: A Diversity Evaluation Metric for Machine Learning, 2023,
arxiv.org/abs/2210.02410; Pasarkar and Dieng, Cousins of the Vendi Score, 2024, arxiv.org/abs/2310.12952.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from likely.errors import LikelyError
from likely.evaluation.matrices import matrix
from likely.spaces import batches

ROWS = 2048  #: rows, or columns where there are more of them, that are held in float64 at once


def vendi_score(features: Any, q: float = 1.0) -> float:
    """Return the Vendi score of order q of rows, (N, D), under the cosine similarity x.y / (|x| |y|).

    The eigenvalues of the N x N similarities are those of the D x D sums of squares: the smaller of the two is taken.

    Raises:
        LikelyError: a row is zero (it has no direction), a value is not finite, or q is negative.

    Example:
        >>> import torch
        >>> round(vendi_score(torch.eye(3)), 6)
        3.0
    """
    return _effective_number(torch.linalg.eigvalsh(_similarities(*_directions(features))), q)


def vendi_error(features: Any) -> float:
    r"""Return the standard error of the Vendi score of order 1 over the rows drawn, to first order.

    One row x moves the entropy H = -tr(R log R) of R = sum x x^T / n by -x^T log(R) x - H, up to 1 / n^2: the error is
    exp(H) times the standard deviation of these over the root of n. It says nothing of the growth with n, and is too
    small where n is not well above the score itself.

    Raises:
        LikelyError: there are fewer than two rows, a row is zero, or a value is not finite.

    Reference: Hampel, The Influence Curve and Its Role in Robust Estimation, 1974,
    doi.org/10.1080/01621459.1974.10482962.
    """
    x, lengths = _directions(features, rows=2)
    n, wide = len(x), len(x) < x.shape[1]
    values, basis = torch.linalg.eigh(_similarities(x, lengths))
    alive = values > len(values) * torch.finfo(torch.float64).eps
    values, basis = values[alive], basis[:, alive]
    # the squared components of each row along the directions of R
    if wide:
        effects = -n * (values * basis.square()) @ values.log()
    else:
        effects = torch.empty(n, dtype=torch.float64)
        for some in batches(n, ROWS):
            effects[some] = -((x[some] / lengths[some]) @ basis).square() @ values.log()
    return math.exp(-float((values * values.log()).sum())) * float(effects.std()) / math.sqrt(n)


def _directions(features: Any, rows: int = 1) -> tuple[Tensor, Tensor]:
    """Return rows, (N, D), and their lengths, (N, 1), in float64."""
    x = matrix(features, rows=rows)
    lengths = torch.cat([x[some].double().norm(dim=1, keepdim=True) for some in batches(len(x), ROWS)])
    if not bool((lengths > 0).all()):
        raise LikelyError(f"row {int((lengths[:, 0] == 0).nonzero()[0, 0])} is zero: it has no cosine similarity.")
    return x, lengths


def _similarities(x: Tensor, lengths: Tensor) -> Tensor:
    """Return the smaller of the matrices with the eigenvalues of K / n: (N, N) or (D, D), a block at a time."""
    n, d = x.shape
    found = torch.zeros(min(n, d), min(n, d), dtype=torch.float64)
    if n < d:
        for some in batches(d, ROWS):
            block = x[:, some] / lengths
            found.addmm_(block, block.T)
    else:
        for some in batches(n, ROWS):
            block = x[some] / lengths[some]
            found.addmm_(block.T, block)
    return found / n


def vendi_score_of(similarities: Any, q: float = 1.0) -> float:
    """Return the Vendi score of order q of a matrix of similarities, (N, N), positive semidefinite with unit diagonal.

    Raises:
        LikelyError: the matrix is not such a one, or q is negative.

    Example:
        >>> round(vendi_score_of([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]), 4)
        2.1573
    """
    k = matrix(similarities, name="the matrix of similarities").double()
    if k.shape[0] != k.shape[1] or not torch.allclose(k, k.T) or not bool(((k.diagonal() - 1).abs() < 1e-6).all()):
        raise LikelyError("similarities must be a symmetric matrix, (N, N), with ones on its diagonal.")
    values = torch.linalg.eigvalsh(k / len(k))
    if float(values[0]) < -1e-8:
        raise LikelyError(
            f"similarities must be positive semidefinite; an eigenvalue is {len(k) * float(values[0]):.3g}."
        )
    return _effective_number(values, q)


def _effective_number(values: Tensor, q: float) -> float:
    if not q >= 0:
        raise LikelyError(f"the order of a Vendi score is at least 0, not {q}.")
    values = values[values > len(values) * torch.finfo(torch.float64).eps]  # what is left are the eigenvalues above 0
    if q == 1:
        return math.exp(-float((values * values.log()).sum()))
    if math.isinf(q):
        return 1 / float(values.max())
    return math.exp(float((q * values.log()).logsumexp(0)) / (1 - q))
