"""The analysis of an atlas on made-up tables whose winners are known."""

import io

import numpy as np
import pytest
from fixtures.atlas import DOSES, KINDS, VIEWS, made_up
from scipy.stats import ttest_1samp

from fly64_assets.evaluation.atlas.cells import by_sample, geometric_mean, methods_of, read_rows
from fly64_assets.evaluation.atlas.contests import contests, holm, independent, paired
from fly64_assets.study.campaign import COLUMNS


def rows_of(**options):
    return read_rows(io.StringIO(made_up(**options)))


def test_the_table_of_a_campaign_is_read_and_another_is_refused():
    text = made_up()
    rows = read_rows(io.StringIO(text))
    assert len(rows) == len(KINDS) * 2 * len(DOSES) * len(VIEWS) * 3
    assert methods_of(rows) == ["one", "two"]
    assert all(set(found) == {"one", "two", "flat"} for found in by_sample(rows).values())
    assert {round(row.uniform, 6) for row in rows} == {0.5}
    # A method without a result has an empty error, and no row.
    lines = text.splitlines()
    empty = lines[1].split(",")
    empty[COLUMNS.index("phase_rmse")] = ""
    assert len(read_rows([lines[0], ",".join(empty), *lines[2:]])) == len(rows) - 1
    with pytest.raises(ValueError, match="lacks the columns linear_overlap"):
        read_rows([lines[0].replace("linear_overlap,", "other,"), *lines[1:]])


def test_a_sample_without_an_object_in_the_judged_half_is_left_out():
    lines = made_up().splitlines()
    place = COLUMNS.index("phase_rmse")
    sample = lines[3].split(",")
    assert sample[COLUMNS.index("method")] == "flat"
    for error, kept in (("0", 0), ("0.04", 0), ("0.06", 3)):
        sample[place] = error
        rows = read_rows([*lines[:3], ",".join(sample), *lines[4:]])
        assert len(rows) == len(lines) - 4 + kept
        assert contests(rows)  # no logarithm of nothing


def test_a_table_that_is_cut_or_holds_no_numbers_is_refused():
    lines = made_up().splitlines()
    with pytest.raises(ValueError, match="line 4 has not as many values as the head has columns"):
        read_rows([*lines[:3], lines[3][: len(lines[3]) // 2]])
    for value, says in (("nan", "line 3: phase_rmse = nan: expected a finite number"), ("much", "line 3: .*'much'")):
        broken = lines[2].split(",")
        broken[COLUMNS.index("phase_rmse")] = value
        with pytest.raises(ValueError, match=says):
            read_rows([*lines[:2], ",".join(broken)])


def test_who_wins_is_found_where_it_is_so_and_nowhere_else():
    # `two` is better at the lowest dose, worse at the highest, and the same between.
    def crossing(_kind, dose):
        return {1e2: 0.8, 1e6: 1.3}.get(dose, 1.0)

    found = contests(rows_of(noise=0.02, ratio=crossing, seeds=(1, 2)))
    assert len(found) == len(DOSES) * len(VIEWS)
    for contest in found:
        expected = {100: "two", 1_000_000: "one"}.get(contest.dose, "")
        assert contest.winner == expected, contest
        assert contest.samples == len(KINDS) * 2  # seeds of a kind and probe are averaged
        assert contest.low < contest.ratio < contest.high
        assert contest.uniform == pytest.approx(0.5)
        assert contest.p_holm >= contest.p
    first = found[0]
    assert (first.dose, first.view) == (100, "four")
    assert first.ratio == pytest.approx(0.8, rel=0.03)
    assert first.errors["two"] / first.errors["one"] == pytest.approx(first.ratio)


def test_seeds_of_one_kind_are_no_further_kinds():
    """Half of the kinds are better with one method, the others with the other: more seeds must not make a winner."""

    def by_kind(kind, _dose):
        return 0.75 if kind in ("texture", "cells", "smooth", "edges") else 1.25

    found = contests(rows_of(noise=0.01, ratio=by_kind, seeds=tuple(range(1, 13))))
    assert {contest.samples for contest in found} == {len(KINDS) * 2}
    assert not any(contest.winner for contest in found)
    # With fewer than four kinds and probes the seeds are all that there is.
    rows = [row for row in rows_of(seeds=(1, 2, 3, 4, 5)) if row.kind == "cells"]
    pairs = [(found["one"], found["two"]) for found in by_sample(rows).values()]
    assert len(pairs) == 10 * len(DOSES) * len(VIEWS)
    one, two = zip(*independent(pairs), strict=True)
    assert len(one) == 10  # five seeds, two probes
    of_first = [found["two"].error for sample, found in by_sample(rows).items() if sample[0] == rows[0].sample[0]]
    assert two[0] == pytest.approx(geometric_mean(of_first))


def test_only_samples_that_all_methods_have_are_compared():
    rows = rows_of(seeds=(1,))
    without = [row for row in rows if not (row.method == "two" and row.kind == "cells")]
    assert {contest.samples for contest in contests(without)} == {2 * (len(KINDS) - 1)}
    assert contests([row for row in rows if row.method != "two"]) == []


def test_a_method_with_few_results_hides_no_others():
    rows = rows_of(seeds=(1,))
    few = [row for row in rows if row.method != "two" or row.kind in ("cells", "edges")]
    assert methods_of(few) == ["one"]
    assert methods_of([row for row in rows if row.method != "two" or row.kind != "cells"]) == ["one", "two"]


def test_the_paired_test_is_that_of_scipy_and_asks_for_four_pairs():
    rng = np.random.default_rng(2)
    pairs = [(float(a), float(b)) for a, b in rng.uniform(0.1, 0.3, (9, 2))]
    ratio, low, high, p = paired(pairs)
    logs = [np.log(a / b) for a, b in pairs]
    test = ttest_1samp(logs, 0)
    assert p == pytest.approx(test.pvalue)
    assert (np.log(low), np.log(high)) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert ratio == pytest.approx(geometric_mean([a for a, _ in pairs]) / geometric_mean([b for _, b in pairs]))
    assert low < ratio < high
    assert paired(pairs[:3])[3] == 1.0
    assert paired([(0.2, 0.2)] * 8)[3] == 1.0
    assert paired([(0.1, 0.2)] * 4)[3] == 0.0
    assert paired([(0.1, 0.2)])[1:3] == (0.0, np.inf)


def test_holm_keeps_the_order_and_never_falls_below_the_largest_before():
    p = [0.04, 0.001, 0.03, 0.2, 1.0]
    assert holm(p) == pytest.approx([0.12, 0.005, 0.12, 0.4, 1.0])
    assert holm([]) == []
    # Among many tests of nothing, one in twenty families has a false winner.
    rng = np.random.default_rng(3)
    false = sum(min(holm(list(rng.uniform(size=20)))) < 0.05 for _ in range(2000)) / 2000
    assert false == pytest.approx(0.05, abs=0.02)
