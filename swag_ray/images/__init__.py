"""Where images come from: folders and DigitAnatomy, decoding, groups, the split into seed, pool and folds.

Imports `errors`, `wording` and `system/files`, nothing else of swag_ray. Behind the split, labels are in `audit` alone.
"""
