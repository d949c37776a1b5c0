//! How sure a metric is: the bootstrap and the jackknife.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, FoldPlan};
use crate::error::{Error, Result};
use crate::evaluate::metric::{Prepared, ScoreMetric};
use crate::parallel::map;
use crate::seed::{Seed, below};
use crate::stats::{Interval, quantile_sorted};

/// What is drawn anew in every resample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ResampleUnit {
    /// Rows, as many of each label as there are.
    #[default]
    Rows,
    /// Entities with all their rows, which stand or fall together: the honest one where a customer has several.
    Entities,
}

/// Parameters of a [`Bootstrap`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BootstrapConfig {
    /// Number of resamples.
    pub resamples: u32,
    /// Chance that an interval holds the true value, between 0 and 1.
    pub confidence: f64,
    /// What is drawn.
    pub unit: ResampleUnit,
}

/// 1,000 resamples of rows, 95 %.
impl Default for BootstrapConfig {
    fn default() -> Self {
        BootstrapConfig { resamples: 1000, confidence: 0.95, unit: ResampleUnit::Rows }
    }
}

/// Resamples with replacement (Efron 1979): how far a metric would move on other rows of the same kind.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    config: BootstrapConfig,
}

/// A metric with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BootstrapEstimate {
    /// On the rows as they are.
    pub value: f64,
    /// Standard deviation over the resamples.
    pub standard_error: f64,
    /// Between the percentiles that the confidence leaves on either side.
    pub interval: Interval,
    /// Resamples in which the metric had no value (a label was missing) and which are left out.
    pub undefined: u32,
}

/// Two scores of the same rows, compared on the same resamples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BootstrapComparison {
    /// The metric of the first scores.
    pub first: f64,
    /// The metric of the second scores.
    pub second: f64,
    /// Second less first.
    pub difference: BootstrapEstimate,
    /// Twice the share of resamples in which the difference has the other sign (or none), at most 1: a two-sided p-value
    /// by inverting the percentile interval, never below 2 / (resamples + 1).
    pub p_value: f64,
}

impl Bootstrap {
    /// # Errors
    /// `InvalidConfig` for fewer than 2 resamples or a confidence that is not between 0 and 1.
    pub fn new(config: BootstrapConfig) -> Result<Self> {
        let confident = config.confidence > 0.0 && config.confidence < 1.0;
        if config.resamples < 2 || !confident {
            let reason = "needs at least 2 resamples and a confidence between 0 and 1";
            return Err(Error::config("bootstrap", reason));
        }
        Ok(Bootstrap { config })
    }

    /// A metric of scores with its uncertainty. O(n log n + resamples × n).
    ///
    /// # Errors
    /// Those of [`ScoreMetric::value`]; `InvalidInput` where entities are drawn and the data set has none, or where more
    /// than half of the resamples have no value.
    pub fn estimate(
        &self,
        data: &Dataset,
        scores: &[f64],
        metric: ScoreMetric,
        seed: Seed,
    ) -> Result<BootstrapEstimate> {
        let prepared = metric.prepare(data.labels(), scores)?;
        let statistic = |weights: &[f64]| prepared.value(weights);
        Ok(self.run(data, seed, statistic)?.0)
    }

    /// The difference of two scores of the same rows, every resample taken for both.
    ///
    /// # Errors
    /// As [`estimate`](Self::estimate).
    pub fn compare(
        &self,
        data: &Dataset,
        first: &[f64],
        second: &[f64],
        metric: ScoreMetric,
        seed: Seed,
    ) -> Result<BootstrapComparison> {
        let (first, second) =
            (metric.prepare(data.labels(), first)?, metric.prepare(data.labels(), second)?);
        let both = |weights: &[f64]| Some((first.value(weights)?, second.value(weights)?));
        let (difference, mut sample) =
            self.run(data, seed, |weights| both(weights).map(|(first, second)| second - first))?;
        let as_they_are = row_weights(data);
        let (first, second) = both(&as_they_are).ok_or_else(no_value)?;
        sample.retain(|value| !value.is_nan());
        let n = sample.len() as f64;
        let tail = |other_side: &dyn Fn(f64) -> bool| {
            sample.iter().filter(|value| other_side(**value)).count() as f64
        };
        let least = tail(&|value| value <= 0.0).min(tail(&|value| value >= 0.0));
        let p_value = (2.0 * (least + 1.0) / (n + 1.0)).min(1.0);
        Ok(BootstrapComparison { first, second, difference, p_value })
    }

    /// Any statistic with its uncertainty. It is given how much each row weighs and answers `None` where it has no value.
    ///
    /// # Errors
    /// `InvalidInput` as [`estimate`](Self::estimate).
    pub fn statistic(
        &self,
        data: &Dataset,
        seed: Seed,
        statistic: impl Fn(&[f64]) -> Option<f64> + Sync + Send,
    ) -> Result<BootstrapEstimate> {
        Ok(self.run(data, seed, statistic)?.0)
    }

    /// The estimate, and the statistic of every resample, NaN where it has no value.
    fn run(
        &self,
        data: &Dataset,
        seed: Seed,
        statistic: impl Fn(&[f64]) -> Option<f64> + Sync + Send,
    ) -> Result<(BootstrapEstimate, Vec<f64>)> {
        let strata = strata(data, self.config.unit)?;
        let as_they_are = row_weights(data);
        let value = statistic(&as_they_are).ok_or_else(no_value)?;
        let resamples: Vec<u64> = (0..u64::from(self.config.resamples)).collect();
        let sample: Vec<f64> = map(&resamples, |&i| {
            let mut rng = seed.derive("bootstrap", i).rng();
            let mut weights = vec![0.0; data.n_rows()];
            strata.iter().for_each(|units| draw(units, &as_they_are, &mut weights, &mut rng));
            statistic(&weights).unwrap_or(f64::NAN)
        });
        let mut sorted: Vec<f64> = sample.iter().copied().filter(|v| !v.is_nan()).collect();
        let undefined = self.config.resamples - sorted.len() as u32;
        if undefined > self.config.resamples / 2 || sorted.len() < 2 {
            return Err(no_value());
        }
        sorted.sort_unstable_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / n;
        let variance = sorted.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
        let tail = (1.0 - self.config.confidence) / 2.0;
        let at = |q| quantile_sorted(&sorted, q).expect("at least two values, and a share");
        let interval = Interval { lower: at(tail), upper: at(1.0 - tail) };
        let standard_error = variance.sqrt();
        Ok((BootstrapEstimate { value, standard_error, interval, undefined }, sample))
    }
}

/// A metric with its uncertainty by leaving out a block of the data at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct JackknifeEstimate {
    /// On the rows as they are.
    pub value: f64,
    /// How much larger it is than it would be on ever more rows, as the blocks tell.
    pub bias: f64,
    /// Standard error.
    pub standard_error: f64,
}

/// The delete-a-block jackknife (Quenouille 1949, Tukey 1958): the data are dealt into `blocks` blocks, by entity or within
/// labels, and the metric is taken without each of them. Cheaper than the bootstrap, and not for quantities that jump, such
/// as KS. O(n log n + blocks × n).
///
/// # Errors
/// Those of [`ScoreMetric::value`] and of [`FoldPlan::split`] into so many folds.
pub fn jackknife(
    data: &Dataset,
    scores: &[f64],
    metric: ScoreMetric,
    unit: ResampleUnit,
    blocks: usize,
    seed: Seed,
) -> Result<JackknifeEstimate> {
    let prepared: Prepared = metric.prepare(data.labels(), scores)?;
    let plan = match unit {
        ResampleUnit::Rows => FoldPlan::Stratified { folds: blocks },
        ResampleUnit::Entities => FoldPlan::Grouped { folds: blocks },
    };
    let folds = plan.split(data, seed.derive("jackknife", 0))?;
    let as_they_are = row_weights(data);
    let value = prepared.value(&as_they_are).ok_or_else(no_value)?;
    let without = map(&folds, |fold| {
        let mut weights = as_they_are.clone();
        fold.test.iter().for_each(|&row| weights[row] = 0.0);
        prepared.value(&weights).ok_or_else(no_value)
    });
    let without: Vec<f64> = without.into_iter().collect::<Result<_>>()?;
    let n = blocks as f64;
    let mean = without.iter().sum::<f64>() / n;
    let spread: f64 = without.iter().map(|v| (v - mean) * (v - mean)).sum();
    Ok(JackknifeEstimate {
        value,
        bias: (n - 1.0) * (mean - value),
        standard_error: ((n - 1.0) / n * spread).sqrt(),
    })
}

fn no_value() -> Error {
    Error::input("rows", "the metric has no value on too many resamples")
}

fn row_weights(data: &Dataset) -> Vec<f64> {
    data.weights().map_or_else(|| vec![1.0; data.n_rows()], <[f64]>::to_vec)
}

/// The units that are drawn together, as lists of their rows.
fn strata(data: &Dataset, unit: ResampleUnit) -> Result<Vec<Vec<Vec<usize>>>> {
    let rows = 0..data.n_rows();
    match unit {
        ResampleUnit::Rows => {
            let of = |label: bool| {
                rows.clone()
                    .filter(|&row| data.labels()[row] == label)
                    .map(|row| vec![row])
                    .collect()
            };
            Ok(vec![of(true), of(false)])
        }
        ResampleUnit::Entities => {
            let entities = data
                .entities()
                .ok_or_else(|| Error::input("data set", "drawing entities needs entities"))?;
            let mut of_entity = std::collections::BTreeMap::<_, Vec<usize>>::new();
            rows.for_each(|row| of_entity.entry(entities[row]).or_default().push(row));
            Ok(vec![of_entity.into_values().collect()])
        }
    }
}

/// Adds to `weights` what as many draws with replacement as there are units bring.
fn draw(units: &[Vec<usize>], as_they_are: &[f64], weights: &mut [f64], rng: &mut ChaCha8Rng) {
    for _ in 0..units.len() {
        units[below(units.len(), rng)].iter().for_each(|&row| weights[row] += as_they_are[row]);
    }
}
