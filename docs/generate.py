"""Write the pages of the reference that come from the code: ``python docs/generate.py [--check]``.

``--check`` writes nothing and ends with 1 where a page is not what the code says; ``tests/docs`` does the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

MARK = "<!-- written by docs/generate.py -->\n"


def pages() -> dict[Path, str]:
    """Every generated page by its path."""
    from _reference import assets, codes, commands, metrics

    made = {"assets": assets.page, "commands": commands.page, "codes": codes.page, "metrics": metrics.page}
    return {DOCS / "reference" / f"{name}.md": MARK + page().rstrip() + "\n" for name, page in made.items()}


def main() -> None:
    """Write the pages, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a page is out of date")
    check = parser.parse_args().check
    old = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in old.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(DOCS.parent)}: {'out of date, run python docs/generate.py' if check else 'written'}")
    sys.exit(bool(old) and check)


if __name__ == "__main__":
    main()
