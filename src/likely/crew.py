"""Further processes of this machine that join a fit or an evaluation: started, given their part, ended with the first.

The process that asks is the first of the group; it alone shows, logs and saves. The others load the same data by name
or path and take their share of every step (`likely.training.processes`, `likely.evaluation.sharded`). They hold nothing
that is not in the first, so they are simply ended when it is done, and end themselves when it is gone.

On several machines start the processes yourself (torchrun, SLURM), make a `lightning_fabric.Fabric` in each and give it
to `likely.fit`: that is all that is done here.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
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
MEETING = timedelta(minutes=2)  #: how long processes that are started may take to find each other
#: how long one process may wait for another on a processor, as while the first validates; the death of one is seen at
#: once. Accelerators keep the limit of their own library.
WORKING = timedelta(days=7)
CPU = torch.device("cpu")


def check(processes: int, device: torch.device, source: dict[str, Any]) -> None:
    """Raise one clear line unless so many processes can fit together.

    Raises:
        LikelyError: the number is not positive; the extra is not installed; there are too few cores or accelerators;
            the data were given in Python, so that other processes cannot load them.
    """
    possible(processes)
    if processes == 1:
        return
    if device.type not in ("cpu", "cuda"):
        raise LikelyError(f"several processes run on cpu or cuda, not on {device.type}.")
    if device.type == "cuda" and torch.cuda.device_count() < processes:
        found = torch.cuda.device_count()
        raise LikelyError(f"{processes} processes need as many accelerators, and there are {found}; take --device cpu.")
    if "name_or_path" not in source:
        raise LikelyError("several processes load the data themselves: give a name or a path, not data made in Python.")


def possible(processes: int) -> None:
    """Raise one clear line unless so many processes can work together on this machine.

    Raises:
        LikelyError: the number is not positive, or is larger than that of the cores (2 are always allowed); the extra
            is not installed.
    """
    training.at_least("processes", processes, 1, whole=True)
    most = max(2, os.cpu_count() or 1)
    if processes > most:
        raise LikelyError(f"{processes} processes are more than this machine has cores for; take {most} at most.")
    if processes > 1:
        _fabric()


def _fabric() -> Any:
    """Return the module that lets processes speak to each other."""
    try:
        import lightning_fabric
    except ImportError:
        raise LikelyError("several processes need the extra: pip install 'likely[distributed]'.") from None
    return lightning_fabric


def _store(port: int, *, first: bool = False) -> Any:
    """Return where processes find each other: made by the first at a free port (0), where the others meet it."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore(HOST, port, is_master=first, timeout=MEETING, wait_for_workers=False)


@contextmanager
def joined(rank: int, size: int, store: Any, device: torch.device) -> Iterator[Any]:
    """Yield the Fabric of process `rank` of `size` on this machine, launched; it is taken down at the end."""
    import logging

    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

    class Place(ClusterEnvironment):
        creates_processes_externally, main_address, main_port = True, HOST, 0  # they have met in the store
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
        if kind == "cuda":
            torch.cuda.set_device(rank)
        limit = WORKING if kind == "cpu" else None
        backend = "gloo" if kind == "cpu" else "nccl"
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=limit)
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


def together(made: Run, processes: int) -> Any:
    """Start the other processes of a fit and yield the Fabric of the first, or None where it is alone.

    Raises:
        LikelyError: a process stopped; its last words are told.
    """
    return _together(["fit", str(made.folder.absolute())], processes, torch.device(made.record["device"]))


def shared(function: Callable[..., Any], arguments: dict[str, Any], processes: int, **own: Any) -> Any:
    """Call a function in so many processes, which share its work, and return what it returned in the first.

    Arguments:
        function: a function of a module of this package; it takes `fabric`, None where it is alone, and every process
            must make the same calls on it.
        arguments: what every process calls it with: plain values.
        processes: how many.
        own: what the first alone gives it besides, such as where to tell how it goes.

    Raises:
        LikelyError: so many processes cannot work here; one stopped: its last words are told.
    """
    possible(processes)
    name = f"{function.__module__}:{function.__qualname__}"
    with _together(["call", name, json.dumps(arguments)], processes, CPU) as fabric:
        return function(**arguments, fabric=fabric, **own)


@contextmanager
def _together(task: Sequence[str], processes: int, device: torch.device) -> Iterator[Any]:
    """Start the other processes of a task and yield the Fabric of the first, or None where it is alone.

    They are ready when they have met the first in its store, so that one that dies before is seen at once.
    """
    if processes == 1:
        yield None
        return
    store = _store(0, first=True)
    crew: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        words = [Path(folder) / str(rank) for rank in range(1, processes)]
        try:
            for rank in range(1, processes):
                with words[rank - 1].open("w") as file:
                    crew.append(_started(task, rank, processes, store.port, file))
            for rank, one in enumerate(crew, 1):
                assert one.stdout is not None
                if one.stdout.readline().strip() != READY:
                    one.wait()
                    raise LikelyError(_last_words(rank, one, words[rank - 1]))
            with ExitStack() as stack:
                try:
                    yield stack.enter_context(joined(0, processes, store, device))
                except RuntimeError as error:  # what a lost connection looks like
                    blamed = _blamed(crew, words)
                    if blamed is not None:
                        raise LikelyError(blamed) from error
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


def _started(task: Sequence[str], rank: int, size: int, port: int, words: IO[str]) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "likely.crew", str(rank), str(size), str(port), *task]
    pipe = subprocess.PIPE
    return subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=words, text=True, encoding="utf-8")


def _ended(one: subprocess.Popen[str], seconds: float) -> int | None:
    """Return how a process ended, or None if it does not within so many seconds."""
    try:
        return one.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _blamed(crew: list[subprocess.Popen[str]], words: list[Path]) -> str | None:
    """Return the last words of the process that stopped first, as far as that can be seen; None if none stopped."""
    until = time.monotonic() + PATIENCE
    said = []
    for rank, one in enumerate(crew, 1):
        if _ended(one, max(0.1, until - time.monotonic())) not in (None, 0):
            said.append(_last_words(rank, one, words[rank - 1]))
    return min(said, key=lambda text: " peer" in text, default=None)  # others only lost their connection to it


def _last_words(rank: int, one: subprocess.Popen[str], file: Path) -> str:
    lines = [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if one.returncode == -signal.SIGKILL:
        return f"process {rank} was killed, perhaps for want of memory: take fewer processes."
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


# The further processes -----------------------------------------------------------------------------------------------


def _member(rank: int, size: int, port: int, kind: str, *task: str) -> None:
    """Take part in a fit or a call as one of the further processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's affair
    threading.Thread(target=_leave_with_the_first, daemon=True).start()
    tasks: dict[str, Any] = {"fit": _fitting, "call": _calling}
    device, work = tasks[kind](rank, *task)
    _fabric()
    store = _store(port)
    print(READY, flush=True)
    with joined(rank, size, store, device) as fabric:
        work(fabric)


def _fitting(rank: int, folder: str) -> tuple[torch.device, Callable[[Any], None]]:
    """Return where a process takes part in the fit of a run, and how."""
    opened = run.open(folder)
    record = opened.record
    data, model = opened.data, run.blank(record)
    kept = saved(opened, model)
    device = torch.device("cuda", rank) if record["device"].startswith("cuda") else torch.device(record["device"])
    model.to(device)

    def work(fabric: Any) -> None:
        resume = kept[:2] if kept else None
        for _ in training.fit(model, data.train, seed=record["seed"], resume=resume, fabric=fabric, **record["fit"]):
            pass

    return device, work


def _calling(rank: int, name: str, arguments: str) -> tuple[torch.device, Callable[[Any], None]]:
    """Return where a process takes part in a call, and how."""
    module, function = name.split(":")
    call = getattr(importlib.import_module(module), function)
    return CPU, lambda fabric: call(**json.loads(arguments), fabric=fabric)


def _leave_with_the_first() -> None:
    sys.stdin.read()  # ends when the first process is gone, however it went
    os._exit(1)


if __name__ == "__main__":
    try:
        _member(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
    except LikelyError as error:
        sys.exit(str(error))
