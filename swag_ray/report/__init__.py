"""Pages from what is on disk alone: `run` draws report.html, `sweep` draws sweep.html, `page` is what both use."""
