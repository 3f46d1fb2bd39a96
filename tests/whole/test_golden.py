"""Figures that each kind of stage gives today. A stage that gives other figures must get another version number.

The store believes a stage by its key. When code changes what a stage gives and `stages.VERSIONS` stays, old results are
taken for new ones. `python -m tests.whole.test_golden` writes tests/whole/golden.json anew.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from swag_ray.core.auxiliary import KINDS as VARIANTS
from swag_ray.detector.detector import Detector
from swag_ray.detector.heat_scale import HeatTask, heat_scale
from swag_ray.detector.heatmap import HeatScale
from swag_ray.experiment.controls import supervised_fit
from swag_ray.experiment.decide import SWAG_GATE, decide
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.extract import extract
from swag_ray.features.index import feature_set
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.weights import weights_digest
from swag_ray.images.decode import Reading, read_grey
from swag_ray.images.deep import bits_in_use
from swag_ray.images.oddities import looks_of
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.fit import Experiment, Fit
from swag_ray.methods.method import method_of
from swag_ray.methods.published_fit import published_fit
from swag_ray.models.tasks import ScoreTask
from swag_ray.progress import Progress
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.results import detector_of
from swag_ray.run.seed_stages import kept_domain, kept_view
from swag_ray.store.stages import VERSIONS
from swag_ray.store.store import Store
from tests.support.images import blocks, encoded
from tests.support.made_up_experiment import FINGERPRINT, GRID, config, here, made_up_experiment, with_settings

GOLDEN = Path(__file__).with_name("golden.json")
KINDS = (
    "backbone", "features decoded", "features", "index", "cohort", "bank", "decide", "fit contrast", "supervised",
    "test", "fit published", "range", "looks", "auxiliary pixels", "auxiliary", "domain", "trusted", "heat",
)  # fmt: skip
# Other CPUs round otherwise, and float16 features amplify it; whoever changes a formula changes more than this.
# Each is a share of the largest figure and of the figure itself, so that up to twice as much is let pass.
# - Builds of libjpeg differ by a grey level or two: of the levels below, 0.009 lets two pass and no third.
# - `published` trains on distances of patches to prototypes that are patches themselves. Where the two are one, the
#   direction between them is rounding, and Adam makes whole steps of it. On a bank without picks, noise of 2 ulp in
#   the embedding moved scores by up to .011 sd of theirs in the first fit and .019 in the second, the seeds' typical u
#   in the first fit by 3 %, and single ones up to 1.7 times: their logarithms correlate by .96 and more (13 draws of
#   the noise). u of the second fit moves by so much that it is not held. With picks scores would move by whole sd.
RELATIVE = {"features decoded": 0.009, "features": 0.01, "fit published": 0.02, "fit published, typical u": 0.05}
RELATIVE |= {"test, published": 0.02, "test, published, second fit": 0.02}
ELSEWHERE = 0.005
ALIKE = {"fit published, u": 0.9}  # least correlation of logarithms, where single figures say little
# A colour JPEG of 80 x 48 pixels whose EXIF says that it lies on its side; made once, for encoders differ as well.
PHOTO = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|KR{4MR;ju002!*04e|g00;m90TKWM0000100sa600000|JwjV02dGu6cG*=6cQ8~7#ABNIVB<=A0kFFH7P"
    "k#NLN)+NKj5&W`l2AVSHjvP;#4de20sYl#*C&psb&cs)LV`jsM#KLjf2X8X_JdLnS3cjb2b*jg5_sjg5_sjg5_sjg5_sjg5_sjg5_sjg5_sj"
    "g5_sjg5_sjg5_sjg5_sjg5_sjg9}n01*fPFaS^k0U`hb5di}c0sq7R761VO0RR910000000000000651^>hV9}ocn0RRC70RaI3000000003"
    "1@DTzbae<-X@xlMZ02l!Q0RaI40000000000000040RjUB|HJ?m5di@K00000000000000000033|Jncy0|5X65d#qbKLE%o5hhC2Xo8?bCK"
    "2^iiH7HXL@FD${f(-mZqp635Zu%@+(y-CjkgmwXq#?o2IfAhut||B1@G#)5KM?vBWkGx!)!z*dfU8xR*0w(4?F#zOl?&zlWbHX8-1zLd5@~o"
    "1SSzC7r(0HK~N%0BWkG?4|{frF!3K%NcG3h<v`o)Pjl%bYP4M@-zs#TIQjg5ZT6>0=HaTZ|Je"
)


def nobody(missing: Sequence[Recipe], size: int) -> Iterator[tuple[int, int, float]]:
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
    photo = read_grey(PHOTO, 32)
    out: dict[str, dict[str, Any]] = {
        "backbone": ends | {"tensors": [len(weights)]},
        "features decoded": {
            "size": [photo.width, photo.height],
            "levels": [float(level) for level in photo.image_1HW[0, 2::8, 2::8].ravel()],
        },
        "features": {f"stride {s}": numbers([*f[0, :4], *f[63, :2]]) for s, f in found.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        films = [Path(folder, f"{white}.png") for white in (255, 4095, 65535)]
        for film, white in zip(films, (255, 4095, 65535), strict=True):
            film.write_bytes(encoded(Image.fromarray(np.asarray(blocks(3)).astype(np.uint16) * (white // 255))))
        deep = read_grey(films[1].read_bytes(), 32, Reading(4095))
        out["features decoded"]["levels of 12 bits"] = [float(level) for level in deep.image_1HW[0, 2::8, 2::8].ravel()]
        out["range"] = {"bits": numbers(bits_in_use(films, threads=1, advance=lambda images: None))}
    looks = looks_of([(np.asarray(blocks(seed)), 40, 30) for seed in (3, 4)], 2)
    out["looks"] = {"small": numbers(looks.small_ND[:, ::9].ravel()), "digest": numbers(looks.digest_NB[:, 0])}
    out["auxiliary pixels"] = dict(variant_levels())
    out["looks"]["blank"] = numbers(looks_of([(np.full((32, 32), 7, np.uint8), 9, 9)], 1).blank_N)
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
        method = method_of(experiment)
        first = method.first_fit(experiment, bank)
        zero = decide(experiment, 0, first, None, SWAG_GATE)
        one = decide(experiment, 1, first, zero, SWAG_GATE)
        sure = decide(with_settings(experiment, config("outliers.probability=0.8")), 0, first, None, SWAG_GATE)
        weight = zero.arrays["reject_weight"]
        out["decide"] = {
            "rejects of row 0": rows(zero.arrays["rejected"]), "their weights": numbers(weight[weight > 0]),
            "sure rejects": rows(sure.arrays["rejected"]), "admitted": rows(one.arrays["admitted"]),
        }  # fmt: skip
        head = method.fit(experiment, 1, zero.training, first, first)
        assert head.head_on, "the golden experiment must train a head"
        out["fit contrast"] = scores(head) | {"u": numbers(head.u_N[:5]), "weights": weights_of(head)}
        two = decide(experiment, 2, head, one, SWAG_GATE)
        out["decide"] |= {"admitted by the head": rows(two.arrays["admitted"])}
        supervised = supervised_fit(experiment, audit)
        out["supervised"] = scores(supervised)
        made = Made(spec.backbone, spec.weights, spec.weights_digest, spec.image_size, spec.strides, GRID)
        out |= of_seeds(experiment, made)
        out["heat"] = {"head": in_units(heat_of_fit(experiment, made, head, bank))}
        out["test"] = {"bank": of_test(bank), "bank, whitened": of_test(whitened), "head": of_test(head)}
        out["test"] |= {"supervised": of_test(supervised)}
        # Small steps leave the second fit near the first, and a warm-up that it must not have would take it far away.
        whole, near = "memory.coreset_ratio=1", ("adapter.learning_rate=1e-4", "adapter.warmup_epochs=30")
        published = with_settings(experiment, config(whole, method="published"))
        first = published_fit(published, 1, one.training, None)
        second = published_fit(
            with_settings(experiment, config(whole, *near, method="published")), 2, one.training, first
        )
        u = first.u_N[cohort.seeds]
        out["fit published"] = scores(first) | {"typical u": numbers([np.exp(np.log(u).mean())]), "u": numbers(u[:20])}
        out["fit published"] |= {f"{name}, second fit": value for name, value in scores(second).items()}
        out["test"] |= {"published": of_test(first), "published, second fit": of_test(second)}
    with tempfile.TemporaryDirectory() as folder:
        experiment, _ = made_up_experiment(Path(folder), config(), variants=True)
        bank = bank_fit(experiment, experiment.cohort.seeds)
        row_0 = method_of(experiment).first_fit(experiment, bank)
        assert row_0.score_used == "fused", "the golden experiment must have use for its variants"
        out["test"] |= {"auxiliary": of_test(row_0)}
        out["auxiliary"] = scores(row_0) | {"u": numbers(row_0.u_N[:5]), "weights": weights_of(row_0)}
        cells = heat_of_variants(experiment, made, row_0, bank)
        assert cells.cells_KC is not None
        out["heat"] |= {"variants": in_units(cells), "cells": numbers(cells.cells_KC[:, :4].ravel())}
    return out


def of_seeds(experiment: Experiment, spec: FeatureSpec) -> dict[str, dict[str, Any]]:
    """What a bundle keeps of the seeds; of their vectors, whose axes have no sign, the distances."""
    domain = kept_domain(experiment, spec)
    view, embedding_nR = kept_view(experiment, spec)
    vectors_nR = embedding_nR[:6].astype(float)
    return {
        "domain": {
            "size": numbers(domain.size_22.ravel()), "grey": numbers(domain.grey_2Q[:, :3].ravel()),
            "reach": numbers(domain.reach_4),
        },
        "trusted": {
            "mean": numbers(view.mean_D[:4]), "sd": numbers(view.sd_D[:4]), "vectors": list(embedding_nR.shape),
            "distances": numbers(np.linalg.norm(vectors_nR[1:] - vectors_nR[0], axis=1)),
        },
    }  # fmt: skip


def detector_of_fit(experiment: Experiment, spec: FeatureSpec, last: Fit, bank: Fit) -> Detector:
    prepared: Any = SimpleNamespace(experiment=experiment, spec=spec, typical=None)
    trajectory: Any = SimpleNamespace(last=last)
    return detector_of(ExperimentResult(prepared, trajectory, {}, bank, RunMetrics()))


def heat_of_fit(experiment: Experiment, spec: FeatureSpec, last: Fit, bank: Fit) -> HeatScale:
    heat = detector_of_fit(experiment, spec, last, bank).heat
    assert heat is not None and [part.name for part in heat.parts] == ["distance", "evidence"]
    return heat


def heat_of_variants(experiment: Experiment, spec: FeatureSpec, row_0: Fit, bank: Fit) -> HeatScale:
    """Of variants that are altered where they are not their hosts: made-up ones have no recipes."""
    cohort, reader = experiment.cohort, here(experiment).reader
    assert cohort.variants is not None
    rows, host_V = cohort.variants.rows_V, cohort.variants.host_V
    before, after = (reader.patches(r, [8])[8] for r in (cohort.rows_N.take(host_V), rows))
    share_VGG = (before != after).any(axis=2).astype(np.float32).reshape(-1, GRID, GRID)
    seeds = ScoreTask(np.arange(len(cohort.seeds)), cohort.rows_N.take(cohort.seeds), cohort.fold_N[cohort.seeds])
    task = HeatTask(seeds, ScoreTask(np.arange(len(rows)), rows, cohort.fold_N[host_V]), share_VGG)
    return heat_scale(reader, task, detector_of_fit(experiment, spec, row_0, bank))


def in_units(heat: HeatScale) -> list[float]:
    """Sd and some locations of each part, then sd of the sum and the span; its location is 0 but for rounding."""
    parts = [number for part in heat.parts for number in (part.sd, *part.location_GG[0, :3])]
    return numbers([*parts, heat.sd, heat.low, heat.high])


def variant_levels() -> dict[str, list[float]]:
    """Mean grey levels of eight bands of a variant of each kind, less those of its host."""
    files = tuple(encoded(blocks(seed, 64)) for seed in (3, 4))
    made = {}
    for kind, how in VARIANTS.items():
        lends = ("donor", "2") if how.foreign else ()
        decoded = Recipe("host", "1", kind, *lends).decode(files[: 1 + how.foreign], 64, Reading())
        change_HW = np.asarray(decoded.image_1HW[0]).astype(float) - np.asarray(blocks(3, 64))
        made[kind] = numbers(change_HW.reshape(8, -1).mean(axis=1))
    return made


def weights_of(fit: Fit) -> list[float]:
    return numbers(part.arm.weight for part in fit.arms)


def scores(fit: Any) -> dict[str, Any]:
    """Where the scores lie, and single ones on their own scale: plain ones differ by a hair and would hide a change."""
    s = fit.s_N[~np.isnan(fit.s_N)]
    mean, sd = s.mean(), s.std()
    return {"mean of s": numbers([mean]), "sd of s": numbers([sd]), "s": numbers((s[:5] - mean) / sd)}


def of_test(fit: Any) -> list[float]:
    """Single test scores by every fold, on the scale of the train scores."""
    s = fit.s_N[~np.isnan(fit.s_N)]
    return numbers((fit.s_TK[:3].ravel() - s.mean()) / s.std())


def numbers(values: Any) -> list[float]:
    return [float(f"{v:.5g}") for v in values]


def rows(mask: Any) -> str:
    return " ".join(map(str, np.flatnonzero(mask)))


def changed(kind: str, held: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of the figures that differ by more than another CPU makes them."""
    if held.keys() != now.keys():
        return sorted(held.keys() ^ now.keys())
    return [name for name in now if not close(held[name], now[name], kind, name)]


def close(held: Any, now: Any, kind: str, name: str) -> bool:
    of_name = f"{kind}, {name}"
    relative = RELATIVE.get(of_name, RELATIVE.get(kind, ELSEWHERE))
    if isinstance(now, str):
        return bool(held == now)
    if of_name in ALIKE:
        return len(held) == len(now) and np.corrcoef(np.log(held), np.log(now))[0, 1] > ALIKE[of_name]
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
