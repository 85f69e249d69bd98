r"""What the two players of an adversarial game descend, as functions of the critic's scores.

The critic's score of x is an unbounded number; in the original game it is the logit of D(x), the probability that x is
real. A game is a pair of functions: the critic's loss of (scores of real, scores of fake) and the generator's loss of
(scores of real, scores of fake); most generators look at the fakes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import softplus

ScoresLoss = Callable[[Tensor, Tensor], Tensor]


class Game(NamedTuple):
    """The losses of the two players.

    Arguments:
        critic: (scores of real, scores of fake) -> loss, each (B,) -> ().
        generator: the same for the generator.
        needs_real: whether the generator's loss depends on the scores of real data; if not it is given none of them
            (an empty tensor), which saves a pass of the critic.
    """

    critic: ScoresLoss
    generator: ScoresLoss
    needs_real: bool = False


def logistic_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Return -E log D(x) - E log(1 - D(G(z))), which is 2 log 2 where D = 1/2 everywhere.

    Reference: Goodfellow et al., Generative Adversarial Nets, 2014, arxiv.org/abs/1406.2661, eq. 1.
    """
    return softplus(-real).mean() + softplus(fake).mean()


def minimax_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E log(1 - D(G(z))): the generator's side of eq. 1. Its gradient vanishes where the critic is sure."""
    return -softplus(fake).mean()


def non_saturating_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return -E log D(G(z)): the same fixed point as minimax with a gradient where the critic is sure (section 3)."""
    return softplus(-fake).mean()


GAMES: dict[str, Game] = {
    "non-saturating": Game(logistic_critic, non_saturating_generator),
    "minimax": Game(logistic_critic, minimax_generator),
}
