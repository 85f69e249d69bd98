"""Any network that was exported to ONNX, run by onnxruntime (the extra `likely[onnx]`).

Reference: Open Neural Network Exchange, onnx.ai.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likely.errors import DataError, LikelyError
from likely.extractors.base import Extractor, any_space, plain
from likely.spaces import Space


def onnx(path: str | os.PathLike[str], *, rows: int = 100) -> Extractor:
    """Return the network of an ONNX file as an extractor.

    It has one input, (B, *shape) float32, of any number of rows: levels divided by the highest level, so in [0, 1];
    categories as one-hot along the last dimension; reals as they are. Its first output is the features, flattened to
    (B, D); a second one is the logits, (B, K).

    Arguments:
        path: the file; the extractor is called by its name and the hash of its content.
        rows: how many rows are read at once.

    Raises:
        LikelyError: onnxruntime is not installed.
        DataError: the file is not there, is not ONNX, or the network cannot read such data.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        raise LikelyError(
            "an ONNX file is run by onnxruntime, which is not installed: pip install 'likely[onnx]'."
        ) from None
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    content = path.read_bytes()
    try:
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no base class
        raise DataError(f"{path}: not a network that onnxruntime can run ({_first_line(error)}).") from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) not in (1, 2):
        raise DataError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; expected one input, features and, if it "
            "classifies, logits."
        )

    def read(x: Tensor, space: Space) -> tuple[Tensor, Tensor | None]:
        try:
            found: list[Any] = session.run(None, {inputs[0].name: plain(x, space).contiguous().numpy()})
        except Exception as error:
            raise DataError(f"{path}: cannot read {space} ({_first_line(error)}).") from None
        if len(found[0]) != len(x):
            raise DataError(f"{path}: returned {len(found[0])} rows for {len(x)}; export it with a free batch size.")
        features = torch.from_numpy(found[0]).flatten(1)
        return features, torch.from_numpy(found[1]) if len(found) == 2 else None

    classes = outputs[1].shape[-1] if len(outputs) == 2 and isinstance(outputs[1].shape[-1], int) else None
    name = f"{path.stem}-{hashlib.sha256(content).hexdigest()[:6]}"
    return Extractor(name, None, read, any_space, classes, rows)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
