//! Logistic regression by Newton's method: weights, ridge and lasso penalties, sign constraints, standard errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::{ClassWeights, Convergence, Fitted, LogisticModel, Trainer, sigmoid};
use crate::parallel::map;
use crate::schema::FeatureKind;
use crate::seed::Seed;
use crate::stats::{Cholesky, normal_two_sided};

/// Rows that one thread sums up at a time; a constant, so that sums do not depend on the number of threads.
const ROWS_AT_ONCE: usize = 8192;

/// Parameters of [`LogisticRegression`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticRegressionConfig {
    /// Ridge penalty: minimises the summed log-loss plus `l2 / 2` times the squared coefficients of the
    /// standardised features (the intercept is free). scikit-learn's `C` is `1 / l2`.
    pub l2: f64,
    /// Lasso penalty: plus `l1` times the absolute coefficients, of which it makes some zero. With both it is the elastic
    /// net: scikit-learn's `C` is `1 / (l1 + l2)` and its `l1_ratio` `l1 / (l1 + l2)`.
    pub l1: f64,
    /// What the rows of each label count, on top of their own weights. Anything but `Equal` moves the scores away from
    /// probabilities.
    pub class_weights: ClassWeights,
    /// Which signs coefficients may have.
    pub signs: Signs,
    /// Most steps of the solver.
    pub max_iterations: u64,
    /// Largest component of the gradient, per row, that counts as converged.
    pub tolerance: f64,
}

/// Which signs coefficients may have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Signs {
    /// Any.
    #[default]
    Free,
    /// All the same one: what weights of evidence should have.
    All(Sign),
    /// These columns this one, the others any.
    Of(BTreeMap<String, Sign>),
}

/// A sign that a coefficient may have; zero is within both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sign {
    /// The score must not fall as the feature rises.
    Positive,
    /// The score must not rise as the feature rises.
    Negative,
}

impl Default for LogisticRegressionConfig {
    fn default() -> Self {
        LogisticRegressionConfig {
            l2: 1.0,
            l1: 0.0,
            class_weights: ClassWeights::Equal,
            signs: Signs::Free,
            max_iterations: 100,
            tolerance: 1e-11,
        }
    }
}

/// Trains a [`LogisticModel`] by Newton's method with step halving, on features standardised inside (weighted mean, population
/// standard deviation); with a lasso penalty or sign constraints every step is a quadratic problem solved by coordinate
/// descent (Friedman, Hastie and Tibshirani 2010). Deterministic for any number of threads; the seed plays no part.
///
/// Cost: a handful of passes of O(rows × features²). Memory: O(features²) and one row per thread beside the data.
///
/// # Errors
/// `OneClass`; `InvalidInput` for a missing or infinite value or a categorical column; `Training` where there is no one
/// solution: classes that the features separate, or columns that are linearly dependent, without a ridge penalty.
#[derive(Debug, Clone, Default)]
pub struct LogisticRegression {
    config: LogisticRegressionConfig,
}

/// A fit with all that is known of it.
#[derive(Debug, Clone)]
pub struct LogisticFit {
    /// The model.
    pub model: LogisticModel,
    /// How far the solver got.
    pub convergence: Convergence,
    /// Steps that it took.
    pub iterations: u64,
    /// Weighted log-likelihood, in nats, without the penalties.
    pub log_likelihood: f64,
    /// The intercept, then the features in their own units, with standard errors; `None` with a penalty or a sign constraint,
    /// under which the usual errors do not hold, and where the solver stopped short.
    pub coefficients: Option<Vec<Coefficient>>,
}

/// A coefficient in its feature's own unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// The feature; `intercept` for the intercept.
    pub name: String,
    /// Change in log-odds per unit.
    pub value: f64,
    /// Standard error, by the inverse of the information matrix, weights counting as so many rows; NaN for a constant
    /// column.
    pub standard_error: f64,
    /// Wald's two-sided p-value of a coefficient of zero.
    pub p_value: f64,
}

impl LogisticRegression {
    /// # Errors
    /// `InvalidConfig` for a negative penalty, a class weight that is not positive, no iterations, or a tolerance that is
    /// not positive.
    pub fn new(config: LogisticRegressionConfig) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::config("logistic regression", reason));
        if ![config.l1, config.l2].iter().all(|penalty| *penalty >= 0.0 && penalty.is_finite()) {
            return refuse("penalties must be finite and not negative");
        }
        if let ClassWeights::Given { bad, good } = config.class_weights
            && ![bad, good].iter().all(|weight| *weight > 0.0 && weight.is_finite())
        {
            return refuse("class weights must be finite and positive");
        }
        if config.max_iterations == 0 {
            return refuse("max_iterations must be at least 1");
        }
        if !(config.tolerance > 0.0 && config.tolerance.is_finite()) {
            return refuse("tolerance must be finite and positive");
        }
        Ok(LogisticRegression { config })
    }

    /// Fits a model and tells all that is known of it.
    ///
    /// # Errors
    /// See the type; `NotFound` for a sign of a column that is not there.
    pub fn fit_logistic(&self, data: &Dataset) -> Result<LogisticFit> {
        let problem = Problem::new(&self.config, data)?;
        let n = problem.width();
        let mut parameters = vec![0.0; n];
        parameters[n - 1] = problem.log_odds();
        let mut here = problem.evaluate(&parameters);
        let (mut iterations, mut gradient) = (0, problem.violation(&parameters, &here.gradient));
        while gradient > self.config.tolerance && iterations < self.config.max_iterations {
            iterations += 1;
            let step = problem.step(&parameters, &here)?;
            let Some((next, there)) = problem.descend(&parameters, &here, &step) else {
                break; // no smaller value to be had in floating point
            };
            (parameters, here) = (next, there);
            gradient = problem.violation(&parameters, &here.gradient);
        }
        if problem.separated(&here) {
            return Err(training("the features separate the classes; set l2 above 0"));
        }
        let convergence = Convergence { gradient, tolerance: self.config.tolerance };
        problem.finish(&parameters, here, convergence, iterations)
    }
}

impl Trainer for LogisticRegression {
    fn name(&self) -> &'static str {
        "logistic regression"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let LogisticRegressionConfig { l2, l1, class_weights, signs, max_iterations, tolerance } =
            &self.config;
        vec![
            ("l2".into(), l2.to_string()),
            ("l1".into(), l1.to_string()),
            ("class_weights".into(), format!("{class_weights:?}")),
            ("signs".into(), format!("{signs:?}")),
            ("max_iterations".into(), max_iterations.to_string()),
            ("tolerance".into(), tolerance.to_string()),
        ]
    }

    fn fit(&self, data: &Dataset, _seed: Seed) -> Result<Fitted> {
        let LogisticFit { model, convergence, .. } = self.fit_logistic(data)?;
        Ok(Fitted { model: Arc::new(model), convergence: Some(convergence) })
    }
}

fn training(reason: &str) -> Error {
    Error::Training { trainer: "logistic regression", reason: reason.into() }
}

/// A code is no quantity: its order means nothing.
pub(super) fn check_no_categories(data: &Dataset) -> Result<()> {
    let columns = data.schema().kinds().iter().zip(data.schema().names());
    for (kind, name) in columns {
        if matches!(kind, FeatureKind::Categorical(_)) {
            let reason = format!("{name} is categorical; encode it first");
            return Err(Error::input("features of a logistic regression", reason));
        }
    }
    Ok(())
}

/// What is minimised. Parameters: a coefficient per standardised feature, then the intercept.
struct Problem<'a> {
    config: &'a LogisticRegressionConfig,
    data: &'a Dataset,
    means: Vec<f64>,
    scales: Vec<f64>,
    constant: Vec<bool>,
    /// What a bad and a good row count.
    class_weights: [f64; 2],
    /// Sum of all weights.
    total: f64,
    /// Lowest and highest value of each coefficient.
    bounds: Vec<(f64, f64)>,
}

/// The objective at a point, with its derivatives.
struct Value {
    /// Weighted log-loss without penalties.
    loss: f64,
    /// Of the loss and the ridge penalty.
    gradient: Vec<f64>,
    /// Lower triangle of the same's second derivatives, n × n.
    curvature: Vec<f64>,
    /// Largest distance between label and score.
    worst: f64,
}

impl<'a> Problem<'a> {
    fn new(config: &'a LogisticRegressionConfig, data: &'a Dataset) -> Result<Self> {
        data.check_both_classes("logistic regression")?;
        data.check_finite("features of a logistic regression")?;
        check_no_categories(data)?;
        let weight = |row: usize| data.weights().map_or(1.0, |weights| weights[row]);
        let mut of_label = [0.0; 2];
        (0..data.n_rows()).for_each(|row| of_label[usize::from(data.labels()[row])] += weight(row));
        let [of_good, of_bad] = of_label;
        if of_good == 0.0 || of_bad == 0.0 {
            let what = "logistic regression, counting rows with a weight,".to_owned();
            return Err(Error::OneClass { what, n_rows: data.n_rows(), label: of_good == 0.0 });
        }
        let n_features = data.schema().n_features();
        let (mut means, mut scales) = (Vec::new(), Vec::new());
        let mut constant = Vec::new();
        for column in data.features().columns() {
            let weighted = || column.iter().enumerate().map(|(row, x)| (weight(row), x));
            let mean = weighted().map(|(w, x)| w * x).sum::<f64>() / (of_good + of_bad);
            let squares = weighted().map(|(w, x)| w * (x - mean) * (x - mean)).sum::<f64>();
            let variance = squares / (of_good + of_bad);
            // Rounding leaves a constant column a variance of about (mean · ε)².
            let is_constant = variance <= (mean * 10.0 * f64::EPSILON).powi(2);
            means.push(mean);
            scales.push(if is_constant { 1.0 } else { variance.sqrt() });
            constant.push(is_constant);
        }
        let any = (f64::NEG_INFINITY, f64::INFINITY);
        let of_sign = |sign: Sign| match sign {
            Sign::Positive => (0.0, f64::INFINITY),
            Sign::Negative => (f64::NEG_INFINITY, 0.0),
        };
        let mut bounds = vec![any; n_features];
        match &config.signs {
            Signs::Free => {}
            Signs::All(sign) => bounds.fill(of_sign(*sign)),
            Signs::Of(signs) => {
                for (name, sign) in signs {
                    let column = data.schema().position(name);
                    let missing = || Error::NotFound { kind: "feature", id: name.clone() };
                    bounds[column.ok_or_else(missing)?] = of_sign(*sign);
                }
            }
        }
        // The intercept is free; a constant column stays out.
        constant.iter().zip(&mut bounds).filter(|(c, _)| **c).for_each(|(_, b)| *b = (0.0, 0.0));
        bounds.push(any);
        let [bad, good] = match config.class_weights {
            ClassWeights::Equal => [1.0, 1.0],
            ClassWeights::Balanced => [of_bad, of_good].map(|of| (of_bad + of_good) / (2.0 * of)),
            ClassWeights::Given { bad, good } => [bad, good],
        };
        let total = bad * of_bad + good * of_good;
        let class_weights = [bad, good];
        Ok(Problem { config, data, means, scales, constant, class_weights, total, bounds })
    }

    fn width(&self) -> usize {
        self.means.len() + 1
    }

    /// Of the weighted bad rate: the best intercept while all coefficients are zero.
    fn log_odds(&self) -> f64 {
        let weight = |row: usize| self.data.weights().map_or(1.0, |weights| weights[row]);
        let rows = (0..self.data.n_rows()).filter(|&row| self.data.labels()[row]);
        let bad = self.class_weights[0] * rows.map(weight).sum::<f64>();
        (bad / (self.total - bad)).ln()
    }

    /// One pass over the rows.
    fn evaluate(&self, parameters: &[f64]) -> Value {
        let n = self.width();
        let starts: Vec<usize> = (0..self.data.n_rows()).step_by(ROWS_AT_ONCE).collect();
        let parts = map(&starts, |&start| {
            let end = (start + ROWS_AT_ONCE).min(self.data.n_rows());
            self.evaluate_rows(parameters, start..end)
        });
        let zero =
            Value { loss: 0.0, gradient: vec![0.0; n], curvature: vec![0.0; n * n], worst: 0.0 };
        let mut sum = parts.into_iter().fold(zero, |mut sum, part| {
            sum.loss += part.loss;
            sum.gradient.iter_mut().zip(part.gradient).for_each(|(sum, g)| *sum += g);
            sum.curvature.iter_mut().zip(part.curvature).for_each(|(sum, c)| *sum += c);
            sum.worst = sum.worst.max(part.worst);
            sum
        });
        for (j, coefficient) in parameters[..n - 1].iter().enumerate() {
            sum.gradient[j] += self.config.l2 * coefficient;
            sum.curvature[j * n + j] += self.config.l2;
        }
        sum
    }

    fn evaluate_rows(&self, parameters: &[f64], rows: std::ops::Range<usize>) -> Value {
        let n = self.width();
        let (mut loss, mut worst) = (0.0, 0.0f64);
        let (mut gradient, mut curvature) = (vec![0.0; n], vec![0.0; n * n]);
        let mut x = vec![1.0; n];
        for row in rows {
            let bad = self.data.labels()[row];
            let of_class = self.class_weights[usize::from(!bad)];
            let weight = of_class * self.data.weights().map_or(1.0, |weights| weights[row]);
            if weight == 0.0 {
                continue;
            }
            for (j, value) in self.data.row(row).iter().enumerate() {
                x[j] = (value - self.means[j]) / self.scales[j];
            }
            let margin: f64 = x.iter().zip(parameters).map(|(x, parameter)| x * parameter).sum();
            let wrong_way = if bad { -margin } else { margin };
            // ln(1 + eᵐ), without overflow.
            loss += weight * (wrong_way.max(0.0) + (-wrong_way.abs()).exp().ln_1p());
            let p = sigmoid(margin);
            let residual = p - f64::from(u8::from(bad));
            worst = worst.max(residual.abs());
            let spread = weight * p * (1.0 - p);
            for (i, xi) in x.iter().enumerate() {
                gradient[i] += weight * residual * xi;
                let scaled = spread * xi;
                let line = &mut curvature[i * n..i * n + i + 1];
                line.iter_mut().zip(&x).for_each(|(c, xj)| *c += scaled * xj);
            }
        }
        Value { loss, gradient, curvature, worst }
    }

    fn penalised(&self, parameters: &[f64], value: &Value) -> f64 {
        let coefficients = &parameters[..self.width() - 1];
        let squares: f64 = coefficients.iter().map(|c| c * c).sum();
        let sizes: f64 = coefficients.iter().map(|c| c.abs()).sum();
        value.loss + self.config.l2 / 2.0 * squares + self.config.l1 * sizes
    }

    fn l1(&self, j: usize) -> f64 {
        if j + 1 == self.width() { 0.0 } else { self.config.l1 }
    }

    /// How far the optimality conditions are from holding, per unit of weight.
    fn violation(&self, parameters: &[f64], gradient: &[f64]) -> f64 {
        let of = |j: usize| {
            let ((low, high), value, slope, l1) =
                (self.bounds[j], parameters[j], gradient[j], self.l1(j));
            // How steeply the objective rises and falls in each direction that is open.
            let up = slope + if value >= 0.0 { l1 } else { -l1 };
            let down = -slope + if value <= 0.0 { l1 } else { -l1 };
            let gain_up = if value < high { (-up).max(0.0) } else { 0.0 };
            let gain_down = if value > low { (-down).max(0.0) } else { 0.0 };
            gain_up.max(gain_down)
        };
        (0..self.width()).map(of).fold(0.0, f64::max) / self.total
    }

    /// From here to the minimum of the quadratic approximation.
    fn step(&self, parameters: &[f64], here: &Value) -> Result<Vec<f64>> {
        let n = self.width();
        let free: Vec<usize> = (0..n).filter(|&j| j + 1 == n || !self.constant[j]).collect();
        let plain = self.config.l1 == 0.0 && self.config.signs == Signs::Free;
        if !plain {
            return Ok(self.step_by_coordinates(parameters, here, &free));
        }
        let m = free.len();
        let mut matrix = vec![0.0; m * m];
        for (a, &i) in free.iter().enumerate() {
            for (b, &j) in free.iter().enumerate().take(a + 1) {
                matrix[a * m + b] = here.curvature[i * n + j];
            }
        }
        let mut solution: Vec<f64> = free.iter().map(|&j| -here.gradient[j]).collect();
        let Some(factor) = Cholesky::new(&matrix, m) else {
            let reason = match self.separated(here) {
                true => "the features separate the classes; set l2 above 0",
                false => "columns are linearly dependent; leave some out, or set l2 above 0",
            };
            return Err(training(reason));
        };
        factor.solve(&mut solution);
        let mut step = vec![0.0; n];
        free.iter().zip(solution).for_each(|(&j, value)| step[j] = value);
        Ok(step)
    }

    fn step_by_coordinates(&self, parameters: &[f64], here: &Value, free: &[usize]) -> Vec<f64> {
        let n = self.width();
        let curvature = |i: usize, j: usize| here.curvature[i.max(j) * n + i.min(j)];
        let mut step = vec![0.0; n];
        // The gradient of the approximation at the step taken so far.
        let mut slope = here.gradient.clone();
        for _ in 0..10_000 {
            let mut moved = 0.0f64;
            for &j in free {
                let bend = curvature(j, j);
                if bend <= 0.0 {
                    continue;
                }
                let (now, l1, (low, high)) = (parameters[j] + step[j], self.l1(j), self.bounds[j]);
                let target = bend * now - slope[j];
                let shrunk = target.signum() * (target.abs() - l1).max(0.0) / bend;
                let change = shrunk.clamp(low, high) - now;
                if change != 0.0 {
                    step[j] += change;
                    free.iter().for_each(|&i| slope[i] += change * curvature(i, j));
                    moved = moved.max(change.abs() * bend.sqrt());
                }
            }
            if moved <= 1e-13 * self.total.sqrt() {
                break;
            }
        }
        step
    }

    /// The first of ever shorter steps that makes the objective smaller.
    fn descend(&self, from: &[f64], here: &Value, step: &[f64]) -> Option<(Vec<f64>, Value)> {
        let before = self.penalised(from, here);
        let mut length = 1.0;
        for _ in 0..30 {
            let next: Vec<f64> = from.iter().zip(step).map(|(x, step)| x + length * step).collect();
            let there = self.evaluate(&next);
            let after = self.penalised(&next, &there);
            // Near the minimum the objective is flat to the last digit while the gradient still falls.
            let flat = (after - before).abs() <= 1e-14 * before.abs();
            let closer =
                self.violation(&next, &there.gradient) < self.violation(from, &here.gradient);
            if after < before && !flat || flat && closer {
                return Some((next, there));
            }
            length /= 2.0;
        }
        None
    }

    /// Whether every label is as good as certain: there is no finite solution.
    fn separated(&self, here: &Value) -> bool {
        self.config.l2 == 0.0 && here.worst < 1e-6
    }

    fn finish(
        &self,
        parameters: &[f64],
        here: Value,
        convergence: Convergence,
        iterations: u64,
    ) -> Result<LogisticFit> {
        let n = self.width();
        let (coefficients, intercept) = (parameters[..n - 1].to_vec(), parameters[n - 1]);
        let schema = self.data.schema().clone();
        let (means, scales) = (self.means.clone(), self.scales.clone());
        let model = LogisticModel::new(schema, intercept, coefficients, means, scales)
            .map_err(|_| training("the solution is not finite; set l2 above 0"))?;
        let plain = self.config.l1 == 0.0 && self.config.l2 == 0.0;
        let told = plain && self.config.signs == Signs::Free && convergence.converged();
        let coefficients = told.then(|| self.coefficients(parameters, &here));
        let log_likelihood = -here.loss;
        Ok(LogisticFit { model, convergence, iterations, log_likelihood, coefficients })
    }

    /// In the features' own units; the information matrix is turned along.
    fn coefficients(&self, parameters: &[f64], here: &Value) -> Vec<Coefficient> {
        let n = self.width();
        let free: Vec<usize> = (0..n).filter(|&j| j + 1 == n || !self.constant[j]).collect();
        let m = free.len();
        let mut matrix = vec![0.0; m * m];
        for (a, &i) in free.iter().enumerate() {
            for (b, &j) in free.iter().enumerate().take(a + 1) {
                matrix[a * m + b] = here.curvature[i * n + j];
            }
        }
        let covariance = Cholesky::new(&matrix, m).map(|factor| factor.inverse());
        let variance = |of: &[f64]| {
            let covariance = covariance.as_ref()?;
            let pairs = (0..m).flat_map(|a| (0..m).map(move |b| (a, b)));
            Some(pairs.map(|(a, b)| of[a] * covariance[a * m + b] * of[b]).sum::<f64>())
        };
        let row = |name: &str, value: f64, of: &[f64]| {
            let standard_error = variance(of).map_or(f64::NAN, f64::sqrt);
            let p_value = normal_two_sided(value / standard_error);
            Coefficient { name: name.to_owned(), value, standard_error, p_value }
        };
        let of_intercept: Vec<f64> = free
            .iter()
            .map(|&j| if j + 1 == n { 1.0 } else { -self.means[j] / self.scales[j] })
            .collect();
        let intercept = free.iter().zip(&of_intercept).map(|(&j, a)| a * parameters[j]).sum();
        let mut table = vec![row("intercept", intercept, &of_intercept)];
        for (j, name) in self.data.schema().names().iter().enumerate() {
            let mut of = vec![0.0; m];
            match free.iter().position(|&column| column == j) {
                Some(place) => of[place] = 1.0 / self.scales[j],
                None => {
                    let nan = f64::NAN;
                    let (name, value) = (name.clone(), 0.0);
                    table.push(Coefficient { name, value, standard_error: nan, p_value: nan });
                    continue;
                }
            }
            table.push(row(name, parameters[j] / self.scales[j], &of));
        }
        table
    }
}
