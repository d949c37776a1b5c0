//! Mean and spread of a column.

/// What a column is standardised by.
pub(super) struct Standard {
    pub(super) mean: f64,
    /// Population standard deviation; 1 for a constant column, which is only shifted.
    pub(super) scale: f64,
    pub(super) constant: bool,
}

impl Standard {
    /// Of values with their weights; two passes.
    pub(super) fn of(weighted: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let (sum, total) =
            weighted.clone().fold((0.0, 0.0), |sum, (x, w)| (sum.0 + w * x, sum.1 + w));
        // Without values there is nothing to shift.
        let mean = if total > 0.0 { sum / total } else { 0.0 };
        let squares: f64 = weighted.map(|(x, w)| w * (x - mean) * (x - mean)).sum();
        let variance = if total > 0.0 { squares / total } else { 0.0 };
        // Rounding leaves a constant column a variance of about (mean · ε)².
        let constant = variance <= (mean * 10.0 * f64::EPSILON).powi(2);
        Standard { mean, scale: if constant { 1.0 } else { variance.sqrt() }, constant }
    }

    pub(super) fn apply(&self, value: f64) -> f64 {
        (value - self.mean) / self.scale
    }
}
