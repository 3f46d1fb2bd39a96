"""Which file a config's name means: one of the working folder, else one that comes with the package."""

from __future__ import annotations

import os
from pathlib import Path

from swag_ray.errors import InputError

SUFFIXES = (".yaml", ".yml")
PACKAGE = Path(__file__).parent.parent
PLACES = (PACKAGE / "configs", PACKAGE.parent / "configs")  # of a wheel, of a checkout


def find_config(config: str | Path) -> Path:
    """Returns the file that a config's path or name means.

    A name, which has neither folder nor suffix, is that of a file of the working folder (`demo`, `demo.yaml` or
    `demo.yml`), else of a shipped config.

    Raises:
        InputError: there is no file for a name. Whether that of a path exists is seen when it is read.
    """
    name = os.fspath(config)
    if isinstance(config, Path) or os.path.basename(name) != name or name.lower().endswith(SUFFIXES):
        return Path(config)
    shipped = shipped_configs()
    here = (Path(name), *(Path(f"{name}{suffix}") for suffix in SUFFIXES))
    for path in here if name else ():
        if path.is_file():
            return path
    if name in shipped:
        return shipped[name]
    raise InputError(
        f"'{name}': no file {' or '.join(f'{name}{suffix}' for suffix in SUFFIXES)} is here, and no config of that "
        "name comes with swag-ray",
        f"give a path or one of {', '.join(shipped)}",
    )


def shipped_configs() -> dict[str, Path]:
    """Returns the configs that come with the package, by name."""
    folder = next((place for place in PLACES if (place / "demo.yaml").is_file()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob(f"*{SUFFIXES[0]}"))}
