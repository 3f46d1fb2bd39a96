"""One round's decision: pick the rejects on the fit's own scores, gate, admit.

Shapes: N train images (seed and pool). Gates are `core.gate`, reject rules the method's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import gate
from swag_ray.core.seeding import numpy_generator
from swag_ray.methods.fit import Experiment, Fit, Floats, Mask, TrainingSet
from swag_ray.methods.method import method_of
from swag_ray.store.stages import Arrays, Result, digest, stage_key


@dataclass(frozen=True)
class RoundDecision:
    """What a round decided.

    Attributes:
        key: the stage that holds it.
        arrays: over the train images: rejected, reject_weight (0 where not rejected), candidate, passed_distance,
            passed_both, admitted (new), evicted (new), held (after this round), ever, streak; u, z_u where computed.
        relaxed, relaxed_used, exhausted: of the gate.
    """

    key: str
    arrays: Arrays
    relaxed: bool
    relaxed_used: bool
    exhausted: bool

    @property
    def held(self) -> NDArray[np.int64]:
        """Train rows admitted and not evicted."""
        return np.flatnonzero(self.arrays["held"])

    @property
    def rejects(self) -> NDArray[np.int64]:
        """Train rows that this round rejects."""
        return np.flatnonzero(self.arrays["rejected"])

    @property
    def training(self) -> TrainingSet:
        """Whom the next fit learns from."""
        return TrainingSet(self.key, self.held, self.arrays["reject_weight"])


@dataclass(frozen=True)
class AdmissionRule:
    """Who decides whom a round admits; all else in the loop is the same under every rule.

    Attributes:
        name: `swag_gate`, or the control `random_admission`, `oracle_gate` or `no_admission`.
        allowed_N: the train images that a control may draw from; an oracle's are true normals. None gates instead.
        admits: False admits nobody, and asks nothing.
    """

    name: str = "swag_gate"
    allowed_N: Mask | None = None
    admits: bool = True


SWAG_GATE = AdmissionRule()
NO_ADMISSION = AdmissionRule("no_admission", admits=False)


def decide(
    experiment: Experiment, n: int, fit: Fit, before: RoundDecision | None, rule: AdmissionRule
) -> RoundDecision:
    """Decides round n: picks the rejects on this fit's own scores, gates, admits. Decision 0 only picks rejects."""
    reads: dict[str, Any] = experiment.reads("random_seed", "method") | {"round": n}
    reads |= experiment.reads(*method_of(experiment).decision_fields)
    if before is not None and not rule.admits:
        reads |= {"rule": rule.name}
    elif before is not None and rule.allowed_N is None:
        reads |= experiment.reads("gate") | {"rule": rule.name}
    elif before is not None:  # a draw asks no gate
        reads |= experiment.reads("gate.budget") | {"rule": rule.name, "allowed": digest(rule.allowed_N)}
    key = stage_key("decide", reads, [fit.key, *([before.key] if before else [])])

    def compute() -> Result:
        weight_N = method_of(experiment).reject_weights(experiment, fit)
        if before is None:
            result = _first_decision(weight_N > 0)
        else:
            result = _next_decision(experiment, n, fit, weight_N > 0, before, rule)
        return replace(result, arrays=result.arrays | {"reject_weight": weight_N})

    result = experiment.store.stage("decide", key, compute, experiment.workers.record_decision)
    flags = {name: bool(result.info[name]) for name in ("relaxed", "relaxed_used", "exhausted")}
    return RoundDecision(key, result.arrays, **flags)


def _first_decision(rejected_N: Mask) -> Result:
    none_N, null_N = np.zeros(len(rejected_N), dtype=np.bool_), np.full(len(rejected_N), np.nan)
    names = ("candidate", "passed_distance", "passed_both", "admitted", "evicted", "held", "ever")
    arrays: Arrays = {name: none_N for name in names} | {"rejected": rejected_N, "u": null_N, "z_u": null_N}
    arrays["streak"] = np.zeros(len(none_N), dtype=np.int64)
    return Result(arrays, {"relaxed": False, "relaxed_used": False, "exhausted": False})


def _next_decision(
    experiment: Experiment, n: int, fit: Fit, rejected_N: Mask, before: RoundDecision, rule: AdmissionRule
) -> Result:
    pool, g = experiment.cohort.pool, experiment.config.gate
    state = gate.PoolState(before.arrays["ever"][pool], before.arrays["streak"][pool], before.relaxed_used)
    generator = numpy_generator(experiment.config.random_seed, "decide", n)
    if not rule.admits:
        chosen = gate.nobody(state)
    elif rule.allowed_N is not None:
        eligible = rule.allowed_N[pool] & ~rejected_N[pool]
        chosen = gate.draw(eligible, g.budget, generator, state=state)
    else:
        settings = gate.GateSettings(g.tau_distance, g.tau_uncertainty, g.tau_relaxed, g.budget, g.rank, g.patience)
        chosen = gate.decide(
            fit.s_N[pool], fit.z_N[pool], rejected_N[pool], state, settings, _uncertainty(experiment, fit), generator
        )

    def scatter(values: NDArray[Any], fill: Any = 0) -> NDArray[Any]:
        """Returns pool values as an array over the train images."""
        out = np.full(len(rejected_N), fill, dtype=values.dtype)
        out[pool] = values
        return out

    evicted_N = before.arrays["held"] & rejected_N
    admitted_N = scatter(chosen.admitted_N)
    arrays: Arrays = {
        "rejected": rejected_N,
        "candidate": scatter(chosen.candidate_N),
        "passed_distance": scatter(chosen.passed_distance_N),
        "passed_both": scatter(chosen.passed_both_N),
        "admitted": admitted_N,
        "evicted": evicted_N,
        "held": (before.arrays["held"] & ~evicted_N) | admitted_N,
        "ever": before.arrays["ever"] | admitted_N,
        "streak": scatter(chosen.state.streak_N),
        "u": scatter(chosen.u_N, np.nan),
        "z_u": scatter(chosen.z_u_N, np.nan),
    }
    flags = {"relaxed": chosen.relaxed, "relaxed_used": chosen.state.relaxed_used, "exhausted": chosen.exhausted}
    return Result(arrays, flags)


def _uncertainty(experiment: Experiment, fit: Fit) -> gate.Uncertainty:
    """Returns what gives the gate u and z_u of the pool images that it asks for."""
    pool = experiment.cohort.pool

    def of(mask: Mask) -> tuple[Floats, Floats]:
        u_N = method_of(experiment).uncertainty(experiment, fit, pool[mask])
        return u_N[pool], fit.z_u(u_N)[pool]

    return of
