"""What is computed once: results in a folder or an s3:// prefix, named by what they depend on.

Start at `stages` (keys), then `store`. Imports `errors`, `wording` and `system`, nothing else of swag_ray.
"""
