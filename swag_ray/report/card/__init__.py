"""The model card of a run: what its detector was made from, what it is worth, where its limits are. Start at `make`."""
