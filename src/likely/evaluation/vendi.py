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
    x = matrix(features).double()
    lengths = x.norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()):
        raise LikelyError(f"row {int((lengths[:, 0] == 0).nonzero()[0, 0])} is zero: it has no cosine similarity.")
    x = x / lengths
    return _effective_number(torch.linalg.eigvalsh((x @ x.T if len(x) < x.shape[1] else x.T @ x) / len(x)), q)


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
