"""``fly64 clean``: what lies in the study's folder and is of no use, and its removal on request."""

from __future__ import annotations

from collections.abc import Sequence

import click

from fly64_assets.cli.console import Session, clean_errors, json_option, pass_session, print_json
from fly64_assets.store.garbage import KINDS, find_garbage, remove_garbage


@click.command()
@click.option("--remove", "kinds", multiple=True, type=click.Choice(KINDS), help="Remove this kind; may be repeated.")
@json_option
@pass_session
@clean_errors
def clean(session: Session, kinds: Sequence[str], as_json: bool) -> None:
    """List files that are of no use, and remove them on request.

    Only the study's folder is looked at.

    \b
    temporary   unfinished files and scratch folders of processes that have ended
    superseded  bases that the design made and has replaced, with all their results
    orphan      files that no record lists and no live artifact names
    \b
    Nothing that a live artifact's sidecar names is ever removed, nor anything where a build is at work.
    \b
    Example:
      fly64 clean
      fly64 clean --remove temporary --remove orphan
    """
    store = session.store(session.design())
    removed = remove_garbage(store, kinds) if kinds else []
    found = find_garbage(store)
    if as_json:
        rows = [(one, True) for one in removed] + [(one, False) for one in found]
        print_json(
            {
                "garbage": [
                    {
                        "path": one.path.relative_to(store.folder).as_posix(),
                        "kind": one.kind,
                        "bytes": one.bytes,
                        "why": one.why,
                        "removed": gone,
                    }
                    for one, gone in rows
                ]
            }
        )
        return
    for title, listed in (("removed", removed), ("of no use", found)):
        for one in listed:
            click.echo(f"{title:10} {one.kind:10} {one.bytes:>14,} {one.path.relative_to(store.folder)}: {one.why}")
    if removed:
        click.echo(f"removed {len(removed)} of {sum(one.bytes for one in removed):,} bytes")
    click.echo(
        f"{len(found)} of no use, {sum(one.bytes for one in found):,} bytes, in {store.folder}"
        + ("; remove with --remove KIND" if found and not kinds else "")
    )
