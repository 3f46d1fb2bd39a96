"""What admitted images are good for in `contrast`: `python -m tests.benchmarks.admission_study`.

The proxies of `settings_study`, train folders alone; no test label is used, and no image of a test folder. Each use
runs the loop with one thing changed, on the same features, rejects and gates deciding anew on what it scores:

    nothing     as `contrast` is: bank and heads are the seeds'
    bank        rows of the memory bank as well; fold k's holds admitted images of the other folds
    class 0     the normal side of the head of rejects as well, each counting as a seed
    weighted    the same, weights such that, in every tenth of the seeds' scores, seeds and admitted together count as
                the seeds did: the normal side's score distribution stays what it was
    nulls       further null scores, for the probability of being abnormal
    weighted nulls   the same with those weights

Prints, per proxy, pool and use, the mean ROC-AUC over splits of fit 1 (nobody is admitted yet), fit 2 (the first that
could learn of them) and the last fit. What came of it is in `tests/benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch

from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import parse_config, resolved
from swag_ray.core import outliers
from swag_ray.core.array_checks import Floats
from swag_ray.core.fusion import Arm, fused_train
from swag_ray.core.posterior import Posterior, fit_posterior
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.prepare import Prepared, prepare
from swag_ray.experiment.source import check_source
from swag_ray.methods import contrast_fit, method
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.contrast_fit import Contrast
from swag_ray.methods.fit import Experiment, Fit, FittedArm, TrainingSet
from swag_ray.methods.folds import fold_tasks
from swag_ray.models.tasks import FitTask
from swag_ray.progress import Progress
from swag_ray.store import stages
from swag_ray.store.stages import stage_key
from tests.benchmarks import settings_study
from tests.support.made_up_experiment import InProcessWorkers

CONTAMINATIONS = (0.02, 0.05, 0.1, 0.3, None)
TENTHS = 10


def balanced(z_N: Floats, seeds: Any, held: Any) -> tuple[Floats, Floats]:
    """Returns weights of seeds and of admitted images: in every tenth of the seeds' scores all count as its seeds."""
    edges = np.quantile(z_N[seeds], np.linspace(0, 1, TENTHS + 1)[1:-1])
    of_seed, of_held = np.searchsorted(edges, z_N[seeds]), np.searchsorted(edges, z_N[held])
    own, more = np.bincount(of_seed, minlength=TENTHS), np.bincount(of_held, minlength=TENTHS)
    weight = own / np.maximum(own + more, 1)
    return weight[of_seed], weight[of_held]


class GrownBank(Contrast):
    """Admitted images are rows of the bank."""

    def fit(self, experiment: Experiment, n: int, training: TrainingSet, first: Fit, previous: Fit) -> Fit:
        if not len(training.held):
            return super().fit(experiment, n, training, first, previous)
        cohort = experiment.cohort
        grown = bank_fit(experiment, np.union1d(cohort.seeds, training.held), training.decision)
        arm = Arm.of("bank", grown.s_N, grown.s_TK, cohort.seeds)
        parts = [FittedArm(arm, grown.folds), *(part for part in first.arms if part.arm.name != "bank")]
        weights = [1.0, *(self._weight(part.arm) for part in parts[1:])]
        parts = [part.weighing(w) for w, part in zip(weights, parts, strict=True)]
        sd = float(fused_train([part.arm for part in parts])[cohort.seeds].std(ddof=1))
        parts = [part.weighing(w / sd) for w, part in zip(weights, parts, strict=True)]
        key = stage_key("fit", {"study": "grown"}, [first.key, grown.key])
        return super().fit(experiment, n, training, contrast_fit._fused(experiment, key, parts), previous)

    def first_fit(self, experiment: Experiment, seed_bank: Fit) -> Fit:
        first = super().first_fit(experiment, seed_bank)
        bank = next(part.arm.weight for part in first.arms if part.arm.name == "bank")
        self._beside = {part.arm.name: part.arm.weight / bank for part in first.arms}
        return first

    def _weight(self, arm: Arm) -> float:
        """Of an arm beside a bank of weight 1, as in row 0."""
        return self._beside[arm.name]


class NormalSide(Contrast):
    """Admitted images are normals that the head of rejects learns.

    Args:
        weighted: whether the score distribution of its normal side stays the seeds'.
    """

    def __init__(self, weighted: bool) -> None:
        self._weighted = weighted

    def fit(self, experiment: Experiment, n: int, training: TrainingSet, first: Fit, previous: Fit) -> Fit:
        if not len(training.held):
            return super().fit(experiment, n, training, first, previous)
        cohort, held = experiment.cohort, training.held
        count = np.ones(len(cohort.seeds)), np.ones(len(held))
        if self._weighted:
            count = balanced(previous.z_N, cohort.seeds, held)
        normal, weight = np.concatenate([cohort.seeds, held]), np.concatenate(count)
        kept = weight > 0

        def tasks(of: Any, members: Any, names: Any, *, abnormal: Any, weights: Any) -> list[FitTask]:
            rest = slice(len(cohort.seeds), None)  # the rejects
            taught = np.concatenate([normal[kept], members[rest]])
            return fold_tasks(
                of, taught, names, abnormal=abnormal, weights=np.concatenate([weight[kept], weights[rest]])
            )

        def digest(weight_N: Any) -> str:
            """Stands for the head: it also depends on whom the gate let in, and how much they count."""
            return stages.digest(np.concatenate([weight_N, weight, normal.astype(np.float64)]))

        with patch.object(contrast_fit, "fold_tasks", tasks), patch.object(contrast_fit, "digest", digest):
            return super().fit(experiment, n, training, first, previous)


class Nulls(Contrast):
    """Scores of admitted images are null scores beside the seeds', where probabilities of being abnormal are fitted.

    Args:
        weighted: whether the null distribution stays the seeds'.
    """

    def __init__(self, weighted: bool) -> None:
        self._weighted = weighted
        self._held: dict[str, Any] = {}

    def fit(self, experiment: Experiment, n: int, training: TrainingSet, first: Fit, previous: Fit) -> Fit:
        with patch.object(contrast_fit, "_posterior", self._posterior):
            fit = super().fit(experiment, n, training, first, previous)
        own = replace(fit, key=stage_key("fit", {"nulls": training.held.tolist(), "w": self._weighted}, [fit.key]))
        self._held[own.key] = training.held
        return own

    def reject_weights(self, experiment: Experiment, fit: Fit) -> Floats:
        pool, weight_N = experiment.cohort.pool, np.zeros(len(experiment.cohort.id_N))
        eta_m = self._posterior(fit).eta(fit.z_N[pool])
        weight_N[pool] = outliers.reject_weights(eta_m, experiment.config.outliers.probability)
        return weight_N

    def _posterior(self, fit: Fit) -> Posterior:
        seeds, held = fit.cohort.seeds, self._held.get(fit.key, np.empty(0, np.int64))
        null = fit.z_N[np.concatenate([seeds, held])]
        if self._weighted and len(held):
            # Weights by drawing: as many nulls as there are images, in the proportions that the weights ask for.
            share = np.concatenate(balanced(fit.z_N, seeds, held))
            order = np.argsort(null, kind="stable")
            places = (np.arange(len(null)) + 0.5) / len(null)
            null = null[order][np.searchsorted(np.cumsum(share[order]) / share.sum(), places)]
        return fit_posterior(null, fit.z_N[fit.cohort.pool])


USES: Mapping[str, Any] = {
    "nothing": Contrast, "bank": GrownBank, "class 0": lambda: NormalSide(False),
    "weighted": lambda: NormalSide(True), "nulls": lambda: Nulls(False), "weighted nulls": lambda: Nulls(True),
}  # fmt: skip


def main() -> int:
    torch.set_num_threads(1)  # heads are small, and the cores may be others'
    arguments = _arguments()
    figures: list[dict[str, Any]] = []
    for name in arguments.proxies:
        for random_seed in range(arguments.splits):
            for share in _shares(name, arguments.pools):
                for row in _measure(name, random_seed, share, arguments):
                    figures.append(row)
                    print(json.dumps(row), flush=True)
                    Path(arguments.out).write_text(json.dumps(figures, indent=1) + "\n")
    _show(figures)
    return 0


def _shares(name: str, pools: list[str]) -> list[float | None]:
    """Contaminations to measure that the proxy's anomalies are enough for."""
    most = settings_study.PROXIES[name].most
    return [share for share in CONTAMINATIONS if _shown(share) in pools and (share is None or share <= most)]


def _shown(share: float | None) -> str:
    return "all" if share is None else f"{share:.0%}"


def _measure(name: str, random_seed: int, share: float | None, arguments: argparse.Namespace) -> Iterator[Any]:
    folder = settings_study._proxy_folder(Path(arguments.work), name, random_seed)
    plain = settings_study._config(name, folder, random_seed, arguments)
    config = parse_config(
        resolved(plain), [f"dataset.contamination={json.dumps(share)}", f"rounds={arguments.rounds}"]
    )  # fmt: skip
    with RayWorkers() as workers:  # starts only where features are lacking
        prepare(check_source(config, Progress()), workers, Progress())
    prepared = prepare(check_source(config, Progress()), InProcessWorkers(), Progress())
    cohort, audit, methods = prepared.experiment.cohort, prepared.audit, cast(dict[str, Any], method.METHODS)
    for use in arguments.uses:
        methods["contrast"] = USES[use]()
        found = incremental_loop(prepared.experiment)
        fits, held = [*(row.fit for row in found.rows), found.last], found.decision.arrays["held"]
        normals = cohort.pool[~audit.anomaly_N[cohort.pool]]
        yield {
            "proxy": name, "split": random_seed, "pool": _shown(share), "use": use,
            "auc": [_auc(prepared, fit) for fit in fits], "admitted": int(held.sum()),
            "wrong": int((held & audit.anomaly_N).sum()),
            "rate": float((found.last.p_N[normals] <= 0.05).mean()),
        }  # fmt: skip
    methods["contrast"] = Contrast()


def _auc(prepared: Prepared, fit: Fit) -> float:
    return settings_study._test_auc(prepared, fit)


def _show(figures: list[dict[str, Any]]) -> None:
    """Per proxy and use, the mean over pools and splits; then what each use adds to `nothing`."""
    uses, proxies = (list(dict.fromkeys(row[key] for row in figures)) for key in ("use", "proxy"))

    def last(use: str, proxy: str) -> Floats:
        return np.array([row["auc"][-1] for row in figures if (row["use"], row["proxy"]) == (use, proxy)])

    def second(use: str, proxy: str) -> Floats:
        return np.array([row["auc"][2] for row in figures if (row["use"], row["proxy"]) == (use, proxy)])

    print(f"{'':16s}" + "".join(f"{name:>26s}" for name in proxies) + "   mean gain   worst")
    for use in uses:
        gains = [float((last(use, proxy) - last("nothing", proxy)).mean()) for proxy in proxies]
        cells = (f"{last(use, p).mean():.4f} ({(last(use, p) - second(use, p)).mean():+.4f})" for p in proxies)
        print(f"{use:16s}" + "".join(f"{cell:>26s}" for cell in cells) + f"{np.mean(gains):+12.4f}{min(gains):+8.4f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    proxies = list(settings_study.PROXIES)
    parser.add_argument("--proxies", nargs="+", choices=proxies, default=proxies)
    parser.add_argument("--uses", nargs="+", choices=list(USES), default=list(USES))
    pools = [_shown(share) for share in CONTAMINATIONS]
    parser.add_argument("--pools", nargs="+", choices=pools, default=pools, help="shares of anomalies in the pool")
    parser.add_argument("--splits", type=int, default=2, help="random splits of every proxy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", default="/tmp/swag-ray-study", help="folder for the proxies' links")
    parser.add_argument("--store", default="~/.cache/swag-ray")
    parser.add_argument("--out", default="admission_study.json")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
