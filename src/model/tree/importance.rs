//! Which features an ensemble leans on, as its training saw it.

use crate::model::tree::ensemble::TreeEnsemble;

/// What a feature's splits are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeImportance {
    /// What they improved the training objective by, together. Favours features with many distinct values.
    Gain,
    /// How many there are.
    Splits,
    /// Weight of the training rows that they were asked of.
    Cover,
}

impl TreeEnsemble {
    /// One number per feature in schema order, summed over all splits and not scaled. It tells of the training rows only:
    /// permutation importance ([`PermutationImportance`](crate::evaluate::PermutationImportance)) on later rows is the
    /// honest one. O(nodes).
    pub fn importance(&self, by: TreeImportance) -> Vec<f64> {
        let mut importance = vec![0.0; crate::model::Model::schema(self).n_features()];
        for node in self.trees().iter().flat_map(|tree| tree.nodes()) {
            if let Some(split) = &node.split {
                importance[split.feature as usize] += match by {
                    TreeImportance::Gain => node.gain,
                    TreeImportance::Splits => 1.0,
                    TreeImportance::Cover => node.cover,
                };
            }
        }
        importance
    }
}
