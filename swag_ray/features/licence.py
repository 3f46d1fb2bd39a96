"""Under which licence a backbone's weights are given, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from swag_ray.features.weights import BUNDLED

NOT_STATED = "not stated"
LONGEST = 100  # characters of a licence's name; some packages put the whole text there


@dataclass(frozen=True)
class Licence:
    """A licence by name, or `NOT_STATED`, and where that stands."""

    name: str
    source: str


def weights_licence(name: str, weights: str) -> Licence:
    """Returns the licence of a backbone's weights.

    Args:
        name: timm's of the model.
        weights: `bundled` (what the package says that holds them), `hub` (what timm says of those it downloads), or a
            path, of which nothing is known.
    """
    if weights == "hub":
        import timm

        known = timm.get_pretrained_cfg(name)
        found = getattr(known, "license", None)
        return Licence(_short(found) if found else NOT_STATED, f"timm {timm.__version__}, of its weights of {name}")
    package = BUNDLED.get(name)
    if weights != "bundled" or package is None:
        return Licence(NOT_STATED, "the weights are a file")
    try:
        return _of_package(distribution(package))
    except PackageNotFoundError:
        return Licence(NOT_STATED, f"the package {package.replace('_', '-')} has no metadata here")


def _of_package(package: Distribution) -> Licence:
    """What the package's metadata says, else the first line of the licence file that comes with it."""
    metadata, called = package.metadata, f"{package.metadata['Name']} {package.version}"
    named = [*metadata.get_all("License-Expression", []), *metadata.get_all("License", [])]
    named += [
        text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier", []) if text.startswith("License ::")
    ]
    for found in named:
        if found.strip() and found.strip().upper() != "UNKNOWN":
            return Licence(_short(found), f"metadata of the package {called}")
    for file in package.files or ():
        stated = file.name.upper().startswith(("LICENSE", "LICENCE")) and ".dist-info" in str(file.parent)
        if stated and (text := file.read_text().strip()):
            return Licence(_short(text), f"file {file.name} of the package {called}")
    return Licence(NOT_STATED, f"metadata of the package {called}")


def _short(text: str) -> str:
    """The first line, and no more of it than a name takes."""
    first = text.strip().splitlines()[0].strip()
    return first if len(first) <= LONGEST else f"{first[:LONGEST]} ..."
