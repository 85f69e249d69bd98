"""Further processes of this machine that join a fit: started, given the run folder, ended with the fit.

The process that fits is the first of the group; it alone validates, logs and saves. The others open the same run
folder, load the same data by name or path, and take their share of every step (`likely.training.processes`). They hold
nothing that is not in the first, so they are simply ended when it is done, and end themselves when it is gone.

On several machines start the processes yourself (torchrun, SLURM), make a `lightning_fabric.Fabric` in each and give it
to `likely.fit`: that is all that is done here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from likely import run, training
from likely.core import Model
from likely.errors import LikelyError
from likely.run import Run

HOST = "127.0.0.1"
READY = "ready"
PATIENCE = 20.0  #: seconds that a process may take to end by itself


def check(processes: int, device: torch.device, source: dict[str, Any]) -> None:
    """Raise one clear line unless so many processes can fit together.

    Raises:
        LikelyError: the number is not positive; the extra is not installed; there are too few accelerators; the data
            were given in Python, so that other processes cannot load them.
    """
    training.at_least("processes", processes, 1, whole=True)
    if processes == 1:
        return
    _fabric()
    if device.type not in ("cpu", "cuda"):
        raise LikelyError(f"several processes run on cpu or cuda, not on {device.type}.")
    if device.type == "cuda" and torch.cuda.device_count() < processes:
        found = torch.cuda.device_count()
        raise LikelyError(f"{processes} processes need as many accelerators, and there are {found}; take --device cpu.")
    if "name_or_path" not in source:
        raise LikelyError("several processes load the data themselves: give a name or a path, not data made in Python.")


def _fabric() -> Any:
    """Return the module that lets processes speak to each other."""
    try:
        import lightning_fabric
    except ImportError:
        raise LikelyError("several processes need the extra: pip install 'likely[distributed]'.") from None
    return lightning_fabric


@contextmanager
def joined(rank: int, size: int, port: int, device: torch.device) -> Iterator[Any]:
    """Yield the Fabric of process `rank` of `size` on this machine, launched; it is taken down at the end."""
    import logging

    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

    class Place(ClusterEnvironment):
        creates_processes_externally, main_address, main_port = True, HOST, port
        detect = staticmethod(lambda: False)
        world_size, global_rank, local_rank, node_rank = (
            staticmethod(lambda number=number: number) for number in (size, rank, rank, 0)
        )

        def set_world_size(self, size: int) -> None:
            pass

        def set_global_rank(self, rank: int) -> None:
            pass

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    changed = ("MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME")
    before, threads = {name: os.environ.get(name) for name in changed}, torch.get_num_threads()
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nobody outside this machine takes part
    torch.set_num_threads(max(1, threads // size))
    try:
        kind = "cuda" if device.type == "cuda" else "cpu"
        fabric = _fabric().Fabric(accelerator=kind, devices=size, strategy="ddp", plugins=[Place()])
        fabric.launch()
        yield fabric
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def together(made: Run, processes: int) -> Iterator[Any]:
    """Start the other processes of a fit and yield the Fabric of the first, or None where it is alone.

    Raises:
        LikelyError: a process stopped; its last words are told.
    """
    if processes == 1:
        yield None
        return
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    crew: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        words = [Path(folder) / str(rank) for rank in range(1, processes)]
        try:
            for rank in range(1, processes):
                with words[rank - 1].open("w") as file:
                    crew.append(_started(made.folder, rank, processes, port, file))
            for rank, one in enumerate(crew, 1):
                assert one.stdout is not None
                if one.stdout.readline().strip() != READY:
                    one.wait()
                    raise LikelyError(_last_words(rank, words[rank - 1]))
            with joined(0, processes, port, torch.device(made.record["device"])) as fabric:
                try:
                    yield fabric
                except RuntimeError as error:  # what a lost connection looks like
                    for rank, one in enumerate(crew, 1):
                        if _ended(one, PATIENCE) not in (None, 0):
                            raise LikelyError(_last_words(rank, words[rank - 1])) from error
                    raise
        finally:
            for one in crew:
                one.terminate()
            for one in crew:
                if _ended(one, PATIENCE) is None:
                    one.kill()
                    one.wait()
                for pipe in (one.stdin, one.stdout):
                    assert pipe is not None
                    pipe.close()


def _started(folder: Path, rank: int, size: int, port: int, words: IO[str]) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "likely.crew", str(folder.absolute()), str(rank), str(size), str(port)]
    pipe = subprocess.PIPE
    return subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=words, text=True, encoding="utf-8")


def _ended(one: subprocess.Popen[str], seconds: float) -> int | None:
    """Return how a process ended, or None if it does not within so many seconds."""
    try:
        return one.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _last_words(rank: int, file: Path) -> str:
    lines = [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"process {rank} stopped: {lines[-1] if lines else 'it said nothing'}"


def saved(opened: Run, model: Model) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]] | None:
    """Load the weights of a run's last checkpoint; return the loop's numbers and tensors, and the driver's numbers.

    None where there is no checkpoint.
    """
    path = opened.folder / "state.safetensors"
    if not path.exists():
        return None
    tensors, metadata = run.read_tensors(path)
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model/")})
    return json.loads(metadata["state"]), tensors, json.loads(metadata["driver"])


def _member(folder: str, rank: int, size: int, port: int) -> None:
    """Take part in the fit of a run as one of the further processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's affair
    threading.Thread(target=_leave_with_the_first, daemon=True).start()
    opened = run.open(folder)
    record = opened.record
    data, model = opened.data, run.blank(record)
    kept = saved(opened, model)
    device = torch.device("cuda", rank) if record["device"].startswith("cuda") else torch.device(record["device"])
    model.to(device)
    print(READY, flush=True)
    with joined(rank, size, port, device) as fabric:
        resume = kept[:2] if kept else None
        for _ in training.fit(model, data.train, seed=record["seed"], resume=resume, fabric=fabric, **record["fit"]):
            pass


def _leave_with_the_first() -> None:
    sys.stdin.read()  # ends when the first process is gone, however it went
    os._exit(1)


if __name__ == "__main__":
    try:
        _member(sys.argv[1], *map(int, sys.argv[2:5]))
    except LikelyError as error:
        sys.exit(str(error))
