//! A difference as a share of what it is a difference to.

use super::ratio::Estimate;

/// `difference` / `first`, with its standard error by the delta method. `covariance` is that of the two: minus the variance
/// of `first` for a difference from other units, where `second` − `first` is all there is to it. `None` for a first of zero.
pub fn relative_lift(first: &Estimate, difference: &Estimate, covariance: f64) -> Option<Estimate> {
    if first.value == 0.0 {
        return None;
    }
    let lift = difference.value / first.value;
    let spread = difference.standard_error.powi(2) + (lift * first.standard_error).powi(2)
        - 2.0 * lift * covariance;
    let standard_error = spread.max(0.0).sqrt() / first.value.abs();
    Some(Estimate { value: lift, standard_error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_share_of_zero_and_no_difference_of_anything_is_none() {
        let [zero, one] = [0.0, 1.0].map(|value| Estimate { value, standard_error: 0.1 });
        assert_eq!(relative_lift(&zero, &one, 0.0), None);
        // Nothing but the spread of the difference is left.
        assert_eq!(relative_lift(&one, &zero, -0.01), Some(zero));
    }
}
