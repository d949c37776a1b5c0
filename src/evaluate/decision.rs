//! From a score to what is done with the request.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::cost::Costs;

/// What to do with a request, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Decision {
    /// Let it pass.
    Approve,
    /// Have somebody look.
    Review,
    /// Stop it.
    Decline,
}

impl Decision {
    /// Whether it is anything but approval: what evaluations call an alert.
    pub fn is_alert(self) -> bool {
        self != Decision::Approve
    }
}

/// The scores from which a request is reviewed and declined: below `review` it is approved, from there on reviewed, from
/// `decline` on declined. Infinity means never, and serde writes it as none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Thresholds", into = "Thresholds")]
pub struct DecisionBands {
    review: f64,
    decline: f64,
}

/// What is written of [`DecisionBands`]: JSON has no infinity.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Thresholds {
    review: Option<f64>,
    decline: Option<f64>,
}

/// How many of some reference rows a team can handle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Capacity {
    /// A share of the rows, `0.0..=1.0`.
    Share(f64),
    /// A number of rows.
    Rows(usize),
}

impl DecisionBands {
    /// Approval whatever the score.
    pub const APPROVE_ALL: DecisionBands =
        DecisionBands { review: f64::INFINITY, decline: f64::INFINITY };

    /// Bands from two thresholds.
    ///
    /// # Errors
    /// `InvalidConfig` for a threshold that is NaN or negative infinity, or a review that starts above the decline.
    pub fn new(review: f64, decline: f64) -> Result<Self> {
        if [review, decline].iter().any(|at| at.is_nan() || *at == f64::NEG_INFINITY) {
            let reason = "thresholds are numbers, or infinity for never";
            return Err(Error::config("decision bands", reason));
        }
        if review > decline {
            let reason = format!("review from {review} on starts above decline from {decline} on");
            return Err(Error::config("decision bands", reason));
        }
        Ok(DecisionBands { review, decline })
    }

    /// Review from a threshold on, and nothing declined.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn review_from(threshold: f64) -> Result<Self> {
        DecisionBands::new(threshold, f64::INFINITY)
    }

    /// The lowest thresholds at which no more of the reference rows than `decline` are declined, and of the rest no more
    /// than `review` reviewed. Rows of equal score go together, so a band may hold fewer. O(n log n).
    ///
    /// # Errors
    /// `Empty` without scores, `InvalidInput` naming the first that is not finite, `InvalidConfig` for a share outside
    /// its range.
    pub fn for_capacity(scores: &[f64], review: Capacity, decline: Capacity) -> Result<Self> {
        if scores.is_empty() {
            return Err(Error::Empty { what: "scores of a capacity".into() });
        }
        if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
            return Err(Error::input("scores", format!("row {row} is {}", scores[row])));
        }
        let mut falling = scores.to_vec();
        falling.sort_unstable_by(|a, b| b.total_cmp(a));
        let declined = whole_ties(&falling, decline.rows(scores.len())?);
        let alerts = declined.saturating_add(review.rows(scores.len())?);
        let alerts = whole_ties(&falling, alerts);
        let from = |n: usize| if n == 0 { f64::INFINITY } else { falling[n - 1] };
        DecisionBands::new(from(alerts), from(declined))
    }

    /// The thresholds with the least total cost on these rows, the highest of several, among infinity and every distinct
    /// score. `review` and `decline` say what each of the two costs as the alert of a [`Costs`], and the same of rows that
    /// pass; without `decline` nothing is declined. `amounts` may be empty. Choose them on other rows than those they are
    /// judged by. O(n log n).
    ///
    /// # Errors
    /// As [`Costs::curve`]; `InvalidConfig` if the two differ in what a row costs that passes.
    pub fn for_costs(
        review: &Costs,
        decline: Option<&Costs>,
        labels: &[bool],
        scores: &[f64],
        amounts: &[f64],
    ) -> Result<Self> {
        let Some(decline) = decline else {
            return DecisionBands::review_from(review.best_threshold(labels, scores, amounts)?);
        };
        let action = |costs: &Costs| Costs { alert: 0.0, false_positive: 0.0, ..*costs };
        if action(review) != action(decline) {
            let reason = "a row that passes must cost the same beside review and decline";
            return Err(Error::config("costs", reason));
        }
        let reviews = review.curve(labels, scores, amounts)?;
        let declines = decline.curve(labels, scores, amounts)?;
        // Reviewed from r on and declined from d on costs review(r) + decline(d) − review(d): the best d above each r is
        // the best so far.
        let (mut least_instead, mut decline_from) = (f64::INFINITY, f64::INFINITY);
        let (mut least, mut best) = (f64::INFINITY, DecisionBands::APPROVE_ALL);
        for (reviewed, declined) in reviews.iter().zip(&declines) {
            let instead = declined.total_cost - reviewed.total_cost;
            if instead < least_instead {
                (least_instead, decline_from) = (instead, declined.threshold);
            }
            let cost = reviewed.total_cost + least_instead;
            if cost < least {
                (least, best) = (cost, DecisionBands::new(reviewed.threshold, decline_from)?);
            }
        }
        Ok(best)
    }

    /// Bands for another model on the same rows: it alerts from `review` on, and declines as many of them as these bands
    /// decline by their own model's scores, the highest ones. Where these decline nothing it declines nothing; where it would
    /// decline more than it alerts, it alerts from there on. Rows of equal score go together; rows that either model has no
    /// score for, NaN, are left out. O(n log n).
    ///
    /// # Errors
    /// `InvalidInput` unless there are as many scores of each; those of [`new`](Self::new).
    pub fn transferred(self, review: f64, own: &[f64], others: &[f64]) -> Result<Self> {
        if own.len() != others.len() {
            let reason = format!("{} of one model, {} of the other", own.len(), others.len());
            return Err(Error::input("scores", reason));
        }
        let both = || own.iter().zip(others).filter(|(a, b)| a.is_finite() && b.is_finite());
        let declined = both().filter(|(own, _)| **own >= self.decline).count();
        let scores: Vec<f64> = both().map(|(_, other)| *other).collect();
        if self.decline == f64::INFINITY || scores.is_empty() {
            return DecisionBands::review_from(review);
        }
        let rows = |n| Capacity::Rows(n);
        let decline = DecisionBands::for_capacity(&scores, rows(0), rows(declined))?.decline;
        DecisionBands::new(review.min(decline), decline)
    }

    /// Scores from here on are reviewed; infinity for never.
    pub fn review(self) -> f64 {
        self.review
    }

    /// Scores from here on are declined; infinity for never.
    pub fn decline(self) -> f64 {
        self.decline
    }

    /// What to do at a score. NaN, which is none, is reviewed: nobody is approved or declined unseen.
    #[inline]
    pub fn decide(self, score: f64) -> Decision {
        if score >= self.decline {
            Decision::Decline
        } else if score < self.review {
            Decision::Approve
        } else {
            Decision::Review
        }
    }
}

impl Capacity {
    fn rows(self, of: usize) -> Result<usize> {
        match self {
            Capacity::Rows(n) => Ok(n),
            Capacity::Share(share) if (0.0..=1.0).contains(&share) => {
                Ok((share * of as f64).floor() as usize)
            }
            Capacity::Share(share) => {
                Err(Error::config("capacity", format!("a share of {share} is not within 0 to 1")))
            }
        }
    }
}

/// At most this many of the first rows, no tie cut in two.
fn whole_ties(falling: &[f64], most: usize) -> usize {
    let mut n = most.min(falling.len());
    while n > 0 && n < falling.len() && falling[n - 1] == falling[n] {
        n -= 1;
    }
    n
}

impl TryFrom<Thresholds> for DecisionBands {
    type Error = Error;

    fn try_from(from: Thresholds) -> Result<Self> {
        let at = |threshold: Option<f64>| threshold.unwrap_or(f64::INFINITY);
        DecisionBands::new(at(from.review), at(from.decline))
    }
}

impl From<DecisionBands> for Thresholds {
    fn from(bands: DecisionBands) -> Self {
        let finite = |threshold: f64| Some(threshold).filter(|at| at.is_finite());
        Thresholds { review: finite(bands.review), decline: finite(bands.decline) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_threshold_belongs_to_the_band_it_opens() {
        let bands = DecisionBands::new(0.3, 0.8).unwrap();
        let decide = |score| bands.decide(score);
        assert_eq!((decide(0.299), decide(0.3)), (Decision::Approve, Decision::Review));
        assert_eq!((decide(0.799), decide(0.8)), (Decision::Review, Decision::Decline));
        assert_eq!(decide(f64::NAN), Decision::Review);
        assert_eq!(DecisionBands::APPROVE_ALL.decide(1.0), Decision::Approve);
        assert_eq!(DecisionBands::new(0.5, 0.5).unwrap().decide(0.5), Decision::Decline);
    }

    #[test]
    fn thresholds_that_cannot_be_are_refused_from_code_and_from_text() {
        for (review, decline) in
            [(f64::NAN, 0.5), (0.5, f64::NAN), (0.6, 0.5), (f64::NEG_INFINITY, 0.5)]
        {
            assert!(DecisionBands::new(review, decline).is_err(), "{review} {decline}");
        }
        let bands = DecisionBands::review_from(0.25).unwrap();
        let json = serde_json::to_string(&bands).unwrap();
        assert_eq!(json, r#"{"review":0.25,"decline":null}"#);
        assert_eq!(serde_json::from_str::<DecisionBands>(&json).unwrap(), bands);
        assert!(serde_json::from_str::<DecisionBands>(r#"{"review":0.6,"decline":0.5}"#).is_err());
    }

    #[test]
    fn a_capacity_keeps_ties_together_and_is_never_overrun() {
        let scores = [0.9, 0.8, 0.8, 0.5, 0.5, 0.5, 0.1];
        let of = |review, decline| {
            let bands = DecisionBands::for_capacity(&scores, review, decline).unwrap();
            (bands.review(), bands.decline())
        };
        assert_eq!(of(Capacity::Rows(3), Capacity::Rows(2)), (0.8, 0.9));
        assert_eq!(of(Capacity::Rows(0), Capacity::Rows(0)), (f64::INFINITY, f64::INFINITY));
        assert_eq!(of(Capacity::Share(1.0), Capacity::Share(0.0)), (0.1, f64::INFINITY));
        assert_eq!(of(Capacity::Share(0.5), Capacity::Rows(1)), (0.8, 0.9));
        for (scores, share) in [(&scores[..0], 0.5), (&scores, 1.5), (&scores, f64::NAN)] {
            let (share, none) = (Capacity::Share(share), Capacity::Rows(0));
            assert!(DecisionBands::for_capacity(scores, share, none).is_err());
        }
        let none = Capacity::Rows(0);
        assert!(DecisionBands::for_capacity(&[0.1, f64::NAN], none, none).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn no_pair_of_thresholds_costs_less(
            rows in proptest::collection::vec((any::<bool>(), 0u8..6, 1u8..50), 2..25),
            (review_cost, decline_cost, friction) in (0u8..20, 0u8..5, 0u8..60),
        ) {
            let labels: Vec<bool> = rows.iter().map(|row| row.0).collect();
            prop_assume!(labels.contains(&true) && labels.contains(&false));
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.1) / 8.0).collect();
            let amounts: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
            let review = Costs { alert: f64::from(review_cost), ..Costs::default() };
            let (alert, false_positive) = (f64::from(decline_cost), f64::from(friction));
            let decline = Costs { alert, false_positive, ..Costs::default() };
            let cost = |bands: DecisionBands| -> f64 {
                let one = |row: usize| {
                    let (bad, amount) = (labels[row], amounts[row]);
                    match bands.decide(scores[row]) {
                        Decision::Approve => review.of(bad, false, amount),
                        Decision::Review => review.of(bad, true, amount),
                        Decision::Decline => decline.of(bad, true, amount),
                    }
                };
                (0..labels.len()).map(one).sum()
            };
            let chosen =
                DecisionBands::for_costs(&review, Some(&decline), &labels, &scores, &amounts).unwrap();
            let mut thresholds = scores.clone();
            thresholds.push(f64::INFINITY);
            for &r in &thresholds {
                for &d in thresholds.iter().filter(|d| **d >= r) {
                    prop_assert!(cost(chosen) <= cost(DecisionBands::new(r, d).unwrap()));
                }
            }
            let other = Costs { missed: 1.0, ..decline };
            prop_assert!(
                DecisionBands::for_costs(&review, Some(&other), &labels, &scores, &amounts).is_err()
            );
        }
    }
}
