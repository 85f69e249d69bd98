"""A run folder: everything from which a trained model is rebuilt, shown and continued. Nothing in it is pickled.

run.json             model, numbers, space, data, fit options, seed, versions, machine, command, status, result
model.safetensors    the weights to use: the best by validation, averaged where an average was kept
state.safetensors    what `likely resume` needs: last weights, optimiser, average, step
log.jsonl            one line per logged step

Every file is written aside and renamed, so that a reader, or a killed process, never leaves half of one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from likely import registry, spaces
from likely.core import Model
from likely.errors import DataError, LikelyError

if TYPE_CHECKING:
    from likely.data.parts import Data

FORMAT = 1  #: raised when a run folder of today cannot be read by the code of yesterday
KEYS = ("model", "numbers", "space", "data", "fit", "seed", "status", "command", "versions")  #: what every record holds


@dataclass
class Run:
    """A trained, or interrupted, model with its folder."""

    folder: Path
    record: dict[str, Any]

    @cached_property
    def model(self) -> Model:
        """The model with the weights to use."""
        return _model(self.folder, self.record)

    @cached_property
    def data(self) -> Data:
        """The data the run was fitted on, loaded again from its name or path.

        Raises:
            LikelyError: the data are gone, or are not what they were when the run was fitted.
        """
        return self.data_at(None)

    def data_at(self, place: str | Path | None) -> Data:
        """Return the data the run was fitted on from the place where they lie now; None is where they lay.

        Raises:
            LikelyError: the data are gone, or are not what they were when the run was fitted.
        """
        from likely import data

        source = dict(self.record["data"]["source"])
        if place is not None:
            source["name_or_path"] = str(place)
        elif "name_or_path" not in source:
            raise LikelyError(f"{self.folder} was fitted on data given in Python, which cannot be loaded again.")
        elif source["name_or_path"] not in data.names() and not Path(source["name_or_path"]).exists():
            raise DataError(
                f"{source['name_or_path']}: no longer there, and {self.folder} was fitted on it; give --data to name "
                "where it lies now."
            )
        loaded = data.load(**source)
        if loaded.fingerprint != self.record["data"]["fingerprint"]:
            raise LikelyError(
                f"the data '{loaded.name}' are not those that {self.folder} was fitted on, or changed since; give "
                "--data to name others."
            )
        return loaded

    def log(self) -> list[dict[str, Any]]:
        """Return the logged steps: "step", "seconds", "loss" and other terms, and "valid" where it was measured."""
        return read_log(self.folder)


def open(folder: str | Path) -> Run:
    """Open a run folder, or the newest one under `runs/` for the name `latest`.

    Raises:
        LikelyError: the folder is no run, or is of a newer format.
    """
    path = Path(folder)
    if str(folder) == "latest" and not path.exists():
        found = sorted(Path("runs").glob("*/run.json"), key=lambda f: f.stat().st_mtime)
        if not found:
            raise LikelyError("there is no run under runs/ yet; fit one: `likely fit vae`.")
        path = found[-1].parent
    try:
        record = read_json(path / "run.json", "restore it or fit again")
    except (FileNotFoundError, NotADirectoryError):
        raise LikelyError(f"'{path}' is not a run folder: it has no run.json.") from None
    if record.get("format") != FORMAT:
        raise LikelyError(f"'{path}' has a format this version of likely cannot read; upgrade likely.")
    lacking = [name for name in KEYS if name not in record]
    if lacking:
        raise LikelyError(f"'{path / 'run.json'}' is damaged (no {', '.join(lacking)}); restore it or fit again.")
    return Run(path, record)


def load(folder: str | Path) -> Model:
    """Return the trained model of a run folder, rebuilt from the folder alone.

    Raises:
        LikelyError: the folder is no run, or its weights are damaged or do not fit the model.

    Example:
        >>> import likely  # doctest: +SKIP
        >>> likely.load("runs/vae-digits-1").sample(4, seed=0).shape  # doctest: +SKIP
        torch.Size([4, 1, 8, 8])
    """
    return open(folder).model


def _model(folder: Path, record: dict[str, Any]) -> Model:
    model = blank(record)
    tensors, _ = read_tensors(folder / "model.safetensors")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        text = str(error).split("\n", 1)[-1].strip()
        raise LikelyError(f"the weights in '{folder}' do not fit model '{record['model']}': {text[:200]}") from None
    return model.eval()


def blank(record: dict[str, Any]) -> Model:
    """Return the untrained model that a record describes."""
    cond = record.get("cond")
    return registry.build(
        record["model"],
        spaces.from_json(record["space"]),
        spaces.from_json(cond) if cond else None,
        seed=record["seed"],
        **record["numbers"],
    )


class Taken(LikelyError):
    """Something lies where a run folder is to be made."""


def check_vacant(folder: Path) -> None:
    """Raise unless a run folder can be made there.

    Raises:
        Taken: there is a file, or a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Taken(f"'{folder}' exists already; choose another with --out, or continue it: `likely resume`.")


def create(folder: Path, record: dict[str, Any], model: Model) -> Run:
    """Make a run folder: complete, with the untrained weights, or not at all.

    Raises:
        Taken: there is a file, or a folder that is not empty.
    """
    check_vacant(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        aside.mkdir()
        write_tensors(aside / "model.safetensors", model.state_dict())
        write_json(aside / "run.json", record)
        (aside / "log.jsonl").touch()
        try:
            aside.replace(folder)
        except OSError:
            check_vacant(folder)  # another process was quicker
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Run(folder, record)


def fresh_folder(stem: str, root: Path = Path("runs")) -> Path:
    """Return the first folder `root/stem-1`, `root/stem-2`, ... that does not exist."""
    number = 1
    while (root / f"{stem}-{number}").exists():
        number += 1
    return root / f"{stem}-{number}"


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        LikelyError: it holds none; the line ends with the remedy.
        OSError: it cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LikelyError(f"'{path}' is damaged ({error}); {remedy}.") from None
    if not isinstance(value, dict):
        raise LikelyError(f"'{path}' is damaged (a {type(value).__name__}, not an object); {remedy}.")
    return value


# Files, written aside and renamed ------------------------------------------------------------------------------------


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one instant: a reader sees the old content or the new."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, record: Any) -> None:
    """Write plain values, readable by people."""
    write_bytes(path, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as safetensors; tensors that share memory are written twice."""
    apart = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_bytes(path, save(apart, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file and its metadata.

    Raises:
        LikelyError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise LikelyError(f"'{path}' is missing; the run cannot be read without it.") from None
    except (SafetensorError, OSError) as error:
        raise LikelyError(f"'{path}' is damaged ({error}); restore it or fit again.") from None


def append_log(folder: Path, row: dict[str, Any]) -> None:
    """Add one line to the log."""
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the log; a line that a killed process left unfinished is passed over. A record has no log."""
    rows = []
    path = folder / "log.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def rewrite_log(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replace the log."""
    write_bytes(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(v).all()) for v in tensors.values() if v.is_floating_point())
