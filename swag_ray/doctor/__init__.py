"""What `swag-ray doctor` finds out: what is here, and with a config what is missing for it. Nothing is printed here."""

from __future__ import annotations

from swag_ray.doctor.examine import examine
from swag_ray.doctor.finding import Finding

__all__ = ["Finding", "examine"]
