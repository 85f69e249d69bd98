"""What was the weather, if all we know is what a friend did? A hidden Markov model told, asked, and learned.

python examples/hmm_weather.py
"""

import torch

import likely
from likely.data.parts import Part

WEATHER, DONE = ("rainy", "sunny"), ("walk", "shop", "clean")

diary = likely.Sequence(step=likely.Finite((), 3, categories=DONE), length=30)
told = likely.build("hmm", diary, states=2)
told.set_parts(
    initial=[0.6, 0.4],
    transition=[[0.7, 0.3], [0.4, 0.6]],
    probabilities=[[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]],
)

week = [["walk", "shop", "clean", "clean", "walk"]]
seen = [[DONE.index(what) for what in row] for row in week]
path, score = told.viterbi(seen)
print("the likeliest weather:", ", ".join(WEATHER[state] for state in path[0]), f"(p = {score.exp().item():.5f})")
print("rainy on each day:", [f"{p:.2f}" for p in told.posterior(seen)[0, :, 0]])
print("tomorrow:", {what: f"{p:.2f}" for what, p in zip(DONE, told.predict(seen).mean[0, 0], strict=True)})

# Nothing was written on the second day: it is summed out, and can be filled in.
known = torch.tensor([[True, False, True, True, True]])
lost = torch.tensor(seen)
print(f"log p without the second day: {told.log_marginal(lost, known).item():.3f} nats")
filled = told.complete(lost.expand(2000, 5), known.expand(2000, 5), seed=0).values[:, 1].long()
print("the second day:", {what: f"{(filled == i).float().mean():.2f}" for i, what in enumerate(DONE)})

# Learn from diaries of different lengths, without any weather.
diaries = told.sample(500, seed=1)
learned = likely.build("hmm", diary, states=2, seed=3)
for step in likely.fit(learned, Part(diaries), passes=30):
    pass
gap = (learned.log_prob(diaries) - told.log_prob(diaries)).mean().item()
print(f"learned in {step.index} passes, {gap:+.2f} nats a diary above the model that wrote them")
