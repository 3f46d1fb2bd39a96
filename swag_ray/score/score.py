"""`swag-ray score`: images in, one table out, most suspicious first; and heatmaps, a page, a line for the drift log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.core.shift import Shift, shift_of
from swag_ray.detector.bundle import digest_of
from swag_ray.detector.detector import Detector
from swag_ray.detector.site import Site, load_site
from swag_ray.errors import InputError
from swag_ray.images.deep import range_warnings
from swag_ray.images.frames import ALL
from swag_ray.images.oddities import inverted, oddity_warnings, twins
from swag_ray.progress import Progress
from swag_ray.score.actors import on_ray
from swag_ray.score.chunks import CHUNK, in_process, score_chunks
from swag_ray.score.drift import append_to_log, check_log
from swag_ray.score.inputs import Inputs, find_inputs
from swag_ray.score.journal import Journal, partial_of
from swag_ray.score.outputs import STDOUT, check_heatmaps, check_out, check_report, check_written
from swag_ray.score.rows import ScoredRows
from swag_ray.score.scorer import ImageScorer, detector_folder
from swag_ray.score.table import Order, ordered, result_table, write_result
from swag_ray.score.words import Told, threshold_sentence
from swag_ray.wording import clause, plural


@dataclass(frozen=True)
class ScoreOptions:
    """How `score` works and what it writes besides the table.

    Attributes:
        site: SITE.json of `swag-ray calibrate`: its p-values decide what is flagged.
        rate: false-positive rate of a flag; None: the run's.
        order: of the rows.
        heatmaps: folder for images under their heatmaps.
        report: file of the page.
        drift_log: file to note in how these images score.
        address: of a Ray cluster to score on.
    """

    site: Path | None = None
    rate: float | None = None
    order: Order = "suspicion"
    heatmaps: Path | None = None
    report: Path | None = None
    drift_log: Path | None = None
    address: str | None = None


@dataclass(frozen=True)
class Counts:
    """What became of the images.

    Attributes:
        scored, flagged: how many.
        rate: false-positive rate of a flag.
        unreadable: `path: reason`; their rows hold the reason and no score.
        left_out: files in the folders that are no images, by reason.
        warnings: what is doubtful of the scored ones, one line each.
        meaning: what the threshold means for these images, a sentence.
    """

    scored: int
    flagged: int
    rate: float
    unreadable: tuple[str, ...]
    left_out: dict[str, int]
    warnings: tuple[str, ...]
    meaning: str


def score_to_file(
    run_dir: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    options: ScoreOptions = ScoreOptions(),
    progress: Progress | None = None,
) -> Counts:
    """Scores all images with the detector of a run directory (or a copied bundle) and writes the table.

    Every image has its row, also one that cannot be read. Rows are kept as they come in OUT.partial, from which the
    same call goes on after a kill.

    Args:
        images: files, folders, tables that list images, s3:// addresses.
        out: file of the table, .csv, .json or .parquet; `-`: CSV on standard output, and nothing is kept.

    Raises:
        InputError: no detector, no image, an unknown format, another detector's site or log; then nothing is written.
    """
    out, progress = str(out), progress or Progress()
    _check(out, options, images)
    with detector_folder(run_dir) as folder:
        digest = digest_of(folder)  # of which are site and log, the rows that were kept, and the scorer
        site = load_site(options.site, digest) if options.site is not None else None
        if options.drift_log is not None:
            check_log(options.drift_log, digest)
        scorer = ImageScorer.load(folder, digest)
        if options.heatmaps is not None:
            check_heatmaps(options.heatmaps, scorer.detector)
        inputs = find_inputs("score", images, scorer.detector.spec.frames)
        scoring = {"detector": digest, "chunk": CHUNK, "heatmaps": str(options.heatmaps)}
        journal = Journal(Path(out), scoring) if out != STDOUT else None
        scored = _scored(folder, scorer, inputs, options, journal, progress)
    told, table = _judged(scored, inputs, site, options.rate)
    write_result(ordered(table, options.order), out)
    if options.report is not None:
        _write_page(options.report, scorer, inputs, scored, table, told, progress)
    if options.drift_log is not None and scored.scored_N.any():
        append_to_log(options.drift_log, digest, scorer.detector, scored.site_nK, journal.id if journal else None)
    if journal is not None:
        journal.remove()
    warnings = (*told.warnings, *([f"score: {told.meaning}"] if told.doubtful else []))
    flagged = int(pc.sum(table["above_threshold"]).as_py() or 0)
    count = int(scored.scored_N.sum())
    return Counts(count, flagged, told.rate, scored.unreadable, scored.left_out, warnings, told.meaning)


def _check(out: str, options: ScoreOptions, images: Sequence[str | Path]) -> None:
    """Refuses what can be refused before anything is read."""
    check_out(out)
    if options.report is not None:
        check_report(options.report)
    if options.rate is not None and not 0 < options.rate < 1:
        raise InputError(f"--rate: {options.rate:g} is no share of normals", "give one between 0 and 1, such as 0.05")
    written = [] if out == STDOUT else [("--out", Path(out)), ("--out", partial_of(Path(out)))]
    written += [("--report", options.report)] if options.report is not None else []
    written += [("--drift-log", options.drift_log)] if options.drift_log is not None else []
    check_written(written, options.heatmaps, [*images, *filter(None, [options.site])])


def _judged(scored: ScoredRows, inputs: Inputs, site: Site | None, rate: float | None) -> tuple[Told, pa.Table]:
    """What is said of all images together, and the result's table in their order."""
    detector, score_nK, site_nK = scored.detector, scored.score_nK, scored.site_nK
    rate = detector.rate if rate is None else rate
    aligned_n = None
    if site is not None:
        aligned_n = site.p_values(detector, score_nK, site_nK)
    meaning, doubtful = threshold_sentence(detector, rate, len(score_nK), _shift(detector, site_nK, site), site)
    warnings = (*_unreachable(detector, site, rate), *_doubts(scored))
    return Told(rate, meaning, doubtful, warnings), result_table(scored, rate, aligned_n, inputs.further)


def _write_page(
    file: Path, scorer: ImageScorer, inputs: Inputs, scored: ScoredRows, table: pa.Table, told: Told, progress: Progress
) -> None:
    from swag_ray.report.score.page import write_score_page
    from swag_ray.score.films import score_page

    with progress.phase("report", "writing the page"):
        write_score_page(file, score_page(scorer, inputs.places, scored, table, told, progress))


def score_images(
    command: str, run_dir: str | Path, images: Sequence[str | Path], progress: Progress | None = None
) -> ScoredRows:
    """Scores images with the detector of a run directory or a copied bundle; writes nothing.

    Raises:
        InputError: no detector, no image, or none that can be read.
    """
    with detector_folder(run_dir) as folder:
        scorer = ImageScorer.load(folder)
        inputs = find_inputs(command, images, scorer.detector.spec.frames)
        scored = _scored(folder, scorer, inputs, ScoreOptions(), None, progress or Progress())
    if not scored.scored_N.any():
        count = len(scored.table)
        raise InputError(f"{command}: none of the {count} images can be read; the first is {scored.unreadable[0]}")
    return scored


def _scored(
    folder: Path, scorer: ImageScorer, inputs: Inputs, options: ScoreOptions, journal: Journal | None,
    progress: Progress,
) -> ScoredRows:  # fmt: skip
    heatmaps = options.heatmaps is not None
    with progress.phase("score", "scoring images"):
        here = in_process(scorer, heatmaps)
        frames = scorer.detector.spec.frames
        run = on_ray(folder, scorer.digest, heatmaps, frames, options.address, here)
        table = score_chunks(
            inputs.places, run, journal=journal, frames=frames, heatmaps=options.heatmaps, progress=progress
        )
    return ScoredRows(scorer.detector, scorer.digest, table, inputs.left_out)


def _shift(detector: Detector, site_nK: NDArray[np.float64], site: Site | None) -> Shift | None:
    if site is None:
        return shift_of(detector.site_seed_s, site_nK)
    return shift_of(site.reference(detector), site_nK, site.known)


def _doubts(scored: ScoredRows) -> list[str]:
    """What is doubtful of the images that have a score."""
    detector, good, looks = scored.detector, scored.good, scored.looks
    paths = good["path"].to_pylist()
    twin_rows = twins(looks, good["sha256"].to_pylist(), frames=detector.spec.frames == ALL)
    lines = oddity_warnings(paths, looks.blank_N, inverted(looks, detector.typical), twin_rows)
    bits_N = np.array([top.bit_length() if top else 0 for top in good["top"].to_pylist()], np.uint8)
    lines += range_warnings(paths, bits_N, detector.spec.white, given=True)
    if strange := len(good) - good["out_of_domain"].null_count:
        counted = clause(strange, "image", "is", "are")
        lines.append(
            f"score: {counted} unlike anything the detector was made for (out_of_domain): no score tells of them"
        )
    return lines


def _unreachable(detector: Detector, site: Site | None, rate: float) -> list[str]:
    """The line for so few reference scores that no p-value is as low as the false-positive rate."""
    count, thing = (len(site.known_m), "known normal") if site and site.known_m else (len(detector.seed_s), "seed")
    least = 1 / (count + 1)
    if least <= rate:
        return []
    return [
        f"score: no image can be flagged, whatever it shows: {plural(count, thing)} reach no p below {least:.2g}, and "
        f"the rate is {rate:g}; rank by score, or build the detector from more seeds"
    ]
