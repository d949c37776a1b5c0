//! Whether labels are missing alike in both arms.

use super::basis::Basis;
use super::comparison::{BandCoverage, LabelCoverage};
use super::record::{ArmSums, N_BANDS, N_BUCKETS};
use super::sequential::NormalMixture;
use crate::stats::ClusteredRatio;

impl Basis<'_> {
    pub(super) fn label_coverage(&self, arm: u8) -> Option<LabelCoverage> {
        if self.shadow() {
            return None;
        }
        let all: Vec<usize> = (0..N_BANDS).collect();
        let p_value = self.coverage_within(arm, &all).p_value?;
        let bands = all.iter().map(|band| self.coverage_within(arm, &[*band])).collect();
        Some(LabelCoverage { p_value, bands })
    }

    /// Shares of both arms over all phases within these bands, and the always-valid p-value of their difference. Phases of
    /// one arm add up cluster by cluster.
    fn coverage_within(&self, arm: u8, bands: &[usize]) -> BandCoverage {
        let share = |sums: &ArmSums| {
            let cluster = |bucket: usize| {
                let counts = bands.iter().map(|band| sums.labelled(bucket, *band));
                let (labelled, sampled) =
                    counts.fold((0, 0), |all, band| (all.0 + band.0, all.1 + band.1));
                (labelled as f64, sampled as f64)
            };
            let sampled: f64 = (0..N_BUCKETS).map(|bucket| cluster(bucket).1).sum();
            Some((ClusteredRatio::new((0..N_BUCKETS).map(cluster))?, sampled))
        };
        let pooled = |arm: usize| self.pooled[arm].as_ref().and_then(share);
        let value = |arm: usize| pooled(arm).map(|(ratio, _)| ratio.value());
        let (champion, challenger) = (value(0), value(usize::from(arm)));
        let (mut parts, mut total, mut size) = (Vec::new(), 0.0, 0.0);
        for phase in 0..=usize::from(self.phase) {
            let sums = |arm: u8| self.statistics.arm(phase, usize::from(arm)).and_then(share);
            let (Some((a, n)), Some((b, m))) = (sums(0), sums(arm)) else { continue };
            let weight = n * m / (n + m);
            parts.push((weight, a, b));
            total += weight;
            size += n + m;
        }
        let (first, second): (Vec<_>, Vec<_>) =
            parts.iter().map(|(weight, a, b)| ((weight / total, a), (weight / total, b))).unzip();
        let [first, second] = [first, second].map(|parts| ClusteredRatio::combined(&parts));
        let p_value = first.zip(second).and_then(|(first, second)| {
            let estimate = ClusteredRatio::difference(&first, &second);
            let plan = &self.subject.config.plan;
            let (variance, planned) =
                (estimate.standard_error.powi(2), plan.planned_requests as f64);
            let mixture = NormalMixture::tuned(variance, size, planned, plan.srm_alpha);
            let p_value = (-mixture.ln_e(estimate)).exp().min(1.0);
            (variance > 0.0).then_some(p_value)
        });
        BandCoverage { champion, challenger, p_value }
    }
}
