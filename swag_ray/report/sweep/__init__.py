"""sweep.html and trials.csv of a sweep's directory. Start at `page`."""
