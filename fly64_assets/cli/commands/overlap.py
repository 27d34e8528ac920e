"""``fly64 overlap``: with a FILE the overlap of its positions, without one the phase that cuts the views."""

from __future__ import annotations

from typing import Any

import click

from fly64_assets.cli.commands.files import file_overlap
from fly64_assets.cli.commands.phases import cut_views


class FileOrPhase(click.Command):
    """Two commands of one name; an argument that belongs to no option is the FILE of the first."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the command that these arguments mean."""
        meant = file_overlap if _names_a_file(args) else cut_views
        return meant.make_context(info_name, args, parent, **extra)


def _names_a_file(args: list[str]) -> bool:
    options = {
        param.opts[0]: param for param in (*file_overlap.params, *cut_views.params) if isinstance(param, click.Option)
    }
    either = click.Command("overlap", params=list(options.values()))
    context = click.Context(either, ignore_unknown_options=True, help_option_names=["-h", "--help"])
    _, rest, _ = either.make_parser(context).parse_args(list(args))
    return any(not argument.startswith("-") for argument in rest)


overlap = FileOrPhase("overlap", params=cut_views.params, help=cut_views.help)
