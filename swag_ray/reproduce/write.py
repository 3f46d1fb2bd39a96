"""RESULTS.md, results.json and results.svg, from the folders of the blocks."""

from __future__ import annotations

from swag_ray.config.reproduce import Plan
from swag_ray.record.files import explain_write_errors, write_json, write_text
from swag_ray.reproduce.blocks import Place
from swag_ray.reproduce.results import gather

RESULTS_FILE, FIGURES_FILE, DRAWING_FILE = "RESULTS.md", "results.json", "results.svg"


def write_results(plan: Plan, place: Place, command: str) -> None:
    """Writes the three files into OUT, each whole or not at all.

    Raises:
        InputError: as `gather`; OUT cannot be written.
    """
    from swag_ray.reproduce.drawing import drawing  # matplotlib: a second
    from swag_ray.reproduce.markdown import results_text

    results = gather(plan, place, command)
    drawn = drawing(results)
    with explain_write_errors(place.out):
        write_json(place.out / FIGURES_FILE, results.plain())
        if drawn is not None:
            write_text(place.out / DRAWING_FILE, drawn)
        write_text(place.out / RESULTS_FILE, results_text(results, DRAWING_FILE if drawn is not None else None))
