//! Distribution tails and quantiles, accurate far out and for large counts.
//!
//! From libm: erfc and log-gamma, to the last digit and the same on every platform (those of statrs 0.19 are off by 1e-11
//! and more near the middle). From statrs: the incomplete gamma function. Its incomplete beta function stops after 140 steps
//! of its continued fraction, too early for counts in the hundred thousands, and its inverse can hang (statrs issue
//! 435); those are here.

use statrs::function::gamma;

/// P(Z > z) of the standard normal distribution.
pub(crate) fn normal_sf(z: f64) -> f64 {
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

/// P(Z ≤ z) of the standard normal distribution.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    normal_sf(-z)
}

/// The chance of a standard normal value at least this far from zero.
pub(crate) fn normal_two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The z with P(Z > z) = `p`, for `p` in (0, 1).
pub(crate) fn normal_isf(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_isf(1.0 - p);
    }
    // Acklam's start (relative error 1.2e-9 and worse far out), then Halley's steps on the logarithm's scale.
    let t = (-2.0 * p.ln()).sqrt();
    let mut z = t
        - (2.515517 + t * (0.802853 + t * 0.010328))
            / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    for _ in 0..4 {
        let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let step = (normal_sf(z) - p) / density;
        z += step / (1.0 + 0.5 * z * step);
    }
    z
}

/// The z that a standard normal value stays within, on both sides, with probability 1 − `alpha`.
pub(crate) fn normal_critical(alpha: f64) -> f64 {
    normal_isf(alpha / 2.0)
}

/// P(X > x) of the χ² distribution.
pub(crate) fn chi_squared_sf(x: f64, df: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if df == 1.0 {
        return libm::erfc((x / 2.0).sqrt());
    }
    gamma::checked_gamma_ur(df / 2.0, x / 2.0).unwrap_or(0.0)
}

/// P(|T| ≥ |t|) of Student's distribution.
pub(crate) fn student_two_sided(t: f64, df: f64) -> f64 {
    if t == 0.0 {
        return 1.0;
    }
    beta_regularized(df / 2.0, 0.5, df / (df + t * t)).lower
}

/// The t that a value of Student's distribution stays within, on both sides, with probability 1 − `alpha`.
pub(crate) fn student_critical(alpha: f64, df: f64) -> f64 {
    let mut high = normal_critical(alpha).max(1e-3);
    while student_two_sided(high, df) > alpha {
        high *= 2.0;
    }
    bisect(0.0, high, |t| alpha - student_two_sided(t, df))
}

/// Where an increasing function crosses zero between `low` and `high`, to the last bit.
pub(crate) fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    // 200 halvings take any two numbers to neighbours that matter.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if f(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// ln Γ(x) for x > 0.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// ln B(a, b) for a, b > 0, without the cancellation that three log-gammas would suffer for large arguments.
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    if b < 10.0 {
        return ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    }
    // Stirling's formula leaves ln Γ(b) − ln Γ(a + b) as:
    let difference = stirling_rest(b) - stirling_rest(a + b) - (b - 0.5) * (a / b).ln_1p();
    if a < 10.0 {
        return ln_gamma(a) + difference + a - a * (a + b).ln();
    }
    let half_ln_two_pi = 0.5 * (2.0 * std::f64::consts::PI).ln();
    half_ln_two_pi + stirling_rest(a) - 0.5 * a.ln() - a * (b / a).ln_1p() + difference
}

/// ln Γ(x) less Stirling's formula, for x ≥ 10 (to 1e-15).
fn stirling_rest(x: f64) -> f64 {
    let r = 1.0 / (x * x);
    (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)))) / x
}

/// Both tails of the beta distribution at one point; the smaller one is accurate to its last digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BetaTails {
    /// P(X ≤ x).
    pub(crate) lower: f64,
    /// P(X > x).
    pub(crate) upper: f64,
}

/// Tails of the beta distribution with parameters `a`, `b` > 0 at `x`.
pub(crate) fn beta_regularized(a: f64, b: f64, x: f64) -> BetaTails {
    if x <= 0.0 {
        return BetaTails { lower: 0.0, upper: 1.0 };
    }
    if x >= 1.0 {
        return BetaTails { lower: 1.0, upper: 0.0 };
    }
    let ln_front = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b);
    if x < (a + 1.0) / (a + b + 2.0) {
        let lower = (ln_front.exp() * continued_fraction(a, b, x) / a).min(1.0);
        BetaTails { lower, upper: 1.0 - lower }
    } else {
        let upper = (ln_front.exp() * continued_fraction(b, a, 1.0 - x) / b).min(1.0);
        BetaTails { lower: 1.0 - upper, upper }
    }
}

/// ln P(X > x) of the beta distribution, also where the probability itself would be zero.
pub(crate) fn ln_beta_upper(a: f64, b: f64, x: f64) -> f64 {
    if x < (a + 1.0) / (a + b + 2.0) {
        return (-beta_regularized(a, b, x).lower).ln_1p();
    }
    let ln_front = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b);
    ln_front + (continued_fraction(b, a, 1.0 - x) / b).ln()
}

/// Lentz's evaluation of the incomplete beta function's continued fraction (Press et al., section 6.4). It takes some
/// √max(a, b) steps.
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for step in 1..100_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() < 1e-16 {
            break;
        }
    }
    h
}

/// P(X ≤ k) of a binomial with `n` trials of probability one half.
pub(crate) fn binomial_half_cdf(k: u64, n: u64) -> f64 {
    if k >= n {
        return 1.0;
    }
    beta_regularized((n - k) as f64, (k + 1) as f64, 0.5).lower
}

/// ln of the probability of exactly `k` among `n` trials of probability one half.
pub(crate) fn ln_binomial_half_pmf(k: u64, n: u64) -> f64 {
    let (k, n) = (k as f64, n as f64);
    -(n + 1.0).ln() - ln_beta(k + 1.0, n - k + 1.0) - n * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(got: f64, expected: f64, relative: f64) {
        let error = if expected == 0.0 { got.abs() } else { (got / expected - 1.0).abs() };
        assert!(error <= relative, "{got} instead of {expected}: {error:e}");
    }

    // Expected values: mpmath at 50 digits; student, χ² and beta with large parameters: scipy 1.17.1.

    #[test]
    fn normal_tails_and_quantiles() {
        for (z, p) in [
            (-8.0, 0.999_999_999_999_999_38),
            (-1.0, 0.841_344_746_068_542_95),
            (0.5, 0.308_537_538_725_986_9),
            (1.959_963_984_540_054, 0.025_000_000_000_000_011),
            (5.0, 2.866_515_718_791_939_1e-7),
            (8.0, 6.220_960_574_271_784_1e-16),
            (20.0, 2.753_624_118_606_233_7e-89),
            (37.0, 5.725_571_222_524_576_8e-300),
        ] {
            close(normal_sf(z), p, 1e-13);
            close(normal_cdf(-z), p, 1e-13);
        }
        for (p, z) in [
            (1e-300, 37.047_096_299_361_199),
            (1e-20, 9.262_340_089_798_407_6),
            (1e-8, 5.612_001_244_174_788_7),
            (0.001, 3.090_232_306_167_813_5),
            (0.025, 1.959_963_984_540_054_2),
            (0.2, 0.841_621_233_572_914_17),
            (0.5, 0.0),
            (0.975, -1.959_963_984_540_053_9),
        ] {
            close(normal_isf(p), z, 1e-13);
        }
    }

    #[test]
    fn logarithms_of_the_beta_function() {
        for (a, b, expected) in [
            (0.5, 0.5, 1.144_729_885_849_400_2),
            (2.0, 38.0, -7.301_147_805_856_032_2),
            (5000.0, 5000.0, -6_934.464_865_071_676_6),
            (10_012.0, 990_001.0, -56_060.481_126_093_957),
            (1e7, 3.0, -47.661_140_072_314_989),
        ] {
            close(ln_beta(a, b), expected, 1e-13);
            assert_eq!(ln_beta(a, b), ln_beta(b, a));
        }
        close(ln_gamma(12_345.678), 103_959.919_905_546_06, 1e-13);
    }

    #[test]
    fn tails_of_the_beta_distribution() {
        for (a, b, x, lower) in [
            (0.5, 0.5, 0.3, 0.369_010_119_565_545_38),
            (2.0, 38.0, 0.05, 0.587_052_350_095_512_77),
            (12.0, 98.0, 0.05, 0.008_463_288_089_905_312_5),
            (150.0, 74_850.0, 0.002, 0.510_825_647_099_935_83),
            (10_000.0, 1e6, 0.0099, 0.497_300_558_979_759_17),
            (0.05, 0.05, 1e-16, 0.079_549_043_256_936_051),
            (5000.0, 5000.0, 0.51, 0.977_257_967_675_425_39),
        ] {
            close(beta_regularized(a, b, x).lower, lower, 1e-11);
        }
        for (a, b, x, upper) in [
            (2.0, 38.0, 0.05, 0.412_947_649_904_487_24),
            (12.0, 98.0, 0.2, 0.004_283_058_162_400_858_6),
            (150.0, 74_850.0, 0.004, 2.828_340_487_881_762e-22),
            (40.0, 20.0, 0.99, 1.924_419_566_118_784_4e-25),
        ] {
            close(beta_regularized(a, b, x).upper, upper, 1e-11);
            close(ln_beta_upper(a, b, x), upper.ln(), 1e-12);
        }
    }

    #[test]
    fn student_chi_squared_and_binomial_tails() {
        for (t, df, p) in [
            (2.051_060_948_496_254_5, 7.610_113_120_411_985, 0.076_184_341_104_296_588),
            (1.96, 1e6, 0.049_996_067_585_269_852),
            (12.0, 5.0, 7.089_492_517_161_522_4e-5),
            (0.1, 1.0, 0.936_548_965_138_892_96),
            (40.0, 30.0, 1.372_604_519_440_641_7e-27),
        ] {
            close(student_two_sided(t, df), p, 1e-11);
            close(student_critical(p, df), t, 1e-9);
        }
        for (x, df, p) in [
            (3.841_458_820_694_124, 1.0, 0.049_999_999_999_999_892),
            (677.0, 1.0, 3.001_403_994_629_891_9e-149),
            (10.0, 2.0, 0.006_737_946_999_085_467_9),
            (0.01, 3.0, 0.999_734_834_941_344_41),
            (150.0, 100.0, 0.000_903_932_042_354_018_38),
        ] {
            close(chi_squared_sf(x, df), p, 1e-11);
        }
        for (k, n, p) in [
            (10, 35, 0.008_336_923_900_060_355_7),
            (0, 6, 0.015_625),
            (6, 22, 0.026_239_395_141_601_562),
            (86, 236, 1.857_968_069_785_721_2e-5),
        ] {
            close(binomial_half_cdf(k, n), p, 1e-12);
        }
        close(ln_binomial_half_pmf(3, 5), (10.0f64 / 32.0).ln(), 1e-13);
    }
}
