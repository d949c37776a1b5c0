//! Reason codes: the few groups of features that a person is told.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::model::explain::Explainer;

/// How contributions become reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonConfig {
    /// One per reason that can be given; every feature of the model belongs to exactly one.
    #[serde(deserialize_with = "codec::exact")]
    pub groups: Vec<ReasonGroup>,
    /// Features that nobody may be told of: protected attributes and what stands in for them. A model that scores on one of
    /// them gets no reason codes.
    #[serde(default, deserialize_with = "codec::exact")]
    pub never_display: Vec<String>,
    /// Most reasons that are given, 1 to 4. US practice asks for no more than four (Regulation B, comment 9(b)(2)-1).
    #[serde(default = "four")]
    pub most: usize,
}

fn four() -> usize {
    4
}

/// Features that are told as one reason: what is derived from the same facts, or so correlated that it means the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonGroup {
    /// What is told of values that are there.
    pub reason: ReasonText,
    /// What is told of values that are missing, "no credit history"; without it the same.
    #[serde(default)]
    pub missing: Option<ReasonText>,
    /// Names of the features.
    #[serde(deserialize_with = "codec::exact")]
    pub features: Vec<String>,
}

/// A reason as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonText {
    /// Code for forms and records; no two reasons have the same.
    pub code: String,
    /// For people.
    pub text: String,
}

/// One reason of a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Its code.
    pub code: Arc<str>,
    /// For people.
    pub text: Arc<str>,
    /// What its features add to the margin together, above 0.
    pub contribution: f64,
}

/// Gives the reasons of a model's scores.
#[derive(Debug, Clone)]
pub struct ReasonCodes {
    explainer: Arc<dyn Explainer>,
    most: usize,
    /// In the order of their codes.
    reasons: Vec<(Arc<str>, Arc<str>)>,
    /// Per feature the positions of its reasons, for a value that is there and one that is missing.
    of_feature: Vec<[u32; 2]>,
}

impl ReasonConfig {
    /// At most four reasons of these groups, and nothing that may not be told.
    pub fn new(groups: Vec<ReasonGroup>) -> Self {
        ReasonConfig { groups, never_display: Vec::new(), most: four() }
    }
}

impl ReasonCodes {
    /// Reasons from the contributions that `explainer` gives.
    ///
    /// # Errors
    /// `Refused` if the model scores on a feature that is never to be displayed. `InvalidConfig` unless every feature is in
    /// exactly one group, for a group of a feature that the model does not have, for a code or text that is empty, a code
    /// used twice, or `most` outside 1 to 4.
    pub fn new(config: &ReasonConfig, explainer: Arc<dyn Explainer>) -> Result<Self> {
        let refuse = |reason: String| Err(Error::config("reason codes", reason));
        let schema = explainer.schema();
        if let Some(name) = config.never_display.iter().find(|name| schema.position(name).is_some())
        {
            return Err(Error::Refused {
                action: "register reason codes".into(),
                reason: format!(
                    "the model scores on {name}, which is never to be displayed; train it without"
                ),
            });
        }
        if !(1..=4).contains(&config.most) {
            return refuse(format!("{} reasons at most; 1 to 4 are possible", config.most));
        }
        let texts =
            config.groups.iter().flat_map(|group| [Some(&group.reason), group.missing.as_ref()]);
        let mut texts: Vec<&ReasonText> = texts.flatten().collect();
        texts.sort_by_key(|text| &text.code);
        if texts.iter().any(|text| text.code.trim().is_empty() || text.text.trim().is_empty()) {
            return refuse("a reason needs a code and a text".into());
        }
        if let Some(pair) = texts.windows(2).find(|pair| pair[0].code == pair[1].code) {
            return refuse(format!("two reasons have the code {}", pair[0].code));
        }
        let place = |of: &ReasonText| {
            let found = texts.binary_search_by_key(&&of.code, |text| &text.code);
            found.expect("every text is in the list") as u32
        };
        let mut of_feature = vec![None; schema.n_features()];
        for group in &config.groups {
            let there = place(&group.reason);
            let places = [there, group.missing.as_ref().map_or(there, place)];
            for name in &group.features {
                let Some(feature) = schema.position(name) else {
                    return refuse(format!("{}: the model has no {name}", group.reason.code));
                };
                if of_feature[feature].replace(places).is_some() {
                    return refuse(format!("{name} is in two groups"));
                }
            }
        }
        let of_feature = of_feature.into_iter().enumerate().map(|(feature, places)| {
            let ungrouped = || format!("{} is in no group", schema.names()[feature]);
            places.ok_or_else(|| Error::config("reason codes", ungrouped()))
        });
        let of_feature = of_feature.collect::<Result<_>>()?;
        let reasons = texts.iter().map(|of| (of.code.as_str().into(), of.text.as_str().into()));
        Ok(ReasonCodes { most: config.most, reasons: reasons.collect(), of_feature, explainer })
    }

    /// What takes scores apart; its base is what reasons are counted from.
    pub fn explainer(&self) -> &Arc<dyn Explainer> {
        &self.explainer
    }

    /// The reasons why a row's score is not lower: groups that add to the margin, the largest first, of equal ones that
    /// with the lower code, at most as many as configured. Contributions are summed within a reason first; a missing value
    /// counts to its group's reason for missing ones. A feature whose contribution cannot be told gives no reason.
    ///
    /// # Errors
    /// Those of the explainer.
    pub fn reasons(&self, row: &[f64]) -> Result<Vec<Reason>> {
        let mut contributions = vec![0.0; self.of_feature.len()];
        self.explainer.explain(row, &mut contributions)?;
        let mut sums = vec![0.0; self.reasons.len()];
        for ((value, contribution), places) in row.iter().zip(&contributions).zip(&self.of_feature)
        {
            if !contribution.is_nan() {
                sums[places[usize::from(value.is_nan())] as usize] += contribution;
            }
        }
        let mut order: Vec<usize> = (0..sums.len()).filter(|&reason| sums[reason] > 0.0).collect();
        order.sort_by(|&a, &b| sums[b].total_cmp(&sums[a])); // stable: equals stay in code order
        order.truncate(self.most);
        let reason = |place: usize| {
            let (code, text) = self.reasons[place].clone();
            Reason { code, text, contribution: sums[place] }
        };
        Ok(order.into_iter().map(reason).collect())
    }
}
