"""A broken power of an integer without a float: the same digits on every machine."""

from __future__ import annotations

from streams.errors import InvalidRewardRules

MOST_ROOT = 20
"""A power with a larger denominator is no rule that anybody can follow by hand."""


def power(number: int, numerator: int, denominator: int, *, digits: int) -> int:
    """Return ``number ** (numerator / denominator)``, times ``10 ** digits``, rounded down.

    Args:
        number: not negative.
        numerator: of the exponent, 0 or more.
        denominator: of the exponent, 1 to 20.
        digits: decimal places that are kept.

    Raises:
        InvalidRewardRules: if an argument is outside of that.
    """
    if number < 0 or numerator < 0 or digits < 0 or not 1 <= denominator <= MOST_ROOT:
        raise InvalidRewardRules(
            f"{number} to the power of {numerator}/{denominator} cannot be computed. Take a stake of 0 or more and an "
            f"exponent of 0 or more, with a denominator from 1 to {MOST_ROOT}."
        )
    return root(number**numerator * 10 ** (digits * denominator), denominator)


def root(number: int, degree: int) -> int:
    """Return the largest integer whose ``degree``-th power is not above ``number`` (Newton's method, from above)."""
    if number < 2 or degree == 1:
        return number
    guess = 1 << -(-number.bit_length() // degree)
    while True:
        better = ((degree - 1) * guess + number // guess ** (degree - 1)) // degree
        if better >= guess:
            return guess
        guess = better
