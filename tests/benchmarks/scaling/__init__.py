"""clusters/SCALING.md: what large pools and sweeps cost, by a model on measured unit costs.

python -m tests.benchmarks.scaling    reads bench.json here, a record of `python -m tests.benchmarks`
"""
