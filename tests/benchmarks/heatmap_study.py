"""Where heatmaps point: `python -m tests.benchmarks.heatmap_study --store DIR`.

Auxiliary anomalies of the seeds are mapped by models of their own fold, which have seen neither host nor donor. A map
points where the middle of its highest cell lies inside what was altered (`core/auxiliary.py`, `INSIDE`: the ellipse
with half its soft rim; of an opacity what changes by a quarter of its centre or more). No label and no image of a test
folder takes part, but that labels fill the pool to the contamination that is asked for.

Prints for each set and map the share of variants that are pointed at: of all, of those that the detector flags, of each
kind, and where half of the full change is asked for instead. `chance` is the share of cells that lie inside; `change`
the cell whose features moved most from the host's, which no map of the variant alone can know.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import Config, load_config
from swag_ray.core.auxiliary import INSIDE, KINDS
from swag_ray.core.calibrate import conformal_p
from swag_ray.core.enlarge import enlarge
from swag_ray.core.seeding import numpy_generator
from swag_ray.detector.detector import Detector
from swag_ray.detector.heatmap import smoothed
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.experiment.prepare import Prepared, feature_reader, prepare
from swag_ray.experiment.source import check_source
from swag_ray.features.reader import Patches
from swag_ray.features.recipe import Recipe
from swag_ray.methods.method import method_of
from swag_ray.progress import Progress
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.results import detector_of
from tests.benchmarks.measure import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data"
SETS = {"pneumonia": "chest_xray", "covid": "covid_cxr", "busi": "busi"}
HALF = 0.5
Maps = dict[str, NDArray[np.floating]]


def main() -> int:
    arguments = _arguments()
    configs = {name: _config(name, arguments) for name in arguments.sets}
    with RayWorkers() as workers:  # extraction first: the actors that fit would hold its cores
        for config in configs.values():
            prepare(check_source(config, Progress()), workers, Progress())
    for name, config in configs.items():
        with RayWorkers() as workers:
            prepared = prepare(check_source(config, Progress()), workers, Progress())
            _show(name, prepared, _detector(prepared))
    return 0


def _config(name: str, arguments: argparse.Namespace) -> Config:
    values = {
        "dataset.root": DATA / SETS[name], "dataset.contamination": arguments.contamination, "store": arguments.store,
        "controls": "[]",
    }  # fmt: skip
    return load_config(f"configs/{name}.yaml", [*(f"{key}={value}" for key, value in values.items()), *arguments.set])


def _detector(prepared: Prepared) -> Detector:
    loop = incremental_loop(prepared.experiment)
    bank = method_of(prepared.experiment).final_bank(prepared.experiment, loop.decision.training, loop.last)
    return detector_of(ExperimentResult(prepared, loop, {}, bank, RunMetrics()))


def _show(name: str, prepared: Prepared, detector: Detector) -> None:
    cohort, reader, strides = prepared.experiment.cohort, feature_reader(prepared), detector.spec.strides
    assert cohort.variants is not None
    variants = cohort.variants
    seeds = reader.patches(cohort.rows_N.take(cohort.seeds), strides)
    altered = reader.patches(variants.rows_V, strides)
    fold_n, fold_V = cohort.fold_N[cohort.seeds], cohort.fold_N[variants.host_V]
    seed_maps, maps = _held_out(detector, seeds, fold_n), _held_out(detector, altered, fold_V)
    flagged = conformal_p(detector.seed_s, maps.pop("score")) <= detector.rate
    seed_maps.pop("score")
    size, grid = detector.spec.image_size, detector.spec.grid
    middle_GG = np.ix_(*2 * [np.arange(grid) * size // grid + size // grid // 2])
    share_VGG = np.stack([_place(recipe, size)[middle_GG] for recipe in variants.recipes])
    host = np.searchsorted(cohort.seeds, variants.host_V)
    shown = _summed(maps, seed_maps) | {"change": _moved(altered, seeds, host, grid)}
    what = ", ".join(f"{arm.name} {arm.weight:.2f}" for arm in detector.arms)
    print(f"\n{name}: {len(fold_n)} seeds, {len(fold_V)} variants, {flagged.mean():.3f} flagged; {what}")
    kinds = sorted(set(variants.kind_V.tolist()))
    print(f"{'':36s}" + "".join(f"{word:>15s}" for word in ("all", "flagged", *kinds, "half: all", "half: flagged")))
    print(f"{'chance':36s}{(share_VGG >= INSIDE).mean():15.3f}{'':45s}{(share_VGG >= HALF).mean():15.3f}")
    for which, maps_VGG in shown.items():
        peak = maps_VGG.reshape(len(maps_VGG), -1).argmax(axis=1)
        there = share_VGG.reshape(len(peak), -1)[np.arange(len(peak)), peak]
        inside, half = there >= INSIDE, there >= HALF
        figures = [inside.mean(), inside[flagged].mean(), *(inside[variants.kind_V == kind].mean() for kind in kinds)]
        figures += [half.mean(), half[flagged].mean()]
        print(f"{which:36s}" + "".join(f"{figure:15.3f}" for figure in figures), flush=True)
    _show_by_size(shown["heatmap"], shown["change"], share_VGG)


def _held_out(detector: Detector, patches: Patches, fold_n: NDArray[np.int8]) -> Maps:
    """Raw maps by name, the product's (`heatmap`) and scores, each by the image's own fold."""
    found: dict[str, NDArray[np.floating]] = {}
    assert detector.heat is not None
    for k in np.unique(fold_n):
        on, alone = fold_n == k, detector.of_fold(int(k))
        assert alone.heat is not None
        own = {stride: x[on] for stride, x in patches.items()}
        names = [part.name for part in alone.heat.parts]
        maps: Maps = dict(alone.heat_parts(own, names, alone.heat.cells_KC))
        for arm in ("auxiliary", "head"):
            if (evidence := alone.evidence_maps(own, (arm,))) is not None:
                maps[f"evidence of {arm}"] = enlarge(evidence, (detector.spec.grid,) * 2)
        maps |= {"heatmap": alone.heatmaps(own), "score": alone.scores(own)[:, 0]}
        for name, values in maps.items():
            found.setdefault(name, np.empty((len(on), *values.shape[1:])))[on] = values
    return found


def _summed(maps: Maps, seeds: Maps) -> Maps:
    """What is compared: parts alone, sums of them, and the product's map."""

    def z(name: str) -> NDArray[np.floating]:
        location = seeds[name].mean(axis=0) if name.startswith("evidence") else seeds[name].mean()
        return np.asarray((maps[name] - location) / (seeds[name] - location).std())

    heads = [name for name in maps if name.startswith("evidence of")]
    shown = {"distance": maps["distance"], "distance, smoothed": smoothed(maps["distance"])}
    shown |= {name: z(name) for name in heads}
    shown["distance + evidence of the heads"] = z("distance") + sum(map(z, heads))
    if "cells" in maps:
        shown |= {"cells": maps["cells"], "cells, smoothed": smoothed(maps["cells"])}
        shown |= {"distance + cells": z("distance") + z("cells")}
        shown |= {"distance + cells, smoothed": smoothed(shown["distance + cells"])}
        if "evidence" in maps:
            shown["the same + evidence of head"] = smoothed(shown["distance + cells"] + z("evidence"))
    return shown | {"heatmap": maps["heatmap"]}


def _moved(altered: Patches, seeds: Patches, host: NDArray[np.int64], grid: int) -> NDArray[np.floating]:
    """How far each cell's features moved from the host's, in sd of the seeds'."""
    total = np.zeros(next(iter(altered.values())).shape[:2])
    for stride, x in altered.items():
        sd = seeds[stride].astype(np.float32).std(axis=(0, 1)) + 1e-6
        total += (((x.astype(np.float32) - seeds[stride][host]) / sd) ** 2).sum(axis=2)
    return np.sqrt(total / sum(x.shape[2] for x in altered.values())).reshape(-1, grid, grid)


def _show_by_size(
    maps_VGG: NDArray[np.floating], moved_VGG: NDArray[np.floating], share_VGG: NDArray[np.floating]
) -> None:
    """The product's map by quarters of the variants: how large the place is, and how far features moved at most."""
    peak = maps_VGG.reshape(len(maps_VGG), -1).argmax(axis=1)
    inside = share_VGG.reshape(len(peak), -1)[np.arange(len(peak)), peak] >= INSIDE
    for what, by in (("cells inside", (share_VGG >= INSIDE).sum(axis=(1, 2))), ("change", moved_VGG.max(axis=(1, 2)))):
        quarter = np.argsort(np.argsort(by, kind="stable")) * 4 // len(by)
        shares = "".join(f"  {by[quarter == q].mean():.2f}: {inside[quarter == q].mean():.3f}" for q in range(4))
        print(f"heatmap by quarters of {what} (mean: share){shares}", flush=True)


def _place(recipe: Recipe, size: int) -> NDArray[np.float64]:
    """How much of each pixel is altered, (size, size); it depends on the draws alone."""
    blank = np.zeros((size, size))
    return KINDS[recipe.kind].alter(blank, blank, numpy_generator(recipe.key))[1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--store", default="~/.cache/swag-ray")
    parser.add_argument("--contamination", type=float, default=0.1)
    parser.add_argument("--set", action="append", default=[], help="of the config, as `swag-ray run` takes it")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
