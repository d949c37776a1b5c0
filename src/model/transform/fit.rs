//! Fitting a transform to the training rows.

use crate::dataset::{Dataset, FoldPlan};
use crate::error::Result;
use crate::model::binning::{Binner, WoeBins};
use crate::model::standardise::Standard;
use crate::model::transform::map::{Map, Table};
use crate::model::transform::{Imputation, Transform};
use crate::schema::FeatureKind;
use crate::seed::Seed;
use crate::stats::quantile_sorted;

/// One column after a step: where it comes from, what it becomes.
pub(super) struct Step {
    pub(super) source: usize,
    pub(super) map: Option<Map>,
    pub(super) name: String,
    pub(super) kind: FeatureKind,
    /// What training rows get, if not what the map gives.
    pub(super) training: Option<Vec<f64>>,
}

impl Transform {
    /// The columns that come out, in order.
    pub(super) fn fit(&self, data: &Dataset, seed: Seed) -> Result<Vec<Step>> {
        if let Transform::WeightOfEvidence(config) = self {
            let binnings = Binner::new(config.clone())?.fit_all(data)?;
            let step = |(source, binning): (usize, WoeBins)| Step {
                source,
                name: binning.feature().to_owned(),
                map: Some(Map::Woe(Box::new(binning))),
                kind: FeatureKind::Numeric,
                training: None,
            };
            return Ok(binnings.into_iter().enumerate().map(step).collect());
        }
        let folds = match self {
            Transform::TargetEncode { folds, .. } => {
                let seed = seed.derive("target encoding", 0);
                FoldPlan::Stratified { folds: *folds }.split(data, seed)?
            }
            _ => Vec::new(),
        };
        let mut steps = Vec::new();
        for (source, (name, kind)) in
            data.schema().names().iter().zip(data.schema().kinds()).enumerate()
        {
            let values = data.features().column(source).to_vec();
            let keep =
                Step { source, map: None, name: name.clone(), kind: kind.clone(), training: None };
            let numeric = |map| Step {
                source,
                map: Some(map),
                name: name.clone(),
                kind: FeatureKind::Numeric,
                training: None,
            };
            match (self, kind) {
                (Transform::Impute(how), FeatureKind::Numeric | FeatureKind::Boolean) => {
                    let with = how.value(&values);
                    // The mean of a boolean column is no boolean.
                    let kind = if kind.holds(with) { kind.clone() } else { FeatureKind::Numeric };
                    steps.push(Step { kind, ..numeric(Map::Fill(with)) });
                }
                (Transform::FlagMissing, _) => {
                    steps.push(keep);
                    if values.iter().any(|value| value.is_nan()) {
                        let name = format!("{name} missing");
                        let kind = FeatureKind::Boolean;
                        steps.push(Step { name, kind, ..numeric(Map::IsMissing) });
                    }
                }
                (Transform::Winsorise { lower, upper }, FeatureKind::Numeric) => {
                    steps.push(clip(&values, *lower, *upper).map_or(keep, numeric));
                }
                (Transform::Standardise, FeatureKind::Numeric) => {
                    let finite = values.iter().filter(|value| value.is_finite());
                    let Standard { mean, scale, .. } = Standard::of(finite.map(|&x| (x, 1.0)));
                    steps.push(numeric(Map::Scale { mean, scale }));
                }
                (
                    Transform::TargetEncode { smoothing, .. },
                    FeatureKind::Categorical(categories),
                ) => {
                    let all: Vec<usize> = (0..values.len()).collect();
                    let encode = |rows: &[usize]| {
                        target_table(data, &values, rows, categories.len(), *smoothing)
                    };
                    let mut training = vec![0.0; values.len()];
                    for fold in &folds {
                        let map = encode(&fold.train);
                        fold.test.iter().for_each(|&row| training[row] = map.apply(values[row]));
                    }
                    steps.push(Step { training: Some(training), ..numeric(encode(&all)) });
                }
                (Transform::FrequencyEncode, FeatureKind::Categorical(categories)) => {
                    steps.push(numeric(frequencies(&values, categories.len())));
                }
                (Transform::OneHot, FeatureKind::Categorical(categories)) => {
                    for (code, category) in categories.names().enumerate() {
                        let (name, kind) = (format!("{name} = {category}"), FeatureKind::Boolean);
                        steps.push(Step { name, kind, ..numeric(Map::Is(code as f64)) });
                    }
                }
                _ => steps.push(keep),
            }
        }
        Ok(steps)
    }
}

impl Imputation {
    fn value(self, values: &[f64]) -> f64 {
        let mut present: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        match self {
            Imputation::Constant(value) => value,
            Imputation::Mean => present.iter().sum::<f64>() / present.len().max(1) as f64,
            Imputation::Median => {
                present.sort_unstable_by(f64::total_cmp);
                quantile_sorted(&present, 0.5).unwrap_or(0.0)
            }
        }
    }
}

/// Between two quantiles; `None` where all values are missing.
fn clip(values: &[f64], lower: f64, upper: f64) -> Option<Map> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |q| quantile_sorted(&sorted, q).filter(|v| !v.is_nan());
    at(lower).zip(at(upper)).map(|(low, high)| Map::Clip { low, high })
}

/// Shares of the rows by category.
fn frequencies(values: &[f64], n: usize) -> Map {
    let mut shares = vec![0.0; n + 1];
    for value in values {
        shares[if value.is_nan() { n } else { *value as usize }] += 1.0;
    }
    shares.iter_mut().for_each(|share| *share /= values.len() as f64);
    let missing = shares.pop().expect("one more than there are categories");
    Map::Table(Box::new(Table { of_code: shares, missing }))
}

/// Smoothed bad rates by category, from these rows.
fn target_table(data: &Dataset, values: &[f64], rows: &[usize], n: usize, smoothing: f64) -> Map {
    let mut sums = vec![(0.0, 0.0); n + 1];
    let mut all = (0.0, 0.0);
    for &row in rows {
        let weight = data.weights().map_or(1.0, |weights| weights[row]);
        let bad = if data.labels()[row] { weight } else { 0.0 };
        let sum = &mut sums[if values[row].is_nan() { n } else { values[row] as usize }];
        *sum = (sum.0 + bad, sum.1 + weight);
        all = (all.0 + bad, all.1 + weight);
    }
    let rate = if all.1 > 0.0 { all.0 / all.1 } else { 0.0 };
    let encode = |(bad, weight): (f64, f64)| {
        let of = weight + smoothing;
        if of > 0.0 { (bad + smoothing * rate) / of } else { rate }
    };
    let missing = encode(sums[n]);
    let of_code = sums[..n].iter().copied().map(encode).collect();
    Map::Table(Box::new(Table { of_code, missing }))
}
