//! How far one column is from its reference.

use serde::{Deserialize, Serialize};

use super::config::{DriftConfig, Effect};
use super::profile::{Cells, ColumnProfile};
use crate::stats::{
    ChiSquareTest, chi_square_test_merged, hellinger, jensen_shannon, ks_distance,
    population_stability_index, wasserstein_binned,
};

/// Drift of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnDrift {
    /// Feature name, `score`, or `segment`.
    pub column: String,
    /// Rows seen in the stretch.
    pub n: u64,
    /// Population stability index against the reference.
    pub psi: f64,
    /// PSI that chance alone stays below with probability 0.999, at these numbers of rows.
    pub critical: f64,
    /// Jensen–Shannon distance, base 2.
    pub jensen_shannon: f64,
    /// Hellinger distance.
    pub hellinger: f64,
    /// Kolmogorov–Smirnov distance on the bins.
    pub ks: f64,
    /// Wasserstein distance on the bins, in interquartile ranges of the reference; `None` where that makes no sense.
    pub wasserstein: Option<f64>,
    /// χ² test on the bins, thin ones put together, with Cramér's V.
    pub chi_square: ChiSquareTest,
    /// Its p-value adjusted for the number of columns looked at.
    pub q_value: f64,
    /// Share of rows without a value.
    pub missing_rate: f64,
    /// That share in the reference.
    pub reference_missing_rate: f64,
    /// Share of rows with a value that the reference cannot have: infinite, or a code that it did not know.
    pub unseen_rate: f64,
    /// Share of rows below the reference's least or above its greatest value.
    pub outside_rate: f64,
    /// What the change of this column alone would do to the mean score, to first order: Σ (q − p) E[score | bin].
    pub score_shift: f64,
    /// Whether it is drift: large enough, sure enough, on rows enough.
    pub drifted: bool,
    /// The bins that contribute most to the PSI, up to three, largest first.
    pub bins: Vec<BinDrift>,
}

/// One bin's part in the drift of its column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BinDrift {
    /// What it holds: `(10, 25]`, a code, `MISSING`, `UNSEEN`.
    pub bin: String,
    /// Share of the reference's rows.
    pub reference: f64,
    /// Share of the rows seen.
    pub live: f64,
    /// Its summand of the PSI.
    pub psi: f64,
}

impl ColumnDrift {
    /// `None` if either side has no row.
    pub(super) fn new(
        name: &str,
        column: &ColumnProfile,
        reference: &[u64],
        live: &[u64],
    ) -> Option<Self> {
        let mut drift = ColumnDrift::of_counts(name, reference, live, |i| column.cells.label(i))?;
        let (missing, unseen) = (column.cells.missing(), column.cells.unseen());
        let (p, q) = (shares(reference), shares(live));
        drift.missing_rate = q[missing];
        drift.reference_missing_rate = p[missing];
        drift.unseen_rate = q[unseen];
        let means = column.score_means.iter().zip(p.iter().zip(&q));
        drift.score_shift = means.map(|(mean, (p, q))| (q - p) * mean).sum();
        let values = column.cells.n_values();
        if matches!(column.cells, Cells::Numeric(_)) && column.quartiles_apart > 0.0 {
            let work = wasserstein_binned(&p[..values], &q[..values], &column.positions);
            drift.wasserstein = work.map(|work| work / column.quartiles_apart);
        }
        Some(drift)
    }

    pub(super) fn of_counts(
        name: &str,
        reference: &[u64],
        live: &[u64],
        label: impl Fn(usize) -> String,
    ) -> Option<Self> {
        let psi = population_stability_index(reference, live)?;
        let (p, q) = (shares(reference), shares(live));
        Some(ColumnDrift {
            column: name.to_owned(),
            n: live.iter().sum(),
            psi: psi.value,
            critical: psi.critical,
            jensen_shannon: jensen_shannon(&p, &q)?,
            hellinger: hellinger(&p, &q)?,
            ks: ks_distance(&p, &q)?,
            wasserstein: None,
            chi_square: chi_square_test_merged(reference, live).ok()?,
            q_value: 1.0,
            missing_rate: 0.0,
            reference_missing_rate: 0.0,
            unseen_rate: 0.0,
            outside_rate: 0.0,
            score_shift: 0.0,
            drifted: false,
            bins: largest_bins(reference, live, &p, &q, label),
        })
    }

    /// The size of the difference by one measure.
    pub fn effect(&self, effect: Effect) -> f64 {
        match effect {
            Effect::Psi => self.psi,
            Effect::JensenShannon => self.jensen_shannon,
            Effect::Hellinger => self.hellinger,
            Effect::CramersV => self.chi_square.cramers_v_corrected,
            Effect::Ks => self.ks,
            Effect::Wasserstein => self.wasserstein.unwrap_or(0.0),
        }
    }

    pub(super) fn judge(&mut self, q_value: f64, n_reference: u64, config: &DriftConfig) {
        self.q_value = q_value;
        self.drifted = self.effect(config.effect) >= config.min_effect
            && q_value <= config.max_q
            && self.n.min(n_reference) >= config.min_rows;
    }
}

fn shares(counts: &[u64]) -> Vec<f64> {
    let total = counts.iter().sum::<u64>() as f64;
    counts.iter().map(|&count| if total > 0.0 { count as f64 / total } else { 0.0 }).collect()
}

fn largest_bins(
    reference: &[u64],
    live: &[u64],
    p: &[f64],
    q: &[f64],
    label: impl Fn(usize) -> String,
) -> Vec<BinDrift> {
    // As the index itself: half a row more in every bin that either side has, so that an empty one counts.
    let used: Vec<usize> = (0..p.len()).filter(|&i| reference[i] + live[i] > 0).collect();
    let half = |count: u64, counts: &[u64]| {
        (count as f64 + 0.5) / (counts.iter().sum::<u64>() as f64 + used.len() as f64 / 2.0)
    };
    let part = |i: usize| {
        let (p, q) = (half(reference[i], reference), half(live[i], live));
        (q - p) * (q / p).ln()
    };
    let mut parts: Vec<(usize, f64)> = used.iter().map(|&i| (i, part(i))).collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let bin = |(i, psi): (usize, f64)| BinDrift { bin: label(i), reference: p[i], live: q[i], psi };
    parts.into_iter().take(3).filter(|(_, psi)| *psi > 0.0).map(bin).collect()
}
