"""AUROC of simple densities on ADBench's tables: how well does -log p find the anomalies, and how well does PyOD?

    LIKELY_DATA=/path/to/data python recipes/adbench.py

PyOD's GMM, KDE and ECOD, with its own settings, see the same rows of the same splits where it is installed; else they
are left out: `python -m pip install --no-deps --target /tmp/peers pyod numba llvmlite`, then PYTHONPATH=/tmp/peers.

Reads LIKELY_DATA/adbench/*.npz (X, and y with 1 = anomaly; github.com/Minqi824/ADBench, BSD-2-Clause). Protocol: rows
are split by the seed into 70 % for training and 30 % for testing, with the same share of anomalies in both (ADBench's
own split). Two ways of training: on all training rows, without their labels ("all"), and on the usual ones alone
("usual"). Constant columns are left out. The mean over the seeds is given with its standard error over them; the
interval of every single number over the test rows is in the JSON that `--json FILE` writes.

Reference: Han et al., ADBench: Anomaly Detection Benchmark, 2022, arxiv.org/abs/2206.09426.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import likely
from likely import driver
from likely.data.parts import Part
from likely.evaluation.anomaly import Detector
from likely.evaluation.detection import detection

MODELS: dict[str, dict[str, Any]] = {"gaussian": {}, "gmm": {"components": 10}, "kde": {}, "independent": {}}
PEERS = {"GMM": "gmm", "KDE": "kde", "ECOD": "ecod"}  #: PyOD's detectors and their modules
TRAINED_ON = {"all": "all rows of the training part", "usual": "its usual rows alone"}
TRAINING = 0.7  #: the share of the rows that is trained on


def tables(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the tables of a folder: name -> X without constant columns, (N, D), and whether a row is an anomaly."""
    found = {}
    for path in sorted(folder.glob("*.npz"), key=lambda path: path.stem.split("_", 1)[-1].lower()):
        with np.load(path, allow_pickle=False) as arrays:
            x, y = torch.from_numpy(arrays["X"]).float(), torch.from_numpy(arrays["y"]) == 1
        found[path.stem.split("_", 1)[-1]] = (x[:, x.std(0) > 0], y)
    return found


def split(strange: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows for training and for testing, with the same share of anomalies in both."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for kind in (strange, ~strange):
        rows = kind.nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        parts.append(rows.tensor_split([round(TRAINING * len(rows))]))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def measure(name: str, x: torch.Tensor, strange: torch.Tensor, trained_on: str, seed: int) -> list[Any]:
    """Fit one model on one split and return AUROC, AUPR and FPR95 of -log p on the test rows."""
    train, test = split(strange, seed)
    if trained_on == "usual":
        train = train[~strange[train]]
    if name.startswith("PyOD"):
        peer = peers()[name]()
        peer.fit(x[train].double().numpy())
        return detection(peer.decision_function(x[test].double().numpy()), strange[test], by=name, seed=seed)
    model = likely.build(name, likely.Real((x.shape[1],)), seed=seed, **MODELS[name])
    for _ in likely.fit(model, Part(x[train]), seed=seed):
        pass
    return detection(Detector(model)(x[test]), strange[test], by="nll", seed=seed)


def peers() -> dict[str, Any]:
    """Return PyOD's detectors by the names they have in the table, none where PyOD is not installed."""
    try:
        return {
            f"PyOD {name}": getattr(importlib.import_module(f"pyod.models.{module}"), name)
            for name, module in PEERS.items()
        }
    except ImportError:
        return {}


def markdown(record: dict[str, Any]) -> str:
    """Return the record as a section: how it was made, and a table for each way of training, the best in bold."""
    lines = ["## Anomaly detection: AUROC on the tables of ADBench", ""]
    made = f"{record['minutes']:.0f} minutes on {record['machine']}"
    lines += [f"`python recipes/adbench.py --seeds {record['seeds']}`, {made}."]
    lines += ["Mean over splits ± its standard error; the highest mean of a row in bold.", ""]
    for trained_on, what in TRAINED_ON.items():
        rows = [row for row in record["rows"] if row["trained_on"] == trained_on]
        models = list(dict.fromkeys(row["model"] for row in rows))
        lines += [f"Trained on {what}:", "", f"| table | rows | columns | anomalies | {' | '.join(models)} |"]
        lines += ["|---" * (4 + len(models)) + "|"]
        means: dict[str, list[float]] = {name: [] for name in models}
        for table in dict.fromkeys(row["table"] for row in rows):
            mine = {row["model"]: row for row in rows if row["table"] == table}
            areas = {name: [results[0]["value"] for results in row["results"]] for name, row in mine.items()}
            for name, values in areas.items():
                means[name].append(statistics.mean(values))
            one = mine[models[0]]
            lines.append(
                f"| {table} | {one['rows']:,} | {one['columns']} | {one['anomalies']:.1%} | "
                f"{' | '.join(_cells({name: (statistics.mean(v), _error(v)) for name, v in areas.items()}))} |"
            )
        overall = {name: (statistics.mean(values), "") for name, values in means.items()}
        lines += [f"| *mean* | | | | {' | '.join(_cells(overall))} |", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _error(values: list[float]) -> str:
    return f" ± {statistics.stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""


def _cells(of: dict[str, tuple[float, str]]) -> list[str]:
    best = max(value for value, _ in of.values())
    return [f"**{value:.3f}**{error}" if value == best else f"{value:.3f}{error}" for value, error in of.values()]


def main(arguments: list[str] | None = None) -> int:
    """Print a table for each way of training: the data, AUROC of each model, and the means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many splits")
    parser.add_argument("--json", type=Path, help="where to write every number with its interval and protocol")
    parser.add_argument("--markdown", type=Path, help="where to write the tables")
    asked = parser.parse_args(arguments)
    if asked.seeds < 1:
        parser.error(f"--seeds must be 1 or more, not {asked.seeds}")
    for path in (asked.json, asked.markdown):  # said before the work, not after it
        if path is not None and not path.absolute().parent.is_dir():
            parser.error(f"cannot write {path}: there is no folder {path.parent}")
    data = os.environ.get("LIKELY_DATA")
    found = tables(Path(data) / "adbench") if data else {}
    if not found:
        print("adbench: no tables; set LIKELY_DATA to a folder that holds adbench/*.npz", file=sys.stderr)
        return 1
    began, rows = time.monotonic(), []
    for table, (x, strange) in found.items():
        print(f"{table} ...", file=sys.stderr, flush=True)
        about = {"rows": len(x), "columns": x.shape[1], "anomalies": float(strange.double().mean())}
        for trained_on in TRAINED_ON:
            for name in [*MODELS, *peers()]:
                each = [measure(name, x, strange, trained_on, seed) for seed in range(asked.seeds)]
                rows.append({"table": table, **about, "model": name, "trained_on": trained_on, "results": each})
    minutes = (time.monotonic() - began) / 60
    record = {"seeds": asked.seeds, "minutes": minutes, "machine": driver.machine(), "rows": rows}
    text = markdown(record)
    print(text, end="")
    if asked.json is not None:
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if asked.markdown is not None:
        asked.markdown.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
