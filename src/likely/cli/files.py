"""What commands write: pictures, arrays and tables; always aside first, then renamed, so never half a file."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from likely.cli.answer import Misuse
from likely.errors import LikelyError

if TYPE_CHECKING:
    from likely.spaces import Ragged, Space


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Lend a path beside the wanted one, and put what was written there in its place if all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        yield draft
        os.replace(draft, path)
    except OSError as error:
        if str(error.filename) != str(draft):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None  # the user never named the draft
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)


def target(output: str, suffixes: Sequence[str], *, folder: bool = False) -> Path:
    """Return the path to write, or say which endings this command can write; called before the work starts.

    Raises:
        Misuse: the ending is not one of `suffixes`.
        LikelyError: a folder is wanted and it exists and is not empty, or a file is wanted and it is a folder.
    """
    path = Path(output).expanduser()
    wants_folder = output.endswith(("/", os.sep)) or not path.suffix or path.is_dir()
    if wants_folder and folder:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise LikelyError(f"{path} is there already and not an empty folder; name another.")
        return path
    if wants_folder or path.suffix.lower() not in suffixes:
        endings = ", ".join([*suffixes, "or a folder/"] if folder else suffixes)
        raise Misuse(f"cannot write '{output}': the name must end in {endings}.")
    return path


def write_values(output: Path, x: Any, space: Space) -> None:
    """Write values of a space in the form that the ending of the name says."""
    from likely.spaces import Finite, Ragged

    suffix = output.suffix.lower()
    if suffix == ".png":
        write_picture(output, x, space)
    elif suffix == ".npz":
        write_arrays(output, arrays("x", x))
    elif suffix == ".txt":
        from likely.data.sequences import lines

        with aside(output) as draft:
            draft.write_text("".join(f"{line}\n" for line in lines(x, space)), encoding="utf-8")
    elif isinstance(x, Ragged):
        raise LikelyError(f"sequences of different lengths do not fit into '{output}'; write .npz, or .txt of symbols.")
    elif suffix == ".npy":
        write_arrays(output, {"x": x})
    elif suffix == ".csv":
        names = space.names or [f"x{i}" for i in range(space.size)]
        flat = x.reshape(len(x), -1).tolist()
        if isinstance(space, Finite) and space.values is not None:
            flat = [["" if v != v else space.values[d][int(v)] for d, v in enumerate(row)] for row in flat]
        write_table(output, names, flat)
    else:
        _write_folder(output, x, space)


def check_pictures(space: Space) -> None:
    """Raise unless values of a space can be drawn, before time is spent on them.

    Raises:
        SpaceError: they cannot.
    """
    from likely.report import pictures

    pictures.to_bytes(space.random(1), space)


def check_texts(space: Space) -> None:
    """Raise unless values of a space are texts.

    Raises:
        DataError: they are not.
    """
    from likely.data.sequences import lines

    lines(cast("Ragged", space.random(1)), space)  # raises before it reads values of another space


def write_picture(output: Path, x: Any, space: Space) -> None:
    """Write one picture that shows many values."""
    from likely.report import pictures

    image = pictures.grid(x, space)
    with aside(output) as draft:
        image.save(draft)


def write_completions(output: Path, x: Any, known: Any, completed: Any, space: Space) -> None:
    """Write one picture in which every datum, what was known of it, and its completion stand side by side."""
    import torch

    from likely.report import pictures

    everything = torch.ones_like(known.expand(x.shape))
    triples = torch.stack([x, x, completed], 1).flatten(0, 1)
    masks = torch.stack([everything, known.expand(x.shape), everything], 1).flatten(0, 1)
    image = pictures.grid(triples, space, known=masks, columns=3 * math.ceil((len(x) / 3) ** 0.5))
    with aside(output) as draft:
        image.save(draft)


def _write_folder(output: Path, x: Any, space: Space) -> None:
    """Write one picture for each value; all of them share one black and one white."""
    from PIL import Image

    from likely.report import pictures

    images = pictures.to_bytes(x, space)
    with aside(output) as draft:
        draft.mkdir()
        for number, one in enumerate(images):
            Image.fromarray(one.squeeze(-1).numpy()).save(draft / f"{number:05d}.png")
        if output.is_dir():
            output.rmdir()  # it is empty, as `target` made sure


def arrays(name: str, values: Any) -> dict[str, Any]:
    """Return values by the names they get in an .npz: sequences of different lengths bring their lengths along."""
    from likely.spaces import Ragged

    if values is None:
        return {}
    return {name: values.values, "lengths": values.lengths} if isinstance(values, Ragged) else {name: values}


def write_arrays(output: Path, named: dict[str, Any]) -> None:
    """Write one array (.npy) or named arrays (.npz)."""
    import numpy as np

    with aside(output) as draft, draft.open("wb") as file:  # given a name, numpy would add an ending to .NPZ
        if output.suffix.lower() == ".npy":
            (array,) = named.values()
            np.save(file, array, allow_pickle=False)
        else:
            np.savez(file, allow_pickle=False, **{name: np.asarray(array) for name, array in named.items()})


def write_table(output: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV."""
    with aside(output) as draft:
        draft.write_text(table_text(heading, rows) + "\n", encoding="utf-8")


def table_text(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV, without the last line's end."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return stream.getvalue().rstrip("\n")
