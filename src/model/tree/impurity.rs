//! What single trees and forests have in common: leaves are shares of bad.

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::model::ClassWeights;
use crate::model::tree::grow::{
    Binned, Cell, Criterion, DrawCell, GrowPlan, Grower, Shares, Sum, WideCell, wide,
};
use crate::model::tree::node::Tree;
use crate::seed::Seed;

/// What the leaves of a tree should be: as pure as possible, by this measure. A split's gain is the weight of its rows
/// times the impurity that it removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impurity {
    /// `2p(1 − p)`.
    #[default]
    Gini,
    /// `−p log₂ p − (1 − p) log₂ (1 − p)`, which is also the log-loss of the leaf, in bits.
    Entropy,
}

/// Grows trees whose leaves are shares of bad.
#[derive(Debug)]
pub(super) struct ShareTrees<'a> {
    pub(super) data: &'a Dataset,
    pub(super) binned: &'a Binned,
    pub(super) class_weights: ClassWeights,
    pub(super) impurity: Impurity,
    /// But for the criterion, which is the impurity's.
    pub(super) plan: GrowPlan,
}

impl ShareTrees<'_> {
    /// A tree on the rows that were drawn, each counting as often as it was, and what they weigh together.
    pub(super) fn grow(&self, draws: &[u32], seed: Seed) -> (Tree, f64) {
        let labels = self.data.labels();
        let Some(weights) = self.data.weights() else {
            let cells: Vec<DrawCell> =
                draws.iter().zip(labels).map(|(&draws, &bad)| DrawCell::new(draws, bad)).collect();
            return self.grow_cells(draws, &cells, 1.0, seed);
        };
        let weight = |row: usize| weights[row] * f64::from(draws[row]);
        let most = (0..draws.len()).map(weight).fold(f64::MIN_POSITIVE, f64::max);
        // A power of two, so that whole weights stay exact.
        let unit = (most / wide(draws.len()).1).log2().ceil().exp2();
        let cell = |row: usize| {
            let units = (weight(row) / unit).round() as u64;
            let bad = if labels[row] { units as i64 } else { 0 };
            WideCell(Sum::new(bad, units, u64::from(draws[row])))
        };
        let cells: Vec<WideCell> = (0..draws.len()).map(cell).collect();
        self.grow_cells(draws, &cells, unit, seed)
    }

    /// `unit` is what one unit of the cells' weights weighs.
    fn grow_cells<C: Cell>(
        &self,
        draws: &[u32],
        cells: &[C],
        unit: f64,
        seed: Seed,
    ) -> (Tree, f64) {
        let (good, bad) = self.class_weights.of(self.data);
        let shares = Shares { good: good * unit, bad: bad * unit };
        let criterion = match self.impurity {
            Impurity::Gini => Criterion::Gini(shares),
            Impurity::Entropy => Criterion::Entropy(shares),
        };
        let plan = GrowPlan { criterion, ..self.plan.clone() };
        let rows = (0..draws.len() as u32).filter(|&row| draws[row as usize] > 0).collect();
        let features: Vec<u32> = (0..self.binned.features.len() as u32).collect();
        let grown = Grower::new(self.binned, plan).grow(rows, cells, &features, seed);
        (grown.tree(self.binned, 1.0), shares.weights(grown.total()).1)
    }
}
