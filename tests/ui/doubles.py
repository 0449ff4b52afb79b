"""All doubles, the extreme ones often: for the tests of what is drawn of them."""

import math

from hypothesis import strategies as st

MOST, LEAST = 1.7976931348623157e308, 5e-324
EXTREMES = [
    *(0.0, -0.0, MOST, -MOST, LEAST, -LEAST, 2.2250738585072014e-308, 1e300, -1e300, 1e-300),
    *(3.4028234663852886e38, 1e-45, 2.0**53, 2.0**53 + 2, 1e-12, 1e12, 1.0),
]
FINITE = st.one_of(st.sampled_from(EXTREMES), st.floats(allow_nan=False, allow_infinity=False))
DOUBLES = st.one_of(FINITE, st.sampled_from([math.nan, math.inf, -math.inf]))
ANY = st.lists(DOUBLES, max_size=12)
