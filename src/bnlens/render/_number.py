"""Numbers as text, with their standard error where there is one."""

from __future__ import annotations

import math

__all__ = ["number"]

_ROUNDING = 1e-12  # relative errors below it are those of the arithmetic
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, stderr: float | None = None) -> str:
    """Write a number so that its digits say how well it is known.

    With a standard error both carry the same decimals, two significant digits of the error; without one the number has
    four significant digits. Very large and very small numbers carry a power of ten. The text is plain, the same in a
    terminal and in a page.

    Args:
        value: the number; integers without an error keep all their digits; None means that there is none.
        stderr: its standard error; None, zero, what rounding makes of zero or a non-finite value means that it is exact or
            unknown.

    Returns:
        The text; an en dash for None and NaN.

    >>> number(0.031234, 0.00141)
    '0.0312 ± 0.0014'
    >>> number(1234.6, 23.4)
    '1235 ± 23'
    >>> number(3.1234e-7, 1.4e-8)
    '(3.12 ± 0.14)×10⁻⁷'
    >>> number(0.3149999999999996, 5e-15)
    '0.315'
    >>> number(0.75), number(2 / 3), number(50000), number(1.5e-9), number(None)
    ('0.75', '0.6667', '50,000', '1.5×10⁻⁹', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if stderr is not None and math.isfinite(stderr) and stderr > _ROUNDING * abs(value):
        return _with_error(float(value), float(stderr))
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return _exact(float(value))


def _exact(value: float) -> str:
    if value == 0:
        return "0"
    mantissa, _, power = f"{value:.3e}".partition("e")
    exponent = int(power)
    if -4 <= exponent < 6:
        if exponent >= 3:
            return f"{value:,.0f}" if exponent >= 4 else f"{value:.0f}"
        text = f"{value:.{3 - exponent}f}"
        return text.rstrip("0").rstrip(".")
    return f"{mantissa.rstrip('0').rstrip('.')}{_power_of_ten(exponent)}"


def _with_error(value: float, stderr: float) -> str:
    exponent = math.floor(math.log10(max(abs(value), stderr)))
    if -4 <= exponent < 6:
        decimals = max(0, _decimals(stderr))
        return f"{value:.{decimals}f} ± {stderr:.{decimals}f}"
    scale = 10.0**-exponent if exponent > -300 else 1e300
    decimals = max(0, _decimals(stderr * scale))
    return f"({value * scale:.{decimals}f} ± {stderr * scale:.{decimals}f}){_power_of_ten(exponent)}"


def _decimals(stderr: float) -> int:
    """Return the decimals that show two significant digits of ``stderr``, after rounding (0.0996 is 0.10)."""
    return 1 - int(f"{stderr:.1e}".partition("e")[2])


def _power_of_ten(exponent: int) -> str:
    return f"×10{str(exponent).translate(_SUPERSCRIPTS)}"
