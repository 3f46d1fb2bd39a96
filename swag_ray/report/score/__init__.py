"""The page of `swag-ray score --report`, from plain values. Start at `page.py`."""
