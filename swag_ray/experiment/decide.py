"""One round's decision: pick the rejects on the fit's own p-values, gate, admit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import gate, outliers
from swag_ray.core.seeding import numpy_generator
from swag_ray.methods.fit import Fit, Floats, Lab, log_u_z
from swag_ray.methods.published_fit import pool_uncertainty
from swag_ray.store.stages import Arrays, Result, digest, stage_key

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Decision:
    """What a round decided, as arrays over the own images.

    Attributes:
        key: the stage that holds it.
        arrays: rejected, candidate, passed_distance, passed_both, admitted (new), evicted (new), held (after this
        round),
            ever, streak; u, z_u where computed.
        relaxed, relaxed_used, exhausted: of the gate.
    """

    key: str
    arrays: Arrays
    relaxed: bool
    relaxed_used: bool
    exhausted: bool

    @property
    def held(self) -> NDArray[np.int64]:
        """Own rows admitted and not evicted."""
        return np.flatnonzero(self.arrays["held"])

    @property
    def rejects(self) -> NDArray[np.int64]:
        """Own rows that this row's p-values reject."""
        return np.flatnonzero(self.arrays["rejected"])


@dataclass(frozen=True)
class Rule:
    """Who decides whom a round admits; what else the loop does is the same for all.

    Attributes:
        name: `swag_gate`, or the control `random_admission` or `oracle_gate`.
        allowed_N: for the controls: the own images that may be drawn. An oracle's are true normals.
    """

    name: str = "swag_gate"
    allowed_N: Mask | None = None


SWAG_GATE = Rule()


def decide(lab: Lab, n: int, fit: Fit, before: Decision | None, rule: Rule) -> Decision:
    """Decide n: pick the rejects on this fit's own p-values, gate, admit. Decide 0 only picks rejects."""
    reads: dict[str, Any] = lab.reads("random_seed", "method") | {"round": n}
    if lab.config.method == "contrast":
        reads |= lab.reads("outliers.fdr", "outliers.ceiling")
    if before is not None:
        reads |= lab.reads("gate") | {"rule": rule.name}
    if rule.allowed_N is not None and n:
        reads |= {"allowed": digest(rule.allowed_N)}
    key = stage_key("decide", reads, [fit.key, *([before.key] if before else [])])

    def compute() -> Result:
        return _first_decision(lab, fit) if before is None else _next_decision(lab, n, fit, before, rule)

    result = lab.store.stage("decide", key, compute, lab.workers.admit)
    flags = {name: bool(result.info[name]) for name in ("relaxed", "relaxed_used", "exhausted")}
    return Decision(key, result.arrays, **flags)


def _first_decision(lab: Lab, fit: Fit) -> Result:
    none_N = np.zeros(len(lab.cohort.id_N), dtype=np.bool_)
    names = ("candidate", "passed_distance", "passed_both", "admitted", "evicted", "held", "ever")
    null_N = np.full(len(none_N), np.nan)
    arrays: Arrays = {name: none_N for name in names} | {"rejected": _rejects(lab, fit), "u": null_N, "z_u": null_N}
    arrays["streak"] = np.zeros(len(none_N), dtype=np.int64)
    return Result(arrays, {"relaxed": False, "relaxed_used": False, "exhausted": False})


def _next_decision(lab: Lab, n: int, fit: Fit, before: Decision, rule: Rule) -> Result:
    cohort, pool = lab.cohort, lab.cohort.pool
    rejected_N = _rejects(lab, fit)
    state = gate.PoolState(before.arrays["ever"][pool], before.arrays["streak"][pool], before.relaxed_used)
    generator = numpy_generator(lab.config.random_seed, "decide", n)
    if rule.allowed_N is not None:
        eligible = rule.allowed_N[pool] & ~rejected_N[pool]
        chosen = gate.draw(eligible, lab.config.gate.budget, generator, state=state)
    else:
        g = lab.config.gate
        settings = gate.GateSettings(g.tau_distance, g.tau_uncertainty, g.tau_relaxed, g.budget, g.rank, g.patience)
        chosen = gate.decide(
            fit.s_N[pool], fit.z_N(cohort)[pool], rejected_N[pool], state, settings, _uncertainty(lab, fit), generator
        )
    evicted_N = before.arrays["held"] & rejected_N
    admitted_N = _over_own(lab, chosen.admitted_N)
    arrays: Arrays = {
        "rejected": rejected_N,
        "candidate": _over_own(lab, chosen.candidate_N),
        "passed_distance": _over_own(lab, chosen.passed_distance_N),
        "passed_both": _over_own(lab, chosen.passed_both_N),
        "admitted": admitted_N,
        "evicted": evicted_N,
        "held": (before.arrays["held"] & ~evicted_N) | admitted_N,
        "ever": before.arrays["ever"] | admitted_N,
        "streak": _over_own(lab, chosen.state.streak_N),
        "u": _over_own(lab, chosen.u_N, np.nan),
        "z_u": _over_own(lab, chosen.z_u_N, np.nan),
    }
    flags = {"relaxed": chosen.relaxed, "relaxed_used": chosen.state.relaxed_used, "exhausted": chosen.exhausted}
    return Result(arrays, flags)


def _rejects(lab: Lab, fit: Fit) -> Mask:
    """The pool's clear rejects (admitted ones too) on this fit's own p-values; none in `published`."""
    rejected_N = np.zeros(len(lab.cohort.id_N), dtype=np.bool_)
    if lab.config.method == "contrast":
        pool, rule = lab.cohort.pool, lab.config.outliers
        rejected_N[pool] = outliers.clear_rejects(fit.p_N(lab.cohort)[pool], rule.fdr, rule.ceiling)
    return rejected_N


def _uncertainty(lab: Lab, fit: Fit) -> gate.Uncertainty:
    """u and z_u of pool images, for the gate: at hand in `contrast`, computed for whom it asks in `published`."""
    pool, seeds = lab.cohort.pool, lab.cohort.seeds

    def known(mask: Mask) -> tuple[Floats, Floats]:
        u_N = pool_uncertainty(lab, fit, pool[mask]) if lab.config.method == "published" else fit.u_N
        return u_N[pool], log_u_z(fit.u_N[seeds], u_N)[pool]

    return known


def _over_own(lab: Lab, values: NDArray[Any], fill: Any = 0) -> NDArray[Any]:
    """Pool values as an array over the own images."""
    out = np.full(len(lab.cohort.id_N), fill, dtype=values.dtype)
    out[lab.cohort.pool] = values
    return out
