"""Units of a layer: normalisers, means and draws against sums, integrals and frequencies."""

from __future__ import annotations

import math

import pytest
import torch

from likely.parts.units import Bits, Normals, draw_bits


def test_bits_are_drawn_with_their_probabilities_also_the_smallest():
    torch.manual_seed(0)
    p = torch.tensor([0.0, 1.0, 0.5, 0.1, 1 / 3, 1e-3, 1 - 1e-3, 3e-5])
    times, n = 200, 5000
    counts = torch.stack([draw_bits(p.repeat(n, 1)).sum(0) for _ in range(times)]).sum(0).double()
    wide = p.double()
    deviation = (wide * (1 - wide) * times * n).sqrt()
    assert counts[0] == 0
    assert counts[1] == times * n
    assert bool(((counts - wide * times * n).abs() <= 5 * deviation)[2:].all())


def test_probabilities_finer_than_the_random_bits_are_kept():
    """With p below 2^-16 a bit is on only in calls whose shared offset is small; over many calls the rate is p."""
    torch.manual_seed(0)
    p, calls, n = 2.0**-17, 400, 200_000
    ones = sum(int(draw_bits(torch.full((n,), p), torch.uint8).sum()) for _ in range(calls))
    assert abs(ones - p * calls * n) < 5 * math.sqrt(2 * p * calls * n)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 13])
def test_every_shape_gets_bits_of_its_own(n):
    drawn = draw_bits(torch.full((n, 7), 0.5), torch.bfloat16)
    assert drawn.shape == (n, 7)
    assert drawn.dtype == torch.bfloat16
    torch.manual_seed(1)
    many = torch.stack([draw_bits(torch.full((n,), 0.5)) for _ in range(2000)])
    assert float((torch.corrcoef(torch.cat([many, torch.randn(2000, 1)], 1).T) - torch.eye(n + 1)).abs().max()) < 0.12


def test_normaliser_of_bits_is_the_sum_over_both_values():
    field = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(Bits().log_z(field), torch.log(1 + field.exp()))
    torch.testing.assert_close(Bits().mean(field), field.exp() / (1 + field.exp()))
    assert Bits().log_measure(torch.ones(3, 4)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("precision", [0.25, 1.0, 3.0])
def test_normaliser_of_normals_is_the_integral(precision):
    units, field = Normals(), torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64)
    u = torch.linspace(-40, 40, 80_001, dtype=torch.float64)
    for one in field[0]:
        log_f = one * u + units.log_measure(u[:, None], precision)
        torch.testing.assert_close(units.log_z(one, precision), log_f.logsumexp(0) + math.log(1e-3))
    torch.manual_seed(0)
    drawn = units.draw(field.expand(50_000, -1), torch.float32, precision)
    assert float((drawn.mean(0) - field[0] / precision).abs().max()) < 5 / math.sqrt(precision * 50_000)
    assert float((drawn.var(0) * precision - 1).abs().max()) < 0.05
