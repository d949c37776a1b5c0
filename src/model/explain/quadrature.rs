//! Gauss–Legendre quadrature on 0 to 1.

use std::f64::consts::PI;

/// `n` points with their weights: exact for polynomials up to degree 2n − 1. O(n²).
///
/// Source: Newton's method on the Legendre polynomial from Tricomi's first guess (Press et al., Numerical Recipes, 4.6).
pub(super) fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let point = |i: usize| {
        let mut x = (PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        // Quadratic convergence from a guess that is good to a few digits.
        for _ in 0..8 {
            let (value, slope) = legendre(n, x);
            x -= value / slope;
        }
        let (_, slope) = legendre(n, x);
        // Halved for the interval of length 1.
        ((1.0 - x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(point).collect()
}

/// The Legendre polynomial of degree `n` at `x` and its slope there.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (0.0, 1.0);
    for k in 0..n {
        let k = k as f64;
        (before, value) = (value, ((2.0 * k + 1.0) * x * value - k * before) / (k + 1.0));
    }
    (value, n as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monomials_are_integrated_exactly_up_to_the_degree() {
        for n in [1, 2, 3, 4, 8, 17, 64] {
            let rule = gauss_legendre(n);
            for degree in 0..2 * n {
                let sum: f64 = rule.iter().map(|(x, w)| w * x.powi(degree as i32)).sum();
                let exact = 1.0 / (degree as f64 + 1.0);
                assert!((sum - exact).abs() < 1e-14, "{n} points, degree {degree}: {sum}");
            }
            assert!(rule.iter().all(|(x, w)| *x > 0.0 && *x < 1.0 && *w > 0.0));
        }
    }
}
