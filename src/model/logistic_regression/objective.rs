//! What logistic regression minimises.

use ndarray::ArrayView1;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::class_weights::label_weights;
use crate::model::logistic_regression::{
    LogisticRegressionConfig, Sign, Signs, check_no_categories, training,
};
use crate::model::standardise::Standard;
use crate::model::{LogisticModel, sigmoid};
use crate::parallel::map;

/// Rows that one thread sums up at a time; a constant, so that sums do not depend on the number of threads.
const ROWS_AT_ONCE: usize = 8192;

/// What is minimised. Parameters: a coefficient per standardised feature, then the intercept.
pub(super) struct Objective<'a> {
    pub(super) config: &'a LogisticRegressionConfig,
    pub(super) data: &'a Dataset,
    pub(super) columns: Vec<Standard>,
    /// What a good and a bad row count.
    class_weights: [f64; 2],
    /// Sum of the weights of good and of bad rows.
    of_label: [f64; 2],
    /// Lowest and highest value of each coefficient.
    pub(super) bounds: Vec<(f64, f64)>,
}

/// The objective at a point, with its derivatives.
pub(super) struct Point {
    /// Weighted log-loss without penalties.
    pub(super) loss: f64,
    /// Of the loss and the ridge penalty.
    pub(super) gradient: Vec<f64>,
    /// Lower triangle of the same's second derivatives, n × n.
    pub(super) curvature: Vec<f64>,
    /// Largest distance between label and score.
    pub(super) worst: f64,
}

impl<'a> Objective<'a> {
    pub(super) fn new(config: &'a LogisticRegressionConfig, data: &'a Dataset) -> Result<Self> {
        data.check_both_classes("logistic regression")?;
        data.check_finite("features of a logistic regression")?;
        check_no_categories(data)?;
        let [of_good, of_bad] = label_weights(data);
        if of_good == 0.0 || of_bad == 0.0 {
            let what = "logistic regression, counting rows with a weight,".to_owned();
            return Err(Error::OneClass { what, n_rows: data.n_rows(), label: of_good == 0.0 });
        }
        let weight = |row: usize| data.weights().map_or(1.0, |weights| weights[row]);
        let standard = |column: ArrayView1<'_, f64>| {
            Standard::of(column.iter().enumerate().map(|(row, x)| (*x, weight(row))))
        };
        let features = data.features();
        let columns: Vec<Standard> = features.columns().into_iter().map(standard).collect();
        let any = (f64::NEG_INFINITY, f64::INFINITY);
        let of_sign = |sign: Sign| match sign {
            Sign::Positive => (0.0, f64::INFINITY),
            Sign::Negative => (f64::NEG_INFINITY, 0.0),
        };
        let mut bounds = vec![any; columns.len()];
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
        let constant = columns.iter().map(|column| column.constant);
        constant.zip(&mut bounds).filter(|(c, _)| *c).for_each(|(_, b)| *b = (0.0, 0.0));
        bounds.push(any);
        let (good, bad) = config.class_weights.of(data);
        let of_label = [good * of_good, bad * of_bad];
        Ok(Objective { config, data, columns, class_weights: [good, bad], of_label, bounds })
    }

    /// Number of parameters.
    pub(super) fn n(&self) -> usize {
        self.columns.len() + 1
    }

    /// Sum of all weights.
    pub(super) fn total(&self) -> f64 {
        self.of_label[0] + self.of_label[1]
    }

    /// All coefficients zero, and the intercept that is best then: the log-odds of the weighted bad rate.
    pub(super) fn start(&self) -> Vec<f64> {
        let [good, bad] = self.of_label;
        let mut parameters = vec![0.0; self.n()];
        parameters[self.columns.len()] = (bad / good).ln();
        parameters
    }

    /// The parameters that are fitted: all but those of constant columns.
    pub(super) fn free(&self) -> Vec<usize> {
        let intercept = self.columns.len();
        (0..self.n()).filter(|&j| j == intercept || !self.columns[j].constant).collect()
    }

    /// One pass over the rows.
    pub(super) fn at(&self, parameters: &[f64]) -> Point {
        let n = self.n();
        let starts: Vec<usize> = (0..self.data.n_rows()).step_by(ROWS_AT_ONCE).collect();
        let parts = map(&starts, |&start| {
            let end = (start + ROWS_AT_ONCE).min(self.data.n_rows());
            self.at_rows(parameters, start..end)
        });
        let zero =
            Point { loss: 0.0, gradient: vec![0.0; n], curvature: vec![0.0; n * n], worst: 0.0 };
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

    fn at_rows(&self, parameters: &[f64], rows: std::ops::Range<usize>) -> Point {
        let n = self.n();
        let (mut loss, mut worst) = (0.0, 0.0f64);
        let (mut gradient, mut curvature) = (vec![0.0; n], vec![0.0; n * n]);
        let mut x = vec![1.0; n];
        for row in rows {
            let bad = self.data.labels()[row];
            let of_class = self.class_weights[usize::from(bad)];
            let weight = of_class * self.data.weights().map_or(1.0, |weights| weights[row]);
            if weight == 0.0 {
                continue;
            }
            let standardised = self.data.row(row).iter().zip(&self.columns);
            x.iter_mut().zip(standardised).for_each(|(x, (value, of))| *x = of.apply(*value));
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
        Point { loss, gradient, curvature, worst }
    }

    pub(super) fn penalised(&self, parameters: &[f64], value: &Point) -> f64 {
        let coefficients = &parameters[..self.n() - 1];
        let squares: f64 = coefficients.iter().map(|c| c * c).sum();
        let sizes: f64 = coefficients.iter().map(|c| c.abs()).sum();
        value.loss + self.config.l2 / 2.0 * squares + self.config.l1 * sizes
    }

    /// The lasso penalty of a parameter.
    pub(super) fn l1(&self, j: usize) -> f64 {
        if j + 1 == self.n() { 0.0 } else { self.config.l1 }
    }

    /// How far the optimality conditions are from holding, per unit of weight.
    pub(super) fn violation(&self, parameters: &[f64], here: &Point) -> f64 {
        let of = |j: usize| {
            let ((low, high), value, slope, l1) =
                (self.bounds[j], parameters[j], here.gradient[j], self.l1(j));
            // How steeply the objective rises and falls in each direction that is open.
            let up = slope + if value >= 0.0 { l1 } else { -l1 };
            let down = -slope + if value <= 0.0 { l1 } else { -l1 };
            let gain_up = if value < high { (-up).max(0.0) } else { 0.0 };
            let gain_down = if value > low { (-down).max(0.0) } else { 0.0 };
            gain_up.max(gain_down)
        };
        (0..self.n()).map(of).fold(0.0, f64::max) / self.total()
    }

    /// Whether every label is as good as certain: there is no finite solution.
    pub(super) fn separated(&self, here: &Point) -> bool {
        self.config.l2 == 0.0 && here.worst < 1e-6
    }

    pub(super) fn model(&self, mut parameters: Vec<f64>) -> Result<LogisticModel> {
        let intercept = parameters.pop().expect("the intercept is always there");
        let (means, scales) = self.columns.iter().map(|of| (of.mean, of.scale)).unzip();
        LogisticModel::new(self.data.schema().clone(), intercept, parameters, means, scales)
            .map_err(|_| training("the solution is not finite; set l2 above 0"))
    }
}
