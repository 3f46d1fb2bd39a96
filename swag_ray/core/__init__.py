"""The algorithms, one a file: arrays and a generator in, arrays out. No Ray, files, network or printing.

Imports nothing else of swag_ray.
"""
