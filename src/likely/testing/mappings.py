"""What a representation promises: shapes, a way back, and the determinant on the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from likely.core import Bijective, Latent
from likely.testing.basics import apart, close
from likely.testing.subject import ROWS, Subject, expect, promise


@promise(Latent)
def representation(s: Subject) -> None:
    """encode gives one finite representation per row; decode gives values of the space."""
    model = s.model
    assert isinstance(model, Latent)
    z = model.encode(s.x, s.cond)
    expect(len(z) == ROWS, f"encode of {ROWS} rows gave {len(z)}.")
    expect(z.is_floating_point() and z.isfinite().all(), f"encode gave values that are not finite numbers ({z.dtype}).")
    for what, values in {
        "encode(x)": z,
        "a normal z": torch.randn(z.shape, generator=torch.Generator().manual_seed(7)),
    }.items():
        x = model.decode(values, s.cond)
        expect(model.space.contains(x), f"decode of {what} gave values outside {model.space}.")
        expect(x.dtype == model.space.dtype, f"decode gave {x.dtype}, not {model.space.dtype}.")


@promise(Bijective)
def round_trip(s: Subject) -> None:
    """decode(encode(x)) is x."""
    model = s.model
    assert isinstance(model, Bijective)
    x = s.x
    back = model.decode(model.encode(x, s.cond), s.cond)
    expect(close(back, x, 2e-3), f"x and decode(encode(x)) differ: {apart(x, back)}.")
    z, _ = model.encode_and_log_det(x, s.cond)
    expect(close(z, model.encode(x, s.cond), 1e-6), "encode and encode_and_log_det give different representations.")


@promise(Bijective)
def log_determinant(s: Subject) -> None:
    """The log-determinant is that of the Jacobian which automatic differentiation finds."""
    model = s.copy().double()
    assert isinstance(model, Bijective)
    for row in (0, ROWS - 1):
        cond = None if s.cond is None else s.cond[row : row + 1]

        def encode(x: Tensor, cond: Any = cond) -> Tensor:
            return model.encode_and_log_det(x[None], cond)[0].flatten()

        x = s.x[row].double()
        jacobian = torch.autograd.functional.jacobian(encode, x).reshape(-1, x.numel())
        exact = torch.linalg.slogdet(jacobian).logabsdet
        own = model.encode_and_log_det(x[None], cond)[1][0]
        expect(close(own, exact, 1e-4), f"log |det dz/dx| is {float(own):.6g}, autograd finds {float(exact):.6g}.")
