"""The machine below Python: allocator, deadlines, accelerator, threads. Imports nothing else of swag_ray."""
