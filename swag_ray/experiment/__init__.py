"""The experiment: rounds of fit, score, gate and admit. Start at `loop`: it is the method on one screen.

`pipeline` runs it from image list to metrics; `prepare`, `controls`, `evaluate` and `tables` alone read train labels.
"""
