"""Where images come from: folders and DigitAnatomy, decoding, groups, the split into seed, pool and folds.

Imports `system/files` and nothing else of swag_ray. Labels of train images are in `audit` alone.
"""
