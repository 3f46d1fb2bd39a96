"""The only code that imports Ray: session, feature extraction, memory bank actor, sample actors."""
