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
    // Start: Abramowitz and Stegun 26.2.23, to 4.5e-4; then Halley's steps.
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

    /// Arguments and the value of each row.
    fn rows(rows: &serde_json::Value) -> Vec<Vec<f64>> {
        let number = |value: &serde_json::Value| match value.as_str() {
            Some(text) => text.parse().unwrap(),
            None => value.as_f64().unwrap(),
        };
        let row = |row: &serde_json::Value| row.as_array().unwrap().iter().map(number).collect();
        rows.as_array().unwrap().iter().map(row).collect()
    }

    /// mpmath at 50 digits; Student, χ² and beta with large parameters: scipy 1.17.1 (tests/data/README.md).
    #[test]
    fn every_value_of_the_peers() {
        let golden = include_str!("../../tests/data/experiments/special_functions.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        for (section, values) in golden.as_object().unwrap() {
            for row in rows(values) {
                let (got, relative) = match (section.as_str(), &row[..]) {
                    ("lgamma", [x, _]) => (ln_gamma(*x), 1e-13),
                    ("betaln", [a, b, _]) => (ln_beta(*a, *b), 1e-13),
                    ("norm_sf", [z, _]) => (normal_sf(*z), 1e-13),
                    // Ours is the quantile from above.
                    ("norm_ppf", [p, _]) if *p < 0.5 => (-normal_isf(*p), 1e-13),
                    ("norm_ppf", [p, _]) => (normal_isf(1.0 - *p), 1e-13),
                    ("betainc_reg", [a, b, x, _]) => (beta_regularized(*a, *b, *x).lower, 1e-11),
                    ("betainc_comp", [a, b, x, _]) => (beta_regularized(*a, *b, *x).upper, 1e-11),
                    ("student_t_two_sided_p", [t, df, _]) => (student_two_sided(*t, *df), 1e-11),
                    ("chi2_sf", [x, df, _]) => (chi_squared_sf(*x, *df), 1e-11),
                    ("binom_cdf_half", [k, n, _]) => {
                        (binomial_half_cdf(*k as u64, *n as u64), 1e-12)
                    }
                    _ => panic!("no check for {section} {row:?}"),
                };
                let expected = row[row.len() - 1];
                let error = if expected == 0.0 { got } else { got / expected - 1.0 };
                assert!(error.abs() <= relative, "{section} {row:?}: {got}, off by {error:e}");
            }
        }
    }

    #[test]
    fn inverses_and_logarithms_agree_with_what_they_are_of() {
        for z in [-8.0, -1.0, 0.0, 0.5, 1.96, 5.0, 20.0, 37.0] {
            assert_eq!(normal_cdf(-z), normal_sf(z));
        }
        for (t, df) in [(2.05, 7.6), (1.96, 1e6), (12.0, 5.0), (0.1, 1.0), (40.0, 30.0)] {
            let back = student_critical(student_two_sided(t, df), df);
            assert!((back / t - 1.0).abs() < 1e-9, "{t} {df}: {back}");
        }
        for (a, b, x) in
            [(2.0, 38.0, 0.05), (12.0, 98.0, 0.2), (150.0, 74_850.0, 0.004), (40.0, 20.0, 0.99)]
        {
            let (ln, upper) = (ln_beta_upper(a, b, x), beta_regularized(a, b, x).upper);
            assert!((ln / upper.ln() - 1.0).abs() < 1e-12, "{a} {b} {x}: {ln}");
        }
        assert_eq!(ln_beta(2.0, 38.0), ln_beta(38.0, 2.0));
        let pmf = ln_binomial_half_pmf(3, 5);
        assert!((pmf / (10.0f64 / 32.0).ln() - 1.0).abs() < 1e-13, "{pmf}");
    }
}
