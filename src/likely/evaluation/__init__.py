"""How good a model is: every number with its sign, its unit, its error and its protocol."""

from likely.evaluation.classifier import recognised
from likely.evaluation.likelihood import bits_per_dim, likelihood, scores, sign_of, uniform
from likely.evaluation.protocol import evaluate, evaluate_samples, sample_distances
from likely.evaluation.results import Result
from likely.evaluation.two_sample import kernel_distance

__all__ = [
    "Result",
    "bits_per_dim",
    "evaluate",
    "evaluate_samples",
    "kernel_distance",
    "likelihood",
    "recognised",
    "sample_distances",
    "scores",
    "sign_of",
    "uniform",
]
