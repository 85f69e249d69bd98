r"""Diffusion models: data are mixed with noise step by step, and a network learns to undo one step.

    x_t = alpha(t) x_0 + sigma(t) epsilon,    t = 0 data, t = 1 noise

A member of the family brings one hook, `denoise(x_t, t, cond)` = E[x_0 | x_t]; schedules and solvers are functions in
`parts`. The model itself is the ancestral chain over T equal steps of t: that is the law which `elbo` bounds and which
`sample` draws from. Faster solvers draw from approximations of it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from likely.core import Bounded, Completer, Gradient
from likely.errors import LikelyError, SpaceError, unknown
from likely.parts.heads import DiscretisedGaussian, Gaussian
from likely.parts.probability_flow import flow_log_density
from likely.parts.schedules import Schedule
from likely.parts.solvers import SOLVERS, repaint, transition
from likely.spaces import Binary, Finite, Real, Space

MEMORY = 0.05  #: how far the remembered errors of the steps move with each batch


class Diffusion(Bounded, Gradient, Completer):
    r"""A chain p(x_T) prod_i p(x_{i-1} | x_i), each step the diffusion's posterior at the denoised x_0.

    Networks see values scaled to [-1, 1] (levels) or to zero mean and unit variance (reals); on levels the denoised
    x_0 is kept inside [-1, 1]. The last step, p(x_0 | x_1), is a Gaussian around the denoised x_0 with the standard
    deviation sigma(1 / T), discretised on levels (Ho et al., eq. 13). It is a bound, not a likelihood, and it is loose
    when T is small: the chain then takes steps too large to be Gaussian.

    Arguments:
        space: what one x is.
        schedule: t -> alpha, sigma.
        timesteps: T, the number of steps of the chain.
        cond: the space of what is given, or None.
        drop: how often, row by row, the condition is hidden while learning, so that guidance can leave it out.

    Reference: Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, 2020, arxiv.org/abs/2006.11239. Guidance:
    Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, arxiv.org/abs/2207.12598. Larger terms of the bound more
    often: Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, arxiv.org/abs/2102.09672.
    """

    rows_at_once: ClassVar[int] = 256
    completion: ClassVar[str] = "approximate"
    #: at most so many of the bound's T - 1 middle terms are computed per row, the larger ones more often, without bias;
    #: set it to `timesteps` on a model for the full sum
    terms: int = 32

    def __init__(
        self, space: Space, schedule: Schedule, timesteps: int, *, cond: Space | None = None, drop: float = 0.1
    ) -> None:
        super().__init__(space, cond)
        if timesteps < 1:
            raise LikelyError(f"timesteps must be 1 or more, not {timesteps}.")
        if not 0 <= drop < 1:
            raise LikelyError(f"drop is a share of rows, 0 to below 1, not {drop}.")
        if isinstance(space, Finite) and not space.ordered:
            raise SpaceError(f"diffusion adds noise to levels, which must be ordered; {space} has no order.")
        self.schedule = schedule
        self.timesteps = timesteps
        self.drop = drop
        reals = isinstance(space, Real)
        half = max(space.levels - 1, 1) / 2 if isinstance(space, (Binary, Finite)) else 1.0
        #: the shape of one datum inside; a single number becomes a vector of one
        self.inner = space.shape or (1,)
        self.register_buffer("shift", torch.full(self.inner, 0.0 if reals else half))
        self.register_buffer("scale", torch.full(self.inner, half))
        self.shift: Tensor
        self.scale: Tensor
        #: the standard deviation of p(x_0 | x_1), in scaled units
        self.last_spread = float(schedule(torch.tensor(1 / timesteps, dtype=torch.float64))[1])
        steps = torch.arange(1, timesteps + 1, dtype=torch.float64) / timesteps
        #: the mean squared error of the denoised x_0 at each step, as learning has seen it; before, as where x_0 is
        #: standard normal
        self.register_buffer("errors", (schedule(steps)[1] ** 2).float())
        self.errors: Tensor
        # so low a floor is out of reach: the head's scale is then exactly the one it is given
        floor = self.last_spread * 1e-9
        self.head = Gaussian(space, floor=floor) if reals else DiscretisedGaussian(space, floor=floor)

    def start(self, x: Tensor, cond: Tensor | None = None) -> None:
        """Take mean and standard deviation of real data: of every entry, in pictures of every channel."""
        if isinstance(self.space, Real):
            x = x.reshape(-1, *self.inner)
            over = (0, 2, 3) if x.dim() == 4 else (0,)
            deviation = x.std(over, correction=0, keepdim=True)[0]
            self.shift.copy_(x.mean(over, keepdim=True)[0].expand_as(self.shift))
            self.scale.copy_(torch.where(deviation > 0, deviation, 1.0).expand_as(self.scale))

    # Hooks ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None, given: Tensor | None = None) -> Tensor:
        """Return the estimate of E[x_0 | x_t, cond], scaled, (B, *shape); a single number has the shape (1,) here.

        Arguments:
            x_t: noisy data, scaled, (B, *shape).
            t: diffusion times in (0, 1], (B,).
            cond: what is given, (B, ...), or None.
            given: False in the rows that must not see cond, (B,); None shows it to all.
        """

    def weight(self, t: Tensor) -> Tensor:
        """Return how much the squared error of x_0 counts in the loss at time t, (B,).

        By default alpha^2 / sigma^2, with which it is the squared error of epsilon (Ho et al., eq. 14).
        """
        alpha, sigma = self.schedule(t)
        return (alpha / sigma) ** 2

    # Learning ------------------------------------------------------------------------------------------------------

    def loss(self, x: Any, cond: Tensor | None = None) -> dict[str, Tensor]:
        """Return {"loss": the weighted squared error of the denoised x_0, per entry}, at one random step per row.

        The rows' steps are spread evenly over 1 to T from a random start, which is unbiased and less noisy than
        independent draws (Kingma et al., Variational Diffusion Models, 2021, arxiv.org/abs/2107.00630, I.1).
        """
        x_0 = self._scaled(x)
        rows = torch.arange(len(x), device=self.device)
        place = ((torch.rand((), dtype=torch.float64) + rows) / len(x)) % 1
        t = (torch.floor(place * self.timesteps) + 1).clamp(max=self.timesteps) / self.timesteps
        given = torch.rand(len(x), device=self.device) >= self.drop if cond is not None and self.drop else None
        error = (x_0 - self.denoise(self._mixed(x_0, t), t.float(), cond, given).float()).square().flatten(1).mean(1)
        if self.training:
            self._remember(t, error.detach())
        return {"loss": (self.weight(t).float() * error).mean()}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Also load what an earlier version saved, which had no `errors`."""
        state_dict.setdefault(f"{prefix}errors", self.errors)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _remember(self, t: Tensor, error: Tensor) -> None:
        """Move the steps' mean squared errors, (T,), towards those of these rows, (B,)."""
        step = (t * self.timesteps).round().long().to(error.device) - 1
        seen = torch.zeros_like(self.errors).index_add_(0, step, torch.ones_like(error))
        total = torch.zeros_like(self.errors).index_add_(0, step, error.to(self.errors))
        self.errors.lerp_(torch.where(seen > 0, total / seen.clamp(min=1), self.errors), MEMORY)

    def _scaled(self, x: Tensor) -> Tensor:
        return ((x.reshape(-1, *self.inner) - self.shift) / self.scale).to(self.shift.dtype)

    def _mixed(self, x_0: Tensor, t: Tensor) -> Tensor:
        """Draw x_t given x_0, with a time per row."""
        alpha, sigma = (_column(value, x_0) for value in self.schedule(t))
        return alpha * x_0 + sigma * torch.randn_like(x_0)

    def _denoised(self, x_t: Tensor, t: Tensor, cond: Tensor | None, guidance: float = 1.0) -> Tensor:
        """Return the denoised x_0, kept in range: without + guidance (with - without) the condition."""
        if guidance == 1.0:
            x_0 = self.denoise(x_t, t, cond)
        elif guidance == 0.0:
            x_0 = self.denoise(x_t, t, cond, torch.zeros(len(x_t), dtype=torch.bool, device=x_t.device))
        else:
            assert cond is not None  # `_sample` has checked it
            given = torch.arange(2 * len(x_t), device=x_t.device) < len(x_t)
            both = self.denoise(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([cond, cond]), given)
            shown, hidden = both.chunk(2)
            x_0 = hidden + guidance * (shown - hidden)
        return x_0 if isinstance(self.space, Real) else x_0.clamp(-1, 1)

    # The bound -----------------------------------------------------------------------------------------------------

    def _elbo(self, x: Any, cond: Tensor | None) -> Tensor:
        r"""Return -L_T - sum_i L_{i-1} - L_0 (Ho et al., eq. 5), with a systematic sample of the middle terms.

        The T - 1 steps lie side by side on a line, each as long as its term is expected to be; the line is cut into
        runs of equal length, and one step is drawn in each run. A term counts one over the expected number of its
        draws, so the sum is unbiased (Nichol and Dhariwal, section 3.3). With as many runs as steps, it is the full
        sum.
        """
        x_0 = self._scaled(x)
        total = self._last_term(x, x_0, cond) - self._first_term(x_0)
        middle = self.timesteps - 1
        runs = min(self.terms, middle)
        share = self._shares() if runs < middle else torch.full((middle,), 1 / max(middle, 1), dtype=torch.float64)
        share = share.to(self.device)
        ends = share.cumsum(0)
        offset = torch.rand(len(x), dtype=torch.float64, device=self.device)
        for run in range(runs):
            drawn = torch.searchsorted(ends, (run + offset) / runs * ends[-1], right=True).clamp(max=middle - 1)
            total = total - (1 / (runs * share[drawn])).float() * self._middle_term(x_0, drawn + 2.0, cond)
        return total

    def _shares(self) -> Tensor:
        """Return each middle term's share of the draws, (T - 1,): of its expected size, and a tenth of all equally."""
        t = torch.arange(1, self.timesteps + 1, dtype=torch.float64) / self.timesteps
        step = transition(self.schedule, t[:-1], t[1:])
        size = (step.pull / step.spread).square() * self.errors[1:].double().cpu()
        return 0.9 * size / size.sum() + 0.1 / len(size)

    def _first_term(self, x_0: Tensor) -> Tensor:
        """Return L_T = KL(q(x_T | x_0) || N(0, I)) in closed form, (B,)."""
        alpha, sigma = self.schedule(torch.ones((), dtype=torch.float64))
        entries = (float(alpha) * x_0) ** 2 + float(sigma**2 - 1 - 2 * sigma.log())
        return 0.5 * entries.flatten(1).sum(1)

    def _middle_term(self, x_0: Tensor, index: Tensor, cond: Tensor | None) -> Tensor:
        """Return L_{i-1} = KL(q(x_{i-1} | x_i, x_0) || p(x_{i-1} | x_i)) at a drawn x_i, i = 2 .. T per row, (B,).

        Both are Gaussians of the same variance, so it is the squared distance of their means.
        """
        t = index / self.timesteps
        step = transition(self.schedule, (index - 1) / self.timesteps, t)
        error = x_0 - self._denoised(self._mixed(x_0, t), t.float(), cond)
        return 0.5 * (step.pull / step.spread).square().float() * error.square().flatten(1).sum(1)

    def _last_term(self, x: Tensor, x_0: Tensor, cond: Tensor | None) -> Tensor:
        """Return -L_0 = log p(x_0 | x_1) at a drawn x_1, (B,), in the data's units."""
        t = torch.full((len(x),), 1 / self.timesteps, dtype=torch.float64, device=self.device)
        return self._log_decoder(x, x_0, self._denoised(self._mixed(x_0, t), t.float(), cond))

    def _log_decoder(self, x: Tensor, x_0: Tensor, mean: Tensor) -> Tensor:
        """Return log p(x_0 | x_1), (B,), where the denoised x_0 is `mean`."""
        if isinstance(self.space, Real):
            return self.head.log_prob(self._decoder(mean), x_0) - self.scale.log().sum()
        return self.head.log_prob(self._decoder(mean), x.reshape(mean.shape))

    def _decoder(self, mean: Tensor) -> Tensor:
        """Return the head's parameters, (B, 2, *shape)."""
        return torch.stack([mean, torch.full_like(mean, math.log(self.last_spread))], 1)

    def log_trajectory_weight(self, x: Any, cond: Any = None, *, seed: int | None = None) -> Tensor:
        r"""Return log w = log p(x_0, ..., x_T) - log q(x_1, ..., x_T | x_0) of a drawn trajectory, (B,), in nats.

        E[w] = p(x_0): a single-sample importance weight, at T evaluations of the network. It would make the model
        `Weighted`, but k T evaluations for one row's bound are not what a table should spend unasked; here it is for
        those who want it, and for the proof by enumeration that bound and sampler speak of one normalised law.

        Arguments:
            x: values of the space, (B, *shape).
            cond: what is given, one value or one per row.
            seed: the same seed gives the same weights.
        """
        x, cond = self._given(x, cond)
        with self._asked(seed):
            return self._by_rows(self._log_trajectory_weight, x, cond)

    def _log_trajectory_weight(self, x: Tensor, cond: Tensor | None) -> Tensor:
        x_0 = self._scaled(x)
        times = self._times(self.timesteps)
        x_t = self._mixed(x_0, times[:1].expand(len(x)))
        alpha, sigma = (float(value) for value in self.schedule(times[0]))
        prior_and_q = 0.5 * ((x_t - alpha * x_0) / sigma).square() - 0.5 * x_t.square() + math.log(sigma)
        total = prior_and_q.flatten(1).sum(1)
        for s, t in zip(times[1:-1], times[:-2], strict=True):
            step = transition(self.schedule, s, t)
            mean = self._denoised(x_t, t.float().expand(len(x)), cond)
            z = torch.randn_like(x_t)
            off = float(step.pull / step.spread) * (x_0 - mean)
            total = total - (z * off + 0.5 * off.square()).flatten(1).sum(1)
            x_t = float(step.keep) * x_t + float(step.pull) * x_0 + float(step.spread) * z
        mean = self._denoised(x_t, times[-2].float().expand(len(x)), cond)
        return total + self._log_decoder(x, x_0, mean)

    # The flow ------------------------------------------------------------------------------------------------------

    def flow_log_prob(
        self, x: Any, cond: Any = None, *, steps: int = 50, probes: int = 1, seed: int | None = None
    ) -> Tensor:
        r"""Return an estimate of log p(x | cond) under the probability flow, (B,), in nats of the data's own units.

        The flow is a law of its own beside the chain that `elbo` bounds and `sample` draws from, and often the more
        probable one. On reals it is the density of x with the least noise, sigma(1 / T) / alpha(1 / T) in scaled units.
        Levels have no density: they are lifted to reals by that same noise, and
        log P(x) >= E[log p(x_1) + log p(x | x_1) - log q(x_1 | x)], of which one draw is returned.

        Arguments:
            x: values of the space, (B, *shape).
            cond: what is given, one value or one per row.
            steps: of the solver; each costs two evaluations of the network and of its gradient.
            probes: random directions that estimate the divergence; as many as entries make it exact.
            seed: the same seed gives the same estimates.

        Raises:
            SpaceError: x or cond is not of the declared space.
            LikelyError: steps or probes is below 1.

        Reference: Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
        arxiv.org/abs/2011.13456, section 4.3; lifting by the model's own noise: Zheng, Lu, Chen and Zhu, Improved
        Techniques for Maximum Likelihood Estimation for Diffusion ODEs, 2023, arxiv.org/abs/2305.03935.
        """
        x, cond = self._given(x, cond)
        with self._asked(seed):
            return self._by_rows(lambda x, cond: self._flow_log_prob(x, cond, steps, probes), x, cond)

    def _flow_log_prob(self, x: Tensor, cond: Tensor | None, steps: int, probes: int) -> Tensor:
        def denoise(x_t: Tensor, t: float) -> Tensor:
            return self._denoised(x_t, torch.full((len(x_t),), t, device=self.device), cond)

        x_0, least = self._scaled(x), 1 / self.timesteps
        alpha, sigma = (float(value) for value in self.schedule(torch.tensor(least, dtype=torch.float64)))
        if isinstance(self.space, Real):
            density = flow_log_density(denoise, alpha * x_0, self.schedule, least, steps=steps, probes=probes)
            return density + self.space.size * math.log(alpha) - self.scale.log().sum()
        noise = torch.randn_like(x_0)
        x_1 = alpha * x_0 + sigma * noise
        density = flow_log_density(denoise, x_1, self.schedule, least, steps=steps, probes=probes)
        log_q = -(0.5 * noise.square() + 0.5 * math.log(2 * math.pi) + math.log(sigma)).flatten(1).sum(1)
        return density + self._log_decoder(x, x_0, denoise(x_1, least)) - log_q

    # Samples -------------------------------------------------------------------------------------------------------

    def _times(self, steps: int) -> Tensor:
        """Return `steps` + 1 falling times from 1 to 0 among the multiples of 1 / T."""
        return (
            torch.linspace(self.timesteps, 0, steps + 1, dtype=torch.float64, device=self.device).round()
            / self.timesteps
        )

    def _sample(
        self,
        n: int,
        cond: Tensor | None,
        *,
        solver: str = "ddpm",
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Draw n values.

        Arguments:
            solver: "ddpm" (the model's own law where steps is None and guidance 1) or "ddim" (no fresh noise; good in
                few steps).
            steps: evaluations of the network; None takes all T.
            guidance: 1 is plain, above 1 stresses the condition, 0 ignores it.
        """
        if solver not in SOLVERS:
            raise unknown("solver", solver, SOLVERS)
        if steps is not None and not 1 <= steps <= self.timesteps:
            raise LikelyError(f"steps must be 1 to {self.timesteps} (the model's timesteps), not {steps}.")
        if guidance != 1.0 and cond is None:
            raise LikelyError("guidance needs a conditional model: fit it with `--cond label`.")
        noise = torch.randn(n, *self.inner, device=self.device)

        def denoise(x_t: Tensor, t: float) -> Tensor:
            return self._denoised(x_t, torch.full((n,), t, device=self.device), cond, guidance)

        mean = SOLVERS[solver](denoise, noise, self._times(steps or self.timesteps), self.schedule)
        law = self.head.at(self._decoder(mean))
        return self._values(law.sample() if solver == "ddpm" else law.mode())

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        """Draw the unknown entries by RePaint, in at most 50 steps of five repeats each."""

        def denoise(x_t: Tensor, t: float) -> Tensor:
            return self._denoised(x_t, torch.full((len(x),), t, device=self.device), cond)

        times = self._times(min(self.timesteps, 50))
        x_0 = self._scaled(x)
        mean = repaint(denoise, x_0, known.reshape(x_0.shape), times, self.schedule)
        return self._values(self.head.at(self._decoder(mean)).sample())

    def _values(self, drawn: Tensor) -> Tensor:
        """Bring what the head drew to the data's units: on levels it is there already."""
        drawn = drawn * self.scale + self.shift if isinstance(self.space, Real) else drawn
        return drawn.reshape(-1, *self.space.shape)


def _column(value: Tensor, like: Tensor) -> Tensor:
    """Return one number per row, (B,), so that it multiplies (B, *shape), in its precision."""
    return value.to(like).reshape(-1, *[1] * (like.dim() - 1))
