"""How good a model is: every number with its sign, its unit, its error and its protocol."""

from likely.evaluation.anomaly import Detector, anomaly_scores, ways
from likely.evaluation.by_features import feature_distances
from likely.evaluation.classifier import recognised
from likely.evaluation.conditional import conditional
from likely.evaluation.detection import alarm_threshold, detection, share_threshold
from likely.evaluation.diversity import intra_class_diversity, mode_coverage
from likely.evaluation.likelihood import bits_per_dim, flow_likelihood, likelihood, scores, sign_of, uniform
from likely.evaluation.memorisation import memorisation
from likely.evaluation.menu import metric_names
from likely.evaluation.protocol import evaluate, evaluate_samples
from likely.evaluation.representation import representation
from likely.evaluation.results import Result
from likely.evaluation.samples import sample_distances, table_distances
from likely.evaluation.tabling import column, comparable, find, tabled
from likely.evaluation.two_sample import kernel_distance

__all__ = [
    "Detector",
    "Result",
    "alarm_threshold",
    "anomaly_scores",
    "bits_per_dim",
    "column",
    "comparable",
    "conditional",
    "detection",
    "evaluate",
    "evaluate_samples",
    "feature_distances",
    "find",
    "flow_likelihood",
    "intra_class_diversity",
    "kernel_distance",
    "likelihood",
    "memorisation",
    "metric_names",
    "mode_coverage",
    "recognised",
    "representation",
    "sample_distances",
    "scores",
    "share_threshold",
    "sign_of",
    "table_distances",
    "tabled",
    "uniform",
    "ways",
]
