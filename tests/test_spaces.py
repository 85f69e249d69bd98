"""Spaces: what lies in them, what is refused and how it is said, enumeration, and plain values to rebuild them from."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from likely.errors import SpaceError
from likely.spaces import Binary, Finite, Ragged, Real, Sequence, Space, accept, batches, from_json

shapes = some.lists(some.integers(1, 4), max_size=3).map(tuple)
flat_spaces = some.one_of(
    shapes.map(Real), shapes.map(Binary), some.builds(Finite, shapes, some.integers(1, 400), ordered=some.booleans())
)
spaces = some.one_of(flat_spaces, some.builds(Sequence, step=flat_spaces, length=some.integers(1, 5)))


@given(spaces, some.integers(0, 5))
def test_random_points_lie_in_the_space(space: Space, n: int) -> None:
    x = space.random(n, torch.Generator().manual_seed(0))
    assert space.contains(x)
    checked = space.check(x)
    values = checked.values if isinstance(checked, Ragged) else checked
    assert values.dtype == space.dtype
    assert len(checked.lengths if isinstance(checked, Ragged) else checked) == n


@given(spaces)
def test_a_space_is_rebuilt_from_plain_values(space: Space) -> None:
    assert from_json(json.loads(json.dumps(space.to_json()))) == space


@given(shapes, some.integers(1, 4))
def test_every_point_is_enumerated_once_and_in_order(shape: tuple[int, ...], levels: int) -> None:
    space = Finite(shape, levels)
    if space.points > 2**16:
        with pytest.raises(SpaceError, match="only up to 65536"):
            space.enumerate()
        return
    points = space.enumerate()
    assert points.shape == (levels ** math.prod(shape), *shape)
    assert space.contains(points)
    places = levels ** torch.arange(space.size).flip(0)
    assert ((points.long().reshape(len(points), -1) @ places) == torch.arange(len(points))).all()


@pytest.mark.parametrize(
    ("space", "x", "message"),
    [
        (Binary((2,)), [[0, 2]], r"x has the value 2 in row 0; expected 0 or 1 \(Binary\(2,\)\)"),
        (Binary((2,)), [[0, 1], [0.5, 1]], r"value 0.5 in row 1"),
        (Binary(), [0, 1, 3], r"value 3 in row 2"),
        (Finite((2,), 5), [[0, 5]], r"expected whole numbers 0 to 4"),
        (Finite((2,), 256), [[0, 256]], r"value 256 in row 0; expected whole numbers 0 to 255"),
        (Finite((2,), 256), [[0, -1]], r"value -1 in row 0"),
        (Finite((2,), 256), [[0, math.nan]], r"value nan in row 0"),
        (Real((2,)), [[0.0, math.inf]], r"value inf in row 0; expected finite real numbers"),
        (Real((2,)), [[0.0, math.nan]], r"value nan in row 0"),
        (Real((2, 3)), torch.zeros(4, 3), r"x has shape \(4, 3\), expected \(B, 2, 3\) for Real\(2, 3\)"),
        (Real(), torch.zeros(4, 1), r"x has shape \(4, 1\), expected \(B,\) for Real\(\)"),
        (Real((1,)), 3.0, r"x has shape \(\)"),
        (Real((1,)), torch.zeros(2, 1, dtype=torch.complex64), r"x is complex"),
        (Real((2,)), [["a", "b"]], r"x cannot be read as an array of numbers"),
        (Real((2,)), [[1.0], [1.0, 2.0]], r"x cannot be read as an array of numbers"),
    ],
)
def test_what_is_not_in_the_space_is_refused_in_one_line(space: Space, x: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        space.check(x)
    assert "\n" not in str(caught.value)
    if isinstance(x, torch.Tensor):
        assert not space.contains(x)


def test_values_keep_their_meaning_and_get_the_type_of_the_space() -> None:
    assert Binary((2,)).check(np.array([[True, False]])).dtype == torch.uint8
    assert Finite((1,), 256).check(torch.tensor([[255.0]])).tolist() == [[255]]
    assert Finite((1,), 257).check([[256]]).dtype == torch.int64
    assert Real((1,)).check([[1]]).dtype == torch.float32
    assert Real((1,)).check(torch.zeros(1, 1, dtype=torch.float64)).dtype == torch.float64
    assert Real((1,)).check(torch.zeros(0, 1)).shape == (0, 1)


def test_missing_values_are_let_in_only_where_asked_and_only_in_reals() -> None:
    x = torch.tensor([[1.0, math.nan]])
    assert Real((2,)).check(x, missing=True).isnan().tolist() == [[False, True]]
    with pytest.raises(SpaceError, match="inf"):
        Real((1,)).check([[math.inf]], missing=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real((0,)), "positive integers"),
        (lambda: Real((2,), names=("a",)), "1 names for 2 entries"),
        (lambda: Finite((), 0), "at least one level"),
        (lambda: Finite((), 3, ("a", "b")), "2 category names for 3 levels"),
        (lambda: from_json({"kind": "Complex"}), "unknown kind of space 'Complex'; known: Real"),
        (lambda: Real().enumerate(), "infinitely many"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make()


def test_names_belong_to_entries_and_categories_to_levels() -> None:
    space = Finite((2,), 3, ("low", "middle", "high"), names=("a", "b"))
    assert from_json(space.to_json()) == space
    assert (space.size, space.points) == (2, 9)


def test_sequences_travel_with_their_lengths() -> None:
    space = Sequence(step=Binary((2,)), length=3)
    assert space.size == 6
    full = space.check(torch.ones(4, 3, 2))
    assert full.lengths.tolist() == [3] * 4
    short = Ragged(torch.zeros(2, 3, 2), torch.tensor([0, 3]))
    assert space.contains(short)
    for bad, message in [
        (Ragged(torch.zeros(2, 3, 2), torch.tensor([1])), "2 sequences and 1 lengths"),
        (Ragged(torch.zeros(1, 3, 2), torch.tensor([4])), "length of 4 steps"),
        (Ragged(torch.zeros(1, 2, 2), torch.tensor([3])), "length of 3 steps"),
        (torch.full((1, 2, 2), 3), "a step of x has the value 3"),
        (torch.zeros(1), r"expected \(B, T, ...\)"),
    ]:
        with pytest.raises(SpaceError, match=message):
            space.check(bad)


def test_accept_says_what_helps() -> None:
    accept(Binary((2,)), Binary, Finite, model="m")
    with pytest.raises(SpaceError, match=r"model 'm' takes Binary or Finite, not Real\(2,\)\.$"):
        accept(Real((2,)), Binary, Finite, model="m")
    with pytest.raises(SpaceError, match="view='threshold'"):
        accept(Finite((2,), 256), Binary, model="m")


@given(some.integers(0, 50), some.integers(1, 20))
def test_batches_cover_every_row_once(n: int, rows: int) -> None:
    cuts = list(batches(n, rows))
    assert [i for cut in cuts for i in range(n)[cut]] == list(range(n))
    assert all(1 <= cut.stop - cut.start <= rows for cut in cuts)


@pytest.mark.parametrize("kind", ["uint16", "uint32", "uint64"])
def test_whole_numbers_of_any_type_are_levels(kind):
    x = np.array([[0, 2], [1, 0]], dtype=kind)
    assert Finite((2,), 3).check(x).tolist() == x.tolist()
    assert Real((2,)).check(x).tolist() == x.tolist()
    with pytest.raises(SpaceError, match="x has the value 2 in row 0; expected 0 or 1"):
        Binary((2,)).check(x)


@pytest.mark.parametrize("space", [Real((2,)), Binary((2,)), Sequence(step=Binary(), length=2)])
def test_arrays_that_do_not_hold_all_their_values_get_one_line(space):
    with pytest.raises(SpaceError, match=r"x is sparse; give x\.to_dense\(\)"):
        space.check(torch.eye(2).to_sparse())
    with pytest.raises(SpaceError, match="x is a masked array, whose mask says what is missing; give NaN there"):
        space.check(np.ma.masked_array([[1.0, 0.0]], [[True, False]]))
