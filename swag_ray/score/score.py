"""`swag-ray score`: image files and folders in, one table out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swag_ray.core.shift import Shift, sentence, shift_of
from swag_ray.detector.detector import Detector
from swag_ray.detector.site import Site, load_site
from swag_ray.errors import InputError, reason_of
from swag_ray.images.deep import range_warnings
from swag_ray.images.frames import ALL
from swag_ray.images.oddities import inverted, looks_of, oddity_warnings, twins
from swag_ray.record.csv_cells import csv_cell
from swag_ray.record.files import write_table, write_text
from swag_ray.score.drift import append_to_log, check_log
from swag_ray.score.rows import SCORED, ScoredFiles, detector_digest, score_images
from swag_ray.system.files import whole_file
from swag_ray.wording import clause, plural

FORMATS = (".csv", ".json", ".parquet")
COLUMNS = {
    "path": "string", "score": "double", "p": "double", "aligned_p": "double", "above_threshold": "bool",
    "status": "string", "out_of_domain": "string", "seconds": "double",
}  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """What became of the images.

    Attributes:
        scored, flagged: how many.
        rate: false-positive rate of a flag.
        unreadable: `path: reason`; their rows hold the reason and no score.
        left_out: files in the folders that are no images, by reason.
        warnings: what is doubtful of the scored ones, one line each.
        like: whether they score like the seeds or the site, a sentence.
    """

    scored: int
    flagged: int
    rate: float
    unreadable: tuple[str, ...]
    left_out: dict[str, int]
    warnings: tuple[str, ...]
    like: str


def score_to_file(
    run_dir: str | Path,
    images: Sequence[Path],
    out: Path,
    *,
    site: Path | None = None,
    rate: float | None = None,
    drift_log: Path | None = None,
) -> Counts:
    """Scores all images with the detector of a run directory (or a copied bundle) and writes the table.

    Args:
        site: SITE.json of `swag-ray calibrate`: its p-values decide what is flagged.
        rate: false-positive rate of a flag; None: the run's.
        drift_log: file to note in how these images score.

    Raises:
        InputError: no detector, no image, an unknown format, another detector's site or log, or no readable image;
            then nothing is written.
    """
    _check_out(out)
    if rate is not None and not 0 < rate < 1:
        raise InputError(f"--rate: {rate:g} is no share of normals", "give one between 0 and 1, such as 0.05")
    digest = detector_digest(run_dir) if site is not None or drift_log is not None else ""
    place = load_site(site, digest) if site is not None else None
    if drift_log is not None:
        check_log(drift_log, digest)
    scored = score_images("score", run_dir, images)
    detector, good = scored.detector, scored.good
    rate = detector.rate if rate is None else rate
    columns = _flagged(scored, place, rate)
    _write(columns, out)
    site_TK = scored.site_nK
    shift = (
        shift_of(detector.site_seed_s, site_TK)
        if place is None
        else shift_of(place.reference(detector), site_TK, place.known)
    )
    if drift_log is not None:
        append_to_log(drift_log, digest, detector, site_TK)
    like, doubtful = sentence(shift, len(good), "the trusted images" if place is None else "the site")
    warnings = [*_unreachable(detector, place, rate), *_doubts(detector, good)]
    if strange := sum(row["out_of_domain"] is not None for row in good):
        counted = clause(strange, "image", "is", "are")
        warnings.append(
            f"score: {counted} unlike anything the detector was made for (out_of_domain): no score tells of them"
        )
    if doubtful:
        warnings.append(f"score: {like}{_advice(shift, place, rate)}")
    flagged = sum(bool(row["above_threshold"]) for row in columns)
    return Counts(len(good), flagged, rate, scored.unreadable, scored.left_out, tuple(warnings), like)


def _check_out(out: Path) -> None:
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"--out: '{out}' must end in {', '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise InputError(f"--out: no folder '{out.parent}'", "make it first")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(f"--out: cannot write '{out}'", "choose another place")


def _flagged(scored: ScoredFiles, site: Site | None, rate: float) -> list[dict[str, Any]]:
    """The table's rows, in the order of `COLUMNS`; aligned_p with a site alone."""
    aligned = iter(site.p_values(scored.detector, scored.score_nK, scored.site_nK)) if site is not None else None
    rows = []
    for row in scored.rows:
        there = row["status"] == SCORED
        p = row["p"]
        out = {"path": row["path"], "score": row["score"], "p": p}
        if aligned is not None:
            out["aligned_p"] = p = float(next(aligned)) if there else None
        out["above_threshold"] = bool(p <= rate) if there else None
        rows.append(out | {name: row[name] for name in ("status", "out_of_domain", "seconds")})
    return rows


def _advice(shift: Shift | None, site: Site | None, rate: float) -> str:
    if shift is None or shift.doubt is not None:
        return "; known normals of this place tell: swag-ray calibrate --normals"
    if site is not None:
        return "; calibrate again"
    more = "more" if shift.alignment.shift > 0 else "less"
    return (
        f", so the threshold flags {more} than {rate:.0%} of their normals; swag-ray calibrate sets it for this place"
    )


def _doubts(detector: Detector, rows: list[dict[str, Any]]) -> list[str]:
    """What is doubtful of the images that have a score."""
    paths = [row["path"] for row in rows]
    looks = looks_of((row["look"] for row in rows), len(rows))
    twin_rows = twins(looks, [row["sha256"] for row in rows], frames=detector.spec.frames == ALL)
    lines = oddity_warnings(paths, looks.blank_N, inverted(looks, detector.typical), twin_rows)
    bits_N = np.array([row["top"].bit_length() if row["top"] else 0 for row in rows], np.uint8)
    return lines + range_warnings(paths, bits_N, detector.spec.white, given=True)


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


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    # Types are given: a column without a value would have none.
    schema = pa.schema([(name, COLUMNS[name]) for name in rows[0]])
    try:
        match out.suffix.lower():
            case ".csv":
                cells = [{k: csv_cell(v) for k, v in row.items()} for row in rows]
                with whole_file(out) as draft:
                    csv.write_csv(pa.Table.from_pylist(cells, schema), draft)
            case ".parquet":
                write_table(out, pa.Table.from_pylist(rows, schema))
            case _:
                import json

                write_text(out, json.dumps(rows, indent=2))
    except OSError as error:
        raise InputError(f"--out: cannot write '{out}' ({reason_of(error)})", "choose another place") from error
