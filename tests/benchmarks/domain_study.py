"""How many images `Detector.out_of_domain` flags, on real ones: `python -m tests.benchmarks.domain_study`.

For each set a domain is made of train normals, by patient where names tell one. Then the share flagged is measured of
other normals, of anomalies (to be as few: an image is not out of domain because it is diseased), of normals altered in
known ways, and of another organ. `--split train` measures on images of the train folder outside the seeds: limits were
chosen there. `--split test` is for reporting. No label reaches the domain.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from swag_ray.config import parse_config
from swag_ray.core.domain import NAMES, Domain, Traits, distances, fit_domain, texture
from swag_ray.core.seeding import numpy_generator
from swag_ray.experiment.source import feature_spec
from swag_ray.features.backbone import Backbone, build_backbone
from swag_ray.features.extract import extract
from tests.benchmarks.measure import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data"
PATIENT = r"^((?:NORMAL2-)?IM-\d+)"
FOLDS = 5


@dataclass(frozen=True)
class Set:
    """Attributes:
    anomaly: class folders.
    seeds: how many train normals are trusted.
    other: set of another organ.
    """

    anomaly: tuple[str, ...]
    seeds: int
    other: str


SETS = {
    "chest_xray": Set(("PNEUMONIA",), 400, "busi"),
    "covid_cxr": Set(("COVID19",), 380, "busi"),
    "busi": Set(("BENIGN", "MALIGNANT"), 35, "chest_xray"),
}


def _curve(gamma: float, image: Image.Image) -> Image.Image:
    return image.point([round(255 * (level / 255) ** gamma) for level in range(256)])


def _noise(image: Image.Image) -> Image.Image:
    grey = np.asarray(image, dtype=np.float64)
    noisy = grey + numpy_generator("noise", grey.sum()).normal(0, 20, grey.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _square(image: Image.Image) -> Image.Image:
    grey = np.array(image)
    height, width = grey.shape
    grey[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = 0
    return Image.fromarray(grey)


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "inverted": lambda image: image.point([255 - level for level in range(256)]),
    "gamma .4": partial(_curve, 0.4),
    "gamma 2.5": partial(_curve, 2.5),
    "noise, sd 20": _noise,
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 64)),
    "black square": _square,
    "turned by 90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "half width": lambda image: image.resize((image.width // 2, image.height)),
    "from 64 x 64": lambda image: image.resize((64, 64)).resize(image.size),
}


def main() -> int:
    arguments = _arguments()
    spec = feature_spec(
        parse_config({"name": "domain-study", "dataset": {"root": ".", "normal": "NORMAL", "anomaly": ["-"]}})
    )
    backbone = build_backbone(spec.backbone, spec.weights, spec.strides, spec.grid)
    embed = partial(_traits, backbone, spec.image_size, min(spec.strides))
    print(f"{'':12s}{'':16s}  images  flagged %  " + "".join(f"{name:>9s}" for name in NAMES))
    for name in arguments.sets:
        seeds, rest = _seeds(name)
        domain = fit_domain(embed(path.read_bytes() for path in seeds), np.arange(len(seeds)) * FOLDS // len(seeds))
        for what, images in _groups(name, rest, arguments.split, arguments.count):
            _show(name, what, domain, embed(images))
    return 0


def _seeds(name: str) -> tuple[list[Path], list[Path]]:
    """The trusted train normals and the others; no patient is on both sides, nor in two folds but at their bounds."""
    files = sorted((DATA / name / "train" / "NORMAL").iterdir())
    patient = [found[1] if (found := re.match(PATIENT, path.name)) else path.name for path in files]
    drawn = {own: i for i, own in enumerate(numpy_generator("domain", name).permutation(sorted(set(patient))).tolist())}
    order = sorted(range(len(files)), key=lambda i: drawn[patient[i]])
    cut = SETS[name].seeds
    while patient[order[cut]] == patient[order[cut - 1]]:
        cut += 1
    return [files[i] for i in order[:cut]], [files[i] for i in order[cut:]]


def _groups(name: str, rest: list[Path], split: str, count: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yields what kind of images, and their bytes."""
    root = DATA / name / split
    normals = _some(rest if split == "train" else (root / "NORMAL").iterdir(), count)
    yield "normals", map(Path.read_bytes, normals)
    anomalies = [path for folder in SETS[name].anomaly for path in sorted((root / folder).iterdir())]
    yield "anomalies", map(Path.read_bytes, _some(anomalies, count))
    yield "other organ", map(Path.read_bytes, _some((DATA / SETS[name].other / split / "NORMAL").iterdir(), count // 2))
    for what, alter in ALTERED.items():
        yield what, (_png(alter(Image.open(path).convert("L"))) for path in _some(normals, count // 3))


def _some(paths: Iterable[Path], count: int) -> list[Path]:
    files = sorted(paths)
    return [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).astype(int))]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _traits(backbone: Backbone, size: int, stride: int, images: Iterable[bytes]) -> Traits:
    rows = list(extract(backbone, images, size))
    return Traits(
        np.stack([row["statistics"][0] for row in rows]),
        np.stack([row["statistics"][1] for row in rows]),
        np.array([(row["width"], row["height"]) for row in rows]),
        np.concatenate([texture(row["features"][stride][None]) for row in rows]),
    )


def _show(name: str, what: str, domain: Domain, traits: Traits) -> None:
    found, limits = distances(domain, traits), domain.limits
    over = np.stack([found[statistic] > limits[statistic] for statistic in NAMES], axis=1)
    shares = "".join(f"{100 * share:9.1f}" for share in over.mean(axis=0))
    print(f"{name:12s}{what:16s}{len(over):8d}{100 * over.any(axis=1).mean():11.1f}  {shares}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--count", type=int, default=300, help="normals and anomalies; of the altered a third")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
