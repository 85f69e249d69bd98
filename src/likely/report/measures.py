"""What is measured, as pages tell it: the name of each metric, which way is better, and what question it answers.

A metric that is not listed here is shown under its own name, and not ranked: nothing is known of which way is better.
"""

from __future__ import annotations

from dataclasses import dataclass

from likely.evaluation import Result
from likely.report.numbers import nats, number
from likely.report.pooling import Key, Pool, error_of, key_of
from likely.report.ranking import Ranking, ranking
from likely.report.words import Words


@dataclass(frozen=True)
class Measure:
    """How one metric is told.

    Arguments:
        name: what it is called.
        better: "low", "high", "near" (the closer to `target` the better), or "" (not ranked).
        target: what is right, for "near".
        scale: what numbers are multiplied by before they are printed.
        digits: how many are printed after the point.
        unit: what is printed after a number.
    """

    name: Words
    better: str = ""
    target: float = 0.0
    scale: float = 1.0
    digits: int = 2
    unit: str = ""

    def loss(self, value: float) -> float:
        """Return what is lowest for the best model."""
        if self.better == "near":
            return abs(value - self.target)
        return -value if self.better == "high" else value

    def text(self, result: Result, *, error: bool = True) -> str:
        """Return the number as it is printed, with its standard error."""
        value, spread = result["value"], result["protocol"].get("standard_error")
        if result["unit"] == "share" and spread is not None:  # 100 % has no error, but an interval
            spread = error_of(result)
        if value is None:
            return ""
        shown = number(self.scale * value, self.digits)
        if error and spread is not None:
            shown += f" ± {number(self.scale * spread, self.digits)}"
        return shown + self.unit


def _share(name: Words, better: str = "") -> Measure:
    return Measure(name, better, scale=100.0, digits=0, unit=" %")


MEASURES = {
    "nll": Measure(Words("likelihood", "가능도"), "low", unit=" nats"),
    "frechet": Measure(Words("Fréchet distance", "프레셰 거리"), "low"),
    "frechet_infinity": Measure(Words("Fréchet distance at n = ∞", "n = ∞에서의 프레셰 거리"), "low"),
    "mmd": Measure(Words("kernel distance ×1000", "커널 거리 ×1000"), "low", scale=1000, digits=1),
    "kid": Measure(Words("KID ×1000", "KID ×1000"), "low", scale=1000, digits=1),
    "sliced_wasserstein": Measure(Words("sliced Wasserstein", "조각 바서슈타인"), "low", digits=3),
    "column_distance": Measure(Words("distance by columns", "열별 거리"), "low", digits=3),
    "pair_distance": Measure(Words("distance by pairs of columns", "열 쌍별 거리"), "low", digits=3),
    "ndb": _share(Words("bins filled wrongly", "잘못 채워진 구간"), "low"),
    "js": Measure(Words("Jensen–Shannon divergence of bins", "구간의 옌센–섀넌 발산"), "low", digits=3),
    "classifier_test": _share(Words("told from real data", "실제와 구별됨"), "low"),
    "inception_score": Measure(Words("Inception score", "인셉션 점수"), "high"),
    "precision": _share(Words("precision", "정밀도"), "high"),
    "density": Measure(Words("density", "밀도"), "high"),
    "recognised": _share(Words("recognised", "알아봄"), "high"),
    "recall": _share(Words("recall", "재현율"), "high"),
    "coverage": _share(Words("coverage", "포괄"), "high"),
    "vendi": Measure(Words("Vendi score", "벤디 점수")),
    "intra_class_diversity": Measure(
        Words("variety within a class (1 is right)", "범주 안의 다양성 (1이 옳음)"), "near", 1
    ),
    "modes": Measure(Words("classes reached", "나온 범주"), digits=0),
    "mode_kl": Measure(Words("KL of the classes", "범주 분포의 KL"), digits=3),
    "data_copying": Measure(Words("data copying C_T", "베낌 C_T"), digits=1),
    "authenticity": _share(Words("authentic", "베끼지 않음")),
    "copies": _share(Words("exact copies", "그대로 베낌")),
    "linear_probe": _share(Words("linear probe", "선형 분류"), "high"),
    "neighbour_accuracy": _share(Words("nearest neighbours", "가까운 이웃"), "high"),
    "mutual_information_gap": Measure(Words("mutual information gap", "상호정보량 차이"), "high"),
    "condition_accuracy": _share(Words("shows what was asked", "시킨 것을 그림"), "high"),
    "mmd_within": Measure(
        Words("kernel distance within classes ×1000", "범주별 커널 거리 ×1000"), "low", scale=1000, digits=1
    ),
    "frechet_within": Measure(Words("Fréchet distance within classes", "범주별 프레셰 거리"), "low"),
    "nll_flow": Measure(Words("−log p by the probability flow, nats", "확률 흐름으로 잰 −log p, nat"), "low"),
}

#: what a newcomer asks: question -> the metrics that answer it, the best answer first
ASPECTS: dict[str, tuple[str, ...]] = {
    "likelihood": ("nll",),
    "samples": ("frechet", "mmd"),
    "recognised": ("recognised",),
    "diversity": ("coverage", "recall", "intra_class_diversity"),
    "condition": ("condition_accuracy",),
    "representation": ("linear_probe", "neighbour_accuracy"),
}


def quality_text(result: Result, *, error: bool = True) -> str:
    """Return a number as people read it: a negative log-likelihood as the log-likelihood it is of."""
    if result["metric"] == "nll":
        text = nats(result)
        return f"{text if error else text.split(' ±')[0]} nats" if text else ""
    return measure_of(result["metric"]).text(result, error=error)


def measure_of(metric: str) -> Measure:
    """Return how a metric is told; one that nobody described goes by its own name."""
    return MEASURES.get(metric) or Measure(Words(metric, metric), digits=3)


def keys_of(pools: list[Pool]) -> list[Key]:
    """Return the columns that these models fill, in the order in which they were measured."""
    known = [result for pool in pools for result in pool.row.results if result["value"] is not None]
    refused = [key for pool in pools for key in pool.refused]
    return list(dict.fromkeys([*map(key_of, known), *refused]))


def answer(pools: list[Pool], aspect: str) -> Ranking | None:
    """Return the ranking by the first metric of this aspect that was measured; None where none was."""
    keys = keys_of(pools)
    for metric in ASPECTS[aspect]:
        for key in keys:
            if key[0] == metric:
                made = ranked(pools, key)
                if made.order:
                    return made
    return None


def ranked(pools: list[Pool], key: Key) -> Ranking:
    """Return the ranking of these models by one column."""
    return ranking(pools, key, measure_of(key[0]).loss)
