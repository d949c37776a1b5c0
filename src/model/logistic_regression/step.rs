//! The solver's steps: Newton's, or coordinate descent where coefficients are held back.

use crate::error::Result;
use crate::model::logistic_regression::objective::{Objective, Point};
use crate::model::logistic_regression::{Signs, separated, training};
use crate::stats::Cholesky;

impl Objective<'_> {
    /// From here to the minimum of the quadratic approximation.
    pub(super) fn step(&self, parameters: &[f64], here: &Point) -> Result<Vec<f64>> {
        let free = self.free();
        let plain = self.config.l1 == 0.0 && self.config.signs == Signs::Free;
        if !plain {
            return Ok(self.step_by_coordinates(parameters, here, &free));
        }
        let mut solution: Vec<f64> = free.iter().map(|&j| -here.gradient[j]).collect();
        let factor = Cholesky::new(&chosen(&here.curvature, self.n(), &free), free.len());
        let factor = factor.ok_or_else(|| match self.separated(here) {
            true => separated(),
            false => training("columns are linearly dependent; leave some out, or set l2 above 0"),
        })?;
        factor.solve(&mut solution);
        let mut step = vec![0.0; self.n()];
        free.iter().zip(solution).for_each(|(&j, value)| step[j] = value);
        Ok(step)
    }

    fn step_by_coordinates(&self, parameters: &[f64], here: &Point, free: &[usize]) -> Vec<f64> {
        let n = self.n();
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
            if moved <= 1e-13 * self.total().sqrt() {
                break;
            }
        }
        step
    }

    /// The first of ever shorter steps that makes the objective smaller.
    pub(super) fn descend(
        &self,
        from: &[f64],
        here: &Point,
        step: &[f64],
    ) -> Option<(Vec<f64>, Point)> {
        let before = self.penalised(from, here);
        let mut length = 1.0;
        for _ in 0..30 {
            let next: Vec<f64> = from.iter().zip(step).map(|(x, step)| x + length * step).collect();
            let there = self.at(&next);
            let after = self.penalised(&next, &there);
            // Near the minimum the objective is flat to the last digit while the gradient still falls.
            let flat = (after - before).abs() <= 1e-14 * before.abs();
            let closer = self.violation(&next, &there) < self.violation(from, here);
            if after < before && !flat || flat && closer {
                return Some((next, there));
            }
            length /= 2.0;
        }
        None
    }
}

/// The rows and columns of these parameters, of the lower triangle of an n × n matrix.
pub(super) fn chosen(matrix: &[f64], n: usize, of: &[usize]) -> Vec<f64> {
    let m = of.len();
    let mut part = vec![0.0; m * m];
    for (a, &i) in of.iter().enumerate() {
        for (b, &j) in of.iter().enumerate().take(a + 1) {
            part[a * m + b] = matrix[i * n + j];
        }
    }
    part
}
