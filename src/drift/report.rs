//! What a stretch of live data says about drift.

use serde::{Deserialize, Serialize};

use super::profile::{Cells, ColumnProfile, Counts, ReferenceProfile};
use super::window::Live;
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::monitor::{Finding, Metric};
use crate::stats::{
    ChiSquareTest, Proportion, TwoProportions, benjamini_hochberg, chi_square_test_merged,
    hellinger, jensen_shannon, ks_distance, population_stability_index, wasserstein_binned,
};
use crate::time::Timestamp;

/// When a difference is called drift: it must be large and it must not be chance. With many rows everything is
/// significant, with few everything is large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftConfig {
    /// How the size of a difference is measured.
    pub effect: Effect,
    /// Smallest effect that is drift.
    pub min_effect: f64,
    /// Largest relative change of the bad rate that is not yet drift: 0.2 for a fifth more or less.
    pub max_rate_change: f64,
    /// Share of false calls among all calls of drift that is tolerated (Benjamini–Hochberg), over all columns of a report and,
    /// apart from them, over all columns of all segments.
    pub max_q: f64,
    /// Fewer rows than these, on either side, are never drift.
    pub min_rows: u64,
}

/// PSI of 0.1, a fifth of the bad rate, q = 0.05, 200 rows.
impl Default for DriftConfig {
    fn default() -> Self {
        DriftConfig {
            effect: Effect::Psi,
            min_effect: 0.1,
            max_rate_change: 0.2,
            max_q: 0.05,
            min_rows: 200,
        }
    }
}

/// A measure of how far a column is from its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Population stability index.
    #[default]
    Psi,
    /// Jensen–Shannon distance, base 2.
    JensenShannon,
    /// Hellinger distance.
    Hellinger,
    /// Cramér's V, corrected for chance.
    CramersV,
    /// Kolmogorov–Smirnov distance on the bins.
    Ks,
    /// Wasserstein distance on the bins, in interquartile ranges of the reference. 0 for a category and for a column
    /// whose quartiles are the same.
    Wasserstein,
}

impl DriftConfig {
    pub(super) fn check(&self) -> Result<()> {
        let shares = (0.0..=1.0).contains(&self.max_q);
        let effects = self.min_effect >= 0.0 && self.max_rate_change >= 0.0;
        if !shares || !effects {
            let reason =
                "max_q lies within 0 to 1, min_effect and max_rate_change are not negative";
            return Err(Error::config("drift", reason));
        }
        Ok(())
    }
}

/// Drift of every column against the reference over one stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// Start of the stretch.
    pub from: Timestamp,
    /// End of it, exclusive.
    pub to: Timestamp,
    /// Rows seen.
    pub n: u64,
    /// The score; `None` if the model was not asked.
    pub score: Option<ColumnDrift>,
    /// The features, in schema order.
    pub features: Vec<ColumnDrift>,
    /// The rate of bad labels that became known in the stretch; `None` if there were none.
    pub bad_rate: Option<RateDrift>,
    /// How rows are spread over the segments; `None` without segments.
    pub mix: Option<ColumnDrift>,
    /// Segments with rows, in the reference's order.
    pub segments: Vec<SegmentDrift>,
}

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

/// Drift of the rate of bad rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RateDrift {
    /// Rate of the reference.
    pub reference: f64,
    /// Rate of the labels seen.
    pub live: f64,
    /// Labels seen.
    pub n: u64,
    /// Of the two-sided test of two proportions.
    pub p_value: f64,
    /// Adjusted for the number of columns looked at.
    pub q_value: f64,
    /// Whether it is drift.
    pub drifted: bool,
}

/// Drift within one segment, against that segment of the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentDrift {
    /// Name of the segment.
    pub segment: String,
    /// Rows seen.
    pub n: u64,
    /// The score; `None` if the model was not asked.
    pub score: Option<ColumnDrift>,
    /// Features that drifted, the largest effect first.
    pub drifted: Vec<ColumnDrift>,
}

/// A column with its part in what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// Feature name.
    pub feature: String,
    /// Whether it drifted.
    pub drifted: bool,
    /// Its effect, by the measure asked for.
    pub effect: f64,
    /// Effect × the model's importance of the feature, as a share of the sum over all features.
    pub weight: f64,
    /// See [`ColumnDrift::score_shift`].
    pub score_shift: f64,
}

impl ColumnDrift {
    /// `None` if either side has no row.
    fn new(name: &str, column: &ColumnProfile, reference: &[u64], live: &[u64]) -> Option<Self> {
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

    fn of_counts(
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

    fn judge(&mut self, q_value: f64, n_reference: u64, config: &DriftConfig) {
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

/// The score's column, where there is one behind those of the features.
fn pop_score(reference: &ReferenceProfile, columns: &mut Vec<ColumnDrift>) -> Option<ColumnDrift> {
    if columns.len() > reference.features().len() { columns.pop() } else { None }
}

/// Drift of all columns of one segment or of the whole, not judged yet: the features, then the score if any was seen.
fn columns(reference: &ReferenceProfile, counts: &Counts, live: &Live) -> Vec<ColumnDrift> {
    let names = reference.schema().names().iter().map(String::as_str).chain(["score"]);
    let columns = reference.columns.iter().zip(names).enumerate();
    let drift = columns.filter_map(|(i, (column, name))| {
        let mut drift = ColumnDrift::new(name, column, counts.of(column), live.counts.of(column))?;
        let outside = live.outside.get(i).copied().unwrap_or(0);
        drift.outside_rate = outside as f64 / drift.n as f64;
        Some(drift)
    });
    drift.collect()
}

impl DriftReport {
    /// `live`: what was counted in each segment, and last in none of them.
    pub(super) fn new(
        reference: &ReferenceProfile,
        config: &DriftConfig,
        live: &[Live],
        from: Timestamp,
        to: Timestamp,
    ) -> Option<Self> {
        let whole = live.iter().fold(Live::default(), Live::plus);
        if whole.counts.rows == 0 {
            return None;
        }
        let n_reference = reference.n_rows();
        let mut features = columns(reference, &reference.whole, &whole);
        let mut mix = mix(reference, live);
        let mut bad_rate = rate(reference, &whole);
        let tested = features.iter().chain(&mix).map(|column| column.chi_square.p_value);
        let p: Vec<f64> = tested.chain(bad_rate.map(|rate| rate.p_value)).collect();
        let mut q = adjusted(&p);
        features.iter_mut().chain(&mut mix).for_each(|column| {
            column.judge(q.next().unwrap_or(1.0), n_reference, config);
        });
        if let (Some(rate), Some(q)) = (&mut bad_rate, q.next()) {
            rate.judge(q, n_reference, config);
        }
        let score = pop_score(reference, &mut features);
        let segments = segments(reference, config, live);
        let n = whole.counts.rows;
        Some(DriftReport { from, to, n, score, features, bad_rate, mix, segments })
    }

    /// The columns that drifted, the score first, then features in schema order.
    pub fn drifted(&self) -> impl Iterator<Item = &ColumnDrift> {
        self.score.iter().chain(&self.features).filter(|column| column.drifted)
    }

    /// The features by their part in the drift, the largest weight first. `importance` is the model's, one number per feature
    /// that is not negative; without it all count alike.
    ///
    /// # Errors
    /// `InvalidInput` for another number of features, or an importance that is negative or not finite.
    pub fn attribution(
        &self,
        effect: Effect,
        importance: Option<&[f64]>,
    ) -> Result<Vec<Attribution>> {
        if let Some(importance) = importance {
            let sound = importance.iter().all(|value| *value >= 0.0 && value.is_finite());
            if importance.len() != self.features.len() || !sound {
                let reason = format!("needs {} finite numbers from 0 up", self.features.len());
                return Err(Error::input("importance", reason));
            }
        }
        let weight = |i: usize| importance.map_or(1.0, |importance| importance[i]);
        let weights = self.features.iter().enumerate();
        let weights: Vec<f64> = weights.map(|(i, f)| f.effect(effect) * weight(i)).collect();
        let total: f64 = weights.iter().sum();
        let mut parts: Vec<Attribution> = self
            .features
            .iter()
            .zip(weights)
            .map(|(feature, weight)| Attribution {
                feature: feature.column.clone(),
                drifted: feature.drifted,
                effect: feature.effect(effect),
                weight: if total > 0.0 { weight / total } else { 0.0 },
                score_shift: feature.score_shift,
            })
            .collect();
        parts.sort_by(|a, b| b.weight.total_cmp(&a.weight)); // stable: equals stay in schema order
        Ok(parts)
    }

    /// What rules look at, about the given version: PSI and missing rate of every column, the highest of all features as `*`,
    /// the number of features and of segments that drifted, the PSI of the score in each segment, and, where labels were seen, the
    /// relative change of the bad rate.
    pub fn findings(&self, model: Option<&ModelRef>) -> Vec<Finding> {
        let finding = |metric: Metric, segment: Option<&str>, value: f64, n: u64| Finding {
            metric,
            model: model.cloned(),
            segment: segment.map(str::to_owned),
            from: self.from,
            to: self.to,
            value,
            n,
        };
        let mut findings = Vec::new();
        let mut of_all = |metric, value, n| findings.push(finding(metric, None, value, n));
        for column in self.score.iter().chain(&self.features) {
            let ColumnDrift { column, n, psi, missing_rate, .. } = column;
            of_all(Metric::psi(column), *psi, *n);
            of_all(Metric::missing_rate(column), *missing_rate, *n);
        }
        let highest =
            |of: fn(&ColumnDrift) -> f64| self.features.iter().map(of).fold(0.0, f64::max);
        of_all(Metric::psi("*"), highest(|column| column.psi), self.n);
        of_all(Metric::missing_rate("*"), highest(|column| column.missing_rate), self.n);
        let drifted = self.features.iter().filter(|column| column.drifted).count();
        of_all(Metric::DriftedFeatures, drifted as f64, self.n);
        let segments = self.segments.iter().filter(|segment| segment.is_drifted()).count();
        of_all(Metric::DriftedSegments, segments as f64, self.n);
        if let Some(rate) = self.bad_rate.filter(|rate| rate.reference > 0.0) {
            of_all(Metric::BadRateChange, rate.live / rate.reference - 1.0, rate.n);
        }
        for SegmentDrift { segment, score, .. } in &self.segments {
            let score = score.iter();
            findings
                .extend(score.map(|s| finding(Metric::psi("score"), Some(segment), s.psi, s.n)));
        }
        findings
    }
}

impl Live {
    fn plus(mut self, other: &Live) -> Live {
        let add = |sum: &mut Vec<u64>, more: &[u64]| {
            sum.resize(more.len(), 0);
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        };
        add(&mut self.counts.cells, &other.counts.cells);
        add(&mut self.outside, &other.outside);
        self.counts.rows += other.counts.rows;
        self.labels += other.labels;
        self.labels_bad += other.labels_bad;
        self
    }
}

impl RateDrift {
    fn judge(&mut self, q_value: f64, n_reference: u64, config: &DriftConfig) {
        self.q_value = q_value;
        let change = (self.live - self.reference).abs();
        self.drifted = change > config.max_rate_change * self.reference
            && q_value <= config.max_q
            && self.n.min(n_reference) >= config.min_rows;
    }
}

impl SegmentDrift {
    /// Whether its score or any feature drifted.
    pub fn is_drifted(&self) -> bool {
        !self.drifted.is_empty() || self.score.as_ref().is_some_and(|score| score.drifted)
    }
}

fn adjusted(p: &[f64]) -> impl Iterator<Item = f64> + use<> {
    // A p-value of ours is a probability; were it not, nothing would be called drift.
    let q = benjamini_hochberg(p).unwrap_or_else(|_| vec![1.0; p.len()]);
    q.into_iter()
}

fn rate(reference: &ReferenceProfile, live: &Live) -> Option<RateDrift> {
    let first = Proportion::new(reference.n_bad(), reference.n_rows()).ok()?;
    let second = Proportion::new(live.labels_bad, live.labels).ok()?;
    let test = TwoProportions { first, second }.pooled_test();
    Some(RateDrift {
        reference: reference.bad_rate(),
        live: live.labels_bad as f64 / live.labels as f64,
        n: live.labels,
        p_value: test.p_value,
        q_value: 1.0,
        drifted: false,
    })
}

/// How rows are spread over the segments; the last place is for rows of none.
fn mix(reference: &ReferenceProfile, live: &[Live]) -> Option<ColumnDrift> {
    if reference.segments.is_empty() {
        return None;
    }
    let mut before: Vec<u64> = reference.segments.iter().map(|(_, counts)| counts.rows).collect();
    before.push(reference.n_rows() - before.iter().sum::<u64>().min(reference.n_rows()));
    let now: Vec<u64> = live.iter().map(|live| live.counts.rows).collect();
    let name = |i: usize| reference.segments().nth(i).unwrap_or("none").to_owned();
    ColumnDrift::of_counts("segment", &before, &now, name)
}

fn segments(
    reference: &ReferenceProfile,
    config: &DriftConfig,
    live: &[Live],
) -> Vec<SegmentDrift> {
    let mut all: Vec<(&str, u64, u64, Vec<ColumnDrift>)> = reference
        .segments
        .iter()
        .zip(live)
        .filter(|(_, live)| live.counts.rows > 0)
        .map(|((name, counts), live)| {
            let columns = columns(reference, counts, live);
            (name.as_str(), counts.rows, live.counts.rows, columns)
        })
        .collect();
    let p = all.iter().flat_map(|(.., columns)| columns.iter().map(|c| c.chi_square.p_value));
    let mut q = adjusted(&p.collect::<Vec<_>>());
    for (_, n_reference, _, columns) in &mut all {
        for column in columns {
            column.judge(q.next().unwrap_or(1.0), *n_reference, config);
        }
    }
    all.into_iter()
        .map(|(segment, _, n, mut columns)| {
            let score = pop_score(reference, &mut columns);
            let mut drifted: Vec<ColumnDrift> = columns.into_iter().filter(|c| c.drifted).collect();
            let effect = |column: &ColumnDrift| column.effect(config.effect);
            drifted.sort_by(|a, b| effect(b).total_cmp(&effect(a)));
            SegmentDrift { segment: segment.to_owned(), n, score, drifted }
        })
        .collect()
}
