//! What a score is counted as: a bin, a band, its losses. Scores come in steps of 2⁻³², as tokens carry them.

/// Score bins of one arm.
pub(in crate::experiment) const N_BINS: usize = 1024;
/// Bands of the score within which missing labels are looked for: no score, then by the odds of bad below 2⁻⁹, 2⁻⁶, 2⁻³
/// and above.
pub(in crate::experiment) const N_BANDS: usize = 5;
/// Losses are whole multiples of 2⁻¹⁶.
pub(in crate::experiment) const LOSS_ONE: f64 = 65_536.0;

/// A score as steps of 2⁻³².
pub(super) fn value(steps: u32) -> f64 {
    f64::from(steps) / 4_294_967_296.0
}

/// The bin of a score: 32 per doubling of the odds s / (1 − s), from 2⁻²⁴ to 2⁸, so that small scores, where a fraud model
/// does its work, are told apart as well as large ones. Taken from the bits of the odds, whose division is exact to the last
/// digit everywhere; no logarithm is involved.
pub(super) fn bin(steps: u32) -> usize {
    const LOWEST: u64 = (1023 - 24) << 5;
    let score = value(steps);
    let odds = score / (1.0 - score);
    let place = (odds.to_bits() >> (52 - 5)).saturating_sub(LOWEST);
    (place as usize).min(N_BINS - 1)
}

pub(super) fn band(steps: Option<u32>) -> usize {
    // Odds of 1 to 512, 64 and 8.
    const EDGES: [u32; 3] = [u32::MAX / 513 + 1, u32::MAX / 65 + 1, u32::MAX / 9 + 1];
    steps.map_or(0, |steps| 1 + EDGES.iter().filter(|edge| steps >= **edge).count())
}

/// Squared distance of score and label in steps of 2⁻¹⁶.
pub(super) fn brier(steps: u32, bad: bool) -> i64 {
    let miss = if bad { 1.0 - value(steps) } else { value(steps) };
    (miss * miss * LOSS_ONE + 0.5) as i64
}

/// −ln of the probability that the score gave the label, kept 2⁻³² away from 0, in steps of 2⁻¹⁶ and to within one of them.
/// In whole numbers, because a logarithm would take longer than all the rest of a record.
pub(super) fn log_loss(steps: u32, bad: bool) -> i64 {
    let kept = if bad { u64::from(steps).max(1) } else { (1 << 32) - u64::from(steps) };
    // kept = 2^exponent × (1 + fraction), the fraction in steps of 2⁻⁶³.
    let exponent = kept.ilog2();
    let fraction = kept << (63 - exponent) & !(1 << 63);
    let (place, rest) = ((fraction >> 54) as usize, (fraction >> 22 & 0xFFFF_FFFF) as i64);
    let (low, high) = (LN[place], LN[place + 1]);
    let ln_fraction = low + (((high - low) * rest) >> 32);
    const LN_2: i64 = 2_977_044_472; // × 2³²
    (i64::from(32 - exponent) * LN_2 - ln_fraction + (1 << 15)) >> 16
}

/// ln(1 + i / 512) × 2³².
static LN: [i64; 513] = {
    let (mut table, mut i) = ([0; 513], 0);
    while i < 513 {
        // ln x = 2 artanh((x − 1) / (x + 1)).
        let x = 1.0 + i as f64 / 512.0;
        let z = (x - 1.0) / (x + 1.0);
        let (mut power, mut sum, mut k) = (z, 0.0, 1);
        while k < 40 {
            sum += power / k as f64;
            power *= z * z;
            k += 2;
        }
        table[i] = (2.0 * sum * 4_294_967_296.0 + 0.5) as i64;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(score: f64) -> u32 {
        (score * 4_294_967_296.0) as u32
    }

    #[test]
    fn bins_rise_with_the_score_and_are_three_per_cent_wide() {
        assert_eq!((bin(0), bin(u32::MAX), bin(steps(1e-9))), (0, N_BINS - 1, 0));
        let mut last = 0;
        for step in 0..100_000 {
            let bin = bin(steps(f64::from(step) / 100_000.0));
            assert!(bin >= last);
            last = bin;
        }
        // Half: odds of 1, 24 doublings above the lowest.
        assert_eq!(bin(1 << 31), 24 * 32);
        let odds = |s: f64| s / (1.0 - s);
        let (low, high) = (0.01, 0.0104);
        assert!(odds(high) / odds(low) > 1.0 + 1.0 / 32.0 && bin(steps(high)) > bin(steps(low)));
    }

    #[test]
    fn bands_part_scores_by_their_odds() {
        let bands = [0.0, 0.001, 0.002, 0.01, 0.02, 0.1, 0.12, 0.999].map(|s| band(Some(steps(s))));
        assert_eq!(bands, [1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(band(None), 0);
    }

    #[test]
    fn losses_are_those_of_the_formulas_to_one_step() {
        for i in 0..100_000u32 {
            let steps = i.wrapping_mul(0x9E37_79B9);
            for bad in [false, true] {
                let kept = if bad { value(steps) } else { 1.0 - value(steps) };
                let expected = -kept.max(1.0 / 4_294_967_296.0).ln() * LOSS_ONE;
                assert!((log_loss(steps, bad) as f64 - expected).abs() <= 1.0, "{steps} {bad}");
                let expected = (1.0 - kept).powi(2) * LOSS_ONE;
                assert!((brier(steps, bad) as f64 - expected).abs() <= 0.5001, "{steps} {bad}");
            }
        }
        assert_eq!((log_loss(0, false), log_loss(u32::MAX, true)), (0, 0));
        assert_eq!(log_loss(0, true), (32.0 * std::f64::consts::LN_2 * LOSS_ONE).round() as i64);
    }
}
