"""Where images come from: folders and DigitAnatomy, decoding, groups, the split into seed, pool and folds."""
