"""Figures that each kind of stage gives today. A stage that gives other figures must get another version number.

The store believes a stage by its key. When code changes what a stage gives and `stages.VERSIONS` stays, old results are
taken for new ones. `python -m tests.whole.test_golden` writes tests/whole/golden.json anew.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swag_ray.core.outliers import fewest_rejects, tells_apart
from swag_ray.experiment.controls import supervised_fit
from swag_ray.experiment.decide import AdmissionRule, decide
from swag_ray.features.extract import extract
from swag_ray.features.index import feature_set
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.weights import weights_digest
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.contrast_fit import contrast_fit
from swag_ray.methods.published_fit import published_fit
from swag_ray.progress import Progress
from swag_ray.store.stages import VERSIONS
from swag_ray.store.store import Store
from tests.support.images import blocks, encoded
from tests.support.made_up_experiment import FINGERPRINT, config, made_up_experiment, with_settings

GOLDEN = Path(__file__).with_name("golden.json")
# Other CPUs round otherwise, and float16 features amplify it; whoever changes a formula changes more than this.
KINDS = ("backbone", "features", "index", "cohort", "bank", "decide", "fit contrast", "supervised", "fit published")
RELATIVE = {"features": 0.01, "fit published": 0.02}
ELSEWHERE = 0.005


def nobody(missing: dict[str, str], size: int) -> Iterator[tuple[int, int, float]]:
    raise AssertionError("all features are there")


class Made(FeatureSpec):
    """Of the made-up experiment's features."""

    @property
    def fingerprint(self) -> str:
        return FINGERPRINT


def figures() -> dict[str, dict[str, Any]]:
    """{kind of stage: {name: number, list of numbers, or list of rows as text}}, in the order of the pipeline."""
    torch.set_num_threads(1)
    name = "tf_efficientnet_lite0"
    spec = FeatureSpec(name, "bundled", weights_digest(name, "bundled"), 64, (8, 16, 32), 8)
    with tempfile.TemporaryDirectory() as folder:
        weights = spec.weights_in(Store(folder))
    (row,) = extract(spec.build(weights), [encoded(blocks(3, 48))], 64)
    found = row["features"]
    ends = {name: numbers(weights[name].ravel()[:4]) for name in (*list(weights)[:3], *list(weights)[-3:])}
    out: dict[str, dict[str, Any]] = {
        "backbone": ends | {"tensors": [len(weights)]},
        "features": {f"stride {s}": numbers([*f[0, :4], *f[63, :2]]) for s, f in found.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        experiment, audit = made_up_experiment(Path(folder), config())
        cohort = experiment.cohort
        names = [f"image{i:04d}-0" for i in range(190, 0, -20)]
        where = feature_set(experiment.store, Made(*dataclasses.astuple(spec)), names, names, nobody, Progress()).rows
        out["index"] = {"shards": numbers(where.shard_N), "rows": numbers(where.row_N)}
        out["cohort"] = {"fold of each": "".join(map(str, cohort.fold_N)), "seeds": rows(cohort.seed_N)}
        bank = bank_fit(experiment, cohort.seeds)
        out["bank"] = scores(bank) | {"rows": [len(fold["image"]) for fold in bank.folds]}
        whitened = bank_fit(with_settings(experiment, config("memory.whitening=0.1")), cohort.seeds)
        out["bank"] |= {f"{name}, whitened": value for name, value in scores(whitened).items()}
        zero = decide(experiment, 0, bank, None, AdmissionRule())
        one = decide(experiment, 1, bank, zero, AdmissionRule())
        clear = decide(with_settings(experiment, config("outliers.ceiling=0.03")), 0, bank, None, AdmissionRule())
        out["decide"] = {"rejects of row 0": rows(zero.arrays["rejected"]), "admitted": rows(one.arrays["admitted"])}
        out["decide"] |= {"rejects under a low ceiling": rows(clear.arrays["rejected"])}
        head = contrast_fit(experiment, 1, zero.training, bank)
        assert head.head_on, "the golden experiment must train a head"
        out["fit contrast"] = scores(head) | {"u": numbers(head.u_N[:5])}
        out["fit contrast"]["head allowed from"] = [fewest_rejects(1000, 400, 0.2), least_chance()]
        two = decide(experiment, 2, head, one, AdmissionRule())
        out["decide"] |= {"admitted by the head": rows(two.arrays["admitted"])}
        out["supervised"] = scores(supervised_fit(experiment, audit))
        published = with_settings(experiment, config(method="published"))
        first = published_fit(published, 1, zero.training, None)
        out["fit published"] = scores(first) | {"u": numbers(first.u_N[cohort.seeds[:5]])}
    return out


def scores(fit: Any) -> dict[str, Any]:
    """Where the scores lie, and single ones on their own scale: plain ones differ by a hair and would hide a change."""
    s = fit.s_N[~np.isnan(fit.s_N)]
    mean, sd = s.mean(), s.std()
    scaled = {"s": numbers((s[:5] - mean) / sd), "test": numbers((fit.s_TK[:3].ravel() - mean) / sd)}
    return {"mean of s": numbers([mean]), "sd of s": numbers([sd])} | scaled


def least_chance() -> float:
    """How well held-out folds must tell rejects from seeds before the head is kept."""
    seeds = np.arange(100.0)
    return next(c / 100 for c in range(101) if tells_apart(seeds, np.array([c - 0.5]))[0])


def numbers(values: Any) -> list[float]:
    return [float(f"{v:.5g}") for v in values]


def rows(mask: Any) -> str:
    return " ".join(map(str, np.flatnonzero(mask)))


def changed(kind: str, held: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of the figures that differ by more than another CPU makes them."""
    if held.keys() != now.keys():
        return sorted(held.keys() ^ now.keys())
    return [name for name in now if not close(held[name], now[name], RELATIVE.get(kind, ELSEWHERE))]


def close(held: Any, now: Any, relative: float) -> bool:
    if isinstance(now, str):
        return bool(held == now)
    return len(held) == len(now) and np.allclose(held, now, rtol=relative, atol=relative * np.abs(held).max())


@pytest.fixture(scope="module")
def now() -> dict[str, dict[str, Any]]:
    return figures()


@pytest.mark.parametrize("kind", KINDS)
def test_figures_change_only_with_their_version(kind: str, now: dict[str, dict[str, Any]]) -> None:
    golden = json.loads(GOLDEN.read_text())
    stage = kind.split()[0]
    assert golden["versions"][stage] == VERSIONS[stage], (
        f"stages.VERSIONS['{stage}'] was changed: write golden.json anew with `python -m tests.whole.test_golden`"
    )
    names = changed(kind, golden["figures"][kind], now[kind])
    assert not names, (
        f"stage '{stage}' gives other figures ({', '.join(names)}) under the same version, so stores would mix old "
        f"results with new: if that is meant, raise stages.VERSIONS['{stage}'] by 1 and run `python -m "
        "tests.whole.test_golden`; if not, undo what changed them. (Where several stages fail, raise the first one: "
        f"keys of the later ones follow.)\nheld {golden['figures'][kind]}\nnow  {now[kind]}"
    )


def test_every_version_is_guarded(now: dict[str, dict[str, Any]]) -> None:
    assert set(now) == set(KINDS) and {kind.split()[0] for kind in now} == set(VERSIONS)


def test_the_guard_sees_a_change(now: dict[str, dict[str, Any]]) -> None:
    for kind, held in now.items():
        for name, value in held.items():
            other = value + " 1" if isinstance(value, str) else [value[0] * 1.5 + 1, *value[1:]]
            assert changed(kind, held | {name: other}, held) == [name]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({"versions": VERSIONS, "figures": figures()}, indent=1) + "\n")
