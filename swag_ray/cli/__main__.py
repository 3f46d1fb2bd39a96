"""`python -m swag_ray.cli`."""

from __future__ import annotations

import os

from swag_ray.cli import main

os.environ.setdefault("PYTHONUNBUFFERED", "1")
main()
