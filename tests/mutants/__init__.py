"""Do the tests notice? Small faults, drawn by a seed, are put into a copy of the package one by one.

    python -m tests.mutants --count 200 --seed 0
    python -m tests.mutants --only core/gate.py --count 1000

`operators.py` says which faults there are, `which_tests.py` which test files are asked, `trial.py` how one is tried. A
mutant that no test fails on is printed as a diff: either a test is missing, or the fault changes nothing that anybody
could see. The working tree is never written to.
"""
