#!/usr/bin/env bash
# Likelihoods on the fixed binarization of MNIST (Larochelle and Murray, 2011).
set -eu
likely fit bernoulli --data binarized-mnist --out runs/binarized-mnist/bernoulli
likely fit markov --data binarized-mnist --out runs/binarized-mnist/markov
likely fit chow_liu --data binarized-mnist --out runs/binarized-mnist/chow-liu
likely fit hmm --data binarized-mnist --out runs/binarized-mnist/hmm
likely fit bernoulli_mixture --data binarized-mnist --out runs/binarized-mnist/bernoulli-mixture
likely fit nade --data binarized-mnist --budget 2m --out runs/binarized-mnist/nade-2m
likely fit nade --data binarized-mnist --out runs/binarized-mnist/nade
likely fit vae --data binarized-mnist --out runs/binarized-mnist/vae
likely fit rbm --data binarized-mnist --out runs/binarized-mnist/rbm
