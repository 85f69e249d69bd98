"""`independent` against scipy's kernel densities, by its integral, and where columns have gaps."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import likely
from likely.data.parts import Part
from likely.errors import LikelyError
from likely.models.independent import Independent
from likely.spaces import Real


def fitted(x, **numbers):
    model = likely.build("independent", Real((x.shape[1],)), **numbers)
    for _ in likely.fit(model, Part(x)):
        pass
    return model


def test_each_column_is_scipys_kernel_density_and_an_imaginary_row():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, generator=generator).double() * torch.tensor([1.0, 50.0]) + torch.tensor([0.0, 1e3])
    at = torch.randn(20, 2, generator=generator).double() * torch.tensor([3.0, 200.0]) + torch.tensor([0.0, 1e3])
    found = fitted(x).log_prob(at)
    expected = 0.0
    for d in range(2):
        column = x[:, d].numpy()
        # scipy takes the width in units of the unbiased deviation
        width = 1.06 * column.std() * 60**-0.2 / column.std(ddof=1)
        near = stats.gaussian_kde(column, bw_method=width)(at[:, d].numpy())
        anywhere = stats.laplace(column.mean(), column.std() / math.sqrt(2)).pdf(at[:, d].numpy())
        expected = expected + np.log((60 * near + anywhere) / 61)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)  # rows are float32


def test_it_integrates_to_one_with_gaps_in_the_column():
    x = torch.tensor([[0.0], [float("nan")], [2.0], [2.0], [5.0]])
    model = fitted(x, bandwidth=0.5)
    line = torch.linspace(-200, 200, 400_001, dtype=torch.float64)[:, None]
    assert float(torch.trapezoid(model.log_prob(line).exp(), line[:, 0])) == pytest.approx(1, abs=1e-4)
    assert int(model.seen.sum()) == 4


def test_a_far_value_costs_its_distance_and_not_its_square():
    model = fitted(torch.randn(500, 1, generator=torch.Generator().manual_seed(0)))
    near, far, farther = model.log_prob(torch.tensor([[10.0], [20.0], [30.0]]))
    assert float(near - far) == pytest.approx(float(far - farther), rel=0.01)


def test_samples_follow_each_column():
    x = torch.stack([torch.randn(1500), torch.rand(1500) ** 4], 1)
    x[::3, 1] = float("nan")
    model = fitted(x)
    drawn = model.sample(4000, seed=0).double()
    for d in range(2):
        column = x[:, d][~x[:, d].isnan()]
        width = float(model._width[d])
        noisy = column.numpy() + np.random.default_rng(0).normal(size=len(column)) * width
        assert stats.ks_2samp(drawn[:, d].numpy(), noisy).pvalue > 1e-3


def test_an_unknown_column_is_the_imaginary_row_alone():
    x = torch.tensor([[1.0, float("nan")], [2.0, float("nan")]])
    model = fitted(x)
    at = torch.tensor([[1.5, 0.3]])
    rest = model.log_marginal(at, torch.tensor([[True, False]]))
    expected = stats.laplace(0, 1 / math.sqrt(2)).logpdf(0.3)
    assert float(model.log_prob(at) - rest) == pytest.approx(expected, rel=1e-5)


def test_a_run_on_a_table_with_gaps_is_saved_and_loaded(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 2))
    cells = [f"{a:.3f},{'' if i % 3 else f'{b:.3f}'}" for i, (a, b) in enumerate(rows)]
    (tmp_path / "gaps.csv").write_text("a,b\n" + "\n".join(cells) + "\n")
    run = likely.train("independent", tmp_path / "gaps.csv", out=tmp_path / "run", quiet=True)
    again = likely.load(tmp_path / "run")
    x = run.data.train.x
    assert torch.equal(again.log_prob(x), run.model.log_prob(x))
    assert again.complete(x, seed=0).isfinite().all()
    assert again.seen.sum(0).tolist() == (~x.isnan()).sum(0).tolist()


def test_what_an_earlier_version_saved_is_loaded():
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    model, other = fitted(x), likely.build("independent", Real((2,)))
    saved = {name: value for name, value in model.state_dict().items() if name != "seen"}
    other.load_state_dict(saved)
    assert torch.equal(other.log_prob(x), model.log_prob(x))


def test_bad_numbers_get_one_line():
    with pytest.raises(LikelyError, match="bandwidth must be above 0 and kernels 1 or more, not 0"):
        Independent(Real((2,)), bandwidth=0)


def test_variances_that_overflow_are_one_line():
    with pytest.raises(LikelyError, match="variances overflow"):
        fitted(torch.randn(50, 2, dtype=torch.float64) * 1e200)
