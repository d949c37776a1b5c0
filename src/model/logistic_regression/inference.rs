//! How sure the coefficients are.

use serde::{Deserialize, Serialize};

use crate::model::logistic_regression::objective::Objective;
use crate::model::logistic_regression::step::chosen;
use crate::stats::{Cholesky, normal_two_sided};

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

impl Objective<'_> {
    /// In the features' own units; the information matrix is turned along.
    pub(super) fn coefficients(&self, parameters: &[f64], curvature: &[f64]) -> Vec<Coefficient> {
        let (n, free) = (self.n(), self.free());
        let m = free.len();
        let factor = Cholesky::new(&chosen(curvature, n, &free), m);
        let covariance = factor.map(|factor| factor.inverse());
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
            .map(|&j| self.columns.get(j).map_or(1.0, |column| -column.mean / column.scale))
            .collect();
        let intercept = free.iter().zip(&of_intercept).map(|(&j, a)| a * parameters[j]).sum();
        let mut table = vec![row("intercept", intercept, &of_intercept)];
        for (j, name) in self.data.schema().names().iter().enumerate() {
            let Some(place) = free.iter().position(|&column| column == j) else {
                let (name, nan) = (name.clone(), f64::NAN);
                table.push(Coefficient { name, value: 0.0, standard_error: nan, p_value: nan });
                continue;
            };
            let mut of = vec![0.0; m];
            of[place] = 1.0 / self.columns[j].scale;
            table.push(row(name, of[place] * parameters[j], &of));
        }
        table
    }
}
