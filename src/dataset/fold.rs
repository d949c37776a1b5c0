//! Dealing rows into folds: by label, by entity, along time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, SplitRows, TimeSplit};
use crate::error::{Error, Result};
use crate::ids::EntityKey;
use crate::seed::{Seed, shuffle};

/// How a data set is cut into folds to validate on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FoldPlan {
    /// Every row is tested once; each of the folds has the same share of bad rows, up to one row. For data without
    /// time or entities: it lets the rows of one entity meet on both sides, and the future train for the past.
    Stratified {
        /// Number of folds, from 2 to the rows of the smaller class.
        folds: usize,
    },
    /// Every row is tested once, and all rows of an entity in the same fold; bad rows are spread as evenly as entities
    /// allow (largest first, each to the fold with the fewest bad rows so far).
    Grouped {
        /// Number of folds, from 2 to the number of entities.
        folds: usize,
    },
    /// Trained on the past, tested on what comes after its labels have arrived: [`TimeSplit::prequential`].
    Prequential {
        /// The last of the splits.
        last: TimeSplit,
        /// Number of splits, at least 1.
        folds: usize,
    },
}

impl FoldPlan {
    /// Positions to train and to test on, fold by fold. The same seed deals the same way. O(n log n).
    ///
    /// # Errors
    /// `InvalidConfig` for a number of folds that cannot be; `InvalidInput` without the entities or times asked for;
    /// `OneClass`; `Empty` for a stretch of time without rows.
    pub fn split(&self, data: &Dataset, seed: Seed) -> Result<Vec<SplitRows>> {
        match *self {
            FoldPlan::Stratified { folds } => {
                let smaller = data.n_bad().min(data.n_rows() - data.n_bad());
                data.check_both_classes("stratified folds")?;
                check_folds(folds, smaller, "rows of the smaller class")?;
                Ok(complements(&deal_rows(data.labels(), folds, seed), folds))
            }
            FoldPlan::Grouped { folds } => {
                let entities = entities(data)?;
                Ok(complements(&deal_entities(entities, data.labels(), folds, seed)?, folds))
            }
            FoldPlan::Prequential { last, folds } => {
                if folds == 0 {
                    return Err(Error::config("folds", "needs at least one"));
                }
                last.prequential(folds).iter().map(|split| split.rows_of(data)).collect()
            }
        }
    }
}

impl SplitRows {
    /// Puts a share of the rows aside to test on, with the same share of each label, drawn by `seed`.
    ///
    /// # Errors
    /// `InvalidConfig` unless the share lies strictly between 0 and 1; `OneClass`; `Empty` if a side would have no row
    /// of a label.
    pub fn stratified(data: &Dataset, test_share: f64, seed: Seed) -> Result<SplitRows> {
        check_share(test_share)?;
        data.check_both_classes("stratified split")?;
        let mut rng = seed.derive("stratified split", 0).rng();
        let mut split = SplitRows { train: Vec::new(), test: Vec::new(), removed: 0 };
        for label in [true, false] {
            let mut rows: Vec<usize> =
                (0..data.n_rows()).filter(|&row| data.labels()[row] == label).collect();
            shuffle(&mut rows, &mut rng);
            let n_test = (rows.len() as f64 * test_share).round() as usize;
            if n_test == 0 || n_test == rows.len() {
                let n = rows.len();
                let what = format!("one side of a split of {n} rows labelled {label}");
                return Err(Error::Empty { what });
            }
            split.test.extend(&rows[..n_test]);
            split.train.extend(&rows[n_test..]);
        }
        split.train.sort_unstable();
        split.test.sort_unstable();
        Ok(split)
    }

    /// Puts a share of the entities, drawn by `seed`, aside to test on, with all their rows.
    ///
    /// # Errors
    /// `InvalidConfig` unless the share lies strictly between 0 and 1; `InvalidInput` without entities; `Empty` if a side
    /// would have none.
    pub fn grouped(data: &Dataset, test_share: f64, seed: Seed) -> Result<SplitRows> {
        check_share(test_share)?;
        let mut keys = entities(data)?.to_vec();
        keys.sort_unstable();
        keys.dedup();
        shuffle(&mut keys, &mut seed.derive("grouped split", 0).rng());
        let n_test = (keys.len() as f64 * test_share).round() as usize;
        if n_test == 0 || n_test == keys.len() {
            let what = format!("one side of a split of {} entities", keys.len());
            return Err(Error::Empty { what });
        }
        keys.truncate(n_test);
        keys.sort_unstable();
        let entities = entities(data)?.iter();
        let of_test: Vec<usize> =
            entities.map(|key| usize::from(keys.binary_search(key).is_err())).collect();
        Ok(complements(&of_test, 1).remove(0))
    }
}

fn check_share(test_share: f64) -> Result<()> {
    if test_share > 0.0 && test_share < 1.0 {
        return Ok(());
    }
    Err(Error::config("split", format!("a test share of {test_share} is not between 0 and 1")))
}

fn check_folds(folds: usize, most: usize, of: &str) -> Result<()> {
    if folds < 2 || folds > most {
        let reason = format!("{folds} are not between 2 and the {most} {of}");
        return Err(Error::config("folds", reason));
    }
    Ok(())
}

fn entities(data: &Dataset) -> Result<&[EntityKey]> {
    data.entities().ok_or_else(|| Error::input("data set", "a grouped split needs entities"))
}

/// The fold of every row: the rows of each label in random order, dealt round robin, the second label going on where
/// the first stopped.
fn deal_rows(labels: &[bool], folds: usize, seed: Seed) -> Vec<usize> {
    let mut rng = seed.derive("stratified folds", 0).rng();
    let mut fold_of = vec![0; labels.len()];
    let mut next = 0;
    for label in [true, false] {
        let mut rows: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == label).collect();
        shuffle(&mut rows, &mut rng);
        for row in rows {
            fold_of[row] = next % folds;
            next += 1;
        }
    }
    fold_of
}

/// The fold of every row, one per entity.
fn deal_entities(
    entities: &[EntityKey],
    labels: &[bool],
    folds: usize,
    seed: Seed,
) -> Result<Vec<usize>> {
    // Per entity: bad rows, rows.
    let mut sizes: BTreeMap<EntityKey, (u64, u64)> = BTreeMap::new();
    for (&entity, &bad) in entities.iter().zip(labels) {
        let size = sizes.entry(entity).or_default();
        *size = (size.0 + u64::from(bad), size.1 + 1);
    }
    check_folds(folds, sizes.len(), "entities")?;
    let mut order: Vec<(EntityKey, (u64, u64))> = sizes.into_iter().collect();
    shuffle(&mut order, &mut seed.derive("grouped folds", 0).rng());
    order.sort_by_key(|&(_, size)| std::cmp::Reverse(size)); // stable: equals stay shuffled
    let mut filled = vec![(0, 0); folds];
    let mut fold_of: BTreeMap<EntityKey, usize> = BTreeMap::new();
    for (entity, (bad, rows)) in order {
        // An entity without bad rows evens out the number of rows instead.
        let fullness = |&fold: &usize| match (bad, filled[fold]) {
            (0, (_, rows)) => (rows, 0),
            (_, (bad, rows)) => (bad, rows),
        };
        let fold = (0..folds).min_by_key(fullness).expect("at least two folds, checked above");
        filled[fold].0 += bad;
        filled[fold].1 += rows;
        fold_of.insert(entity, fold);
    }
    Ok(entities.iter().map(|entity| fold_of[entity]).collect())
}

/// For each of the first `folds` folds: test on its rows, train on all others.
fn complements(fold_of: &[usize], folds: usize) -> Vec<SplitRows> {
    let split = |fold: usize| {
        let (test, train) = (0..fold_of.len()).partition(|&row| fold_of[row] == fold);
        SplitRows { train, test, removed: 0 }
    };
    (0..folds).map(split).collect()
}
