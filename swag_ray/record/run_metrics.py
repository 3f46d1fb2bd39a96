"""The contract of metrics.json: every figure of a run, its unit, and when it is absent.

`experiment.evaluate` writes it; report, terminal and sweeps read it. Written, it is strict: an unknown name or a value
of another type is an error. Read, it is lenient: keys of a newer writer are ignored, and a figure that is null, not
finite or of another type is absent. What is absent has no key in the file: it is never null and never zero. In Python
an absent figure is None, and an absent table is an empty one, which is false.

ROC-AUC, PR-AUC, rates and purities are shares in [0, 1]; counts are of images. The keys stand in the order of the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from swag_ray.errors import InputError

LENIENT = "lenient"  # the validation context of reading
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
EXPECTED = {
    "model_type": "a table of figures", "dict_type": "a table of figures", "list_type": "a list",
    "float_type": "a number", "int_type": "a number",
}  # fmt: skip


class Table(BaseModel):
    """A table of metrics.json. It is true where it holds any figure."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    def __bool__(self) -> bool:
        return bool(self.model_fields_set)

    def plain(self) -> dict[str, Any]:
        """Returns the table as it stands in the file: figures that are absent have no key."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """Reads a table as it stands in the file.

        Raises:
            InputError: a table or a list is something else.
        """
        try:
            return cls.model_validate(_present(plain), context=LENIENT)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            raise InputError(
                f"metrics.json: {'.'.join(map(str, wrong['loc']))} is not {EXPECTED.get(wrong['type'], 'readable')}",
                "the file is damaged, run the experiment again",
            ) from None

    @model_validator(mode="before")
    @classmethod
    def _ignore_unknown_keys(cls, value: Any, info: ValidationInfo) -> Any:
        if info.context != LENIENT or not isinstance(value, Mapping):
            return value
        return {key: held for key, held in value.items() if key in cls.model_fields}

    @field_validator("*", mode="wrap")
    @classmethod
    def _leave_out_unusable(cls, value: Any, validate: Callable[[Any], Any], info: ValidationInfo) -> Any:
        try:
            return validate(value)
        except ValidationError:
            figure = cls.model_fields[str(info.field_name)].default is None
            if info.context == LENIENT and figure:
                return None
            raise


def _present(value: Any) -> Any:
    """Returns the value without what is null or not finite in its tables."""
    if isinstance(value, list):
        return [_present(held) for held in value]
    if isinstance(value, Mapping):
        return {key: _present(held) for key, held in value.items() if not _absent(held)}
    return value


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


class Decisions(Table):
    """What a threshold flags among the test images."""

    threshold: Number | None = None
    """The threshold: on the score for `youden` (flagged: score >= threshold), on p for `conformal` (p <= threshold)."""
    accuracy: Number | None = None
    """Share of the test images that are classified correctly."""
    precision: Number | None = None
    """Share of anomalies among the flagged. Absent where nothing is flagged."""
    recall: Number | None = None
    """Share of the anomalies that are flagged."""
    f1: Number | None = None
    """Harmonic mean of precision and recall."""
    tn: Count | None = None
    """Normals that are not flagged."""
    fp: Count | None = None
    """Normals that are flagged."""
    fn: Count | None = None
    """Anomalies that are not flagged."""
    tp: Count | None = None
    """Anomalies that are flagged."""


class AlignedDecisions(Table):
    """What is flagged by aligned p-values of the site score, which leaves out the head of rejects: the seeds moved to
    where the test images lie, found from these without a label. It takes all of them at once, moves no ranking and
    enters no other figure."""

    shift: Number | None = None
    """How far the test images lie above the seeds, in the seeds' sd."""
    contamination: Number | None = None
    """The share of anomalies that the fit takes off the test images' upper end."""
    residual: Number | None = None
    """What the fit leaves, in the seeds' sd."""
    rate_test_normals: Number | None = None
    """Share of the test set's normals that are flagged."""
    recall: Number | None = None
    """Share of the test set's anomalies that are flagged."""
    doubt: str | None = None
    """Why the fit is not to be believed; only in `incremental`, and absent where nothing speaks against it."""


class ConformalDecisions(Decisions):
    """What is flagged at the conformal threshold, which no label takes part in, and whether its promise holds."""

    rate_nominal: Number | None = None
    """The false-positive rate that the threshold promises: `calibration.false_positive_rate`."""
    rate_test_normals: Number | None = None
    """Share of the test set's normals that are flagged."""
    rate_interval: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    """[low, high]: where `rate_test_normals` lies by chance alone for that many seeds and normals, in 95 % of cases
    (beta-binomial)."""
    rate_pool_normals: Number | None = None
    """Share of the pool's normals that are flagged. Absent without pool labels, or where the pool has no score."""
    aligned: AlignedDecisions = Field(default_factory=AlignedDecisions)
    """The same rate by aligned p-values. Absent with fewer than 50 test images."""


class OperatingPoint(Table):
    """A share of the test images of one class, at the threshold on the score that the test labels allow."""

    value: Number | None = None
    """The share."""
    low: Number | None = None
    """Lower end of its interval (bootstrap over the test images by class, 95 %)."""
    high: Number | None = None
    """Upper end of its interval."""


class OperatingPoints(Table):
    """What the ranking allows at thresholds picked on the test labels, not what the detector's own threshold does."""

    sensitivity_at_specificity_90: OperatingPoint = Field(default_factory=OperatingPoint)
    """Share of the anomalies that are flagged where at least 90 % of the normals are not."""
    sensitivity_at_specificity_95: OperatingPoint = Field(default_factory=OperatingPoint)
    """The same where at least 95 % of the normals are not flagged."""
    normals_set_aside_at_sensitivity_95: OperatingPoint = Field(default_factory=OperatingPoint)
    """Share of the normals that are not flagged where at least 95 % of the anomalies are."""
    normals_set_aside_at_sensitivity_99: OperatingPoint = Field(default_factory=OperatingPoint)
    """The same where at least 99 % of the anomalies are flagged."""


class DetectorMetrics(Table):
    """How one detector ranks and classifies the test set."""

    roc_auc: Number | None = None
    """Area under the ROC curve."""
    pr_auc: Number | None = None
    """Average precision."""
    youden: Decisions = Field(default_factory=Decisions)
    """At Youden's threshold, picked on the test labels."""
    conformal: ConformalDecisions = Field(default_factory=ConformalDecisions)
    """At the threshold on the conformal p-values."""
    operating_points: OperatingPoints = Field(default_factory=OperatingPoints)
    """At thresholds where few normals are flagged, or few anomalies are missed."""
    score_used: str | None = None
    """Whose score ranks: `fused`, `bank` (method `published`) or `seed_bank` (no other arm has a weight). Only in
    `incremental`."""


class ArmMetrics(Table):
    """One of the scores that the last fit is made of, or all of them together (`fused`)."""

    roc_auc: Number | None = None
    """ROC-AUC on the test set."""
    weight: Number | None = None
    """Of the score in the fused one, per sd of the seeds' scores."""
    reason: str | None = None
    """Why it has this weight."""


class Difference(Table):
    """A difference of two ROC-AUCs on the same test images, with its interval (paired bootstrap, 95 %)."""

    roc_auc: Number | None = None
    """The difference, in [-1, 1]; positive where the run's detector ranks better."""
    low: Number | None = None
    """Lower end of the interval."""
    high: Number | None = None
    """Upper end of the interval."""


class AdmissionGain(Difference):
    """What admission added: the difference to the same loop without it."""

    same_scores: Flag | None = None
    """Whether both gave every test image the very same score: whom the gate let in is no part of it."""


class RoundMetrics(Table):
    """One row of the loop. Row 0 is what the seeds alone give, and admits nobody; row n is fit n and what it admits."""

    round: Count | None = None
    """Number of the row, from 0."""
    candidates: Count | None = None
    """Never-admitted pool images that passed both gates and have served `gate.patience`."""
    passed_distance: Count | None = None
    """Never-admitted pool images whose distance passed the first gate."""
    passed_both: Count | None = None
    """Those of them whose uncertainty passed the second gate too."""
    admitted: Count | None = None
    """Images that this row admits."""
    evicted: Count | None = None
    """Images admitted earlier that this row drops again as clear rejects."""
    relaxed: Flag | None = None
    """Whether `gate.tau_relaxed` stood in for the thresholds in this row."""
    roc_auc: Number | None = None
    """ROC-AUC of the row's fit on the test set."""
    head_on: Flag | None = None
    """Whether a head of the pool's rejects has a weight in the fit's score. Absent in method `published`."""
    head_weight: Number | None = None
    """That weight, the other arms counting what is left of 1. Absent in method `published`."""
    rejects: Count | None = None
    """Pool images that the row's scores make likely abnormal (`outliers.probability`). Absent in method `published`."""
    admitted_anomalies: Count | None = None
    """Anomalies among `admitted`. Absent without pool labels."""
    rejects_purity: Number | None = None
    """Share of anomalies among `rejects`. Absent without pool labels or rejects."""
    purity_without_second_gate: Number | None = None
    """Share of normals among the `gate.budget` nearest of `passed_distance`. Absent without pool labels, where
    nobody passed, and where the budget is 0."""
    ks_seed_vs_pool_normals: Number | None = None
    """p-value of the two-sample Kolmogorov-Smirnov test, seeds' scores against the pool normals'. Absent without pool
    labels."""
    pool_roc_auc: Number | None = None
    """ROC-AUC of the row's fit on the pool. Absent without pool labels, or where they are of one class."""
    seconds: Number | None = None
    """Seconds that the row took."""


class Totals(Table):
    """What the loop admitted over all rounds. The counts of anomalies are absent without pool labels."""

    admitted: Count | None = None
    """Images that are held at the end."""
    ever_admitted: Count | None = None
    """Images that were ever admitted."""
    evicted: Count | None = None
    """Images that were admitted and are not held at the end."""
    exhausted: Flag | None = None
    """Whether the loop ended early, because nothing more passed the gates."""
    labels_used: Count | None = None
    """Labels of pool images that the method was given."""
    admitted_anomalies: Count | None = None
    """Anomalies among `admitted`."""
    ever_admitted_anomalies: Count | None = None
    """Anomalies among `ever_admitted`."""
    purity: Number | None = None
    """Share of normals among `admitted`. Absent without pool labels, and where none is held."""


class Contamination(Table):
    """The share of anomalies in the pool."""

    true: Number | None = None
    """By the pool's labels. Absent without them."""
    estimate: Number | None = None
    """Estimated without labels, by Storey's rule. Absent where the pool has no score."""
    fitted: Number | None = None
    """The same by the fit of the pool's low end to the seeds', which errs more; absent with it."""
    low: Number | None = None
    """One-sided 95 % lower bound of both; absent with them."""
    high: Number | None = None
    """Absent without labels: anomalies that look normal cannot be counted."""


class Dataset(Table):
    """What the images are, and which were left out."""

    images: Count | None = None
    """Images of train and test that could be read."""
    skipped: list[str] = Field(default_factory=list)
    """`path: reason` of every image that could not be read."""
    ignored: dict[str, Count] = Field(default_factory=dict)
    """Folder, class or reason to the number of files that were not listed."""
    listing: dict[str, Count] = Field(default_factory=dict)
    """Counts of groups, of images left out as doubles, and of those in both train and test."""
    split: dict[str, Count] = Field(default_factory=dict)
    """Counts of seed, pool (normals, anomalies), unused and test images, and of groups among the seeds and in train."""
    contamination: Number | None = None
    """The share of anomalies in the pool that the split gave."""
    grey_range: dict[str, Count] = Field(default_factory=dict)
    """Of 16-bit images: how many, `bits` in use, and `white`, the greatest sample; without such images no key."""
    blank: Count | None = None
    """Images that are blank or nearly so; as the two below absent where there are none."""
    inverted: Count | None = None
    """Images that are black where the seeds are white."""
    look_alikes: Count | None = None
    """Images of other bytes that look the same as another as a thumbnail: saved again, or resized."""


class Timing(Table):
    """Seconds of each phase by the clock; 0 where a phase had nothing to do."""

    features: Number | None = None
    """Extracting the features that the store lacks, and reading which are there."""
    fits: Number | None = None
    """The loop's fits and decisions."""
    controls: Number | None = None
    """The baselines' fits."""
    evaluate: Number | None = None
    """Evaluating and writing the results."""
    total: Number | None = None
    """From start to end, with all that lies between the phases."""


class Localisation(Table):
    """How well heatmaps point at what the masks of a manifest mark, on test images: anomalies that have a mask, and
    normals, in which nothing is marked unless their mask says so."""

    pixel_roc_auc: Number | None = None
    """Area under the ROC curve of pixels. Absent where all are alike."""
    pro: Number | None = None
    """Per-region overlap up to a false-positive rate of .3 (Bergmann et al. 2020). Absent as `pixel_roc_auc`."""
    images: Count | None = None
    """Test images that took part."""


class RunMetrics(Table):
    """metrics.json of a run or of a sweep's trial."""

    baselines: dict[str, DetectorMetrics] = Field(default_factory=dict)
    """The controls by name: `seed_only`, `full_train`, `no_admission`, `random_admission`, `oracle_gate`, `supervised`;
    a control that was left out, or that needs labels which are not known, has no key."""
    incremental: DetectorMetrics = Field(default_factory=DetectorMetrics)
    """The run's own detector, the last fit."""
    arms: dict[str, ArmMetrics] = Field(default_factory=dict)
    """What the last fit's score is made of: `bank`, `auxiliary` and `head`, those that were fitted, and their sum
    `fused`. Method `published` has `bank` alone."""
    delta_vs_seed_only: Difference = Field(default_factory=Difference)
    """`incremental` minus `seed_only`."""
    delta_vs_no_admission: AdmissionGain = Field(default_factory=AdmissionGain)
    """`incremental` minus `no_admission`: what admission added. Absent without that control."""
    rounds: list[RoundMetrics] = Field(default_factory=list)
    """The rows of the loop, 0 to R."""
    totals: Totals = Field(default_factory=Totals)
    """What was admitted over all rounds."""
    shortcuts: dict[str, Number] = Field(default_factory=dict)
    """ROC-AUC on the test set, max(a, 1 - a), of trivial scores: `thumbnail_1nn`, `grey`, `border`, `image_size`,
    `file_bytes`."""
    contamination: Contamination = Field(default_factory=Contamination)
    """The share of anomalies in the pool, by its labels and without them."""
    roc_auc_by_kind: dict[str, Number] = Field(default_factory=dict)
    """Kind of anomaly to its ROC-AUC against all test normals. Absent where the dataset names no kinds."""
    localisation: Localisation = Field(default_factory=Localisation)
    """Where heatmaps point. Absent where no test anomaly has a mask, and in a sweep's trial."""
    warnings: list[str] = Field(default_factory=list)
    """What a reader of the figures should know, a sentence each."""
    dataset: Dataset = Field(default_factory=Dataset)
    """What the images are."""
    timing: Timing = Field(default_factory=Timing)
    """Where the time went. Absent in a sweep's trial."""

    @property
    def can_flag(self) -> bool:
        """Whether any image could be flagged: n seeds give no p-value below 1 / (n + 1). True where it is not known."""
        seeds, rate = self.dataset.split.get("seed"), self.incremental.conformal.rate_nominal
        return seeds is None or rate is None or 1 / (seeds + 1) <= rate

    @field_validator("warnings", mode="before")
    @classmethod
    def _as_text(cls, value: Any, info: ValidationInfo) -> Any:
        if info.context != LENIENT or not isinstance(value, list):
            return value
        return [held if isinstance(held, str) else json.dumps(held) for held in value]
