"""The whole config as typed, frozen models: YAML file and dotted overrides in, one `Config` (or `InputError`) out.

    config = load_config("configs/pneumonia.yaml", ["gate.budget=100", "dataset.root=data/chest_xray"])

What a method or a dataset kind does not read is refused when given and left out of the resolved config.
Symbols and defaults follow arXiv 2511.03912; where a default is ours, the `description` says why.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from swag_ray.config.sections import (
    CONTROLS,
    AdapterConfig,
    AuxiliaryConfig,
    BackboneConfig,
    CalibrationConfig,
    ClusterConfig,
    Control,
    DatasetConfig,
    DigitAnatomyConfig,
    GateConfig,
    HeadConfig,
    MemoryConfig,
    Method,
    OutliersConfig,
    ReportConfig,
    ScoreConfig,
    Section,
    SplitConfig,
    SwagConfig,
    as_tuple,
    in_fixed_order,
    run_name,
    store_path,
)
from swag_ray.config.shipped import find_config
from swag_ray.config.text import apply_override, dump_yaml, one_line, read_yaml
from swag_ray.errors import InputError

__all__ = [
    "CONTROLS",
    "AdapterConfig",
    "AuxiliaryConfig",
    "BackboneConfig",
    "CalibrationConfig",
    "ClusterConfig",
    "Config",
    "Control",
    "DatasetConfig",
    "DigitAnatomyConfig",
    "GateConfig",
    "HeadConfig",
    "MemoryConfig",
    "Method",
    "OutliersConfig",
    "ReportConfig",
    "ScoreConfig",
    "SplitConfig",
    "SwagConfig",
    "fields",
    "identity",
    "load_config",
    "parse_config",
    "resolved",
    "schema",
    "to_yaml",
]

OF_FOLDER = ("dataset.root", "dataset.train", "dataset.test")
OF_UNLABELLED = ("dataset.seed_root", "dataset.pool_root", "dataset.test_root")
REQUIRED = {
    "folder": {"root": "set it to the folder that holds train and test"},
    "unlabelled": {
        "seed_root": "set it to a folder of normal images that you trust",
        "pool_root": "set it to a folder of images that you know nothing of",
    },
    "manifest": {"manifest": "set it to a CSV or Parquet file that lists the images"},
}
# Keys that a choice makes meaningless: refused when given, so that nothing a user wrote is silently ignored.
UNUSED: dict[tuple[str, str], tuple[str, ...]] = {
    ("method", "contrast"): ("adapter",),
    ("method", "published"): ("head", "auxiliary", "outliers"),
    ("dataset.kind", "folder"): ("dataset.digit_anatomy", *OF_UNLABELLED, "dataset.manifest"),
    ("dataset.kind", "unlabelled"): (
        "dataset.digit_anatomy", *OF_FOLDER, "dataset.test_fraction", "dataset.manifest", "dataset.contamination",
        "split.seed_fraction",
    ),
    ("dataset.kind", "manifest"): ("dataset.digit_anatomy", *OF_FOLDER, *OF_UNLABELLED),
    ("dataset.kind", "digit_anatomy"): (
        *OF_FOLDER, "dataset.test_fraction", *OF_UNLABELLED, "dataset.manifest", "dataset.normal", "dataset.anomaly",
        "dataset.on_leak", "dataset.range", "dataset.frames", "dataset.rehash", "split.group",
    ),
}  # fmt: skip
# Defaults that differ from the sections' own.
METHOD_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "published": {"memory": {"whitening": None}, "gate": {"tau_distance": 1.0}},
}
TAU_RELAXED = {"published": 1.5}  # the paper's, or the larger tau where that is above it
NOT_IDENTITY = ("store", "cluster", "report", "controls", "rounds")


class Config(Section):
    name: Annotated[str, AfterValidator(run_name)] = Field(description="names the run: runs/NAME")
    random_seed: int = Field(default=0, ge=0, le=2**32 - 1, description="every draw is derived from it")
    method: Method = Field(
        default="contrast", description="contrast: latent outliers and a SWAG head; published: the paper's"
    )
    dataset: DatasetConfig = DatasetConfig()
    split: SplitConfig = SplitConfig()
    backbone: BackboneConfig = BackboneConfig()
    memory: MemoryConfig = MemoryConfig()
    score: ScoreConfig = ScoreConfig()
    adapter: AdapterConfig = AdapterConfig()
    head: HeadConfig = HeadConfig()
    swag: SwagConfig = SwagConfig()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    outliers: OutliersConfig = OutliersConfig()
    gate: GateConfig = GateConfig()
    rounds: int = Field(default=5, ge=1, le=1000, description="rounds of admission (the paper's 5)")
    controls: Annotated[tuple[Control, ...], BeforeValidator(as_tuple), AfterValidator(in_fixed_order)] = Field(
        default=CONTROLS, description="references computed beside the run"
    )
    calibration: CalibrationConfig = CalibrationConfig()
    report: ReportConfig = ReportConfig()
    store: Annotated[str, AfterValidator(store_path)] = Field(
        default="~/.cache/swag-ray", validate_default=True, description="where stages are kept: a path or s3://"
    )
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, raw: Any) -> Any:
        """Refuse what the method or dataset kind does not read; fill the defaults that depend on the method."""
        if not isinstance(raw, Mapping):
            return raw
        raw = {key: dict(value) if isinstance(value, Mapping) else value for key, value in raw.items()}
        for (choice, value), unused in UNUSED.items():
            for path in unused if _dig(raw, choice, _default(choice)) == value else ():
                if _dig(raw, path, None) is not None:
                    raise ValueError(f"{path}: {choice} {value} does not read it; remove it or change {choice}")
        method = raw.get("method")
        for section, defaults in METHOD_DEFAULTS.get(method, {}).items() if isinstance(method, str) else ():
            if isinstance(raw.get(section, {}), dict):
                raw[section] = defaults | raw.get(section, {})
        gate = raw.get("gate")
        if method in TAU_RELAXED and isinstance(gate, dict) and "tau_relaxed" not in gate:
            taus = (TAU_RELAXED[method], gate["tau_distance"], gate.get("tau_uncertainty", 1.0))
            if all(isinstance(tau, int | float) for tau in taus):
                gate["tau_relaxed"] = float(max(taus))
        return raw

    @model_validator(mode="after")
    def _rules(self) -> Config:
        """What no single field can check; the message names the field itself."""
        dataset, gate = self.dataset, self.gate
        _check_dataset(dataset, self.split.group)
        missing = sorted(set(self.memory.strides) - set(self.backbone.strides))
        if missing:
            raise ValueError(f"memory.strides: {missing} must be among backbone.strides {list(self.backbone.strides)}")
        finest = self.backbone.image_size // self.backbone.strides[0]
        if self.backbone.grid > finest:
            raise ValueError(f"backbone.grid: {self.backbone.grid} is finer than the finest map; at most {finest}")
        if "head" not in UNUSED["method", self.method] and self.backbone.grid % self.head.grid:
            raise ValueError(f"head.grid: {self.head.grid} must divide backbone.grid {self.backbone.grid}")
        if self.method == "published" and not self.swag.samples:
            raise ValueError("swag.samples: 0 leaves method published without its uncertainty; give 2 or more")
        if gate.tau_relaxed is not None and gate.tau_relaxed < max(gate.tau_distance, gate.tau_uncertainty):
            raise ValueError(
                f"gate.tau_relaxed: {gate.tau_relaxed} must be at least gate.tau_distance and "
                "gate.tau_uncertainty, or null"
            )
        if gate.patience > self.rounds:
            raise ValueError(
                f"gate.patience: {gate.patience} must be at most rounds {self.rounds}; nothing could ever be admitted"
            )
        return self


def _check_dataset(dataset: DatasetConfig, group: str | None) -> None:
    """What no single field of a dataset can check."""
    for name, advice in REQUIRED.get(dataset.kind, {}).items():
        if getattr(dataset, name) is None:
            raise ValueError(f"dataset.{name}: is required; {advice}")
    if dataset.kind == "folder" and not dataset.anomaly:
        raise ValueError("dataset.anomaly: is required; name the folder of the anomalous class")
    if dataset.normal in dataset.anomaly:
        raise ValueError(f"dataset.anomaly: must not hold dataset.normal ({dataset.normal!r})")
    if dataset.test is not None and dataset.test_fraction is not None:
        raise ValueError("dataset.test_fraction: draws a test set, and dataset.test names one; give one of them")
    if group == "column" and dataset.kind != "manifest":
        raise ValueError("split.group: 'column' needs dataset.kind manifest, which has the column group")
    if group == "folder" and dataset.kind == "manifest":
        raise ValueError("split.group: 'folder' is not read from a manifest; give it a column group and 'column'")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML config, apply `a.b=value` overrides (values are YAML), check everything.

    Args:
        path: of the file, or the name of a shipped config (`config.shipped`).

    Raises:
        InputError: one line naming file, field, value and rule.
    """
    path = find_config(path)
    return parse_config(read_yaml(path), overrides, source=str(path))


def parse_config(raw: Mapping[str, Any], overrides: Sequence[str] = (), *, source: str = "config") -> Config:
    """`load_config` for a mapping that is already read; `source` is what errors call it."""
    merged = copy.deepcopy(dict(raw))
    for key, field in Config.model_fields.items():
        if isinstance(field.default, Section) and merged.get(key, ...) is None:
            del merged[key]  # a section whose every line is commented out
    for override in overrides:
        apply_override(merged, override)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise InputError(f"{source}: {one_line(error, Config)}") from None


def resolved(config: Config) -> dict[str, Any]:
    """Every field that the run reads, as plain JSON types, in order; `parse_config` reads it back unchanged."""
    plain = config.model_dump(mode="json")
    for (choice, value), unused in UNUSED.items():
        for path in unused if _dig(plain, choice, None) == value else ():
            *parents, leaf = path.split(".")
            (plain[parents[0]] if parents else plain).pop(leaf)
    return plain


def to_yaml(config: Config, *, escaped: bool = False) -> str:
    """Returns the resolved config as YAML; `escaped`: in ASCII alone."""
    return dump_yaml(resolved(config), escaped=escaped)


def fields(config: Config, *paths: str) -> dict[str, Any]:
    """`{path: value}` for dotted paths (sections or leaves), plain JSON types: what a stage's key is hashed from.

    Raises:
        ValueError: a path that names no field.
    """
    plain, absent = config.model_dump(mode="json"), object()
    found = {path: _dig(plain, path, absent) for path in paths}
    unknown = [path for path, value in found.items() if value is absent]
    if unknown:
        raise ValueError(f"no such config field: {', '.join(unknown)}")
    return found


def identity(config: Config) -> dict[str, Any]:
    """What makes two configs the same run: all that is resolved but where it runs, what it shows and how long."""
    found = {key: value for key, value in resolved(config).items() if key not in NOT_IDENTITY}
    found["dataset"] = {key: value for key, value in found["dataset"].items() if key != "rehash"}  # how it is listed
    return found


def schema() -> dict[str, Any]:
    """JSON schema of the config file, with descriptions, ranges and defaults."""
    return Config.model_json_schema()


def _default(path: str) -> object:
    model: Any = Config
    for key in path.split("."):
        field = model.model_fields[key]
        model = field.annotation
    return field.default


def _dig(raw: object, path: str, absent: object) -> Any:
    for key in path.split("."):
        if not isinstance(raw, Mapping) or key not in raw:
            return absent
        raw = raw[key]
    return raw
