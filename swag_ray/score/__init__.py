"""`swag-ray score`: new image files through a detector bundle. Start at `score`."""
