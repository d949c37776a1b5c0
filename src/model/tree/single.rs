//! Comparisons in single precision, said of the double that was rounded.

#[cfg(feature = "import")]
use crate::model::tree::node::Band;

/// The largest double that rounds to a single below `c`, so that `x ≤ last_below(c)` is `x as f32 < c`. There is none for
/// negative infinity and NaN.
pub(super) fn last_below(c: f32) -> f64 {
    let below = c.next_down();
    // Beyond the largest single the next one would stand at 2^128: halfway there doubles begin to round to infinity.
    let upper = if c == f32::INFINITY { 2f64.powi(128) } else { f64::from(c) };
    let lower = if below == f32::NEG_INFINITY { -2f64.powi(128) } else { f64::from(below) };
    let halfway = lower + (upper - lower) / 2.0;
    if (halfway as f32) < c { halfway } else { halfway.next_down() }
}

/// The single for which `threshold` is [`last_below`], if there is one.
pub(super) fn rounds_below(threshold: f64) -> Option<f32> {
    let near = threshold as f32;
    [near, near.next_up()]
        .into_iter()
        .find(|&c| c > f32::NEG_INFINITY && last_below(c).to_bits() == threshold.to_bits())
}

/// The largest single that is at most `threshold`, which is not NaN.
#[cfg(feature = "import")]
pub(super) fn floor(threshold: f64) -> f32 {
    let near = threshold as f32;
    if f64::from(near) > threshold { near.next_down() } else { near }
}

/// The largest double that rounds to a single of at most `threshold`, so that `x ≤ last_at_most(t)` is `x as f32 ≤ t`.
/// `threshold` is not NaN.
#[cfg(feature = "import")]
pub(super) fn last_at_most(threshold: f64) -> f64 {
    match floor(threshold) {
        f32::INFINITY => f64::INFINITY,
        single => last_below(single.next_up()),
    }
}

/// The doubles that round to `single`, which is not NaN.
#[cfg(feature = "import")]
pub(super) fn rounding_to(single: f32) -> Band {
    let low = match single {
        f32::NEG_INFINITY => f64::NEG_INFINITY,
        // The zeros round from one band, which begins above what rounds to the first single below them.
        _ => last_below(single).next_up(),
    };
    Band { low, high: last_at_most(f64::from(single)) }
}

#[cfg(all(test, feature = "import"))]
mod tests {
    use super::*;

    const SINGLES: [f32; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.1,
        -999.0,
        1e-45,
        -1e-45,
        3e-45,
        f32::MIN_POSITIVE,
        16_777_216.0,
        1.999_999_9,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];

    #[test]
    fn the_last_double_below_a_single_is_followed_by_one_that_is_not() {
        for c in SINGLES.into_iter().filter(|&c| c != f32::NEG_INFINITY) {
            let last = last_below(c);
            assert!((last as f32) < c && last.next_up() as f32 >= c, "{c}: {last}");
            assert_eq!(rounds_below(last).map(|found| found + 0.0), Some(c + 0.0));
            assert_eq!(rounds_below(last.next_down()), None);
        }
    }

    #[test]
    fn the_last_double_that_rounds_to_at_most_a_threshold_is_followed_by_one_that_does_not() {
        let near = |c: f32| [f64::from(c), f64::from(c).next_up(), f64::from(c).next_down()];
        for t in SINGLES.into_iter().flat_map(near).chain([1e300, -1e300, 1e-300, -1e-300]) {
            let last = last_at_most(t);
            assert!(f64::from(last as f32) <= t, "{t}: {last}");
            assert!(last == f64::INFINITY || f64::from(last.next_up() as f32) > t, "{t}: {last}");
        }
    }

    #[test]
    fn a_band_holds_what_rounds_to_its_single_and_nothing_else() {
        for single in SINGLES {
            let Band { low, high } = rounding_to(single);
            assert!(low as f32 == single && high as f32 == single, "{single}: {low} to {high}");
            assert!(low == f64::NEG_INFINITY || (low.next_down() as f32) < single, "{single}");
            assert!(high == f64::INFINITY || high.next_up() as f32 > single, "{single}");
        }
    }
}
