"""The program `rag-vqa`: its verbs, the options that every verb shares, and its exit codes.

Knows how an error becomes one line. Does not know what any verb does.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from rag_vqa.cli import (  # fmt: skip
    ask,
    config,
    data,
    demo,
    doctor,
    eval,
    kb,
    mcp,
    models,
    search,
    serve,
    train,
)
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_interrupted
from rag_vqa.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, RagVqaError
from rag_vqa.formatting import escape_invisible
from rag_vqa.jobs.signals import JobStopped

# Typer carries its own copy of click in some versions: its classes are reached through Typer's.
_ClickError: Any = typer.BadParameter.__mro__[2]
SHARED_EPILOG = "Every verb also takes --preset, --set, --json, --quiet …: rag-vqa --help"


def hoist_options(args: Sequence[str], flags: set[str], valued: set[str]) -> list[str]:
    """Move the options of the program before the verb, wherever they stand; `--` ends the search.

    >>> hoist_options(["ask", "kb", "why?", "--json", "--set", "k=3"], {"--json"}, {"--set"})
    ['--json', '--set', 'k=3', 'ask', 'kb', 'why?']
    """
    front: list[str] = []
    rest: list[str] = []
    waiting = list(args)
    while waiting:
        arg = waiting.pop(0)
        if arg == "--":
            rest += [arg, *waiting]
            break
        if arg in flags or arg.partition("=")[0] in valued:
            front.append(arg)
            if arg in valued and waiting:
                front.append(waiting.pop(0))
        else:
            rest.append(arg)
    return front + rest


class _Program(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        names = ["demo", "kb", "search", "ask", "chat", "prompt", "eval", "data", "train"]
        return [*names, "serve", "mcp", "models", "doctor", "config"]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = [p for p in self.params if p.param_type_name == "option"]
        flags = {o for p in options if getattr(p, "is_flag", False) for o in p.opts}
        valued = {o for p in options if not getattr(p, "is_flag", False) for o in p.opts}
        parsed: list[str] = super().parse_args(ctx, hoist_options(args, flags, valued))
        return parsed

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # Typer would exit without a message
            raise typer.Abort from error


app = typer.Typer(
    name="rag-vqa",
    cls=_Program,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich would double the time of --help
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The options above may stand before or after the verb. Start with: rag-vqa demo",
)


def _print_version(asked: bool) -> None:
    if asked:
        from rag_vqa import __version__

        print(f"rag-vqa {__version__}")
        raise typer.Exit


@app.callback()
def program(
    ctx: typer.Context,
    preset: Annotated[
        str | None, typer.Option(help="Models and limits: demo, laptop, 12gb … (config presets).")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--config", help="Read settings from a YAML file.",
                                  metavar="FILE", envvar="RAG_VQA_CONFIG")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Set one setting: reader.quantization=int8.",
                                       metavar="KEY=VALUE")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress, no notes.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of all random draws.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True,
                           help="Print the version.")
    ] = False,
) -> None:  # fmt: skip
    """Ask a question about an image; get an answer from your documents, with its evidence."""
    # What the retriever logs about a question is a note like others.
    logging.getLogger("rag_vqa.retriever").setLevel(logging.ERROR if quiet else logging.NOTSET)
    flags = {"preset": preset, "offline": offline or None, "seed": seed}
    ctx.obj = CommandContext(file, tuple(assignments or ()), flags, as_json, quiet)


app.command()(demo.demo)
app.add_typer(kb.app, name="kb")
app.command()(search.search)
app.command()(ask.ask)
app.command()(ask.chat)
app.add_typer(ask.prompt_app, name="prompt")
app.add_typer(eval.app, name="eval")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.command()(serve.serve)
app.command()(mcp.mcp)
app.add_typer(models.app, name="models")
app.command()(doctor.doctor)
app.add_typer(config.app, name="config")


def _add_epilogs(group: typer.Typer) -> None:
    """End the help of every verb with a pointer to the shared options."""
    for verb in group.registered_commands:
        verb.epilog = SHARED_EPILOG
    for inner in group.registered_groups:
        inner.epilog = SHARED_EPILOG
        if inner.typer_instance is not None:
            _add_epilogs(inner.typer_instance)


_add_epilogs(app)


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    given = sys.argv[1:] if args is None else list(args)
    debug = "--debug" in given or bool(os.environ.get("RAG_VQA_DEBUG"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *where, **more: (
        f"note: {escape_invisible(str(message))}\n"
    )
    try:
        result = app(given, prog_name="rag-vqa", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        print_interrupted()
        return EXIT_INTERRUPTED
    except JobStopped as stop:
        how = "^C stopped:" if stop.by_hand else "Stopped:"
        message = (
            f"{how} {stop.message}" if stop.message else "Stopped before anything was written."
        )
        print(escape_invisible(message), file=sys.stderr)
        return stop.exit_code
    except BrokenPipeError:
        # Whoever reads our output has closed it, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001  every error becomes one line
        if type(error).__name__ == "NoArgsIsHelpError":
            print(cast(Any, error).ctx.get_help())
            return EXIT_DONE
        if debug:
            traceback.print_exc()
        message, code = _error_line(error)
        print(f"error: {escape_invisible(message)}", file=sys.stderr)
        return code
    return result if isinstance(result, int) else EXIT_DONE


def _error_line(error: Exception) -> tuple[str, int]:
    """The line that describes an error, and the exit code."""
    if isinstance(error, RagVqaError):
        return str(error), error.exit_code
    if isinstance(error, _ClickError):
        usage: Any = error
        path = usage.ctx.command_path if getattr(usage, "ctx", None) else "rag-vqa"
        return f"{usage.format_message().rstrip('.')}. See: {path} --help", usage.exit_code
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror or error}", EXIT_FAILED
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"unexpected {text} For the traceback: --debug", EXIT_FAILED
