#!/bin/sh
# The comparison of seven models on MNIST in grey, ten minutes for each: one page, one table; and two models by class. Needs LIKELY_DATA or the network.
set -e
likely compare --data mnist --models nade,vae,dcgan,ddpm,bernoulli,gaussian,gmm --budget 10m -o "${1:-runs/mnist-10m}"
likely fit gaussian --data mnist --cond label --out runs/mnist/gaussian-by-label
likely fit gmm --data mnist --cond label --components 5 --out runs/mnist/gmm-by-label
