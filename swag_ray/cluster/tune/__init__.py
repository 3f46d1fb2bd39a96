"""Trials of a sweep on Ray Tune. Start at `trials`."""
