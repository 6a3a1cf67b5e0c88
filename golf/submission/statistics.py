"""Mean, spread and Welch's test of two sets of scores, one score a seed, and what may be called an improvement.

The written rule of the challenge's README asks for 0.005 nats at p < 0.01; #1902 shows rows admitted at p < 0.25. The
0.005 were read as nats a byte (#1727, #1738, #2129) and as nats a token (#1514, #1755, #1855), which is easier by as
many times as a token has bytes.
"""

import math
from dataclasses import dataclass

MIN_GAIN_NATS = 0.005
WRITTEN_RULE_P = 0.01
APPLIED_RULE_P = 0.25
LN2 = math.log(2)


@dataclass(frozen=True, slots=True)
class SampleStats:
    """mean; sd over n - 1, None for one value; n."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True, slots=True)
class WelchTest:
    """gain: by how much ours is lower than theirs. t, df, p: of the one-sided test that it is lower at all."""

    gain: float
    t: float
    df: float
    p: float


def summarize(values: list[float]) -> SampleStats:
    """values: at least one."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return SampleStats(mean, None, 1)
    return SampleStats(
        mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)), len(values)
    )


def welch_test(ours: SampleStats, baseline: SampleStats) -> WelchTest | None:
    """Welch (1947): t = gain / sqrt(a + b) with a, b = sd^2 / n, df = (a + b)^2 / (a^2 / (n-1) + b^2 / (n-1)).

    None where it is not defined: fewer than two scores on a side, or no spread on either.
    """
    if not (ours.sd or 0) + (baseline.sd or 0) or min(ours.n, baseline.n) < 2:
        return None
    from scipy.stats import t as student

    a, b = ours.sd**2 / ours.n, baseline.sd**2 / baseline.n
    gain = baseline.mean - ours.mean
    t = gain / math.sqrt(a + b)
    df = (a + b) ** 2 / (a**2 / (ours.n - 1) + b**2 / (baseline.n - 1))
    return WelchTest(gain, t, df, float(student.sf(t, df)))
