"""Frozen features: the backbone, the shards that hold them, and how rows are read back."""
