"""The three loops: what they promise to their caller, on models small enough to know the answer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import likely
from likely import training
from likely.core import Density, Gradient, Statistics, Turns
from likely.data.parts import Part
from likely.errors import LikelyError
from likely.training import by_gradient, by_statistics, by_turns, optimize
from likely.training.optimize import NonFiniteLoss, Order, rate
from likely.training.state import Average, stream


class Normal(Density, Gradient):
    """N(mean, 1): descent must find the data's mean."""

    autocast = False

    def __init__(self) -> None:
        super().__init__(likely.Real((1,)))
        self.mean = nn.Parameter(torch.zeros(1))

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return (-0.5 * (x - self.mean) ** 2 - 0.5 * math.log(2 * math.pi)).sum(1)

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self.mean + torch.randn(n, 1)

    def loss(self, x: Tensor, cond: Tensor | None = None) -> dict[str, Tensor]:
        noise = torch.randn(()) * 1e-3
        return {"loss": -self._log_prob(x, cond).mean() + noise * self.mean.sum(), "noise": noise}


class Mean(Statistics):
    """The mean of the data by statistics."""

    def __init__(self) -> None:
        super().__init__(likely.Real((1,)))
        self.register_buffer("mean", torch.zeros(1))
        self.passes = 0

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self.mean.expand(n, 1)

    def _e_step(self, x: Tensor, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        return {
            "count": weight.sum(),
            "sum": (weight[:, None] * x).sum(0),
            "log_likelihood": -0.5 * (weight * (x - self.mean).square().sum(1)).sum(),
        }

    def m_step(self, stats: dict[str, Tensor]) -> None:
        self.mean = stats["sum"] / stats["count"]
        self.passes += 1


class Game(Turns):
    """Two players that pull at a number each."""

    autocast = False

    def __init__(self) -> None:
        super().__init__(likely.Real((1,)))
        self.critic, self.generator = nn.Linear(1, 1), nn.Linear(1, 1)

    def _sample(self, n: int, cond: Tensor | None) -> Tensor:
        return self.generator(torch.randn(n, 1))

    @property
    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @property
    def turns(self) -> tuple[str, ...]:
        return ("critic", "critic", "generator")

    def loss(self, x: Tensor, cond: Tensor | None = None, player: str = "") -> dict[str, Tensor]:
        fake = self.critic(self.generator(torch.randn_like(x))).mean()
        return {"loss": fake - self.critic(x).mean() if player == "critic" else -fake}


def rows(n: int = 1000, mean: float = 3.0) -> Part:
    return Part(mean + torch.randn(n, 1, generator=torch.Generator().manual_seed(0)))


def test_descent_finds_the_mean() -> None:
    model, part = Normal(), rows()
    *_, last = by_gradient(model, part, steps=400, batch=100, learning_rate=0.1, schedule="cosine")
    assert last.index == 400
    assert last.data == 40_000
    assert abs(model.mean.item() - float(part.x.mean())) < 0.02


def test_a_pass_of_statistics_finds_the_mean_and_stops() -> None:
    model, part = Mean(), rows()
    steps = list(by_statistics(model, part, batch=64))
    assert len(steps) == 1
    assert torch.allclose(model.mean, part.x.mean(0))


def test_statistics_do_not_depend_on_the_batch_and_count_weights() -> None:
    part = rows(10)
    part.weight = torch.arange(10.0)
    repeated = Part(part.x.repeat_interleave(torch.arange(10), 0))
    for batch in (1, 3, 100):
        model, other = Mean(), Mean()
        list(by_statistics(model, part, batch=batch))
        list(by_statistics(other, repeated, batch=batch))
        assert torch.allclose(model.mean, other.mean, atol=1e-6)


def test_em_stops_when_a_pass_gains_less_than_the_tolerance() -> None:
    model = Mean()
    steps = list(by_statistics(model, rows(), passes=50, tolerance=1e-4))
    assert len(steps) == 3  # the first pass sees the start, the second the optimum, the third gains nothing
    assert steps[1].metrics["loss"] < steps[0].metrics["loss"]


def test_players_move_in_turn_on_rows_of_their_own() -> None:
    step = next(by_turns(Game(), rows(), steps=1, batch=10))
    assert set(step.metrics) == {"critic/loss", "generator/loss", "loss"}
    assert step.data == 30


@pytest.mark.parametrize(
    ("model", "loop"),
    [(Normal, by_gradient), (Mean, by_statistics), (Game, by_turns)],
    ids=["gradient", "stats", "turns"],
)
def test_the_global_random_state_is_untouched_and_the_seed_decides(model: type, loop: object) -> None:
    torch.manual_seed(5)
    finished = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            made = model()
        before = torch.random.get_rng_state()
        options = {} if loop is by_statistics else {"steps": 5, "batch": 8}
        for _ in loop(made, rows(), seed=3, **options):  # type: ignore[operator]
            pass
        assert torch.equal(before, torch.random.get_rng_state())
        torch.rand(3)  # what the caller draws must not matter
        finished.append(made.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(finished[0].values(), finished[1].values(), strict=True))


@pytest.mark.parametrize(("model", "loop"), [(Normal, by_gradient), (Game, by_turns)], ids=["gradient", "turns"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_resume_continues_bit_for_bit(model: type, loop: object, optimizer: str) -> None:
    options = {
        "steps": 20,
        "batch": 7,
        "average": 0.9,
        "schedule": "cosine",
        "warmup": 3,
        "optimizer": optimizer,
        "clip": 1.0,
    }
    torch.manual_seed(1)
    whole, half = model(), model()
    half.load_state_dict(whole.state_dict())
    part = rows(30)  # 4 batches an epoch: 11 steps end within one
    *_, last = loop(whole, part, **options)  # type: ignore[operator]
    for step in loop(half, part, **options):  # type: ignore[operator]
        if step.index == 11:
            plain, tensors = step.state.plain(), {k: v.clone() for k, v in step.state.tensors().items()}
            weights = {k: v.clone() for k, v in half.state_dict().items()}
    other = model()
    other.load_state_dict(weights)
    *_, again = loop(other, part, resume=(plain, tensors), **options)  # type: ignore[operator]
    assert again.index == 20
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), other.state_dict().values(), strict=True))
    assert all(torch.equal(v, again.state.tensors()[k]) for k, v in last.state.tensors().items())


@pytest.mark.parametrize(("model", "loop"), [(Normal, by_gradient), (Game, by_turns)], ids=["gradient", "turns"])
@pytest.mark.parametrize("steps", [5, 12])
def test_a_plan_changed_on_the_way_is_followed_as_if_resumed_with_it(model: type, loop: object, steps: int) -> None:
    options = {"batch": 7, "schedule": "cosine"}
    torch.manual_seed(1)
    whole, half = model(), model()
    half.load_state_dict(whole.state_dict())
    part, ends = rows(30), []
    for step in loop(whole, part, steps=8, **options):  # type: ignore[operator]
        if step.index == 3:
            step.state.steps = steps
            plain, tensors = step.state.plain(), {k: v.clone() for k, v in step.state.tensors().items()}
            half.load_state_dict(whole.state_dict())
        ends.append(step.last)
    assert ends == [False] * (steps - 1) + [True]
    for _ in loop(half, part, steps=steps, resume=(plain, tensors), **options):  # type: ignore[operator]
        pass
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), half.state_dict().values(), strict=True))


def test_statistics_resume() -> None:
    *_, last = by_statistics(Mean(), rows(), passes=2, tolerance=-1)
    model = Mean()
    first = next(by_statistics(model, rows(), passes=2, tolerance=-1))
    *_, again = by_statistics(
        model, rows(), passes=2, tolerance=-1, resume=(first.state.plain(), first.state.tensors())
    )
    assert again.index == 2
    assert again.metrics == last.metrics


def test_a_non_finite_loss_stops_before_its_update_and_names_the_step() -> None:
    class Diverges(Normal):
        def loss(self, x: Tensor, cond: Tensor | None = None) -> dict[str, Tensor]:
            self.calls = getattr(self, "calls", 0) + 1
            return {"loss": self.mean.sum() * (math.nan if self.calls == 3 else 1.0)}

    model = Diverges()
    loop = by_gradient(model, rows(), steps=10, learning_rate=0.1)
    assert [next(loop).index, next(loop).index] == [1, 2]
    weights = model.mean.clone()
    with pytest.raises(NonFiniteLoss, match="nan at step 3"):
        next(loop)
    assert torch.equal(model.mean, weights)


def test_every_row_is_used_once_an_epoch_and_epochs_differ() -> None:
    order = Order(rows(10), 5, seed=0)
    epochs = [torch.cat([order(2 * e), order(2 * e + 1)]) for e in range(3)]
    assert all(torch.equal(e.sort().values, torch.arange(10)) for e in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(Order(rows(10), 5, seed=0)(3), order(3))


def test_the_order_of_very_many_rows_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "SHUFFLED", 1000)
    order = Order(rows(5000), 50, seed=0)
    epochs = [torch.cat([order(100 * e + i) for i in range(100)]) for e in range(2)]
    assert all(torch.equal(e.sort().values, torch.arange(5000)) for e in epochs)
    assert (epochs[0] == epochs[1]).float().mean() < 0.01
    batches = epochs[0].reshape(100, 50).float()
    assert float((batches.mean(1) - 2500).abs().max()) < 5 * 5000 / 12**0.5 / 50**0.5  # each is spread over all rows
    shared = [len(set(a) & set(b)) for a, b in zip(*(e.reshape(100, 50).tolist() for e in epochs), strict=True)]
    assert max(shared) < 10
    assert torch.equal(Order(rows(5000), 50, seed=0)(130), order(130))
    assert order.permutation.numel() == 0


def test_rows_with_weights_are_drawn_in_proportion() -> None:
    part = Part(torch.arange(3.0)[:, None], weight=torch.tensor([0.0, 1.0, 3.0]))
    order = Order(part, 3, seed=0)
    drawn = torch.cat([order(i) for i in range(2000)])
    counts = torch.bincount(drawn, minlength=3) / len(drawn)
    assert counts[0] == 0
    assert abs(float(counts[2]) - 0.75) < 0.02


def test_very_many_weighted_rows_are_drawn_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "SHUFFLED", 3)
    part = Part(torch.zeros(4, 1), weight=torch.tensor([0.0, 3.0, 1.0, 0.0]))
    seen = torch.cat([Order(part, 4, 0)(i) for i in range(2000)])
    counts = seen.bincount(minlength=4).double()
    assert counts[0] == counts[3] == 0
    assert abs(counts[1] / len(seen) - 0.75) < 0.02
    monkeypatch.setattr(torch, "rand", lambda *a, **k: torch.tensor([0.0, 1.0], dtype=torch.float64))
    ends = optimize._with_replacement(part.weight.double(), 2, torch.Generator())
    assert ends.tolist() == [1, 2]  # numbers at the very ends fall to rows that count


def test_streams_are_independent() -> None:
    seeds = {stream(seed, kind, index) for seed in range(10) for kind in range(3) for index in range(100)}
    assert len(seeds) == 3000
    draws = torch.stack([torch.randn(50, generator=torch.Generator().manual_seed(stream(0, 1, i))) for i in range(400)])
    correlation = torch.corrcoef(draws.T).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 0.25  # 5 / sqrt(400)


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.1)])
def test_descent_is_that_of_torch(momentum: float, decay: float) -> None:
    ends = []
    for make in (
        lambda p: optimize.make_optimizer(p, "sgd", 0.1, momentum, decay),
        lambda p: torch.optim.SGD(p, 0.1, momentum, weight_decay=decay),
    ):
        p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        idle = torch.nn.Parameter(torch.ones(1))  # without a gradient it stays
        descent = make([p, idle])
        for lr in (0.1, 0.05, 0.2):
            descent.param_groups[0]["lr"] = lr
            p.grad = p.detach() ** 2
            descent.step()
        assert idle.item() == 1
        ends.append(p.detach())
    torch.testing.assert_close(*ends)


def test_schedules() -> None:
    assert rate("constant", 5, 10, 0) == 1
    assert rate("cosine", 0, 10, 0) == 1
    assert rate("cosine", 5, 10, 0) == pytest.approx(0.5)
    assert rate("linear", 10, 10, 0) == 0
    assert [rate("linear", i, 10, 3) for i in range(4)] == [0.25, 0.5, 0.75, 1.0]
    with pytest.raises(LikelyError, match="Did you mean 'cosine'"):
        rate("cosin", 5, 10, 0)


def test_the_average_follows_the_weights() -> None:
    model = Normal()
    average = Average(model, 0.5)
    with torch.no_grad():
        model.mean.fill_(1.0)
    average.update(model, step=100)
    assert float(average.values["mean"]) == pytest.approx(0.5)
    average.update(model, step=0)  # d = min(0.5, 1/10)
    assert float(average.values["mean"]) == pytest.approx(0.95)


def test_an_option_of_another_loop_is_refused_with_the_right_ones() -> None:
    with pytest.raises(LikelyError, match=r"by_statistics and has no option 'learning_rate'; it takes passes"):
        training.fit(Mean(), rows(), learning_rate=0.1)


def test_no_rows_and_no_parameters_are_said() -> None:
    with pytest.raises(LikelyError, match="no training rows"):
        training.fit(Normal(), Part(torch.zeros(0, 1)))
    model = Normal()
    model.mean.requires_grad_(False)
    with pytest.raises(LikelyError, match="no parameters"):
        next(by_gradient(model, rows()))
