"""The machine below Python: allocator, deadlines, accelerator. Imports nothing else of swag_ray."""
