//! Properties of evidence that stays valid however often one looks. Its numbers: tests/experiment_golden.

use proptest::prelude::*;
use riskcycle::experiment::{EventProcess, NormalMixture};
use riskcycle::stats::Estimate;

#[track_caller]
fn close(got: f64, expected: f64, tolerance: f64) {
    let error = (got - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{got} instead of {expected}: {error:e}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_event_process_is_fair_under_no_difference(
        strength in 1.0..200.0f64, share in 0.01..0.99f64, first in 0u64..200, second in 0u64..200,
    ) {
        // The expected gain of one more event is nothing: E is a martingale.
        let e = |a: u64, b: u64| {
            EventProcess::new(strength).unwrap().with_events(share, a, b).unwrap().ln_e()
        };
        let now = e(first, second);
        let next = (1.0 - share) * (e(first + 1, second) - now).exp()
            + share * (e(first, second + 1) - now).exp();
        close(next, 1.0, 1e-9);
    }

    #[test]
    fn swapping_the_arms_mirrors_the_event_process(
        share in 0.01..0.99f64, first in 0u64..300, second in 0u64..300,
    ) {
        let process = |share: f64, a: u64, b: u64| {
            EventProcess::new(50.0).unwrap().with_events(share, a, b).unwrap()
        };
        let (one, other) = (process(share, first, second), process(1.0 - share, second, first));
        close(one.ln_e(), other.ln_e(), 1e-9);
        let (ours, theirs) = (one.rate_ratio(0.05), other.rate_ratio(0.05));
        let mirrored = (ours.lower * theirs.upper - 1.0).abs() < 1e-6 || ours.lower == 0.0;
        prop_assert!(mirrored, "{:e} {:e}", ours.lower, theirs.upper);
        let estimate = second as f64 / first as f64 * (1.0 - share) / share;
        prop_assert!(first == 0 || ours.contains(estimate), "{} {}", ours, estimate);
    }

    #[test]
    fn a_confidence_sequence_leaves_out_zero_exactly_where_it_rejects(
        value in -1.0..1.0f64, standard_error in 0.001..1.0f64, tau in 0.001..1.0f64,
    ) {
        let (mixture, estimate) = (NormalMixture::new(tau), Estimate { value, standard_error });
        let ln_e = mixture.ln_e(estimate);
        prop_assume!((ln_e + 0.05f64.ln()).abs() > 1e-9);
        let interval = mixture.interval(estimate, 0.05);
        prop_assert_eq!(!interval.contains(0.0), ln_e > -(0.05f64.ln()));
        prop_assert!(interval.contains(value));
    }
}
