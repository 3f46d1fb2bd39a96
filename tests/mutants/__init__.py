"""Do the tests notice? Small faults, drawn by a seed, are put into a copy of the package one by one.

    python -m tests.mutants --count 200 --seed 0
    python -m tests.mutants --only core/gate.py --count 1000

`operators.py` says which faults there are, `which_tests.py` which test files are asked, `trial.py` how one is tried. A
mutant that no test fails on is printed as a diff: either a test is missing, or the fault changes nothing that anybody
could see. The working tree is never written to.

Of 200 drawn with seed 0 (`--seconds 60`, November 2026), 197 are caught, three of these because `k_center` never ends.
The other three change time or memory alone: one more copy of a head's rows (`Scaler.apply`), and in `coreset.py` a
partition of all rows (`wide <= n`) and bounds that are lowered twice by the same picks (`_refresh`). Ten of the 197 had
survived before they had a test that sees them within the time.
"""
