"""Many clients at Dagster's GraphQL at once: seconds of an answer by page of the UI.

    fly64 ui --port 3001
    python benchmarks/graphql.py --port 3001 --clients 50 --rounds 4

The clients ask the webserver of a running `fly64 ui` what the pages of the UI ask; start a backfill to see it under
work. Seconds are those of this machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from endtoend.storm import PAGES, storm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    begin = time.perf_counter()
    answers = storm(options.port, options.clients, options.rounds)
    seconds = time.perf_counter() - begin
    print("page                  answers    p50 s    p95 s    p99 s")
    for page in PAGES:
        if answers.seconds[page]:
            p50, p95, p99 = answers.percentiles(page)
            print(f"{page:20} {len(answers.seconds[page]):8} {p50:8.3f} {p95:8.3f} {p99:8.3f}")
    total = sum(map(len, answers.seconds.values()))
    print(f"{options.clients} clients, {total} answers in {seconds:.1f} s, {len(answers.errors)} errors")
    for error in answers.errors[:10]:
        print(error)


if __name__ == "__main__":
    main()
