//! Group-sequential bounds: a limited number of looks, each spending a part of the error probability (Lan and DeMets
//! 1983).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stats::check_alpha;
use crate::stats::special::{bisect, normal_critical, normal_isf, normal_sf};

/// How much of α is spent by a share t of the planned information.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Spending {
    /// Little early, most at the end: close to O'Brien and Fleming's bounds.
    OBrienFleming,
    /// About evenly: close to Pocock's bounds.
    Pocock,
    /// α t^φ (Kim and DeMets 1987).
    Power {
        /// The exponent φ, above 0.
        exponent: f64,
    },
}

impl Spending {
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Spending::Power { exponent } if !(exponent > 0.0 && exponent.is_finite()) => {
                Err(Error::config("spending", format!("exponent {exponent} is not positive")))
            }
            _ => Ok(()),
        }
    }

    /// Two-sided error probability spent by information share `t`, in `0.0..=1.0`.
    pub fn spent(self, t: f64, alpha: f64) -> f64 {
        if t >= 1.0 {
            return alpha;
        }
        match self {
            Spending::OBrienFleming => 4.0 * normal_sf(normal_isf(alpha / 4.0) / t.sqrt()),
            Spending::Pocock => alpha * (1.0 + (std::f64::consts::E - 1.0) * t).ln(),
            Spending::Power { exponent } => alpha * t.powf(exponent),
        }
    }
}

/// The bound on |z| at each look, at these shares of the planned information, so that the chance of ever crossing one
/// without a difference is `alpha`. An early bound does not depend on later looks, so looks need not be planned. By
/// numerical integration over the paths that have not crossed yet; accurate to 1e-7, some milliseconds per look.
///
/// # Errors
/// `InvalidInput` for an `alpha` outside (0, 1), or shares that do not rise within (0, 1].
pub fn boundaries(information: &[f64], alpha: f64, spending: Spending) -> Result<Vec<f64>> {
    boundaries_after(0.0, information, alpha, spending)
}

/// The same for looks that go on after `spent_by`, a share of information by which earlier looks have spent their part. How
/// those looks and these depend on each other is not made use of, which is right whatever it is.
pub(in crate::experiment) fn boundaries_after(
    spent_by: f64,
    information: &[f64],
    alpha: f64,
    spending: Spending,
) -> Result<Vec<f64>> {
    spending.check()?;
    check_rising(information)?;
    check_alpha(alpha)?;
    if information.first().is_some_and(|first| *first <= spent_by) {
        return Err(Error::input("information", format!("{spent_by} is spent already")));
    }
    let mut before = if spent_by > 0.0 { spending.spent(spent_by, alpha) } else { 0.0 };
    let mut bounds: Vec<f64> = Vec::new();
    // Density of the score process S(t) = Z √t over the paths inside all bounds so far, at nodes with their weights.
    let mut paths: Vec<(f64, f64)> = Vec::new();
    let mut time = 0.0;
    for &t in information {
        let spend = spending.spent(t, alpha) - before;
        before += spend;
        let bound = match paths.is_empty() {
            true => normal_critical(spend.max(1e-300)),
            false => {
                let deviation = (t - time).sqrt();
                let crossing = |bound: f64| -> f64 {
                    let edge = bound * t.sqrt();
                    let out = |s: f64| {
                        normal_sf((edge - s) / deviation) + normal_sf((edge + s) / deviation)
                    };
                    paths.iter().map(|(s, weight)| weight * out(*s)).sum()
                };
                bisect(0.0, 40.0, |bound| spend - crossing(bound))
            }
        };
        bounds.push(bound);
        paths = step(&paths, time, t, bound, 0.0);
        time = t;
    }
    Ok(bounds)
}

/// The chance that |z| ever reaches its bound at one of these looks, where z has mean `drift` at full information: the
/// error probability of any set of bounds for a drift of 0, and their power otherwise.
///
/// # Errors
/// `InvalidInput` for shares that do not rise within (0, 1], another number of bounds, one that is not positive, or a
/// `drift` that is not finite.
pub fn crossing_probability(information: &[f64], bounds: &[f64], drift: f64) -> Result<f64> {
    check_rising(information)?;
    let positive = bounds.iter().all(|bound| *bound > 0.0);
    if bounds.len() != information.len() || !positive || !drift.is_finite() {
        let reason = format!("{bounds:?} are not one positive bound per look, or drift is {drift}");
        return Err(Error::input("bounds", reason));
    }
    let (mut paths, mut time) = (Vec::new(), 0.0);
    for (&t, &bound) in information.iter().zip(bounds) {
        paths = step(&paths, time, t, bound, drift);
        time = t;
    }
    let inside: f64 = match information.is_empty() {
        true => 1.0,
        false => paths.iter().map(|(_, weight)| weight).sum(),
    };
    Ok((1.0 - inside).clamp(0.0, 1.0))
}

fn check_rising(information: &[f64]) -> Result<()> {
    let rising = information.windows(2).all(|pair| pair[0] < pair[1]);
    if rising && information.iter().all(|t| *t > 0.0 && *t <= 1.0) {
        return Ok(());
    }
    Err(Error::input("information", format!("{information:?} does not rise within (0, 1]")))
}

/// The paths inside the bound at `t`, from those at `time`; none means all of them at 0, before the first look.
fn step(paths: &[(f64, f64)], time: f64, t: f64, bound: f64, drift: f64) -> Vec<(f64, f64)> {
    const PANELS: usize = 48;
    let (deviation, moved) = ((t - time).sqrt(), drift * (t - time));
    let density = |x: f64| {
        let x = (x - moved) / deviation;
        (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt() / deviation
    };
    // Beyond nine standard deviations there is no mass to speak of.
    let edge = bound.min(9.0) * t.sqrt();
    let mut inside = Vec::with_capacity(PANELS * NODES.len());
    for panel in 0..PANELS {
        let width = 2.0 * edge / PANELS as f64;
        let middle = -edge + (panel as f64 + 0.5) * width;
        for (node, weight) in NODES {
            let s = middle + 0.5 * width * node;
            let mass: f64 = match paths.is_empty() {
                true => density(s),
                false => paths.iter().map(|(from, w)| w * density(s - from)).sum(),
            };
            inside.push((s, 0.5 * width * weight * mass));
        }
    }
    inside
}

/// Gauss–Legendre nodes and weights of order 8 on [−1, 1] (Abramowitz and Stegun, table 25.4).
const NODES: [(f64, f64); 8] = [
    (-0.960_289_856_497_536_2, 0.101_228_536_290_376_3),
    (-0.796_666_477_413_626_7, 0.222_381_034_453_374_5),
    (-0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (-0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_5),
    (0.960_289_856_497_536_2, 0.101_228_536_290_376_3),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_cannot_be_are_refused() {
        assert!(boundaries(&[0.5, 0.5], 0.05, Spending::Pocock).is_err());
        assert!(boundaries(&[0.0, 0.5], 0.05, Spending::Pocock).is_err());
        assert!(boundaries(&[0.5, 1.1], 0.05, Spending::Pocock).is_err());
        assert!(boundaries(&[f64::NAN], 0.05, Spending::Pocock).is_err());
        assert!(boundaries(&[0.5], 0.0, Spending::Pocock).is_err());
        assert!(boundaries(&[0.5], 0.05, Spending::Power { exponent: 0.0 }).is_err());
        assert!(boundaries_after(0.5, &[0.5, 0.6], 0.05, Spending::Pocock).is_err());
        assert!(crossing_probability(&[0.5], &[2.0, 2.0], 0.0).is_err());
        assert!(crossing_probability(&[0.5], &[2.0], f64::NAN).is_err());
        let single = boundaries(&[1.0], 0.05, Spending::OBrienFleming).unwrap();
        assert!((single[0] - 1.959_963_984_540_054).abs() < 1e-12);
    }

    #[test]
    fn bounds_are_crossed_with_the_chance_they_were_made_for() {
        for spending in [Spending::OBrienFleming, Spending::Pocock] {
            let looks = [0.2, 0.5, 0.7, 1.0];
            let bounds = boundaries(&looks, 0.05, spending).unwrap();
            let chance = crossing_probability(&looks, &bounds, 0.0).unwrap();
            assert!((chance - 0.05).abs() < 1e-7, "{chance}");
            // Looks that go on after a break spend what is left, and no more.
            let first = boundaries(&looks[..2], 0.05, spending).unwrap();
            let rest = boundaries_after(0.5, &looks[2..], 0.05, spending).unwrap();
            let before = crossing_probability(&looks[..2], &first, 0.0).unwrap();
            let after = crossing_probability(&looks[2..], &rest, 0.0).unwrap();
            assert!((before + after - 0.05).abs() < 1e-7, "{before} {after}");
            assert!(rest[0] > bounds[2], "{rest:?} {bounds:?}");
        }
        // A single look: the power of the z test, 1 − Φ(1.96 − 2.8) but for the other side.
        let power = crossing_probability(&[1.0], &[1.959_963_984_540_054], 2.801_585_2).unwrap();
        assert!((power - 0.8).abs() < 1e-5, "{power}");
    }
}
