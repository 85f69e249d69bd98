#!/usr/bin/env bash
# Every model on the handwritten digits inside scikit-learn: the tour.
set -eu
likely tour -o runs/tour
