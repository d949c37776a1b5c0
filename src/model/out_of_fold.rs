//! Scores by models that did not train on the rows they score.

use std::sync::Arc;

use crate::dataset::{Dataset, SplitRows};
use crate::error::Result;
use crate::model::{Model, ModelExt, Trainer};
use crate::parallel::map;
use crate::seed::Seed;

/// A trainer on one split.
pub(crate) struct FoldFit {
    pub(crate) model: Arc<dyn Model>,
    pub(crate) train: Dataset,
    pub(crate) test: Dataset,
    /// Of the test rows.
    pub(crate) scores: Vec<f64>,
}

/// Trains on every split and scores its test rows, several splits at once. Gives what `each` makes of the fits, and one score
/// per row: NaN for rows that no split tests.
///
/// # Errors
/// Those of the trainer and of `each`; the first in the order of the splits.
pub(crate) fn out_of_fold<T: Send>(
    trainer: &dyn Trainer,
    data: &Dataset,
    splits: &[SplitRows],
    seed: Seed,
    each: impl Fn(&FoldFit) -> Result<T> + Sync + Send,
) -> Result<(Vec<T>, Vec<f64>)> {
    let folds: Vec<Result<(T, Vec<f64>)>> = map(splits, |split| {
        let (train, test) = (data.select_rows(&split.train)?, data.select_rows(&split.test)?);
        let model = trainer.fit(&train, seed)?.model;
        let scores = model.score_dataset(&test)?;
        let fit = FoldFit { model, train, test, scores };
        Ok((each(&fit)?, fit.scores))
    });
    let (mut made, mut scores) = (Vec::with_capacity(splits.len()), vec![f64::NAN; data.n_rows()]);
    for (split, fold) in splits.iter().zip(folds) {
        let (of_fold, of_test) = fold?;
        split.test.iter().zip(of_test).for_each(|(&row, score)| scores[row] = score);
        made.push(of_fold);
    }
    Ok((made, scores))
}
