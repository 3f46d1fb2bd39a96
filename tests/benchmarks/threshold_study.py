"""Thresholds at a site, by simulation and on real films: `python -m tests.benchmarks.threshold_study PART...`.

    shift           how often a batch is said to be shifted, and what raw and aligned thresholds flag
    normals         what a threshold from so many known normals flags, and whether its range holds
    contamination   whether the lower bound is below the truth
    drift           false alarms in a simulated year, and images until an alarm
    films           chest_xray and covid_cxr: site scores aligned by one half of the test films, judged on the other
    known_films     the same by known normals, on the score itself
    pools           the share of anomalies in the pools of the same runs, by their train images alone

Simulated scores are gamma-shaped (skewed as distances are), seeds 402, five folds that differ by .15 sd; anomalies lie
1.25 sd above normals at least. `films` is judged on the official test split, and chooses nothing. What came of it is
in `docs/thresholds.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.alignment import align, aligned_p
from swag_ray.core.calibrate import cross_conformal_p
from swag_ray.core.contamination import estimate_contamination
from swag_ray.core.drift import course
from swag_ray.core.local_normals import place_of, place_p, place_rates, rank_p, rank_rates
from swag_ray.core.shift import shift_of

Floats = NDArray[np.float64]
SEEDS, FOLDS, RATE = 402, 5, 0.05
FOLD_OF = np.arange(SEEDS) % FOLDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--store", default="~/.cache/swag-ray")
    arguments = parser.parse_args()
    for part in arguments.parts:
        print(f"\n{part}")
        for line in PARTS[part](arguments):
            print(line, flush=True)
    return 0


def scores(generator: np.random.Generator, normals: int, anomalies: int = 0, shift: float = 0.0) -> Floats:
    """Returns scores (T, K) of a batch: normals of mean 2 and sd 1, moved by the shift, anomalies last."""
    score_T = generator.gamma(4, 0.5, normals + anomalies) + shift
    score_T[normals:] += 1.25 + generator.gamma(4, 0.4, anomalies)
    return score_T[:, None] + generator.normal(0, 0.15, (normals + anomalies, FOLDS))


def seeds(generator: np.random.Generator) -> Floats:
    """Returns cross-fitted scores of seeds (n,)."""
    return scores(generator, SEEDS)[np.arange(SEEDS), FOLD_OF]


def shifts(arguments: argparse.Namespace) -> Iterator[str]:
    yield "images  anomalies  shift   raw rate   aligned rate   recall   said to be shifted   cannot tell"
    for images in (100, 300):
        for share in (0.0, 0.1, 0.6):
            for shift in (0.0, 0.5, 1.0, 2.0):
                generator = np.random.default_rng(0)
                found = [_shifted(generator, images, share, shift) for _ in range(arguments.draws)]
                raw, aligned, recall, said, doubt = np.mean(found, axis=0)
                yield (
                    f"{images:6d} {share:9.0%} {shift:7.1f} {raw:10.3f} {aligned:12.3f} {recall:10.2f} {said:16.2f} "
                    f"{doubt:16.2f}"
                )


def _shifted(generator: np.random.Generator, images: int, share: float, shift: float) -> tuple[float, ...]:
    seed_n, sick = seeds(generator), round(images * share)
    batch, judged = scores(generator, images - sick, sick, shift), scores(generator, 500, 500, shift)
    found = shift_of(seed_n, batch)
    assert found is not None
    raw_T = cross_conformal_p(seed_n, FOLD_OF, judged) <= RATE
    aligned_T = aligned_p(found.alignment, seed_n, FOLD_OF, judged) <= RATE
    return (
        raw_T[:500].mean(), aligned_T[:500].mean(), aligned_T[500:].mean(), found.found and found.doubt is None,
        found.doubt is not None,
    )  # fmt: skip


def normals(arguments: argparse.Namespace) -> Iterator[str]:
    yield "known normals   rate, mean   90 % of draws   the range that is said holds in"
    for known in (20, 40, 100, 200):
        generator = np.random.default_rng(0)
        rates, held = [], []
        for _ in range(arguments.draws):
            seed_n = seeds(generator)
            place, judged = (2 + 1.3 * (scores(generator, count, 0, 0.8) - 2) for count in (known, 1500))
            rate, low, high = by_normals(seed_n, FOLD_OF, place, judged)
            rates.append(rate)
            held.append(low - 0.005 <= rate <= high + 0.005)  # judged on 1,500, whose rate has an error of .0056
        low, high = np.quantile(rates, [0.05, 0.95])
        yield f"{known:13d} {np.mean(rates):12.3f} {low:9.3f} to {high:.3f} {np.mean(held):18.2f}"


def by_normals(seed_n: Floats, fold_n: NDArray[np.int64], known: Floats, judged: Floats) -> tuple[float, float, float]:
    """Returns the rate on judged normals with the range that known normals (m, K) give for it."""
    if len(known) >= 100:
        p_T, (low, high) = rank_p(known.mean(axis=1), judged), rank_rates(len(known), RATE)
    else:
        place = place_of(known)
        p_T, (low, high) = place_p(place, seed_n, fold_n, judged), place_rates(place, seed_n, RATE)
    return float((p_T <= RATE).mean()), low, high


def contaminations(arguments: argparse.Namespace) -> Iterator[str]:
    yield "truth   fitted (sd)   Storey (sd)   lower bound (sd)   bound below the truth in"
    for share in (0.0, 0.02, 0.05, 0.1, 0.3, 0.6, 0.8):
        generator = np.random.default_rng(0)
        rows = []
        for _ in range(arguments.draws):
            seed_n, sick = seeds(generator), round(1000 * share)
            pool_m = scores(generator, 1000 - sick, sick)[np.arange(1000), np.arange(1000) % FOLDS]
            found = estimate_contamination(seed_n, pool_m, np.arange(SEEDS), np.arange(1000), generator)
            rows.append((found.fitted, found.storey, found.low, found.low <= share))
        (a, b, c, below), (x, y, z, _) = np.mean(rows, axis=0), np.std(rows, axis=0)
        yield f"{share:5.0%} {a:8.3f} ({x:.3f}) {b:8.3f} ({y:.3f}) {c:10.3f} ({z:.3f}) {below:14.2f}"


def drifts(arguments: argparse.Namespace) -> Iterator[str]:
    yield "images a day   anomalies   years with a false alarm   images until an alarm at 1 sd, median (90th centile)"
    for a_day in (20, 100):
        for share in (0.1, 0.3):
            generator, years = np.random.default_rng(0), max(10, arguments.draws // 5)
            false = [any(block.alarm for block in _year(generator, a_day, share)) for _ in range(years)]
            late = [_late(generator, a_day, share) for _ in range(years)]
            yield (
                f"{a_day:12d} {share:9.0%} {sum(false):14d} of {years:3d} {np.median(late):16.0f} "
                f"({np.quantile(late, 0.9):.0f})"
            )


def _arrivals(generator: np.random.Generator, days: int, a_day: int, share: float, shift: float) -> Iterator[Floats]:
    for _ in range(days):
        sick = int(generator.binomial(a_day, share))
        yield scores(generator, a_day - sick, sick, shift)[np.arange(a_day), np.arange(a_day) % FOLDS]


def _year(generator: np.random.Generator, a_day: int, share: float) -> list:  # type: ignore[type-arg]
    seed_n = seeds(generator)
    return list(course(seed_n, enumerate(_arrivals(generator, 365, a_day, share, 0.0), 1)))


def _late(generator: np.random.Generator, a_day: int, share: float) -> float:
    """Images between a shift of 1 sd on day 11 and the alarm."""
    seed_n, rest = seeds(generator), -(-1000 // a_day)
    parts = (*_arrivals(generator, 10, a_day, share, 0.0), *_arrivals(generator, rest, a_day, share, 1.0))
    blocks = course(seed_n, enumerate(parts, 1))
    return next((a_day * (block.day - 10) for block in blocks if block.alarm and block.day > 10), np.inf)


def films(arguments: argparse.Namespace) -> Iterator[str]:
    from tests.benchmarks.official import official_fits

    yield "set, pool: split   raw rate, of the site score | images, anomalies: aligned rate, recall ..."
    for name, fit, audit in official_fits(arguments.store):
        fold_n, anomaly_T, cells = fit.cohort.fold_N[fit.cohort.seeds], audit.anomaly_T, []
        for images in (100, 300):
            for share in (0.0, 0.05, 0.3, 0.62):
                rate, recall = _halves(fit.site.seed_s, fold_n, fit.site.s_TK, anomaly_T, images, share)
                cells.append(f"{images}, {share:.0%}: {rate:.3f} {recall:.2f}")
        raw, of_site = (
            (cross_conformal_p(of.seed_s, fold_n, of.s_TK[~anomaly_T]) <= RATE).mean() for of in (fit, fit.site)
        )
        yield f"{name}   {raw:.3f}, {of_site:.3f} | {'; '.join(cells)}"


def _halves(
    seed_n: Floats, fold_n: NDArray[np.int8], score_TK: Floats, anomaly_T: NDArray[np.bool_], images: int, share: float
) -> tuple[float, float]:
    """Returns rate and recall on one half of the films, aligned by a batch of the other: means over 20 draws."""
    generator, found = np.random.default_rng(0), []
    for _ in range(20):
        normal, sick = (generator.permutation(np.flatnonzero(of)) for of in (~anomaly_T, anomaly_T))
        count = min(len(normal) // 2, round(images * (1 - share)))
        ill = min(len(sick) // 2, round(count * share / (1 - share)))
        batch = np.concatenate([normal[:count], sick[:ill]])
        p_T = aligned_p(align(seed_n, score_TK[batch]), seed_n, fold_n, score_TK)
        found.append([(p_T[of[len(of) // 2 :]] <= RATE).mean() for of in (normal, sick)])
    rate, recall = np.mean(found, axis=0)
    return float(rate), float(recall)


def known_films(arguments: argparse.Namespace) -> Iterator[str]:
    from tests.benchmarks.official import official_fits

    yield "set, pool: split   known normals: rate, recall, share of draws in the range that is said ..."
    for name, fit, audit in official_fits(arguments.store):
        fold_n, anomaly_T, cells = fit.cohort.fold_N[fit.cohort.seeds], audit.anomaly_T, []
        for known in (20, 40, 100):
            rate, recall, held = _by_known(fit.seed_s, fold_n, fit.s_TK, anomaly_T, known)
            cells.append(f"{known}: {rate:.3f} {recall:.2f} {held:.2f}")
        yield f"{name}   {'; '.join(cells)}"


def _by_known(
    seed_n: Floats, fold_n: NDArray[np.int8], score_TK: Floats, anomaly_T: NDArray[np.bool_], known: int
) -> tuple[float, float, float]:
    """Returns rate, recall and whether the range held, on the films that are not the known normals: 20 draws."""
    generator, found = np.random.default_rng(0), []
    for _ in range(20):
        normal = generator.permutation(np.flatnonzero(~anomaly_T))
        place, judged = score_TK[normal[:known]], score_TK[normal[known:]]
        rate, low, high = by_normals(seed_n, fold_n, place, judged)
        recall, _, _ = by_normals(seed_n, fold_n, place, score_TK[anomaly_T])
        error = np.sqrt(RATE * (1 - RATE) / len(judged))
        found.append((rate, recall, low - error <= rate <= high + error))
    return tuple(np.mean(found, axis=0))


def pools(arguments: argparse.Namespace) -> Iterator[str]:
    from tests.benchmarks.official import official_fits

    yield "set, pool: split   truth   fitted   Storey   lower bound"
    for name, fit, audit in official_fits(arguments.store):
        cohort = fit.cohort
        found = estimate_contamination(
            fit.seed_s, fit.s_N[cohort.pool], cohort.group_N[cohort.seeds], cohort.group_N[cohort.pool],
            np.random.default_rng(0),
        )  # fmt: skip
        truth = audit.anomaly_N[cohort.pool].mean()
        yield f"{name} {truth:11.3f} {found.fitted:8.3f} {found.storey:8.3f} {found.low:10.3f}"


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "shift": shifts, "normals": normals, "contamination": contaminations, "drift": drifts, "films": films,
    "known_films": known_films, "pools": pools,
}  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(main())
