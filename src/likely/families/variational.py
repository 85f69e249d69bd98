r"""Variational models: p(x) = \int p(x | z) p(z) dz, bounded through a proposal q(z | x) that is learned beside it.

A member gives three hooks, each of which returns a law: `_prior`, `_posterior` and `_likelihood`. Bounds, loss,
samples, representations and completion follow from them.

Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, arxiv.org/abs/1312.6114. Rezende, Mohamed and
Wierstra, Stochastic Backpropagation and Approximate Inference in Deep Generative Models, 2014, arxiv.org/abs/1401.4082.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from likely.core import Completer, Gradient, Latent, Weighted
from likely.errors import LikelyError
from likely.parts.heads import Law, Normal
from likely.spaces import Space, batches


class LatentLaw(Protocol):
    """A law of z for each row of a batch, whose draws carry gradients."""

    def draw(self, k: int) -> Tensor:
        """Draw k values per row, (k, B, *latent shape)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-densities, (k, B) for z (k, B, *latent shape)."""

    def mode(self) -> Tensor:
        """Return the most probable z of each row, (B, *latent shape)."""


class Variational(Weighted, Latent, Completer, Gradient):
    """A latent-variable model with a learned proposal for its posterior.

    Arguments:
        space: what one x is.
        cond: the space of what is given, or None.
        beta: weight of the KL divergence in the loss; 1 trains the bound itself, other values trade reconstruction
            against compression (Higgins et al., beta-VAE, 2017, openreview.net/forum?id=Sy2fzU9gl). Scores never use
            it.
        importance: samples of the bound that is trained; above 1 it is the importance-weighted bound (Burda, Grosse
            and Salakhutdinov, 2016, arxiv.org/abs/1509.00519).
    """

    completion = "approximate"
    completion_steps: ClassVar[int] = 60  #: steps of the chain behind `complete`
    decoded_at_once: int = 10_000  #: how many (datum, z) pairs are decoded in one pass: bounds memory

    def __init__(self, space: Space, cond: Space | None = None, *, beta: float = 1.0, importance: int = 1) -> None:
        super().__init__(space, cond)
        if not beta >= 0:
            raise LikelyError(f"beta must be 0 or more, not {beta}.")
        if importance < 1:
            raise LikelyError(f"importance must be 1 or more samples, not {importance}.")
        self.beta, self.importance = beta, importance

    @abstractmethod
    def _prior(self, n: int, cond: Tensor | None) -> LatentLaw:
        """Return p(z | cond) for n rows."""

    @abstractmethod
    def _posterior(self, x: Tensor, cond: Tensor | None) -> LatentLaw:
        """Return the proposal q(z | x, cond)."""

    @abstractmethod
    def _likelihood(self, z: Tensor, cond: Tensor | None) -> Law:
        """Return p(x | z, cond) for z (B, *latent shape)."""

    # Bounds --------------------------------------------------------------------------------------------------------

    def _log_weights(
        self, x: Tensor, cond: Tensor | None, posterior: LatentLaw, k: int, beta: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return log w = log p(x | z) + beta (log p(z) - log q(z | x)) for k draws of z, (k, B), and log p(x | z)."""
        z = posterior.draw(k)
        law = self._likelihood(z.flatten(0, 1), None if cond is None else _repeat(cond, k))
        likelihood = law.log_prob(_repeat(x, k)).reshape(k, len(x))
        return likelihood + beta * (self._prior(len(x), cond).log_prob(z) - posterior.log_prob(z)), likelihood

    def _log_weight(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._log_weights(x, cond, self._posterior(x, cond), 1)[0][0]

    def _elbo(self, x: Tensor, cond: Tensor | None) -> Tensor:
        posterior = self._posterior(x, cond)
        z = posterior.draw(1)
        likelihood = self._likelihood(z[0], cond).log_prob(x)
        return likelihood - _divergence(posterior, self._prior(len(x), cond), z)

    def _iwelbo(self, x: Tensor, k: int, cond: Tensor | None) -> Tensor:
        """Return the bound: the encoder runs once, the decoder k times, in passes of bounded memory."""
        bounds = []
        for rows in batches(len(x), self.decoded_at_once):
            x_rows, cond_rows = x[rows], None if cond is None else cond[rows]
            posterior = self._posterior(x_rows, cond_rows)
            total = torch.full((), -torch.inf, device=x.device)
            for draws in batches(k, max(1, self.decoded_at_once // len(x_rows))):
                weights, _ = self._log_weights(x_rows, cond_rows, posterior, draws.stop - draws.start)
                total = torch.logaddexp(total, weights.logsumexp(0))
            bounds.append(total - math.log(k))
        return torch.cat(bounds)

    def loss(self, x: Tensor, cond: Tensor | None = None) -> dict[str, Tensor]:
        """Return the negative bound, and reconstruction and KL as terms to watch: means per datum, in nats.

        With one importance sample the KL is in closed form where prior and posterior are Gaussian.
        """
        posterior = self._posterior(x, cond)
        if self.importance == 1:
            z = posterior.draw(1)
            reconstruction = -self._likelihood(z[0], cond).log_prob(x).mean()
            divergence = _divergence(posterior, self._prior(len(x), cond), z).mean()
            loss = reconstruction + self.beta * divergence
        else:
            weights, likelihood = self._log_weights(x, cond, posterior, self.importance, self.beta)
            loss = math.log(self.importance) - weights.logsumexp(0).mean()
            reconstruction = -likelihood.mean()
            # with beta = 0 the weights do not hold the divergence
            divergence = (likelihood - weights).mean() / self.beta if self.beta else torch.zeros_like(loss)
        return {"loss": loss, "reconstruction": reconstruction.detach(), "kl": divergence.detach()}

    # Samples, representations, completion ---------------------------------------------------------------------------

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self._likelihood(self._prior(n, cond).draw(1)[0], cond).sample()

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self._posterior(x, cond).mode()

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return self._likelihood(z, cond).mode()

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        """Draw the unknown entries by a chain whose law tends to p(unknown | known).

        Each step proposes z' ~ q(z | x), accepts it with probability min(1, w(z') / w(z)), where w are the importance
        weights at the present x, and draws the unknown entries from p(x | z): Metropolis within Gibbs. During the
        first quarter every proposal is accepted (pseudo-Gibbs: Rezende et al., 2014, appendix F), which soon brings x
        near the data.

        Reference: Mattei and Frellsen, Leveraging the Exact Likelihood of Deep Latent Variable Models, 2018,
        arxiv.org/abs/1802.04826, algorithm 1.
        """
        prior = self._prior(len(x), cond)
        z = prior.draw(1)
        likelihood = self._likelihood(z[0], cond)
        x = torch.where(known, x, likelihood.sample().to(x.dtype))
        for step in range(self.completion_steps):
            posterior = self._posterior(x, cond)
            proposal = posterior.draw(1)
            proposed = self._likelihood(proposal[0], cond)
            new, old = (
                law.log_prob(x) + (prior.log_prob(at) - posterior.log_prob(at))[0]
                for law, at in ((proposed, proposal), (likelihood, z))
            )
            accept = torch.rand_like(new).log() < new - old
            if step < self.completion_steps // 4:
                accept = torch.ones_like(accept)
            z = torch.where(_beside(accept, z[0]), proposal, z)
            likelihood = self._likelihood(z[0], cond)
            x = torch.where(known, x, likelihood.sample().to(x.dtype))
        return x


def _divergence(posterior: LatentLaw, prior: LatentLaw, z: Tensor) -> Tensor:
    """Return KL(posterior || prior), (B,): in closed form between Gaussians, else its one-sample estimate at z."""
    if isinstance(posterior, Normal) and isinstance(prior, Normal):
        return posterior.divergence(prior)
    return (posterior.log_prob(z) - prior.log_prob(z)).mean(0)


def _repeat(values: Tensor, k: int) -> Tensor:
    """Return the rows k times over, (k B, ...)."""
    return values if k == 1 else values.repeat(k, *[1] * (values.dim() - 1))


def _beside(rows: Tensor, values: Tensor) -> Tensor:
    """Give a number per row, (B,), the dimensions that broadcast it against values, (B, ...)."""
    return rows.reshape(-1, *[1] * (values.dim() - 1))
