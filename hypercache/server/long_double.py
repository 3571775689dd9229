"""Add decimals as Redis does, which has the 80-bit numbers of x86 for it.

Their mantissa has 64 bits; results are rounded to that, half to even, and shown with
at most 17 digits behind the point.
"""

from __future__ import annotations

import re
from fractions import Fraction

_MANTISSA_BITS = 64
_LARGEST = Fraction((1 << 64) - 1) * 2 ** (16383 - 63)
_DIGITS = 17
_DECIMAL = re.compile(
    rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?"
).fullmatch
_HEX = re.compile(
    rb"([+-]?)0[xX]([0-9a-fA-F]*)\.?([0-9a-fA-F]*)(?:[pP]([+-]?[0-9]{1,5}))?"
).fullmatch
_INFINITY = re.compile(rb"[+-]?inf(?:inity)?", re.IGNORECASE).fullmatch
_LONGEST_BYTES = 255
_LARGEST_EXPONENT = 5000


def maybe_number(text: bytes) -> Fraction | None:
    """Return a number as such an 80-bit number has it, None for what is none."""
    if len(text) > _LONGEST_BYTES:
        return None
    if _DECIMAL(text):
        mantissa, _, exponent = text.lower().partition(b"e")
        if abs(int(exponent or 0)) > _LARGEST_EXPONENT:
            return None
        return _rounded(
            Fraction(mantissa.decode()) * Fraction(10) ** int(exponent or 0)
        )
    found = _HEX(text)
    if found is None or not (found[2] or found[3]):
        return None
    digits = int(found[2] + found[3], 16)
    if abs(int(found[4] or 0)) > 4 * _LARGEST_EXPONENT:
        return None
    number = digits * Fraction(2) ** (int(found[4] or 0) - 4 * len(found[3]))
    return _rounded(-number if found[1] == b"-" else number)


def is_infinite(text: bytes) -> bool:
    """Tell whether a text stands for an infinite number."""
    return _INFINITY(text) is not None


def total(one: Fraction, other: Fraction) -> Fraction | None:
    """Return the sum, None if it is too large."""
    found = _rounded(one + other)
    return None if found is None or abs(found) > _LARGEST else found


def shown(number: Fraction) -> bytes:
    """Return a number in decimals, without zeros at the end."""
    scaled = _half_even(number * 10**_DIGITS)
    sign, digits = "-" if scaled < 0 else "", str(abs(scaled)).rjust(_DIGITS + 1, "0")
    text = f"{sign}{digits[:-_DIGITS]}.{digits[-_DIGITS:]}".rstrip("0").rstrip(".")
    return b"0" if text == "-0" else text.encode()


def _rounded(number: Fraction) -> Fraction | None:
    if not number:
        return number
    if abs(number) > _LARGEST:
        return None
    magnitude = abs(number)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - _MANTISSA_BITS + 1)
    return _half_even(number / unit) * unit


def _half_even(number: Fraction) -> int:
    return round(number)
