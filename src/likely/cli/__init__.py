"""The command line: `likely COMMAND ...`.

A command is a function that returns an `Answer`; its signature gives the flags, its docstring the help. Nothing here
imports torch before a command needs it, so that help and listings answer at once.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError

from likely import __version__
from likely.cli import catalogue, choosing, fitting, judging, parameters, using
from likely.cli.answer import Answer, Misuse, plain
from likely.errors import LikelyError, UnknownName

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

_COMMANDS: tuple[Callable[..., Answer], ...] = (
    catalogue.models,
    catalogue.data,
    parameters.parameters,
    choosing.choose,
    fitting.resume,
    using.sample,
    using.score,
    using.complete,
    using.encode,
    judging.evaluate,
    judging.compare,
    judging.tour,
    judging.report,
    judging.results,
)
_EVERYWHERE = (
    "Every command also takes --json (print what was done and where, for machines) and --debug (show the whole "
    "traceback of an error). Exit code: 0 done, 1 failed, 2 misused."
)


def app(arguments: Sequence[str] = ()) -> App:
    """Return the command line; `likely fit MODEL` gets the flags of the model that the arguments name."""
    likely = App(
        name="likely",
        help="Every kind of generative model: fitted, sampled, scored, looked into and compared.\n\n"
        "First steps: `likely tour`, or `likely fit vae --data digits`.",
        help_format="plaintext",
        help_epilogue=_EVERYWHERE,
        version=__version__,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    likely.command(fitting.app(arguments))
    for number, function in enumerate(_COMMANDS):
        likely.command(function, help=_paragraphs(function), sort_key=number)
    return likely


def _paragraphs(function: Callable[..., Answer]) -> str:
    """Return what a docstring says before its arguments, each paragraph on one line, so that help can wrap it."""
    text = (inspect.getdoc(function) or "").split("\n\nArguments:")[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Arguments:
        arguments: the words after `likely`; None takes them from the process.

    Example:
        >>> main(["models", "--can", "nothing"])
        2
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    machine, debug = "--json" in words, "--debug" in words
    words = [word for word in words if word not in ("--json", "--debug")]
    try:
        answer = app(words)(words, exit_on_error=False, print_error=False)
        if isinstance(answer, Answer):  # help and version have printed themselves
            text = json.dumps(plain(answer.record), ensure_ascii=False) if machine else answer.text
            print(text, end="\n" if text else "", flush=True)
            if answer.problem:
                return _fail(answer.problem, FAILED, debug)
        return DONE
    except BrokenPipeError:  # whoever read our output has seen enough; what Python flushes at exit must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt as stop:
        print(f"likely: {str(stop) or 'interrupted'}.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        message, code = _explained(error)
        return _fail(message, code, debug)


def _explained(error: Exception) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    if isinstance(error, CycloptsError):
        error.verbose = False
        return f"{error} See: {' '.join(['likely', *(error.command_chain or ())])} --help", MISUSED
    if isinstance(error, (UnknownName, Misuse)):
        return str(error), MISUSED
    if isinstance(error, LikelyError):
        return str(error), FAILED
    if isinstance(error, OSError):
        return (f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)), FAILED
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return "out of memory: take a smaller --batch, fewer rows or a smaller model.", FAILED
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"this should not happen: {message}. Please report it with the output of --debug.", FAILED


def _fail(message: str, code: int, debug: bool) -> int:
    """Say what is wrong on one line of the error stream."""
    if debug and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"likely: error: {' '.join(message.split())}", file=sys.stderr)
    return code
