"""Published test scores to stand beside ours, each with its source and with how far that source was checked.

Negative log-likelihood in nats per picture, lower is better; "<=" where the paper reports a bound. `checked` says where
the number was read: "primary" (the authors' own text or code), "secondary" (quoted by another project or an index) or
"memory" (not looked up: check before quoting in public).
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """One published score."""

    sign: str
    nats: float
    source: str
    checked: str


#: (data, view) -> model -> score; views as `likely.data` names them
PUBLISHED: dict[tuple[str, str], dict[str, Published]] = {
    ("binarized-mnist", "fixed"): {
        "bernoulli_mixture": Published("=", 137.64, "Larochelle and Murray, NADE, 2011 (mixture of 500)", "memory"),
        "nade": Published("=", 88.33, "Larochelle and Murray, NADE, 2011", "memory"),
        "rbm": Published("~", 86.34, "Salakhutdinov and Murray, 2008 (500 hidden units, CD-25, AIS)", "memory"),
        "vae": Published(
            "<=", 89.9, "Rezende and Mohamed, 2015, arXiv 1505.05770 (their VAE), via pythae", "secondary"
        ),
    },
    ("mnist-binary", "dynamic"): {
        "nade": Published("=", 85.65, "github.com/EugenHotaj/pytorch-generative", "primary"),
        "vae": Published(
            "<=", 86.76, "Burda et al., 2016, arXiv 1509.00519 (one layer, k = 1), via parmesan", "secondary"
        ),
    },
}
