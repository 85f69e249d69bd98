"""The public methods: seeds, modes, conditions, masks, batches, and what they refuse, on models of a few lines."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import likely
from likely import core
from likely.core import Completer, Density, Latent, Marginal, Model, Statistics, Weighted, abilities, seeded
from likely.errors import LikelyError, SpaceError, UnknownName, unknown
from likely.spaces import Binary, Finite, Ragged, Real, Sequence, Space


class Normal(Marginal, Completer, Latent, Statistics):
    """Independent standard normals, shifted by the condition."""

    def __init__(self, space: Space, cond: Space | None = None) -> None:
        super().__init__(space, cond)
        self.shift = nn.Parameter(torch.zeros(()))
        self.dropout = nn.Dropout(0.5)
        self.rows: list[int] = []
        self.fill = 0.0

    def _mean(self, cond: Tensor | None) -> Tensor:
        return self.shift if cond is None else self.shift + cond.float().reshape(-1, *[1] * len(self.space.shape))

    def _sample(self, n: int, cond: Tensor | None, *, scale: float = 1.0, **options: Any) -> Tensor:
        self.rows.append(n)
        return self._mean(cond) + scale * torch.randn(n, *self.space.shape)

    def _log_marginal(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        assert not x.isnan().any()
        self.rows.append(len(x))
        each = -(x - self._mean(cond)).square() / 2 - math.log(2 * math.pi) / 2
        return self.dropout(torch.where(known, each, 0.0)).flatten(1).sum(1)

    def _complete(self, x: Tensor, known: Tensor, cond: Tensor | None) -> Tensor:
        assert bool((x[~known] == 0).all())
        return self._mean(cond) + torch.randn_like(x) + self.fill

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return x + torch.randn_like(x)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return z

    def _e_step(self, x: Any, cond: Tensor | None, known: Tensor | None, weight: Tensor) -> dict[str, Tensor]:
        seen = torch.ones_like(x) if known is None else known.float()
        return {"count": weight.sum(), "sum": (weight[:, None] * seen * x).sum(0), "log_likelihood": torch.zeros(())}

    def m_step(self, stats: dict[str, Tensor]) -> None:
        self.shift.data = (stats["sum"] / stats["count"]).mean()


class Plain(Density):
    """A density that cannot marginalise."""

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Any:
        return self.space.random(n)

    def _log_prob(self, x: Any, cond: Tensor | None) -> Tensor:
        return x.flatten(1).sum(1)


class Weights(Weighted):
    """Log-weights that are standard normal, whatever x is."""

    def _sample(self, n: int, cond: Tensor | None, **options: Any) -> Tensor:
        return self.space.random(n)

    def _log_weight(self, x: Any, cond: Tensor | None) -> Tensor:
        return torch.randn(len(x))


@pytest.fixture
def normal() -> Normal:
    return Normal(Real((3,)))


def test_a_seed_is_a_stream_of_its_own() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with seeded(7):
        first = torch.rand(3)
    with seeded(7):
        again = torch.rand(3)
    with seeded(None):
        fresh = torch.rand(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, fresh)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(LikelyError, match="seed must be a whole number"), seeded("7"):  # type: ignore[arg-type]
        pass


def test_no_seed_is_a_fresh_one_even_after_a_global_seed(normal: Normal) -> None:
    torch.manual_seed(0)
    first = normal.sample(4)
    torch.manual_seed(0)
    assert not torch.equal(first, normal.sample(4))


def test_memory_is_bounded_by_rows_at_once(normal: Normal) -> None:
    assert normal.sample(2500, seed=0).shape == (2500, 3)
    assert normal.rows == [1000, 1000, 500]
    normal.rows.clear()
    assert normal.log_prob(torch.zeros(1001, 3)).shape == (1001,)
    assert normal.rows == [1000, 1]
    assert normal.log_prob(torch.zeros(0, 3)).shape == (0,)
    assert normal.sample(0).shape == (0, 3)


def test_options_reach_the_model(normal: Normal) -> None:
    assert torch.equal(normal.sample(2, scale=0.0), torch.zeros(2, 3))


def test_evaluation_mode_is_kept_for_the_answer_only(normal: Normal) -> None:
    x = torch.ones(5, 3)
    normal.train()
    assert torch.equal(normal.log_prob(x), normal.log_prob(x)), "dropout was on"
    assert normal.training
    assert normal.dropout.training
    normal.eval()
    normal.log_prob(x)
    assert not normal.training


def test_the_mode_survives_an_error(normal: Normal) -> None:
    normal.train()
    with pytest.raises(SpaceError):
        normal.log_prob(torch.full((1, 3), torch.inf))
    normal.fill = math.nan
    normal.complete(torch.zeros(1, 3), torch.tensor([True, True, False]))
    assert normal.training


def test_gradients_flow_to_x_only_where_it_asks(normal: Normal) -> None:
    x = torch.ones(2, 3)
    assert not normal.log_prob(x).requires_grad
    x.requires_grad_()
    (slope,) = torch.autograd.grad(normal.log_prob(x).sum(), x)
    assert torch.allclose(slope, -x.detach())
    assert not normal.sample(2).requires_grad


def test_one_condition_stands_for_every_row() -> None:
    model = Normal(Real((1,)), Finite((), 5))
    x = torch.zeros(3, 1)
    one, each = model.log_prob(x, 2), model.log_prob(x, torch.tensor([2, 2, 2]))
    assert torch.equal(one, each)
    assert float(one[0]) == pytest.approx(-2 - math.log(2 * math.pi) / 2)
    assert model.sample(100, seed=0).std() > model.sample(100, 2, seed=0).std(), "no condition: drawn anew for each row"
    for cond, message in [
        (None, "is conditional: give cond, one point of Finite"),
        (torch.tensor([1, 2]), "cond has 2 rows for 3 data"),
        (7, "cond has the value 7"),
        (torch.zeros(3, 2), "cond has shape"),
    ]:
        with pytest.raises(SpaceError, match=message):
            model.log_prob(x, cond)
    with pytest.raises(SpaceError, match="is not conditional"):
        Normal(Real((1,))).log_prob(x, 1)


def test_missing_values_are_integrated_out_or_refused(normal: Normal) -> None:
    x = torch.tensor([[0.0, math.nan, 1.0]])
    known = torch.tensor([True, False, True])
    expected = -0.5 - math.log(2 * math.pi)
    assert float(normal.log_prob(x)) == pytest.approx(expected)
    assert float(normal.log_marginal(x, known)) == pytest.approx(expected)
    assert float(normal.log_marginal(torch.tensor([[0.0, 99.0, 1.0]]), known)) == pytest.approx(expected)
    with pytest.raises(SpaceError, match=r"missing value .NaN. in row 0 and Plain cannot score partial data"):
        Plain(Real((3,))).log_prob(x)
    with pytest.raises(SpaceError, match="value inf"):
        normal.log_prob(torch.tensor([[0.0, math.nan, math.inf]]))


def test_masks_are_checked(normal: Normal) -> None:
    x = torch.zeros(2, 3)
    for known, message in [
        (torch.ones(2, 3), "mask of True"),
        (torch.ones(2, 2, dtype=torch.bool), r"known has shape \(2, 2\), expected \(2, 3\) or \(3,\)"),
    ]:
        with pytest.raises(SpaceError, match=message):
            normal.log_marginal(x, known)
        with pytest.raises(SpaceError, match=message):
            normal.complete(x, known)
    with pytest.raises(SpaceError, match="nothing to complete"):
        normal.complete(x)


def test_completing_keeps_what_is_known(normal: Normal) -> None:
    x = torch.tensor([[5.0, math.nan, 6.0]])
    filled = normal.complete(x, seed=0)
    assert filled[0, [0, 2]].tolist() == [5.0, 6.0]
    assert torch.equal(filled, normal.complete(torch.tensor([[5.0, -3.0, 6.0]]), ~x.isnan(), seed=0))
    assert not torch.equal(filled, normal.complete(x, seed=1))


def test_encoding_and_decoding_are_deterministic(normal: Normal) -> None:
    x = torch.zeros(2, 3)
    assert torch.equal(normal.encode(x), normal.encode(x))
    assert normal.decode(torch.zeros(2, 3, dtype=torch.int64)).dtype == torch.float32


def test_statistics_take_weights_and_missing_values(normal: Normal) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, math.nan, 6.0]])
    stats = normal.e_step(x, weight=[2.0, 1.0])
    assert stats["sum"].tolist() == [6.0, 4.0, 12.0]
    assert float(stats["count"]) == 3
    for weight in ([1.0], [-1.0, 1.0], [math.nan, 1.0]):
        with pytest.raises(SpaceError, match="weight must be 2 numbers"):
            normal.e_step(x, weight=weight)


def test_the_importance_weighted_bound_is_the_log_of_a_mean() -> None:
    model = Weights(Binary((2,)))
    x = model.space.enumerate()
    bound = model.iwelbo(x, 5, seed=3)
    with seeded(3):
        expected = torch.stack([torch.randn(4) for _ in range(5)]).logsumexp(0) - math.log(5)
    assert torch.allclose(bound, expected)
    assert torch.equal(model.iwelbo(x, 1, seed=3), model.log_weight(x, seed=3))
    assert torch.equal(model.elbo(x, seed=3), model.log_weight(x, seed=3))
    for k in (0, -1, 2.0):
        with pytest.raises(LikelyError, match="k must be a whole number"):
            model.iwelbo(x, k)  # type: ignore[arg-type]


def test_samples_that_left_the_space_are_an_error(normal: Normal) -> None:
    normal.shift.data.fill_(math.nan)
    with pytest.raises(LikelyError, match=r"drew values outside Real.*did its training diverge"):
        normal.sample(2)


@pytest.mark.parametrize("n", [-1, 1.5, "3", None])
def test_a_number_of_samples_that_makes_no_sense_is_refused(normal: Normal, n: Any) -> None:
    with pytest.raises(LikelyError, match="n must be a whole number"):
        normal.sample(n)


def test_sequences_go_through_in_batches() -> None:
    model = Plain(Sequence(step=Binary(), length=4))
    drawn = model.sample(1500, seed=0)
    assert isinstance(drawn, Ragged)
    assert drawn.values.shape == (1500, 4)
    assert model.space.contains(drawn)


def test_an_ability_is_a_base_class() -> None:
    assert abilities(Normal) == ("sample", "log_prob", "log_marginal", "encode", "complete", "e_step")
    assert abilities(Weights(Binary())) == ("sample", "elbo", "iwelbo")
    for name, method in core.ABILITIES.items():
        ability = getattr(core, name)
        assert issubclass(ability, Model)
        assert hasattr(ability, method)
    with pytest.raises(TypeError, match="abstract"):
        Density(Binary())  # type: ignore[abstract]


def test_a_misspelt_name_gets_the_nearest() -> None:
    error = unknown("model", "vea", ["vae", "gmm"])
    assert isinstance(error, UnknownName)
    assert str(error) == "unknown model 'vea'. Did you mean 'vae'? Known: gmm, vae."
    assert str(unknown("model", "xyz", [])) == "unknown model 'xyz'. Known: none."


def test_the_public_names_are_there() -> None:
    assert likely.Binary is Binary
    assert set(likely.__all__) <= set(dir(likely))
    with pytest.raises(AttributeError, match="no attribute 'vea'"):
        likely.vea  # noqa: B018


def test_a_sampling_option_the_model_does_not_have_is_refused_by_name() -> None:
    model = likely.build("nade", Binary((3,)), hidden=4)
    with pytest.raises(LikelyError, match=r"unknown sampling option of nade 'temprature'. Did you mean 'temperature'"):
        model.sample(2, temprature=0.5)
    dequantised = likely.build("gaussian", Binary((3,)))
    with pytest.raises(LikelyError, match="unknown sampling option of gaussian 'steps'"):
        dequantised.sample(2, steps=3)
