"""Counting what a model is free to choose: formulas against counting contexts, and the command."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import likely
from likely.cli import main
from likely.cli.parameters import chain, free, full_table


@given(st.integers(1, 8), st.integers(2, 4), st.integers(0, 9))
def test_a_chain_has_a_row_for_each_context(n, levels, order):
    contexts = sum(levels ** min(t, order) for t in range(n))
    assert chain(n, levels, order) == contexts * (levels - 1)
    if order >= n - 1:
        assert chain(n, levels, order) == full_table(n, levels)


def test_the_numbers_of_the_issue():
    assert full_table(784) == 2**784 - 1
    assert len(str(full_table(784))) == 237
    assert chain(784, order=0) == 784
    assert chain(784) == 2 * 784 - 1


@given(st.sampled_from(["full", "tied", "diagonal", "spherical", "ppca"]), st.integers(1, 4))
def test_mixtures_of_gaussians_count_as_their_maps_have_dimensions(covariance, size):
    """The rank of the derivative of (weights, means, factors) -> (weights, means, covariances)."""
    components, rank = 2, 1
    model = likely.build("gmm", likely.Real((size,)), components=components, covariance=covariance, rank=rank)
    generator = torch.Generator().manual_seed(size)

    def covariances(v):
        if covariance == "diagonal":
            return v[: components * size].square()
        if covariance == "spherical":
            return v[:components].square()
        blocks = v.reshape(components, -1)[: 1 if covariance == "tied" else components]
        if covariance == "ppca":
            factor, noise = blocks[:, :size], blocks[:, size]
            return factor[:, :, None] * factor[:, None] + noise.square()[:, None, None] * torch.eye(size)
        square = blocks[:, : size * size].reshape(-1, size, size)
        return square @ square.transpose(1, 2)

    v = torch.randn(components * (size * size + 1), generator=generator, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(lambda v: covariances(v).flatten(), v)
    dimensions = int(torch.linalg.matrix_rank(slope))
    assert free(model) == components - 1 + components * size + dimensions


def test_models_learned_by_descent_count_their_weights():
    model = likely.build("nade", likely.Binary((5,)), hidden=3)
    assert free(model) == 5 * 3 * 2 + 5 + 3
    assert free(likely.build("bernoulli", likely.Finite((4,), 3))) == 8
    assert free(likely.build("table", likely.Binary((784,)))) == 2**784 - 1


def test_the_command_prints_exact_integers(capsys):
    words = ["parameters", "markov", "--data", "digits-binary", "--order", "3", "--set", "order=1"]
    assert main([*words, "--json"]) == 0
    counts = {one["name"]: int(one["parameters"]) for one in json.loads(capsys.readouterr().out)["counts"]}
    assert counts == {
        "markov": 127,
        "full table": 2**64 - 1,
        "independence": 64,
        "Markov chain": 127,
        "Markov chain of order 3": 7 + 61 * 8,
    }
    assert main(words) == 0
    assert "18,446,744,073,709,551,615" in capsys.readouterr().out


def test_reals_have_no_table(capsys, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "\n".join(f"{i}.5,{i * i}.25" for i in range(20)) + "\n")
    assert main(["parameters", "gaussian", "--data", str(path)]) == 0
    out = capsys.readouterr().out
    assert "full table" not in out
    assert out.splitlines()[1].split()[-1] == "5"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["markvo"], 2, "Did you mean 'markov'"),
        (["markov", "--set", "ordre=2"], 2, "Did you mean 'order'"),
        (["markov", "--order", "-1"], 2, "--order must be 0 or more"),
        (["markov", "--preset", "digit"], 2, "Did you mean 'digits'"),
        (["nade", "--data", "checkerboard"], 1, "takes Binary or Finite"),
    ],
)
def test_misuse_is_one_line(capsys, words, code, message):
    assert main(["parameters", *words]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
