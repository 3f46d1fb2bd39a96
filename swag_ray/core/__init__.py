"""The algorithms, one a file: arrays and a generator in, arrays out. No Ray, files, network or printing.

Imports nothing of swag_ray but `errors`.
"""
