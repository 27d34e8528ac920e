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
    left = find_garbage(store)
    items = [(item, True) for item in removed] + [(item, False) for item in left]
    if as_json:
        rows = [
            {
                "path": item.path.relative_to(store.folder).as_posix(),
                "kind": item.kind,
                "bytes": item.bytes,
                "why": item.why,
                "removed": gone,
            }
            for item, gone in items
        ]
        print_json({"garbage": rows})
        return
    for item, gone in items:
        title = "removed" if gone else "of no use"
        click.echo(f"{title:10} {item.kind:10} {item.bytes:>14,} {item.path.relative_to(store.folder)}: {item.why}")
    if removed:
        click.echo(f"removed {len(removed)} of {sum(item.bytes for item in removed):,} bytes")
    click.echo(
        f"{len(left)} of no use, {sum(item.bytes for item in left):,} bytes, in {store.folder}"
        + ("; remove with --remove KIND" if left and not kinds else "")
    )
