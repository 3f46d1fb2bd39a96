"""Everything that README and docs claim, carried out by one command: sweeps, and RESULTS.md. Start at `reproduce`."""
