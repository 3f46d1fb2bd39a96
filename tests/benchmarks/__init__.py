"""Ratios measured side by side in one run, against plain references that are tested for equal results.

    make bench          everything, a table on the terminal and bench.json
    make bench-quick    under three minutes on two quiet cores: small sizes, one repetition

Families are modules with a `measure`; `python -m tests.benchmarks --only NAME` runs one.
"""
