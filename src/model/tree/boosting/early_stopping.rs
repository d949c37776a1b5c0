//! When to stop because later trees are of no use.

use std::fmt;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::tree::ensemble::{Link, TreeEnsemble};
use crate::model::tree::node::Tree;
use crate::parallel;
use crate::schema::FeatureSchema;

/// Rows that one thread scores at a time.
const BLOCK: usize = 4096;

/// Stops training when later trees make a metric on other rows no better, and drops the trees that did not help.
pub struct EarlyStopping<'a> {
    /// The other rows. Later ones than the training rows are the honest choice.
    pub validation: &'a Dataset,
    /// The metric of the validation rows' scores.
    pub metric: &'a (dyn Fn(&Dataset, &[f64]) -> Result<f64> + Sync),
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// Trees without a new best value after which training stops, at least 1.
    pub patience: usize,
}

impl fmt::Debug for EarlyStopping<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyStopping").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// How good the trees so far are on the validation rows.
pub(super) struct Validation<'a> {
    early: EarlyStopping<'a>,
    link: Link,
    margins: Vec<f64>,
    /// The metric after each tree.
    pub(super) history: Vec<f64>,
    best: Option<usize>,
}

impl<'a> Validation<'a> {
    /// The validation rows' margins begin at `base`, or, where training goes on from a model, where that leaves them.
    ///
    /// # Errors
    /// `SchemaMismatch` for validation rows of other columns; `InvalidConfig` for a patience of 0.
    pub(super) fn new(
        early: EarlyStopping<'a>,
        schema: &FeatureSchema,
        (base, link): (f64, Link),
        warm_start: Option<&TreeEnsemble>,
    ) -> Result<Self> {
        schema.check(early.validation.schema())?;
        if early.patience == 0 {
            return Err(Error::config("early stopping", "patience must be at least 1"));
        }
        let mut margins = vec![base; early.validation.n_rows()];
        if let Some(model) = warm_start {
            model.margins(early.validation.rows(), &mut margins)?;
        }
        Ok(Validation { early, link, margins, history: Vec::new(), best: None })
    }

    /// Adds a tree and measures. O(validation rows × depth).
    ///
    /// # Errors
    /// Those of the metric; `InvalidInput` if it gives no number.
    pub(super) fn take_up(&mut self, tree: &Tree) -> Result<()> {
        let EarlyStopping { validation, metric, higher_is_better, .. } = self.early;
        let n_features = validation.schema().n_features();
        let rows = validation.rows().chunks(BLOCK * n_features);
        let blocks = self.margins.chunks_mut(BLOCK).zip(rows).collect();
        parallel::for_each(blocks, |(margins, rows): (&mut [f64], &[f64])| {
            for (margin, row) in margins.iter_mut().zip(rows.chunks_exact(n_features)) {
                *margin += tree.nodes()[tree.leaf_of(row)].value;
            }
        });
        let scores: Vec<f64> = self.margins.iter().map(|margin| self.link.score(*margin)).collect();
        let value = metric(validation, &scores)?;
        if value.is_nan() {
            return Err(Error::input("metric of early stopping", "is not a number"));
        }
        let better = |best: f64| if higher_is_better { value > best } else { value < best };
        if self.best.is_none_or(|best| better(self.history[best])) {
            self.best = Some(self.history.len());
        }
        self.history.push(value);
        Ok(())
    }

    /// Trees up to the best one.
    pub(super) fn n_best(&self) -> usize {
        self.best.map_or(0, |best| best + 1)
    }

    /// Whether the last `patience` trees were of no use.
    pub(super) fn is_over(&self) -> bool {
        self.history.len() - self.n_best() >= self.early.patience
    }
}
