//! Precision among the cards that a team can look at in a day.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::ids::EntityKey;

/// Precision among the cards that a team can look at in a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardPrecision {
    /// Cards looked at per day.
    pub k: usize,
    /// Mean over the days.
    pub mean: f64,
    /// Bad cards found divided by `k`, day by day.
    pub by_day: Vec<f64>,
}

/// Card precision at `k` by day (UTC), after the Fraud Detection Handbook: a card's score and label on a day are the
/// highest of its rows; the `k` highest cards are looked at; a bad card that was found leaves the following days. The
/// divisor is `k` even when fewer cards were active. Equal scores: the lower entity key first.
///
/// # Errors
/// `InvalidConfig` for `k` zero; `InvalidInput` if scores and rows differ in number, a score is NaN, or the data set has
/// no times or entities.
pub fn card_precision(data: &Dataset, scores: &[f64], k: usize) -> Result<CardPrecision> {
    if k == 0 {
        return Err(Error::config("card precision", "k must be at least 1"));
    }
    if scores.len() != data.n_rows() || scores.iter().any(|score| score.is_nan()) {
        return Err(Error::input("scores", "one per row is needed, none of them NaN"));
    }
    let (Some(times), Some(entities)) = (data.times(), data.entities()) else {
        return Err(Error::input("data set", "card precision needs times and entities"));
    };
    let mut days: BTreeMap<i64, BTreeMap<EntityKey, (f64, bool)>> = BTreeMap::new();
    for (row, (time, &card)) in times.iter().zip(entities).enumerate() {
        let (score, bad) = (scores[row], data.labels()[row]);
        let cards = days.entry(time.day(0)).or_default();
        let best = cards.entry(card).or_insert((score, bad));
        *best = (best.0.max(score), best.1 || bad);
    }
    let mut found: BTreeSet<EntityKey> = BTreeSet::new();
    let by_day: Vec<f64> = days
        .values()
        .map(|cards| {
            let open = cards.iter().filter(|(card, _)| !found.contains(*card));
            let mut open: Vec<(EntityKey, f64, bool)> =
                open.map(|(&card, &(score, bad))| (card, score, bad)).collect();
            // Stable, and the map was in key order.
            open.sort_by(|a, b| b.1.partial_cmp(&a.1).expect("no NaN, checked above"));
            let hits: Vec<EntityKey> =
                open.iter().take(k).filter(|card| card.2).map(|card| card.0).collect();
            found.extend(&hits);
            hits.len() as f64 / k as f64
        })
        .collect();
    let mean = by_day.iter().sum::<f64>() / by_day.len() as f64;
    Ok(CardPrecision { k, mean, by_day })
}
