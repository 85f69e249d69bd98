"""What a page says of models side by side, in English and Korean."""

from __future__ import annotations

from likely.report.words import Words

SUMMARY = Words("Which is best at what", "무엇에 무엇이 좋은가")
SUMMARY_LEAD = Words(
    "In short. Every claim is tested at 95 % over all pairs of models; what the data cannot tell apart is said so.",
    "한눈에 보기. 모든 말은 모델의 모든 쌍에 대해 95 %로 검정했고, 데이터로 구별할 수 없는 것은 그렇다고 적었습니다.",
)
QUESTIONS = {
    "likelihood": Words("likelihood", "가능도"),
    "samples": Words("samples", "표본"),
    "recognised": Words("recognisable", "알아볼 수 있음"),
    "diversity": Words("diversity", "다양성"),
    "memory": Words("memory", "베낌"),
    "condition": Words("does as asked", "시킨 대로"),
    "representation": Words("representation", "표현"),
    "minutes": Words("training", "학습"),
    "speed": Words("sampling", "뽑기"),
    "scoring": Words("scoring", "점수 매기기"),
}
BEST = {
    "likelihood": Words("Best likelihood", "가장 좋은 가능도"),
    "samples": Words("Best samples", "가장 좋은 표본"),
    "recognised": Words("Most recognisable samples", "가장 알아보기 쉬운 표본"),
    "diversity": Words("Most varied samples", "가장 다양한 표본"),
    "condition": Words("Best at doing what was asked", "시킨 것을 가장 잘 그림"),
    "representation": Words("Best representation", "가장 좋은 표현"),
    "minutes": Words("Quickest to train", "가장 빨리 배움"),
    "speed": Words("Quickest to sample", "가장 빨리 뽑음"),
    "scoring": Words("Quickest to score", "가장 빨리 점수를 매김"),
}
AHEAD = Words("better than {second} by {difference}", "{second}보다 {difference} 좋음")
BUT_COPIES = Words("it copies its training data", "학습 데이터를 베낌")
BY_MEASURE = Words("by {measure}", "기준: {measure}")
ALONE = Words("the only one that was measured", "잰 것은 이것뿐")
TIED = Words("not told apart from {others}", "{others}와 구별되지 않음")
AND_MORE = Words("{names} and {n} more", "{names} 외 {n}개")
MAY_BE_BETTER = Words(
    "≥ is a lower bound: in truth {names} may be better, and standing below an exact number proves nothing.",
    "≥는 하한입니다. {names}의 참값은 더 좋을 수 있으며, 정확한 값보다 낮다고 해서 더 나쁘다는 증거는 아닙니다.",
)
UNTESTED = Words("these numbers have no error, so they are not ranked", "오차가 없는 수여서 순위를 매기지 않음")
NO_FEATURES = Words(
    "Samples are compared in the space of the data, where blur and contrast count before shape; --features NAME "
    "compares what a network sees.",
    "표본은 데이터 공간에서 비교했으므로 모양보다 흐림과 대비가 먼저 보입니다. --features 이름을 주면 신경망이 보는 "
    "것으로 비교합니다.",
)
NO_COPIES = Words("No model is seen to copy its training data.", "학습 데이터를 베낀 것으로 보이는 모델은 없습니다.")
COPIERS = Words("Copies training data: {names}", "학습 데이터를 베낌: {names}")
MEMORY_WHAT = Words("Memory", "베낌")
TIMED_ONCE = Words(
    "Times were measured on this machine; a factor of 1.5 is taken for noise.",
    "시간은 이 컴퓨터에서 쟀고, 1.5배 이내는 오차로 봅니다.",
)
ONE_SEED = Words(
    "Each model was trained once: another seed may move a place. Give several --seed to see by how much.",
    "모델마다 한 번만 학습했으므로 시드가 바뀌면 순위가 달라질 수 있습니다. --seed를 여러 개 주면 얼마나 달라지는지 "
    "보입니다.",
)
SEVERAL_SEEDS = Words(
    "Numbers are means over {n} seeds; their error covers held-out data and seeds: error² = mean of the seeds' squared "
    "data errors + s² / S.",
    "수는 시드 {n}개의 평균이고, 오차는 평가용 데이터와 시드를 모두 포함합니다: 오차² = 시드별 데이터 오차² 평균 + "
    "s² / S.",
)
MATRIX_NOTE = Words(
    "Each cell: the place, and the number behind it. 1 on dark: certainly the best; on light: perhaps the best, 1–3 "
    "meaning that it stands somewhere from first to third. + after a place: a bound, in truth perhaps better.",
    "칸마다 순위와 그 근거가 되는 수를 적었습니다. 짙은 칸은 확실한 1등, 옅은 칸은 1등일 수도 있음을 뜻합니다. 1–3은 "
    "1등에서 3등 사이 어딘가라는 뜻이고, 순위 뒤의 +는 하한이어서 참값은 더 좋을 수 있음을 뜻합니다.",
)
COPIES_CELL = Words("copies", "베낌")
CLEAN_CELL = Words("new", "새것")
TRADE = Words("Quality against cost", "품질과 비용")
TRADE_LEAD = Words(
    "Better is up, cheaper is left, time on a logarithmic scale. Filled: nothing is both cheaper and better. Ringed: "
    "beaten, but by no more than noise. Grey: beaten. Bars are 95 % intervals; an arrow marks a bound, whose truth may "
    "lie higher.",
    "위로 갈수록 좋고 왼쪽으로 갈수록 싸며, 시간은 로그 눈금입니다. 채운 점: 더 싸면서 더 좋은 것이 없음. 고리: 졌지만 "
    "오차 범위 안. 회색: 졌음. 막대는 95 % 구간이고, 화살표는 참값이 더 위에 있을 수 있는 하한입니다.",
)
QUALITY_AGAINST = Words("{quality} against {cost}", "{cost}에 대한 {quality}")
COST_TRAINING = Words("training time", "학습 시간")
COST_SAMPLING = Words("time for 1,000 samples", "표본 1,000개를 뽑는 시간")
LOG_LIKELIHOOD = Words("log-likelihood, nats", "로그 가능도(nat)")

RANK = Words("rank", "순위")
SCORING = Words("scores/s", "초당 점수")
SEEN = Words("rows seen", "본 자료 수")
SEEDS = Words("{n} seeds", "시드 {n}개")
ALL_MEASURES = Words("Every other measure", "그 밖의 모든 척도")
ALL_LEAD = Words(
    "Each number with one standard error and, in brackets, its place. Last row: the same measure of real training data "
    "(what a perfect model would show).",
    "수마다 표준 오차 하나와, 괄호 안에 순위를 적었습니다. 마지막 줄은 실제 학습 데이터로 잰 값(완벽한 모델이 보일 값)"
    "입니다.",
)
BY_CLASS = Words("Likelihood by class", "범주별 가능도")
BY_CLASS_LEAD = Words(
    "Mean log-likelihood of the held-out data of each class, nats; red: the class that the model finds hardest.",
    "범주마다 평가용 데이터의 로그 가능도 평균(nat)입니다. 붉은 것은 모델이 가장 어려워하는 범주입니다.",
)
REFUSED = Words(
    "Not in one column: {metric} of {model} was measured by another protocol ({why}).",
    "같은 열에 둘 수 없음: {model}의 {metric} 값은 다른 방법으로 쟀습니다({why}).",
)
SIMPLE = Words("simple model: {name}", "단순한 모델: {name}")

MEMORY = Words("New, or copied?", "새것인가, 베낀 것인가")
MEMORY_LEAD = Words(
    "Top: the first ten samples. Below each: the two training pictures nearest to it. A model that copies shows the "
    "same picture twice. C_T far below 0: samples lie closer to the training data than new data do. Authentic: the "
    "training picture nearest to a sample has a training picture still nearer.",
    "맨 위: 처음 뽑은 표본 열 개. 그 아래: 각각에 가장 가까운 학습 그림 둘. 베끼는 모델은 같은 그림이 두 번 보입니다. "
    "C_T가 0보다 훨씬 작으면 표본이 새 데이터보다 학습 데이터에 더 가깝습니다. 베끼지 않음: 표본에 가장 가까운 학습 "
    "그림이, 표본보다 더 가까운 다른 학습 그림을 가짐.",
)
COPYING_IS = Words("C_T = {value} ± {error}", "C_T = {value} ± {error}")
COPIES_ARE = Words("exact copies: {share} % (real data: {real} %)", "그대로 베낌: {share} % (실제 데이터: {real} %)")
AUTHENTIC_ARE = Words("authentic: {share} % (real data: {real} %)", "베끼지 않음: {share} % (실제 데이터: {real} %)")
NEAREST_OF = Words("searched: the first {n} of {all} training data", "찾은 범위: 학습 데이터 {all}개 중 처음 {n}개")
CLASSES = Words("Everything there is?", "빠짐없이 나오는가")
CLASSES_LEAD = Words(
    "How the recognised samples fall into the classes; lines: held-out data. The number says how many of the samples "
    "were recognised.",
    "알아본 표본이 범주마다 얼마나 되는지 보입니다. 선은 평가용 데이터입니다. 수는 표본 중 몇 개를 알아보았는지입니다.",
)
STRANGE = Words("The strangest real data", "가장 낯선 실제 데이터")
STRANGE_LEAD = Words(
    "The ten held-out pictures that each model finds least likely, strangest first, with log-likelihoods in nats.",
    "모델마다 가장 그럴듯하지 않다고 본 평가용 그림 열 장을 낯선 것부터, 로그 가능도(nat)와 함께 놓았습니다.",
)
