"""Forward-backward and Viterbi against the sum over all paths, and against published numbers."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likely.parts import recursions
from likely.parts.threads import calm


def problem(seed, length, chains, states, sharpness=1.0, zeros=False):
    """Return a random chain with its frames; with zeros, states are left from low to high only."""
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(states + 1, states, generator=generator, dtype=torch.float64) + 0.01
    if zeros:
        chance[1:] = chance[1:].triu()
        chance[0, 1:] = 0
    chance /= chance.sum(1, keepdim=True)
    log_frame = sharpness * torch.randn(length, chains, states, generator=generator, dtype=torch.float64)
    return chance[0], chance[1:], log_frame


def by_enumeration(initial, transition, log_frame):
    """Return log-likelihood, posterior, pairs, the best path and its score of one chain, over all its K^T paths."""
    length, states = log_frame.shape
    paths = torch.tensor(list(itertools.product(range(states), repeat=length)))
    score = initial.log()[paths[:, 0]] + log_frame[0, paths[:, 0]]
    for t in range(1, length):
        score = score + transition.log()[paths[:, t - 1], paths[:, t]] + log_frame[t, paths[:, t]]
    share = (score - score.logsumexp(0)).exp()
    hot = torch.nn.functional.one_hot(paths, states).double()
    pairs = torch.einsum("n,nti,ntj->ij", share, hot[:, :-1], hot[:, 1:])
    return score.logsumexp(0), torch.einsum("n,ntk->tk", share, hot), pairs, paths[score.argmax()], score.max()


problems = {
    "seed": st.integers(0, 10_000),
    "length": st.integers(1, 5),
    "chains": st.integers(1, 3),
    "states": st.integers(1, 4),
    "sharpness": st.sampled_from([0.1, 2.0, 30.0, 1000.0]),
    "zeros": st.booleans(),
    "dtype": st.sampled_from([torch.float64, torch.float32]),
}


@given(**problems)
def test_smoothing_is_the_sum_over_all_paths(seed, length, chains, states, sharpness, zeros, dtype):
    """Also where the likeliest states contradict the chain by thousands of nats, and in float32."""
    initial, transition, log_frame = problem(seed, length, chains, states, sharpness, zeros)
    log_frame = log_frame.to(dtype)
    found = recursions.smooth(initial, transition, log_frame)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-5}
    moves = torch.zeros(states, states, dtype=torch.float64)
    for b in range(chains):
        exact, posterior, pairs, _, _ = by_enumeration(initial, transition, log_frame[:, b].double())
        torch.testing.assert_close(found.log_likelihood[b], exact, **tolerance)
        torch.testing.assert_close(found.posterior[:, b].double(), posterior, **tolerance)
        moves += pairs
    torch.testing.assert_close(found.pairs, moves, **tolerance)


@given(**{name: value for name, value in problems.items() if name != "dtype"})
def test_viterbi_is_the_best_of_all_paths(seed, length, chains, states, sharpness, zeros):
    initial, transition, log_frame = problem(seed, length, chains, states, sharpness, zeros)
    path, log_prob = recursions.viterbi(initial, transition, log_frame)
    for b in range(chains):
        *_, best, score = by_enumeration(initial, transition, log_frame[:, b])
        assert path[:, b].tolist() == best.tolist()
        assert float(log_prob[b]) == pytest.approx(float(score), rel=1e-12)


def test_published_two_state_example():
    """Umbrella world, Russell and Norvig; the figures are those of hmmlearn's tests."""
    transition = torch.tensor([[0.7, 0.3], [0.3, 0.7]])
    seen, unseen = [0.9, 0.2], [0.1, 0.8]
    log_frame = torch.tensor([seen, seen, unseen, seen, seen]).double().log()[:, None]
    initial = torch.tensor([0.5, 0.5])
    found = recursions.smooth(initial, transition, log_frame)
    assert float(found.log_likelihood) == pytest.approx(-3.3725, abs=1e-4)
    assert found.posterior[:, 0, 0].tolist() == pytest.approx([0.8673, 0.8204, 0.3075, 0.8204, 0.8673], abs=1e-4)
    path, log_prob = recursions.viterbi(initial, transition, log_frame)
    assert path[:, 0].tolist() == [0, 0, 1, 0, 0]
    assert float(log_prob) == pytest.approx(-4.4590, abs=1e-4)


def test_published_weather_example():
    initial, transition = torch.tensor([0.6, 0.4]), torch.tensor([[0.7, 0.3], [0.4, 0.6]])
    emission = torch.tensor([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]]).double()
    log_frame = emission.T.log()[:, None]
    path, log_prob = recursions.viterbi(initial, transition, log_frame)
    assert path[:, 0].tolist() == [1, 0, 0]
    assert math.exp(log_prob) == pytest.approx(0.01344, abs=1e-8)
    posterior = recursions.smooth(initial, transition, log_frame).posterior
    assert posterior[:, 0, 0].tolist() == pytest.approx([0.23170303, 0.62406281, 0.86397706], abs=1e-7)


def test_padding_changes_nothing():
    initial, transition, log_frame = problem(3, 6, 2, 3)
    lengths = torch.tensor([6, 4])
    padded = log_frame * (torch.arange(6)[:, None] < lengths)[:, :, None]
    both = recursions.smooth(initial, transition, padded, lengths)
    apart = [recursions.smooth(initial, transition, cut) for cut in (log_frame[:, :1], log_frame[:4, 1:])]
    torch.testing.assert_close(both.log_likelihood, torch.cat([one.log_likelihood for one in apart]))
    torch.testing.assert_close(both.pairs, apart[0].pairs + apart[1].pairs)
    torch.testing.assert_close(both.posterior[:4, 1:], apart[1].posterior)
    path, log_prob = recursions.viterbi(initial, transition, padded, lengths)
    short, score = recursions.viterbi(initial, transition, log_frame[:4, 1:])
    assert path[:4, 1].tolist() == short[:, 0].tolist()
    assert path[4:, 1].tolist() == [short[-1, 0]] * 2
    assert float(log_prob[1]) == pytest.approx(float(score[0]))


def test_a_long_chain_neither_underflows_nor_drifts():
    initial, transition, log_frame = problem(1, 20_000, 1, 3, sharpness=3.0)
    scaled = recursions.smooth(initial, transition, log_frame)
    exact = recursions.log_forward(initial, transition, log_frame)[-1].logsumexp(1)
    torch.testing.assert_close(scaled.log_likelihood, exact, rtol=1e-12, atol=0)
    single = recursions.smooth(initial, transition, log_frame.float())
    torch.testing.assert_close(single.log_likelihood, exact, rtol=1e-6, atol=0)


def test_mass_lost_to_underflow_is_found_again():
    """A left-to-right chain whose second state becomes all but impossible, a little each step, and then is needed."""
    initial, transition = torch.tensor([0.5, 0.5]).double(), torch.eye(2).double()
    pull = torch.tensor([0.0, -30.0]).repeat(10, 1)
    log_frame = torch.cat([pull, pull.flip(1)])[:, None]  # float32: exp(-300) is 0 there
    found = recursions.smooth(initial, transition, log_frame)
    assert float(found.log_likelihood) == pytest.approx(-300, abs=1e-4)
    assert float(recursions.score(initial, transition, log_frame)) == pytest.approx(-300)
    assert found.posterior[:, 0].flatten().tolist() == pytest.approx([0.5] * 40, abs=1e-5)
    assert found.pairs.tolist() == [pytest.approx([9.5, 0], abs=1e-4), pytest.approx([0, 9.5], abs=1e-4)]


def test_a_path_that_falls_behind_twice_is_not_missed():
    """The second state is all but impossible from either end, and as probable as the first on the whole."""
    initial, transition = torch.tensor([0.5, 0.5]).double(), torch.eye(2).double()
    behind, ahead = torch.tensor([0.0, -10.0]), torch.tensor([-10.0, 0.0])
    log_frame = torch.stack([behind] * 10 + [ahead] * 20 + [behind] * 10)[:, None]  # float32: exp(-100) is 0 there
    found = recursions.smooth(initial, transition, log_frame)
    assert found.posterior.dtype == torch.float32
    assert found.posterior.flatten().tolist() == pytest.approx([0.5] * 80, abs=1e-6)
    assert float(found.log_likelihood) == pytest.approx(-200, abs=1e-4)


@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    sharpness=st.sampled_from([0.5, 30.0, 1000.0]),
    zeros=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_lengths_and_weights(seed, lengths, sharpness, zeros, dtype):
    """A batch of chains of any lengths, in any order, is what its chains are alone, times their weights."""
    initial, transition, log_frame = problem(seed, 6, len(lengths), 3, sharpness, zeros)
    weight = torch.arange(len(lengths)) * 0.75
    found = recursions.smooth(initial, transition, log_frame.to(dtype), torch.tensor(lengths), weight)
    scores = recursions.score(initial, transition, log_frame.to(dtype), torch.tensor(lengths))
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-5}
    pairs = torch.zeros(3, 3, dtype=torch.float64)
    for b, n in enumerate(lengths):
        assert found.posterior[n:, b].abs().sum() == 0
        if n:
            exact, posterior, moves, _, _ = by_enumeration(initial, transition, log_frame[:n, b].to(dtype).double())
            torch.testing.assert_close(found.log_likelihood[b], exact, **tolerance)
            torch.testing.assert_close(scores[b], exact, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(found.posterior[:n, b].double(), weight[b] * posterior, **tolerance)
            pairs += weight[b] * moves
        else:
            assert float(found.log_likelihood[b]) == 0
    torch.testing.assert_close(found.pairs, pairs, **tolerance)


def test_scratch_memory_is_not_copied_or_saved():
    scratch = recursions.Scratch()
    first = scratch.take("a", (2, 3), torch.float32, torch.device("cpu"))
    assert scratch.take("a", (1, 4), torch.float32, torch.device("cpu")).data_ptr() == first.data_ptr()
    assert scratch.take("a", (2, 4), torch.float32, torch.device("cpu")).shape == (2, 4)
    assert not copy.deepcopy(scratch)._kept
    assert not pickle.loads(pickle.dumps(scratch))._kept


def test_small_work_is_done_on_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with calm(10):
            assert torch.get_num_threads() == 1
        with calm(10**9):
            assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), calm(10):
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_impossible_is_said_and_never_nan():
    initial, transition = torch.tensor([1.0, 0.0]), torch.eye(2)
    log_frame = torch.tensor([[[0.0, 0.0]], [[-math.inf, 0.0]]])
    found = recursions.smooth(initial, transition, log_frame)
    assert found.log_likelihood.tolist() == [-math.inf]
    assert recursions.score(initial, transition, log_frame).tolist() == [-math.inf]
    assert found.posterior.sum() == 0
    assert found.pairs.sum() == 0


def test_drawn_paths_follow_the_posterior():
    initial, transition, log_frame = problem(5, 4, 1, 3)
    _, posterior, pairs, _, _ = by_enumeration(initial, transition, log_frame[:, 0])
    torch.manual_seed(0)
    n = 40_000
    path = recursions.draw_path(transition, recursions.log_forward(initial, transition, log_frame).expand(4, n, 3))
    hot = torch.nn.functional.one_hot(path, 3).double()
    torch.testing.assert_close(hot.mean(1), posterior, atol=0.015, rtol=0)
    torch.testing.assert_close(torch.einsum("tni,tnj->ij", hot[:-1], hot[1:]) / n, pairs, atol=0.02, rtol=0)
    free = recursions.draw_chain(initial, transition, 3, n)
    expected = initial @ transition @ transition
    torch.testing.assert_close(free[2].bincount(minlength=3).double() / n, expected, atol=0.015, rtol=0)


def test_chains_of_no_steps():
    initial, transition, log_frame = problem(0, 0, 2, 3)
    assert recursions.smooth(initial, transition, log_frame).log_likelihood.tolist() == [0, 0]
    assert recursions.viterbi(initial, transition, log_frame)[1].tolist() == [0, 0]
