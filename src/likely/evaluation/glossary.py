"""What each metric is: one line of definition, its unit, which way is better, and how it is fooled.

`docs/concepts/metrics.md` holds this table; a test keeps the two equal.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One metric.

    Arguments:
        what: the definition, as short as it can be.
        unit: of the value; "" for a pure number.
        better: "lower", "higher", or what is right.
        fooled: how a bad model gets a good number.
    """

    what: str
    unit: str
    better: str
    fooled: str


GLOSSARY: dict[str, Entry] = {
    "nll": Entry(
        "mean of -log p(x) over held-out data; the sign says whether it is exact, a bound or an estimate",
        "nats",
        "lower",
        "noise mixed in 99 times in 100 costs 4.6 nats at most; on reals, data that lie on a grid",
    ),
    "nll_flow": Entry(
        "the same by the probability flow of a diffusion model, estimated",
        "nats",
        "lower",
        "as nll; and too few solver steps",
    ),
    "mmd": Entry(
        "squared kernel distance of samples from data, Gaussian kernel at the median distance, unbiased",
        "",
        "lower: 0 is right",
        "in pixels it sees blur and contrast before shape",
    ),
    "kid": Entry(
        "the same with the kernel (x.y / D + 1)^3, in the features named",
        "",
        "lower: 0 is right",
        "what the features do not see; it compares three moments only",
    ),
    "frechet": Entry(
        "squared Wasserstein distance of two Gaussians with the moments of the features (FID)",
        "",
        "lower: the floor is right",
        "features with the right mean and covariance that no datum has; falls with n",
    ),
    "frechet_infinity": Entry(
        "the Frechet distance extrapolated to infinitely many samples",
        "",
        "lower: the floor is right",
        "as frechet; the bias of the real rows stays",
    ),
    "precision": Entry(
        "share of samples inside a ball around real data that reaches to the k-th neighbour",
        "share",
        "higher: the floor is right",
        "one good sample, repeated; one outlier among the data makes a large ball",
    ),
    "recall": Entry(
        "share of real data inside a ball around samples",
        "share",
        "higher: the floor is right",
        "samples scattered far and wide make large balls",
    ),
    "density": Entry(
        "how many balls of real data a sample lies in, over k",
        "",
        "higher: the floor is right",
        "samples at the densest place only exceed the floor",
    ),
    "coverage": Entry(
        "share of real data whose ball holds a sample",
        "share",
        "higher: the floor is right",
        "training data, drawn again",
    ),
    "sliced_wasserstein": Entry(
        "mean squared Wasserstein distance over random projections to a line",
        "squared features",
        "lower: the floor is right",
        "a difference in few of many directions",
    ),
    "vendi": Entry(
        "effective number of different samples: exp of the entropy of their similarities",
        "",
        "as the floor",
        "noise is the most diverse of all",
    ),
    "classifier_test": Entry(
        "how often a classifier tells samples from data it has not seen",
        "share",
        "lower: 0.5 is right",
        "what a linear classifier of these features cannot see",
    ),
    "inception_score": Entry(
        "exp of the mean KL(p(y | x) || p(y)) of a classifier's answers",
        "",
        "higher, up to the number of classes",
        "one picture of each class, repeated; it never looks at the data",
    ),
    "column_distance": Entry(
        "mean over columns of the Kolmogorov-Smirnov distance (numbers) or total variation (categories)",
        "",
        "lower: the floor is right",
        "columns shuffled independently",
    ),
    "pair_distance": Entry(
        "mean over pairs of columns of the difference of correlations or tables of counts",
        "",
        "lower: the floor is right",
        "what takes three columns to see",
    ),
    "ndb": Entry(
        "share of the bins of the training data (k-means) whose filling differs significantly",
        "share",
        "lower: 0.05 is right",
        "the centre of each bin, repeated in the right shares; grows with n",
    ),
    "js": Entry(
        "Jensen-Shannon divergence of the fillings of these bins",
        "nats",
        "lower: the floor is right",
        "as ndb",
    ),
    "recognised": Entry(
        "share of samples on whose class most trees of a forest agree that learned real data",
        "share",
        "as the floor",
        "the clearest examples only, one picture per class",
    ),
    "modes": Entry(
        "how many classes the recognised samples belong to",
        "modes",
        "higher: the floor is right",
        "one sample of each class among much junk",
    ),
    "mode_kl": Entry(
        "KL of the histogram of their classes from that of the training data",
        "nats",
        "lower: the floor is right",
        "one picture of each class in the right shares",
    ),
    "intra_class_diversity": Entry(
        "mean squared distance of two samples of a class over that of real data, mean of classes",
        "ratio",
        "1 is right",
        "noise on every entry",
    ),
    "data_copying": Entry(
        "C_T: whether samples lie nearer to training data than held-out data do, in standard deviations",
        "",
        "0 is right; far below: copies; far above: underfitted",
        "shifted or recoloured copies; a few copies among much that is vague",
    ),
    "authenticity": Entry(
        "share of samples whose nearest training datum has a nearer one of its own",
        "share",
        "as the floor, or higher",
        "samples far from all data are all authentic",
    ),
    "copies": Entry(
        "share of samples that equal a training datum",
        "share",
        "as the floor",
        "one level added to one pixel",
    ),
    "linear_probe": Entry(
        "test accuracy of a logistic regression on encode(x)",
        "share",
        "higher; the floor is that of the data themselves",
        "a long representation and many labels",
    ),
    "neighbour_accuracy": Entry(
        "test accuracy of the 5 nearest neighbours in encode(x)",
        "share",
        "higher; the floor is that of the data themselves",
        "as linear_probe",
    ),
    "mutual_information_gap": Entry(
        "how much more of a known factor the best entry of encode(x) knows than the second best, mean of factors",
        "",
        "higher: 1 is an entry for each factor; the floor is that of the data themselves",
        "a rotation of encode(x) closes it and loses nothing; an outlier leaves the others few bins",
    ),
    "condition_accuracy": Entry(
        "how often a classifier sees the class that was asked for, mean of classes",
        "share",
        "higher: the floor is right",
        "the clearest examples only exceed the floor",
    ),
    "mmd_within": Entry(
        "mmd between samples and data of one class, mean of classes",
        "",
        "lower: 0 is right",
        "as mmd; few rows per class",
    ),
    "frechet_within": Entry(
        "frechet between samples and data of one class, mean of classes",
        "",
        "lower: the floor is right",
        "as frechet; few rows per class make it large",
    ),
    "auroc": Entry(
        "probability that an anomaly is scored stranger than a usual row (`likely score --against`)",
        "share",
        "higher: 0.5 is chance",
        "anomalies that differ in something trivial, such as brightness",
    ),
    "aupr": Entry(
        "average precision of the ranking by strangeness",
        "share",
        "higher: the share of anomalies is chance",
        "it rises with the share of anomalies",
    ),
    "fpr95": Entry(
        "share of usual rows called strange where 95 % of the anomalies are found",
        "share",
        "lower",
        "as auroc",
    ),
}


def markdown() -> str:
    """Return the table as Markdown."""
    lines = ["| metric | what it is | unit | better | how it is fooled |", "|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {' | '.join(cell.replace('|', chr(92) + '|') for cell in entry)} |"
        for name, entry in GLOSSARY.items()
    ]
    return "\n".join(lines)
