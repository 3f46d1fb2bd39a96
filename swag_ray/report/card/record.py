"""The record of a model card, as model_card.json holds it; the figures are those of metrics.json, unrounded.

As in `record/run_metrics.py`, what is not known has no key: it is never null and never zero. No file of an image is
named in it. The keys stand in the order of the file.
"""

from __future__ import annotations

from pydantic import Field

from swag_ray.record.run_metrics import (
    AlignedDecisions,
    ArmMetrics,
    Contamination,
    Count,
    Difference,
    Number,
    OperatingPoints,
    Table,
)


class TrainedOn(Table):
    """What the detector was made from."""

    dataset: str | None = None
    """`dataset.kind` of the config."""
    places: dict[str, str] = Field(default_factory=dict)
    """Folders or manifest of the config by field. Absent where the run is anonymous."""
    normal: str | None = None
    """Name of the normal class. Absent where the run is anonymous, or no labels were read."""
    anomaly: list[str] = Field(default_factory=list)
    """Names of the anomalous classes; absent as above."""
    images: Count | None = None
    """Images of train and test that could be read."""
    counts: dict[str, Count] = Field(default_factory=dict)
    """Of the split: `seed`, `pool`, `pool_normals`, `pool_anomalies`, `unused`, `test`; groups (patients) in
    `seed_groups`, `train_groups`, `test_groups`."""
    groups: str | None = None
    """How patients are told apart."""
    folds: Count | None = None
    """Models that share the work; none scores an image that it has seen."""
    image_size: Count | None = None
    """Pixels a side that images are resized to."""
    reading: dict[str, str] = Field(default_factory=dict)
    """How deep files and DICOM are read: `range`, `frames`."""
    grey_range: dict[str, Count] = Field(default_factory=dict)
    """Of 16-bit images, as in metrics.json; absent without such."""
    unreadable: Count | None = None
    """Images that were left out as they could not be read; absent where there were none."""


class Calibration(Table):
    """The threshold on p."""

    rate: Number | None = None
    """Share of normals like the seeds that it flags: `calibration.false_positive_rate`."""
    smallest_p: Number | None = None
    """The least p-value that this many seeds give: 1 / (seeds + 1)."""
    rate_pool_normals: Number | None = None
    """Share of the pool's normals that it flags. Absent without pool labels."""
    rate_test_normals: Number | None = None
    """Share of the test set's normals that it flags. Absent without test labels."""
    rate_interval: list[Number] = Field(default_factory=list)
    """[low, high]: where that lies by chance alone in 95 % of cases; absent with it."""
    recall: Number | None = None
    """Share of the test set's anomalies that it flags. Absent without test labels."""
    aligned: AlignedDecisions = Field(default_factory=AlignedDecisions)
    """The same rate once the threshold was moved to the test images, without a label."""


class Shifts(Table):
    """What was seen of places that score otherwise than the seeds."""

    pool_normals_p: Number | None = None
    """p-value of the two-sample test of seeds against pool normals, last round. Absent without pool labels."""
    test_images: Number | None = None
    """How far the test images lie above the seeds, in the seeds' sd. Absent with fewer than 50."""
    doubt: str | None = None
    """Why that is not to be believed; absent where nothing speaks against it."""
    other_sites: str | None = None
    """How a threshold comes to another place."""


class Score(Table):
    """What the score is made of."""

    method: str | None = None
    score_used: str | None = None
    """`fused`, `bank` or `seed_bank`."""
    arms: dict[str, ArmMetrics] = Field(default_factory=dict)
    rounds: Count | None = None
    """Rounds of admission."""
    admitted: Count | None = None
    """Pool images that are held at the end."""
    admitted_anomalies: Count | None = None
    """Anomalies among them. Absent without pool labels."""
    labels_used: Count | None = None
    """Labels of pool images that the method was given."""


class Evaluation(Table):
    """How the detector ranks the labelled test images. Empty where no test image has a label."""

    labels: str | None = None
    """Whose labels."""
    normals: Count | None = None
    """Test images labelled normal."""
    anomalies: Count | None = None
    """Test images labelled anomalous."""
    roc_auc: Number | None = None
    pr_auc: Number | None = None
    seed_only_roc_auc: Number | None = None
    """That of the bank of the seeds alone."""
    delta_vs_seed_only: Difference = Field(default_factory=Difference)
    roc_auc_by_kind: dict[str, Number] = Field(default_factory=dict)
    """Kind of anomaly to its ROC-AUC against all test normals."""


class Backbone(Table):
    """The frozen feature extractor."""

    name: str | None = None
    weights: str | None = None
    """`bundled` (a package), `hub`, or `a file`."""
    strides: list[Count] = Field(default_factory=list)
    grid: Count | None = None
    licence: str | None = None
    """Of the weights; "not stated" where whoever gave them states none. Absent in runs of older versions."""
    licence_from: str | None = None
    """Where that stands."""


class Digests(Table):
    """What names the detector and its parts. Those of the bundle are absent in runs of older versions."""

    detector: str | None = None
    """Of the bundle, 16 hex digits: what the column `detector` of scores says."""
    weights: str | None = None
    """SHA-256 of the file of weights, or the hub's name and tag of them."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the bundle's files by name."""
    features: str | None = None
    """Fingerprint of the features in the store."""


class ModelCard(Table):
    """A model card: model_card.json."""

    format: Count | None = None
    name: str | None = None
    """Of the run."""
    intended_use: list[str] = Field(default_factory=list)
    out_of_scope: list[str] = Field(default_factory=list)
    limits: list[str] = Field(default_factory=list)
    """What this run's figures say of them too."""
    trained_on: TrainedOn = Field(default_factory=TrainedOn)
    contamination: Contamination = Field(default_factory=Contamination)
    """The share of anomalies in the pool, as in metrics.json."""
    calibration: Calibration = Field(default_factory=Calibration)
    shifts: Shifts = Field(default_factory=Shifts)
    score: Score = Field(default_factory=Score)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    operating_points: OperatingPoints = Field(default_factory=OperatingPoints)
    """Picked on the test labels, as in metrics.json. Absent without them."""
    shortcuts: dict[str, Number] = Field(default_factory=dict)
    """ROC-AUC on the test set of trivial scores, as in metrics.json."""
    warnings: list[str] = Field(default_factory=list)
    """The run's, without what they name in brackets; metrics.json has the whole lines."""
    backbone: Backbone = Field(default_factory=Backbone)
    versions: dict[str, str] = Field(default_factory=dict)
    digests: Digests = Field(default_factory=Digests)
