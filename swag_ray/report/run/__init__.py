"""report.html of a run directory. Start at `page`."""
