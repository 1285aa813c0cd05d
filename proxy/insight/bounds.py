"""How often something may happen that was seen k times in n trials: one-sided upper bounds at 95 % confidence.

Shares by Clopper and Pearson (The use of confidence or fiducial limits, Biometrika 26, 1934), rates by Garwood
(Fiducial limits for the Poisson distribution, Biometrika 28, 1936). With k = 0 both come near 3/n, the rule of three
(Hanley, Lippman-Hand: If nothing goes wrong, is everything all right?, JAMA 249, 1983).
"""

from collections.abc import Callable
from math import exp

MISSED = 0.05  # the chance that the truth lies above the bound
_STEPS = 60


def share_at_most(times: int, trials: int) -> float:
    """The largest share with which `times` or fewer of `trials` is not too unlikely; 1 without trials."""
    if trials == 0 or times >= trials:
        return 1.0
    if times == 0:
        return float(1 - MISSED ** (1 / trials))
    return _highest(lambda p: _binomial(times, trials, p), 1.0)


def rate_at_most(times: int, exposure: float) -> float:
    """Events per unit: the largest rate with which `times` or fewer in `exposure` units is not too unlikely; infinite
    without exposure."""
    if exposure <= 0:
        return float("inf")
    return _highest(lambda mean: _poisson(times, mean), 4.0 * times + 10) / exposure


def _highest(likely: Callable[[float], float], most: float) -> float:
    """Where `likely`, which falls, comes to MISSED."""
    low, high = 0.0, most
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if likely(middle) > MISSED else (low, middle)
    return high


def _binomial(times: int, trials: int, p: float) -> float:
    total, term = 0.0, (1 - p) ** trials
    for k in range(times + 1):
        total += term
        term *= (trials - k) / (k + 1) * p / (1 - p) if p < 1 else 0.0
    return total


def _poisson(times: int, mean: float) -> float:
    total, term = 0.0, exp(-mean)
    for k in range(times + 1):
        total += term
        term *= mean / (k + 1)
    return total
