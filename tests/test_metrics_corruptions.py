"""Every distance grows with every corruption of digits: noise, blur, rotation, dropped classes, copies."""

from functools import cache

import numpy as np
import pytest
import scipy.ndimage
import torch
from sklearn.datasets import load_digits

from likely.evaluation.bins import bins
from likely.evaluation.classifier_test import classifier_test
from likely.evaluation.columns import column_distances
from likely.evaluation.frechet import frechet_distance
from likely.evaluation.kid import kernel_inception_distance
from likely.evaluation.manifold import manifold
from likely.evaluation.sliced import sliced_wasserstein
from likely.evaluation.two_sample import mmd
from likely.evaluation.vendi import vendi_score


@cache
def halves():
    """Return two halves of the digits, (N, 8, 8) in [0, 1], and the classes of the second."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pictures, classes = digits.images[order] / 16, digits.target[order]
    return pictures[:898], pictures[898:], classes[898:]


def noise(level):
    _, x, _ = halves()
    return x + 0.4 * level * np.random.default_rng(1).standard_normal(x.shape)


def blur(level):
    return scipy.ndimage.gaussian_filter(halves()[1], (0, 0.6 * level, 0.6 * level))


def rotation(level):
    return scipy.ndimage.rotate(halves()[1], 15 * level, axes=(1, 2), reshape=False, order=1)


def dropped(level):
    _, x, classes = halves()
    return x[classes >= 2 * level]


def copies(level):
    _, x, _ = halves()
    return x[np.arange(len(x)) % (len(x) // 4**level)] if level else x


CORRUPTIONS = (noise, blur, rotation, dropped, copies)
DISTANCES = {
    "frechet": lambda x, y: frechet_distance(x, y).value,
    "kernel inception": lambda x, y: kernel_inception_distance(x, y).value,
    "mmd": lambda x, y: mmd(x, y).value,
    "sliced wasserstein": lambda x, y: sliced_wasserstein(x, y, projections=200).value,
    "bins": lambda x, y: bins(x, y, 30).divergence,
    "columns": lambda x, y: sum(column.wasserstein for column in column_distances(x, y)),
    "not covered": lambda x, y: -manifold(x, y).coverage.value,
}


def along(measure, corruption):
    real = torch.from_numpy(halves()[0]).flatten(1)
    return [measure(real, torch.from_numpy(corruption(level)).flatten(1)) for level in range(4)]


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_grow_with_corruption(distance, corruption):
    values = along(DISTANCES[distance], corruption)
    assert values[-1] > values[0]
    if distance == "bins" and corruption is noise:
        values = values[1:]  # a little noise leaves every row in its bin
    assert values == sorted(values)


@pytest.mark.parametrize("corruption", [blur, rotation], ids=lambda c: c.__name__)
def test_a_classifier_is_surer_of_more_corruption(corruption):
    values = along(lambda x, y: classifier_test(x, y, classifier="neighbour").accuracy, corruption)
    assert values[0] == pytest.approx(0.5, abs=0.05)
    assert values[-1] > 0.75
    assert values == sorted(values)


def test_noise_fools_the_neighbour_classifier():
    values = along(lambda x, y: classifier_test(x, y, classifier="neighbour").accuracy, noise)
    assert values[-1] < 0.6  # everything is nearest to a clean picture, so that everything is called real


def test_precision_sees_what_is_false_and_recall_what_is_missing():
    precision = {c: along(lambda x, y: manifold(x, y, 3).precision.value, c) for c in CORRUPTIONS}
    recall = {c: along(lambda x, y: manifold(x, y, 3).recall.value, c) for c in CORRUPTIONS}
    for false in (noise, rotation):
        assert precision[false][-1] < 0.3 * precision[false][0]
    for missing in (dropped, copies):
        assert recall[missing] == sorted(recall[missing], reverse=True)
        assert recall[missing][-1] < 0.6 * recall[missing][0]
    assert precision[dropped][-1] > 0.9 * precision[dropped][0]


def test_diversity_falls_with_dropped_classes_and_copies_and_not_with_noise():
    def diversity(_, y):
        return vendi_score(y - 0.3)

    for missing in (dropped, copies):
        values = along(diversity, missing)
        assert values == sorted(values, reverse=True)
        assert values[-1] < values[0]
    values = along(diversity, noise)
    assert values == sorted(values)
