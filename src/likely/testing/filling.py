"""What filling in promises, and what a declared order does."""

from __future__ import annotations

import torch
from torch import Tensor

from likely.core import Completer, Density, Energy, Model, Weighted, _values, _with_values
from likely.families.autoregressive import Autoregressive
from likely.testing.basics import apart, close, same
from likely.testing.likelihood import CHANCE
from likely.testing.oracle import agreement
from likely.testing.subject import DRAWS, ROWS, Subject, expect, masked, one, promise, repeated, summable


@promise(Completer)
def known_kept(s: Subject) -> None:
    """Known entries are kept, the others drawn from the space; what stood at the others does not matter."""
    model = s.model
    assert isinstance(model, Completer)
    expect(model.completion in ("exact", "prefix", "approximate"), f"completion is {model.completion!r}.")
    filled = model.complete(s.x, s.known, s.cond, seed=0)
    known = s.known.cpu()
    expect(model.space.contains(filled), f"complete gave values outside {model.space}.")
    kept = _values(filled).cpu()[known] == _values(s.x).cpu()[known]
    expect(kept.all(), f"complete changed {int((~kept).sum())} of {int(known.sum())} known entries.")
    garbage = masked(s.x, known, _values(s.x).flip(0))
    expect(same(model.complete(garbage, known, s.cond, seed=0), filled), "what stood at unknown entries matters.")
    nan = masked(_with_values(s.x, _values(s.x).float()), known, torch.tensor(torch.nan))
    expect(same(model.complete(nan, None, s.cond, seed=0), filled), "NaN for the unknown gives something else.")
    x = repeated(one(s.x, 0), 4 * ROWS)
    nothing = torch.zeros(_values(x).shape, dtype=torch.bool)
    cond = None if s.cond is None else s.cond[0]
    first, second = (model.complete(x, nothing, cond, seed=seed) for seed in (0, 1))
    expect(not same(first, second), "two seeds complete alike.")


def _checkable(model: Model) -> bool:
    exact = isinstance(model, Completer) and model.completion in ("exact", "prefix")
    return exact and isinstance(model, (Density, Weighted, Energy)) and summable(model)


@promise(Completer, when=_checkable)
def completion_law(s: Subject) -> None:
    """What is filled in follows p(unknown | known), where the completion is declared exact."""
    model = s.model
    assert isinstance(model, Completer)
    for row in range(2, 5):
        condition = None if s.cond is None else s.cond[row]
        known = _mask(s, row).cpu()
        if bool(known.all()):
            continue
        x = one(s.x, row)
        law = s.law_on(s.lattice(condition, x, known), condition)
        filled = model.complete(repeated(x, DRAWS), repeated(known, DRAWS), condition, seed=row)
        found = agreement(filled, law)
        what = f"with {int(known.sum())} of {known.numel()} entries known"
        expect(found.p > CHANCE, f"of {DRAWS} completions {what} {found}.")


def _mask(s: Subject, row: int) -> Tensor:
    """Return a mask for which the completion is declared exact."""
    if s.model.completion == "exact":  # type: ignore[attr-defined]
        return s.known[row]
    order = getattr(s.model, "order", torch.arange(s.model.space.size))
    known = torch.zeros(s.model.space.size, dtype=torch.bool)
    known[torch.as_tensor(order)[: row % s.model.space.size]] = True
    return known.reshape(s.model.space.shape)


# A declared order --------------------------------------------------------------------------------------------------


@promise(Autoregressive)
def triangular(s: Subject) -> None:
    """The conditional of an entry depends only on the entries before it in the declared order."""
    model = s.copy().double()
    assert isinstance(model, Autoregressive)
    other = (s.x.long() + 1 + s.x.long().flip(0) % (model.levels - 1)) % model.levels  # every entry differs
    with torch.no_grad():
        before = model._conditionals(s.x, s.cond)
        for turn, position in enumerate(model.order.tolist()):
            changed = s.x.reshape(ROWS, -1).clone()
            changed[:, position] = other.reshape(ROWS, -1)[:, position].to(changed.dtype)
            after = model._conditionals(changed.reshape(s.x.shape), s.cond)
            for earlier in model.order[: turn + 1].tolist():
                expect(
                    close(after[:, earlier], before[:, earlier], 1e-9),
                    f"entry {position}, whose turn is {turn}, changes the conditional of entry {earlier}, whose turn "
                    f"is {int(model.when[earlier])}: {apart(before[:, earlier], after[:, earlier])}.",
                )


@promise(Autoregressive)
def cached_sampler(s: Subject) -> None:
    """The cached and the plain sampler draw the same values."""
    cond = None if s.cond is None else s.cond[0]
    cached, plain = (s.model.sample(4 * ROWS, cond, seed=2, cached=way) for way in (True, False))
    expect(same(cached, plain), f"{int((cached != plain).sum())} of {cached.numel()} entries differ.")
