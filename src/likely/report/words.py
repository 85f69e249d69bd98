"""What the pages say, in English and Korean side by side; the page shows one of the two."""

from __future__ import annotations

from html import escape
from typing import NamedTuple


class Words(NamedTuple):
    """One text in both languages."""

    en: str
    ko: str


def both(words: Words, **values: object) -> str:
    """Return the text in both languages as HTML, with its {values} filled in and everything escaped.

    A value that is `Words` itself is filled in in the same language.
    """
    parts = []
    for i, (lang, text) in enumerate(zip(("en", "ko"), words, strict=True)):
        filled = {n: escape(v[i] if isinstance(v, Words) else str(v)) for n, v in values.items()}
        parts.append(f'<span class="{lang}" lang="{lang}">{escape(text).format(**filled)}</span>')
    return "".join(parts)


NUMBER = Words("{n} models, one data set", "모델 {n}개, 데이터 하나")
ONE = Words("One model", "모델 하나")
LEAD = Words(
    "Every model below was trained on this machine on the same data, and asked the same questions.",
    "아래의 모든 모델은 이 컴퓨터에서 같은 데이터로 학습했고, 같은 질문을 받았습니다.",
)
LEAD_ONE = Words(
    "Trained on this machine, and judged on data that it has not seen.",
    "이 컴퓨터에서 학습했고, 본 적 없는 데이터로 평가했습니다.",
)
DATA = Words("data", "데이터")
ROWS = Words("rows", "자료 수")
ROWS_VALUE = Words("{train} to train, {valid} to choose, {test} to test", "학습 {train}, 선택 {valid}, 평가 {test}")
MACHINE = Words("machine", "컴퓨터")
DATE = Words("date", "날짜")
VERSIONS = Words("versions", "버전")
COMMAND = Words("command", "명령")
TIME = Words("training in all", "전체 학습 시간")

SAMPLES = Words("Samples", "표본")
SAMPLES_LEAD = Words(
    "What each model draws when asked for new data, beside real data it has never seen. Nothing was picked by hand.",
    "각 모델이 새로 만들어 낸 데이터와, 모델이 본 적 없는 실제 데이터입니다. 손으로 고른 것은 없습니다.",
)
REAL = Words("Real data", "실제 데이터")
REAL_NOTE = Words("held out: no model has seen these", "평가용: 어떤 모델도 본 적이 없음")
BY_CLASS = Words("one class per column", "열마다 한 범주")
NO_LIKELIHOOD = Words("no likelihood", "가능도 없음")

SCORES = Words("Scores", "점수")
SCORES_LEAD = Words(
    "How probable held-out data are under each model, best first. = is exact; ≥ is a lower bound, so the truth may be "
    "better (k: how many importance samples it averages); ~ is an estimate; an empty cell means that the model cannot "
    "say. Natural logarithm (nats) per datum, higher is better; ± is one standard error.",
    "각 모델이 평가용 데이터에 준 확률이며, 좋은 것부터 놓았습니다. =는 정확한 값, ≥는 하한이어서 참값은 더 좋을 수 "
    "있고(k: 중요도 표본의 수), ~는 추정값, 빈칸은 모델이 말할 수 없다는 뜻입니다. 단위는 자료 하나당 자연로그(nat)이고"
    " 클수록 좋습니다. ±는 표준 오차 하나입니다.",
)
VIEWS = Words(
    "Likelihoods compare only within one view of the data, so each view has its own table.",
    "가능도는 데이터를 같은 방식으로 볼 때만 비교할 수 있으므로, 보는 방식마다 표가 따로 있습니다.",
)
MODEL = Words("model", "모델")
SEED = Words("seed", "시드")
NATS = Words("log-likelihood, nats", "로그 가능도, nat")
BITS = Words("bits per dimension", "차원당 비트")
DISTANCE = Words("kernel distance ×1000", "커널 거리 ×1000")
DISTANCE_NOTE = Words(
    "Kernel distance: unbiased squared distance (MMD², Gaussian kernel) of {n} samples from as many held-out data, in "
    "the space of the data; lower is better, 0 is equal, and below 0 is chance.",
    "커널 거리: 표본 {n}개와 같은 수의 평가용 데이터 사이의 비편향 제곱 거리(MMD², 가우스 커널)를 데이터 공간에서 잰 "
    "것입니다. 작을수록 좋고, 0이면 같으며, 음수는 우연입니다.",
)
RECOGNISED = Words("recognised", "알아봄")
RECOGNISED_NOTE = Words(
    "Recognised: the share of samples for which more than half of {trees} decision trees, trained on real labelled "
    "data, agree on a class; and how many classes these cover.",
    "알아봄: 실제 데이터로 학습한 결정 트리 {trees}개 중 절반 넘게 같은 범주를 말한 표본의 비율, 그리고 나온 범주의 "
    "수입니다.",
)
PARAMETERS = Words("parameters", "매개변수")
TRAINED = Words("minutes", "학습, 분")
SPEED = Words("samples/s", "초당 표본")
UNIFORM = Words("uniform: every point alike", "균등: 모든 점이 같음")
FLOOR = Words("real training data", "실제 학습 데이터")
FLOOR_HELD = Words("real held-out data", "실제 평가용 데이터")

CURVES = Words("Learning", "학습")
CURVES_LEAD = Words(
    "What each model descended while it learned, step by step; ○ is the same on validation data. Of models that learn "
    "by taking turns, both players are drawn: neither curve should reach zero.",
    "학습하면서 각 모델이 줄여 나간 값을 단계별로 그렸고, ○는 검증 데이터에서 잰 값입니다. 번갈아 학습하는 모델은 두 "
    "상대를 모두 그렸습니다. 어느 곡선도 0이 되어서는 안 됩니다.",
)
BRIEF = Words("A single step was logged, so there is no curve.", "기록된 단계가 하나뿐이어서 곡선이 없습니다.")
CLOSED = Words(
    "Closed form: one pass over the data reaches the optimum, so there is no curve.",
    "닫힌 해: 데이터를 한 번 지나면 최적이므로 곡선이 없습니다.",
)
STEP = Words("step", "단계")
PASS = Words("pass over the data", "데이터를 지난 횟수")
TERMS = {
    "loss": Words("training loss", "학습 손실"),
    "valid": Words("validation", "검증"),
    "generator": Words("generator", "생성자"),
    "critic": Words("critic", "비평자"),
    "discriminator": Words("discriminator", "판별자"),
}

LATENT = Words("The space behind the data", "데이터 뒤의 공간")
LATENT_LEAD = Words(
    "Models with a representation place every datum on a map. Drag the ring across it, or move it with the arrow keys: "
    "the picture is what the model decodes there. The sheet shows the whole map decoded.",
    "표현을 가진 모델은 모든 데이터를 지도 위에 놓습니다. 고리를 끌거나 화살표 키로 움직이면 그 자리에서 모델이 만들어 "
    "내는 그림이 보입니다. 오른쪽은 지도 전체를 펼친 것입니다.",
)
MAP_PLANE = Words(
    "{dims} numbers represent a datum; this plane holds {share} % of their variance.",
    "데이터 하나를 수 {dims}개로 나타내며, 이 평면은 그 분산의 {share} %를 담습니다.",
)
MAP_WHOLE = Words("{dims} numbers represent a datum; this is all of them.", "데이터 하나를 수 {dims}개로 나타냅니다.")
RECONSTRUCTIONS = Words("There and back", "갔다가 돌아오기")
RECONSTRUCTIONS_LEAD = Words(
    "Top: held-out data. Below: what the model makes of their representation.",
    "위: 평가용 데이터. 아래: 그 표현에서 모델이 되살린 것.",
)
COMPLETIONS = Words("Filling in", "채워 넣기")
COMPLETIONS_LEAD = Words(
    "The upper half is given (top); the model draws the rest, twice; the truth is at the bottom.",
    "위쪽 절반만 주고(첫 줄) 나머지를 모델이 두 번 그렸습니다. 맨 아래가 실제입니다.",
)
COMPLETION_LAWS = {
    "exact": Words("exact: drawn from p(unknown | known)", "정확: p(모름 | 앎)에서 뽑음"),
    "prefix": Words("exact here: what is known comes first", "여기서는 정확: 아는 것이 앞에 있음"),
    "approximate": Words("approximate", "근사"),
}

ABILITIES = Words("What each can do, and what not", "할 수 있는 것과 없는 것")
ABILITIES_LEAD = Words(
    "A model has an ability or it has not; there is nothing in between. The name of an ability is its guarantee.",
    "모델은 어떤 능력이 있거나 없거나 둘 중 하나입니다. 능력의 이름이 곧 보증입니다.",
)
CAN = {
    "sample": Words("draws new data", "새 데이터를 뽑는다"),
    "log_prob": Words("exact probability", "정확한 확률"),
    "log_marginal": Words("probability of a part", "일부의 확률"),
    "elbo": Words("lower bound", "하한"),
    "iwelbo": Words("bound that tightens with k", "k로 조여지는 하한"),
    "energy": Words("energy, up to log Z", "에너지 (log Z 제외)"),
    "encode": Words("represents, and back", "표현과 복원"),
    "encode_and_log_det": Words("represents without loss", "손실 없는 표현"),
    "complete": Words("fills in what is missing", "빠진 것을 채운다"),
}
LEARNS = Words("learns by", "배우는 법")
LEARNING = {
    "e_step": Words("counting (statistics)", "세기 (통계량)"),
    "turns": Words("taking turns", "번갈아 겨루기"),
    "loss": Words("descent on a loss", "손실의 경사 하강"),
}
#: what the navigation says where the heading is too long
SHORT = {
    "best": Words("Best at what", "한눈에"),
    "trade": Words("Cost", "비용"),
    "memory": Words("Copied?", "베낌"),
    "classes": Words("Classes", "범주"),
    "strange": Words("Strangest", "낯선 것"),
    "map": Words("Latent space", "잠재 공간"),
    "portraits": Words("Inside", "속 들여다보기"),
    "reconstructions": Words("Reconstruction", "복원"),
    "completions": Words("Completion", "채우기"),
    "abilities": Words("Abilities", "능력"),
    "again": Words("Commands", "명령"),
    "failed": Words("Failed", "실패"),
}

PORTRAITS = Words("What the model looks like inside", "모델 속은 어떻게 생겼나")
PORTRAITS_LEAD = Words(
    "Parameters that can be looked at: components, states, filters, trees, tables.",
    "눈으로 볼 수 있는 매개변수입니다: 성분, 상태, 필터, 나무, 표.",
)
AGAIN = Words("Do it again", "다시 해 보기")
AGAIN_LEAD = Words(
    "The command behind each row, the paper behind each model.", "각 줄을 만든 명령과, 각 모델의 논문입니다."
)
FAILED = Words("Not finished", "끝내지 못함")
FAILED_LEAD = Words(
    "These models could not be trained or measured; the others were not disturbed.",
    "다음 모델은 학습하거나 재지 못했고, 다른 모델에는 영향이 없습니다.",
)
NOT_DRAWN = Words("This could not be drawn: {why}", "그릴 수 없었습니다: {why}")
HISTOGRAM = Words("outline: real data; filled: samples", "선: 실제 데이터, 면: 표본")
MADE = Words(
    "Written by likely {version}. This page needs no network.",
    "likely {version} 작성. 이 쪽은 네트워크가 필요 없습니다.",
)
