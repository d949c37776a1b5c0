//! What a stretch of live data says about drift.

use serde::{Deserialize, Serialize};

use super::column::ColumnDrift;
use super::config::{DriftConfig, Effect};
use super::counts::Live;
use super::profile::{Counts, ReferenceProfile};
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::monitor::{Finding, Metric};
use crate::stats::{Proportion, TwoProportions, benjamini_hochberg};
use crate::time::Timestamp;

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
        let mut whole = Live::default();
        live.iter().for_each(|segment| whole.merge(segment));
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
