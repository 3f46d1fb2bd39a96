"""The settings of `contrast`, judged on proxies inside train folders: `python -m tests.benchmarks.settings_study`.

No test label is used, and no image of a test folder. A proxy cuts the train folder of a set in two: one part plays the
train folder, the other the test set.

    chest         chest_xray, by patient
    chest_batch   chest_xray: seeds and pool from the later batch of normals and bacterial pneumonia, tested on the
                  earlier batch and viral pneumonia: a shift, and another disease
    covid, busi   by patient or file
    digit         DigitAnatomy, by set of hands

Prints, per proxy and setting, the mean ROC-AUC over splits; then, per setting, mean gain over the bank and worst loss.
What came of it is in `tests/benchmarks/README.md`, and frozen in the defaults of `config/sections.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import Config, parse_config
from swag_ray.core.metrics import roc_auc
from swag_ray.core.seeding import numpy_generator
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.prepare import Prepared, prepare
from swag_ray.experiment.source import check_source
from swag_ray.images.digit_anatomy import Sizes, generate
from swag_ray.methods.fit import Fit
from swag_ray.progress import Progress
from tests.benchmarks.measure import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data"
PATIENT = r"^(person\d+|(?:NORMAL2-)?IM-\d+)"
HELD_OUT = 0.3  # of the groups, for the test part of a proxy
CONTAMINATIONS = (0.0, 0.02, 0.05, 0.1, 0.3, None)
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
KINDS = (
    ("foreign_patch",), ("foreign_gradients",), ("own_patch",), ("cut_paste",), ("opacities",),
    ("foreign_patch", "opacities"),
)  # fmt: skip
PROBABILITIES = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Proxy:
    """Attributes:
    data: name of the set's folder.
    normal, anomaly: class folders.
    seed_fraction: of the normals of the part that plays the train folder.
    group: regular expression of a patient, None where a file is one.
    test: regular expression of file names that play the test set; None draws groups.
    most: contamination that its anomalies are enough for.
    """

    data: str
    normal: str
    anomaly: tuple[str, ...]
    seed_fraction: float = 0.3
    group: str | None = None
    test: str | None = None
    most: float = 1.0


PROXIES = {
    "chest": Proxy("chest_xray", "NORMAL", ("PNEUMONIA",), group=PATIENT),
    "chest_batch": Proxy("chest_xray", "NORMAL", ("PNEUMONIA",), group=PATIENT, test=r"^IM-|virus"),
    "covid": Proxy("covid_cxr", "NORMAL", ("COVID19",), group=PATIENT, most=0.1),
    "busi": Proxy("busi", "NORMAL", ("BENIGN", "MALIGNANT"), seed_fraction=0.6),
    "digit": Proxy("digit", "NORMAL", ("ANOMALY",), group=r"^(set\d+)", most=0.1),
}


def main() -> int:
    arguments = _arguments()
    work = Path(arguments.work)
    figures: dict[str, dict[str, list[float]]] = {}
    splits = [(name, random_seed) for name in arguments.proxies for random_seed in range(arguments.splits)]
    with RayWorkers() as workers:  # extraction first: the actors that fit would hold its cores
        for name, random_seed in splits:
            base = _config(name, _proxy_folder(work, name, random_seed), random_seed, arguments)
            for changes in (*map(_of_kind, KINDS), *map(_of_pool, _shares(name))):
                _prepared(_changed(base, changes), workers)
            print(f"{name}, split {random_seed}: embedded", flush=True)
    with RayWorkers() as workers:
        for name, random_seed in splits:
            folder = _proxy_folder(work, name, random_seed)
            for setting, value in _measure(name, folder, random_seed, arguments, workers):
                figures.setdefault(setting, {}).setdefault(name, []).append(value)
            print(f"{name}, split {random_seed}: done", flush=True)
            Path(arguments.out).write_text(json.dumps(figures, indent=1) + "\n")
    _show(figures)
    return 0


def _measure(
    name: str, folder: Path, random_seed: int, arguments: argparse.Namespace, workers: RayWorkers
) -> Iterator[tuple[str, float]]:
    """Yields (setting, ROC-AUC on the proxy's test part)."""
    base = _config(name, folder, random_seed, arguments)
    for kind in KINDS if arguments.part in ("kinds", "all") else ():
        prepared = _prepared(_changed(base, _of_kind(kind)), workers)
        for weight in WEIGHTS:
            first = _first(_with(prepared, {"auxiliary.weight": weight}))
            yield f"kind {'+'.join(kind)}, weight {weight:g}", _test_auc(prepared, first)
    for contamination in _shares(name) if arguments.part in ("pool", "all") else ():
        share = "all" if contamination is None else f"{contamination:.0%}"
        prepared = _prepared(_changed(base, _of_pool(contamination)), workers)
        for probability in PROBABILITIES:
            found = incremental_loop(_with(prepared, {"outliers.probability": probability}).experiment)
            if probability == PROBABILITIES[0]:
                yield f"bank, pool {share}", _test_auc(prepared, found.seed_bank)
                yield f"bank + auxiliary, pool {share}", _test_auc(prepared, found.rows[0].fit)
            for row in (1, 2, len(found.rows)):
                last = row == len(found.rows)
                fit, name = (found.last, "last fit") if last else (found.rows[row].fit, f"fit {row}")
                yield f"probability {probability}, {name}, pool {share}", _test_auc(prepared, fit)


def _of_kind(kind: tuple[str, ...]) -> dict[str, Any]:
    return {"auxiliary.kind": list(kind), "dataset.contamination": 0.0}


def _shares(name: str) -> list[float | None]:
    """Contaminations that the proxy's anomalies are enough for."""
    return [share for share in CONTAMINATIONS if share is None or share <= PROXIES[name].most]


def _of_pool(contamination: float | None) -> dict[str, Any]:
    return {"dataset.contamination": contamination}


def _prepared(config: Config, workers: RayWorkers) -> Prepared:
    return prepare(check_source(config, Progress()), workers, Progress())


def _first(prepared: Prepared) -> Fit:
    return incremental_loop(_with(prepared, {"rounds": 1}).experiment).rows[0].fit


def _with(prepared: Prepared, values: dict[str, Any]) -> Prepared:
    experiment = replace(prepared.experiment, config=_changed(prepared.experiment.config, values))
    return replace(prepared, experiment=experiment)


def _changed(config: Config, values: dict[str, Any]) -> Config:
    from swag_ray.config import resolved

    return parse_config(resolved(config), [f"{path}={json.dumps(value)}" for path, value in values.items()])


def _test_auc(prepared: Prepared, fit: Fit) -> float:
    return roc_auc(prepared.audit.anomaly_T, fit.s_T)


def _config(name: str, folder: Path, random_seed: int, arguments: argparse.Namespace) -> Config:
    proxy = PROXIES[name]
    return parse_config(
        {
            "name": f"study-{name}", "random_seed": random_seed, "controls": [], "store": arguments.store,
            "dataset": {"root": str(folder), "normal": proxy.normal, "anomaly": list(proxy.anomaly)},
            "split": {"seed_fraction": proxy.seed_fraction, "group": proxy.group},
            "gate": {"budget": 80},
        }
    )  # fmt: skip


def _proxy_folder(work: Path, name: str, random_seed: int) -> Path:
    """A folder of links: the set's train folder, cut into train and test."""
    proxy = PROXIES[name]
    source = DATA / proxy.data / "train"
    if proxy.data == "digit":
        generate(work / "digit", random_seed=0, sizes=Sizes())
        source = work / "digit" / "train"
    target = work / f"{name}-{random_seed}"
    files = [path for folder in (proxy.normal, *proxy.anomaly) for path in sorted((source / folder).iterdir())]
    group = [_group(proxy, path.name) for path in files]
    drawn = numpy_generator(random_seed, "proxy", name).permutation(sorted(set(group)))
    held_out = set(drawn[: int(HELD_OUT * len(drawn))].tolist())
    for path, own in zip(files, group, strict=True):
        testing = own in held_out if proxy.test is None else re.search(proxy.test, path.name) is not None
        link = target / ("test" if testing else "train") / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            os.link(path, link) if os.stat(path).st_dev == os.stat(link.parent).st_dev else link.symlink_to(path)
    return target


def _group(proxy: Proxy, name: str) -> str:
    found = re.match(proxy.group, name) if proxy.group else None
    return found[1] if found else name


def _show(figures: dict[str, dict[str, list[float]]]) -> None:
    names = list(PROXIES)
    print(f"{'':44s}" + "".join(f"{name:>13s}" for name in names) + "    mean gain  worst loss")
    for setting, found in figures.items():
        means = {name: float(np.mean(values)) for name, values in found.items()}
        cells = "".join(f"{means[name]:13.4f}" if name in means else " " * 13 for name in names)
        reference = figures.get(re.sub(r"weight .*", "weight 0", setting), {}) or figures.get(
            re.sub(r".*, pool", "bank, pool", setting), {}
        )
        gains = [means[name] - float(np.mean(reference[name])) for name in means if name in reference]
        print(f"{setting:44s}{cells}" + (f"{np.mean(gains):+13.4f}{min(gains):+12.4f}" if gains else ""))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxies", nargs="+", choices=list(PROXIES), default=list(PROXIES))
    parser.add_argument("--splits", type=int, default=3, help="random splits of every proxy")
    parser.add_argument("--part", choices=("kinds", "pool", "all"), default="all")
    parser.add_argument("--work", default="/tmp/swag-ray-study", help="folder for the proxies' links")
    parser.add_argument("--store", default="~/.cache/swag-ray")
    parser.add_argument("--out", default="settings_study.json")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
