"""The words of the sweep page that depend on its figures: names of columns, the verdict, the warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from swag_ray.report.page.markup import Format, Html, decimal, element, join, p_value
from swag_ray.report.sweep.arms import Ranked, against_reference, ranking, reference_in
from swag_ray.report.sweep.read import NO_ADMISSION, SEED_ONLY, TEST, Results, SweepRecord
from swag_ray.report.sweep.statistics import MIN_PAIRS, Mean, mean_interval
from swag_ray.wording import plural

POOL_AUROC = "last_round.pool_roc_auc"
NAMES = {  # column: its name, its short name
    POOL_AUROC: ("ROC-AUC on the pool", "pool ROC-AUC"),
    "last_round.roc_auc": ("ROC-AUC on the test set, last round", "test ROC-AUC"),
    TEST: ("ROC-AUC on the test set", "test ROC-AUC"),
    "incremental.pr_auc": ("PR-AUC on the test set", "test PR-AUC"),
    SEED_ONLY: ("ROC-AUC of seed only on the test set", "seed-only ROC-AUC"),
    NO_ADMISSION: ("ROC-AUC with nobody admitted on the test set", "nobody admitted ROC-AUC"),
    "delta_vs_no_admission.roc_auc": ("ROC-AUC that admission added on the test set", "added by admission"),
    "totals.purity": ("purity of the admitted", "purity"),
    "totals.admitted": ("pool images admitted", "admitted"),
    "contamination.true": ("contamination of the pool", "contamination"),
    "timing.total": ("seconds", "seconds"),
}
# Tables of metrics.json that say nothing of the test set; all others do, but for what is measured on the pool.
NOT_TEST = ("last_round", "totals", "contamination", "timing", "groups")
VERDICTS = 3
ENDS = ("done", "failed", "stopped")  # of a trial


def axis_name(column: str, *, short: bool = False) -> str:
    """A column's name for readers; one that we have no name for stands as it is."""
    return NAMES.get(column, (column, column))[short]


def on_test(column: str) -> bool:
    """Whether the figure is measured on the test set; what we do not know counts as such."""
    if column == "last_round.roc_auc":
        return True
    table, _, key = column.partition(".")
    return table not in NOT_TEST and "pool" not in key


def form_for(values: Sequence[float | None]) -> Format:
    """Decimals for figures like AUROC, four digits for others."""
    if all(value is None or abs(value) <= 1.5 for value in values):
        return decimal
    return lambda value: f"{value:,.4g}" if isinstance(value, int | float) else None


def with_interval(mean: Mean | None, form: Format = decimal) -> str | None:
    """`0.951 [0.944, 0.958]`, without the bracket for one seed."""
    if mean is None:
        return None
    text = form(mean.mean) or ""
    return text if mean.low is None else f"{text} [{form(mean.low)}, {form(mean.high)}]"


def verdicts(sweep: SweepRecord) -> list[Html]:
    """What came out, a sentence for each of the first datasets."""
    if not sweep.results:
        return [join("No trial is done yet.")]
    texts = [_verdict(sweep, results) for results in sweep.results[:VERDICTS]]
    more = len(sweep.results) - VERDICTS
    return [*texts, join(f"{plural(more, 'more dataset')} below.")] if more > 0 else texts


def _verdict(sweep: SweepRecord, results: Results) -> Html:
    ranked = ranking(sweep, results)
    best, metric = ranked[0], axis_name(sweep.metric)
    if best.metric is None:
        return join(f"On {results.dataset}, no arm is ranked: no trial holds the {metric} ({sweep.metric}).")
    figure = f"{form_for([best.metric.mean])(best.metric.mean)} ({_seeds(best.metric.n)})"
    name = element("strong", sweep.describe(best.arm))
    test = mean_interval(list(results.by_seed(best.arm, TEST).values()))
    on_test_set = f"; on the test set it reaches ROC-AUC {with_interval(test)}"
    if test is None:
        after = ""
    elif len(ranked) == 1:
        after = "" if sweep.metric == TEST else on_test_set
    else:
        after = ("" if sweep.metric == TEST else on_test_set) + f", {_against_reference(sweep, results, ranked)}"
    if len(ranked) == 1:
        which = join(" (", name, ")") if sweep.varied else ""
        return join(f"On {results.dataset}, there is one arm", which, f": {metric} {figure}{after}.")
    place = f" ranks first of {len(ranked)} arms by {metric}: {figure}{after}."
    return join(f"On {results.dataset}, ", name, place)


def _against_reference(sweep: SweepRecord, results: Results, ranked: Sequence[Ranked]) -> str:
    if ranked[0].arm == reference_in(sweep, results):
        return "and is the reference arm itself"
    found = against_reference(sweep, results, [r.arm for r in ranked])
    own = next((c for c in found if c.arm == ranked[0].arm), None)
    if own is None:
        return "with no random seed in common with the reference arm"
    gain = own.test.difference.mean
    if own.corrected is None:
        pairs = plural(own.test.difference.n, "seed")
        return f"{decimal(gain, signed=True)} against the reference arm, with {pairs} in common too few for a test"
    p = f"{p_text(own.corrected)} after Holm's correction"
    if own.corrected >= 0.05:
        return f"which these seeds cannot tell from the reference arm's ({decimal(gain, signed=True)}, {p})"
    return f"{decimal(abs(gain))} {'above' if gain > 0 else 'below'} the reference arm ({p})"


def p_text(p: float) -> str:
    text = p_value(p) or ""
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _seeds(n: int) -> str:
    return "one seed" if n == 1 else f"mean over {n} seeds"


def progress(sweep: SweepRecord) -> str:
    """`48 of 60 trials done, 2 failed, 10 left`."""
    done, *others = (sweep.count(status) for status in ENDS)
    planned = max(sweep.planned or 0, done + sum(others))
    parts = [f"{done:,} of {plural(planned, 'trial')} done"]
    parts += [f"{count} {status}" for count, status in zip(others, ENDS[1:], strict=True) if count]
    left = planned - done - sum(others)
    return ", ".join([*parts, f"{left} left"] if left else parts)


def sweep_warnings(sweep: SweepRecord) -> list[str]:
    """What a reader must know before the figures."""
    found = []
    if on_test(sweep.metric):
        found.append(
            f"The sweep ranks its arms by {sweep.metric}, a figure of the test set: the choice was made on test "
            "labels, and the best arm's figures are too good by an unknown amount. Choose on the pool instead "
            f"(metric: {POOL_AUROC})."
        )
    failed, stopped = sweep.count("failed"), sweep.count("stopped")
    left = (sweep.planned or 0) - sum(sweep.count(status) for status in ENDS)
    if stopped:
        found.append(
            f"{plural(stopped, 'trial')} stopped early, counted nowhere below: what is left of their arms are the "
            "better trials, so those arms' means are too good."
        )
    if failed:
        found.append(f"{plural(failed, 'trial')} failed, counted nowhere below; see Failed trials.")
    if left > 0:
        found.append(f"The sweep is not complete, {plural(left, 'trial')} left: ranks may change.")
    return found + _metric_warnings(sweep) + _seed_warnings(sweep) + _reference_warnings(sweep)


def _metric_warnings(sweep: SweepRecord) -> list[str]:
    found = []
    for results in sweep.results:
        absent = int((results.figures(sweep.metric) != results.figures(sweep.metric)).sum())
        if absent == len(results.rows):
            found.append(
                f"{results.dataset}: no trial holds {sweep.metric} (a pool without labels has no AUROC), so its arms "
                "stand in the order of their trials. They are not ranked by the test set instead."
            )
        elif absent:
            found.append(f"{results.dataset}: {absent} of {len(results.rows)} trials lack {sweep.metric}.")
    return found


def _seed_warnings(sweep: SweepRecord) -> list[str]:
    found = []
    for results in sweep.results:
        ranked = ranking(sweep, results)
        most = max(r.seeds for r in ranked)
        counts = Counter(r.seeds for r in ranked)
        if most < MIN_PAIRS:
            found.append(
                f"{results.dataset}: {plural(most, 'random seed')} an arm at most: "
                f"{'no interval and ' if most == 1 else ''}no test is possible ({MIN_PAIRS} are needed)."
            )
        elif len(counts) > 1:
            short = len(ranked) - counts[most]
            rest = ", the first-ranked among them" if ranked[0].seeds < most else ""
            found.append(
                f"{results.dataset}: {short} of {len(ranked)} arms have fewer than {most} seeds{rest}; means over "
                "different seeds compare less well than paired tests."
            )
    return found


def _reference_warnings(sweep: SweepRecord) -> list[str]:
    arm, exact = sweep.reference if sweep.arms else (1, True)
    if exact or len(sweep.arms) < 2:
        return []
    return [f"No arm has the base config's values in every field: the reference is the arm {sweep.describe(arm)}."]
