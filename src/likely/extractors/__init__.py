"""Feature extractors by name: the spaces in which distances between two sets of data are measured.

`pixels` and `pca` need no weights; `digits-cnn`, `mnist-cnn` and `fashion-mnist-cnn` are the project's own and come
with it; `inception-v3-fid`, `dinov2` and `clip` read published weights; and `of` and `onnx` take any network of yours.
Give a number together with its extractor's `name`: numbers of different names do not compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from likely.errors import LikelyError, unknown
from likely.extractors.base import Extractor, of
from likely.extractors.onnx import onnx

if TYPE_CHECKING:
    import torch

    from likely.spaces import Space

NAMES = {
    "pixels": "the data themselves: brightness, contrast and blur come first",
    "pca": "principal components of the real data",
    "digits-cnn": "64 features of a small network that knows the 8 x 8 digits; comes with likely",
    "mnist-cnn": "128 features of a small network that knows MNIST; comes with likely",
    "fashion-mnist-cnn": "128 features of a small network that knows Fashion-MNIST; comes with likely",
    "inception-v3-fid": "2048 features of TensorFlow's Inception v3 of 2015, in which the FID is defined",
    "dinov2": "384 features of DINOv2's ViT-S/14, learned without labels",
    "clip": "512 features of CLIP's ViT-B/32, learned from captions",
}
#: data set -> the classifier that knows its pictures
OWN = {
    "digits": "digits-cnn",
    "digits-binary": "digits-cnn",
    "mnist": "mnist-cnn",
    "mnist-binary": "mnist-cnn",
    "binarized-mnist": "mnist-cnn",
    "fashion-mnist": "fashion-mnist-cnn",
}

__all__ = ["Extractor", "load", "names", "of", "onnx", "own"]


def names() -> dict[str, str]:
    """Return name -> one line on it, of every extractor.

    Example:
        >>> "mnist-cnn" in names()
        True
    """
    return dict(NAMES)


def own(data: str) -> str | None:
    """Return the name of the classifier that knows a named data set, or None.

    Example:
        >>> own("mnist-binary"), own("cifar10")
        ('mnist-cnn', None)
    """
    return OWN.get(data)


def load(
    name: str,
    *,
    real: Any = None,
    space: Space | None = None,
    components: int = 64,
    resize: str | None = None,
    device: str | torch.device = "cpu",
) -> Extractor:
    """Return an extractor by name.

    Arguments:
        name: one of `names()`.
        real: the real values that `pca` is fitted on, (N, *shape); the others are not fitted and do not look at them.
        space: what one real value is, for `pca`.
        components: for `pca`: how many.
        resize: for `inception-v3-fid`, `dinov2` and `clip`: "legacy" (TensorFlow 1's bilinear, the default of the
            first) or "clean" (antialiased bicubic, the default of the others). It is part of the name.
        device: where a network is computed.

    Raises:
        UnknownName: no extractor has this name, or `resize` is not known; the message suggests the nearest.
        DataError: the published weights are not on this machine; the message says which and where they go.
        LikelyError: an argument is missing, or does not apply.

    Example:
        >>> import likely.data
        >>> digits, cnn = likely.data.load("digits"), load("digits-cnn")
        >>> cnn(digits.test.x, digits.space).shape, cnn.logits(digits.test.x[:5], digits.space).shape
        (torch.Size([180, 64]), torch.Size([5, 10]))
    """
    from likely.extractors import classifiers, linear, pretrained

    if name not in NAMES:
        raise unknown("extractor", name, NAMES)
    if resize is not None and name not in pretrained.PRETRAINED:
        raise LikelyError(f"resize does not apply to '{name}', which reads data as they are.")
    if name == "pixels":
        return linear.pixels()
    if name == "pca":
        if real is None or space is None:
            raise LikelyError("'pca' is fitted on real data: give real and space.")
        return linear.pca(real, space, components=components)
    if name in pretrained.PRETRAINED:
        return pretrained.load(name, resize=resize, device=device)
    return classifiers.load(name.removesuffix("-cnn"), device=device)
