//! Whether a model treats groups of people alike.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::segment::{Segment, SegmentReport};

/// How the decisions on each group compare with those on a reference group. An alert is the adverse decision.
///
/// The criteria cannot all hold at once where the groups' bad rates differ (Chouldechova 2017): which of them matters is for
/// the law and the host to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FairnessReport {
    /// What the groups are made by.
    pub by: String,
    /// The group that the others are compared with.
    pub reference: String,
    /// The groups in order, the reference among them.
    pub groups: Vec<GroupFairness>,
}

/// One group. A number whose denominator is zero is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupFairness {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub n_rows: u64,
    /// Share without an alert.
    pub approval_rate: f64,
    /// Adverse impact ratio: approval rate over the reference's. Below 0.8 the four-fifths rule of the US Uniform
    /// Guidelines on Employee Selection Procedures (1978) sees evidence of adverse impact.
    pub adverse_impact_ratio: Option<f64>,
    /// True positive rate less the reference's (equal opportunity).
    pub true_positive_rate_gap: Option<f64>,
    /// False positive rate less the reference's (predictive equality).
    pub false_positive_rate_gap: Option<f64>,
    /// False positive rate over the reference's.
    pub false_positive_rate_ratio: Option<f64>,
    /// Precision of the alerts less the reference's (predictive parity).
    pub precision_gap: Option<f64>,
    /// Standardised difference of the mean scores, in pooled standard deviations; above 0 where the group is scored riskier.
    pub score_difference: Option<f64>,
    /// Mean score over bad rate: 1 for calibrated probabilities.
    pub calibration_ratio: Option<f64>,
}

impl GroupFairness {
    /// Whether the adverse impact ratio is at least 0.8; also where it has no value.
    pub fn passes_four_fifths(&self) -> bool {
        self.adverse_impact_ratio.is_none_or(|ratio| ratio >= 0.8)
    }
}

impl FairnessReport {
    /// Compares the segments, which are the groups, with the one named `reference`.
    ///
    /// # Errors
    /// `NotFound` for an unknown reference.
    pub fn new(segments: &SegmentReport, reference: &str) -> Result<Self> {
        let of_reference = segments
            .segments
            .iter()
            .find(|segment| segment.name == reference)
            .ok_or_else(|| Error::NotFound { kind: "group", id: reference.into() })?;
        let groups = segments.segments.iter().map(|group| compare(group, of_reference)).collect();
        Ok(FairnessReport { by: segments.by.clone(), reference: reference.into(), groups })
    }
}

fn compare(group: &Segment, reference: &Segment) -> GroupFairness {
    let approval = |of: &Segment| 1.0 - of.confusion.alert_rate().expect("segments have rows");
    let gap = |ours: Option<f64>, theirs: Option<f64>| Some(ours? - theirs?);
    let over = |ours: f64, theirs: f64| (theirs > 0.0).then(|| ours / theirs);
    let (ours, theirs) = (&group.confusion, &reference.confusion);
    let false_positives = ours.false_positive_rate().zip(theirs.false_positive_rate());
    let pooled = ((group.score_deviation.powi(2) + reference.score_deviation.powi(2)) / 2.0).sqrt();
    GroupFairness {
        name: group.name.clone(),
        n_rows: group.n_rows,
        approval_rate: approval(group),
        adverse_impact_ratio: over(approval(group), approval(reference)),
        true_positive_rate_gap: gap(ours.recall(), theirs.recall()),
        false_positive_rate_gap: gap(ours.false_positive_rate(), theirs.false_positive_rate()),
        false_positive_rate_ratio: false_positives.and_then(|(ours, theirs)| over(ours, theirs)),
        precision_gap: gap(ours.precision(), theirs.precision()),
        score_difference: over(group.mean_score - reference.mean_score, pooled),
        calibration_ratio: over(group.mean_score, group.bad_rate()),
    }
}
