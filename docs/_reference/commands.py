"""Every command of ``fly64`` with its arguments and options, from click's tree."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from _reference import table
from fly64_assets.cli.main import SECTIONS, VARIABLES, main

HEAD = """# Every command

As `--help` of each command says it, written from the code. What the commands have in common, and when to use which: [the command `fly64`](command-line.md).
"""


def page() -> str:
    """The whole page."""
    context = click.Context(main, info_name="fly64")
    variables = [
        (str(one.envvar), str(one.help)) for one in main.params if isinstance(one, click.Option) and one.envvar
    ]
    known = table(["variable", "what it says"], [[f"`{name}`", text] for name, text in (*variables, *VARIABLES)])
    parts = [HEAD, "## Global options\n", _options(main, context), f"## Environment variables\n\n{known}\n"]
    for title, commands in SECTIONS.items():
        parts.append(f"## {title}\n")
        for command in commands:
            parts += [_one(path, found, context) for path, found in _leaves((command.name or "",), command)]
    return "\n".join(parts)


def _leaves(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group) and command.commands:
        for name, inner in command.commands.items():
            yield from _leaves((*path, name), inner)
    else:
        yield path, command


def _one(path: tuple[str, ...], command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=path[-1], parent=parent)
    usage = " ".join(["fly64", *path, *command.collect_usage_pieces(context)])
    text, example = _text(command)
    parts = [f"### fly64 {' '.join(path)}\n", f"{text}\n", f"```text\n{usage}\n```\n", _options(command, context)]
    if example:
        parts.append(f"```\n{example}\n```\n")
    return "\n".join(parts)


def _text(command: click.Command) -> tuple[str, str]:
    r"""Prose and example of a command's docstring; a paragraph under click's mark ``\b`` keeps its lines."""
    prose, example = [], []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines = [line.strip("\b").rstrip() for line in paragraph.splitlines()]
        lines = [line for line in lines if line]
        if lines and lines[0].startswith("Example"):
            example += [line.strip() for line in lines[1:]]
        elif paragraph.startswith("\b"):
            prose.append("```text\n" + "\n".join(lines) + "\n```")
        else:
            prose.append(" ".join(lines).replace("<", "&lt;"))
    return "\n\n".join(prose), "\n".join(example)


def _options(command: click.Command, context: click.Context) -> str:
    rows = []
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            record = parameter.get_help_record(context)
            assert record is not None
            name, text = record
            rows.append([f"`{name}`", " ".join(text.split()).replace("<", "&lt;").replace("*", "\\*")])
    return f"{table(['option', 'effect'], rows)}\n" if rows else ""
