r"""Denoising diffusion (DDPM): x_t = alpha x_0 + sigma epsilon, and a network that predicts epsilon from x_t and t.

Data are turned into noise in T small steps; each step backwards is nearly Gaussian, and its mean follows from the noise
that the network sees in x_t. Learning is regression; drawing is T evaluations of the network, or a few tens with the
deterministic solver DDIM (`sample(n, solver="ddim", steps=50)`). With a condition, the network also learns to work
without it, and `guidance` above 1 moves samples away from what it would draw then.

The variational bound (`elbo`) is in nats of the data's own units. When it fails: the loss that makes good pictures
counts the finest scales little, so bounds are weaker than those of flows or autoregressive models; few timesteps make
every step too large to be Gaussian; guidance trades variety for typicality.

Reference: Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, 2020, arxiv.org/abs/2006.11239. Cosine
schedule: Nichol and Dhariwal, 2021, arxiv.org/abs/2102.09672. DDIM: Song, Meng and Ermon, 2021,
arxiv.org/abs/2010.02502.
"""

from __future__ import annotations

from torch import Tensor, nn

from likely.errors import SpaceError, unknown
from likely.families.diffusion import Diffusion
from likely.nets.embed import ConditionEmbedding, time_embedding
from likely.nets.mlp import MLP
from likely.nets.unet import UNet
from likely.parts.schedules import SCHEDULES, Schedule
from likely.spaces import Binary, Finite, Real, Space, accept


class DDPM(Diffusion):
    r"""A diffusion model whose network predicts the noise, epsilon = sigma x_t + alpha F(x_t, t).

    Near the data (sigma = 0) the output F is the noise itself; near t = 1, where x_t is all noise, F need not copy it.
    The loss is that of eq. 14 either way, but x_0 = (x_t - sigma epsilon) / alpha = alpha x_t - sigma F needs no
    division by a small alpha, which otherwise makes an untrained chain explode.

    Arguments:
        space: what one x is.
        network: F, (x_t (B, *shape) scaled, context (B, width)) -> (B, *shape) or flat (B, size).
        schedule: t -> alpha, sigma.
        timesteps: T, the steps of the chain.
        width: the length of the context vector.
        cond: the space of what is given, or None.
        drop: how often the condition is hidden while learning.
    """

    def __init__(
        self,
        space: Space,
        network: nn.Module,
        schedule: Schedule,
        timesteps: int,
        *,
        width: int,
        cond: Space | None = None,
        drop: float = 0.1,
    ) -> None:
        super().__init__(space, schedule, timesteps, cond=cond, drop=drop)
        self.network = network
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.embed = ConditionEmbedding(cond, width) if cond is not None else None

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None, given: Tensor | None = None) -> Tensor:
        alpha, sigma = (value.reshape(-1, *[1] * (x_t.dim() - 1)) for value in self.schedule(t))
        context = self.time(time_embedding(t, self.time[0].in_features))  # type: ignore[arg-type]
        if self.embed is not None and cond is not None:
            shown = self.embed(cond)
            context = context + (shown if given is None else shown * given[:, None])
        output = self.network(x_t, context).float().reshape(x_t.shape)
        return alpha * x_t - sigma * output


def build(
    space: Space,
    cond: Space | None = None,
    *,
    timesteps: int = 1000,
    noise: str = "cosine",
    network: str = "auto",
    width: int = 64,
    depth: int = 2,
    attention: bool = True,
    drop: float = 0.1,
) -> DDPM:
    """Build a DDPM: a UNet on pictures, a multilayer perceptron on anything else.

    Arguments:
        timesteps: steps of the chain, T.
        noise: how noise comes over time: cosine or linear (the first paper's).
        network: auto, unet (pictures) or mlp.
        width: channels of the UNet at full size, or units per layer.
        depth: residual blocks per size of the UNet, or hidden layers.
        attention: whether the smallest level of the UNet attends over the whole picture.
        drop: how often the condition is hidden while learning, for guidance.

    Raises:
        SpaceError: the space is a sequence or its levels have no order, or a UNet is asked for what is no picture.
        UnknownName: noise or network is not known.
    """
    accept(space, Real, Binary, Finite, model="ddpm")
    if noise not in SCHEDULES:
        raise unknown("noise schedule", noise, SCHEDULES)
    if network == "auto":
        network = "unet" if len(space.shape) == 3 and min(space.shape[1:]) >= 4 else "mlp"
    context = max(width, 32)
    net: nn.Module
    if network == "unet":
        if len(space.shape) != 3:
            raise SpaceError(f"a UNet takes pictures (C, H, W), not {space}; take network='mlp'.")
        net = UNet(space.shape, width, depth, context, attention)
    elif network == "mlp":
        net = MLP(space.size + context, space.size, width, depth, "silu")
    else:
        raise unknown("network", network, ("auto", "unet", "mlp"))
    return DDPM(space, net, SCHEDULES[noise], timesteps, width=context, cond=cond, drop=drop)


TINY: tuple[dict, ...] = (
    {"space": Finite((2,), 3), "timesteps": 4, "width": 8, "depth": 1},
    {"space": Binary((3,)), "cond": Finite((), 2), "timesteps": 5, "width": 8, "depth": 1, "noise": "linear"},
    {"space": Finite((1, 3, 1), 2), "timesteps": 2, "network": "unet", "width": 4, "depth": 1},
    {"space": Binary((1, 2, 2)), "cond": Finite((), 2), "timesteps": 2, "network": "unet", "width": 4, "depth": 1,
     "attention": False},
    {"space": Real((2,)), "timesteps": 8, "width": 16},
    {"space": Real(()), "cond": Real((2,)), "timesteps": 6, "width": 8, "noise": "linear", "drop": 0.0},
)  # fmt: skip

PRESETS = {
    "digits": {
        "timesteps": 100,
        "width": 32,
        "depth": 1,
        "attention": False,
        "steps": 1200,
        "batch": 128,
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "warmup": 30,
        "clip": 1.0,
        "average": 0.99,
    },
    "mnist": {
        "timesteps": 100,
        "width": 24,
        "depth": 1,
        "attention": False,
        "steps": 6000,
        "batch": 64,
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "warmup": 100,
        "clip": 1.0,
        "average": 0.995,
    },
    "fashion-mnist": {
        "timesteps": 100,
        "width": 24,
        "depth": 1,
        "attention": False,
        "steps": 6000,
        "batch": 64,
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "warmup": 100,
        "clip": 1.0,
        "average": 0.995,
    },
}
