//! How units are spread over arms, as it is planned.

use serde::{Deserialize, Serialize};

use super::allocation::Allocation;
use super::slot::SLOTS;
use crate::error::{Error, Result};
use crate::ids::EntityKey;
use crate::time::Timestamp;

/// How units are spread over arms. All of it but `exposure_ppm` and `weights_ppm` is frozen once the experiment runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingConfig {
    /// Names the experiment: another salt, another and independent assignment.
    pub salt: String,
    /// Share of each arm among exposed units in parts per million, the champion first; together 1,000,000.
    pub weights_ppm: Vec<u32>,
    /// Share of units that take part. Raising it moves nobody who takes part already.
    #[serde(default = "everybody")]
    pub exposure_ppm: u32,
    /// A share of a layer, for experiments that must not meet in one unit.
    #[serde(default)]
    pub layer: Option<LayerRange>,
    /// Units that take part in no experiment with this holdout.
    #[serde(default)]
    pub holdout: Option<Holdout>,
    /// Units with a fixed arm; their requests are no part of the analysis.
    #[serde(default)]
    pub overrides: Vec<(EntityKey, u8)>,
    /// Share of requests, in parts per million, that pass although the model asks for a review: the only way to learn
    /// the labels of what a model stops. 0 where labels come for reviewed requests as well.
    #[serde(default)]
    pub let_through_ppm: u32,
    /// Every arm scores every request and the champion answers.
    #[serde(default)]
    pub shadow: bool,
    /// First moment of the experiment.
    #[serde(default)]
    pub start: Option<Timestamp>,
    /// First moment after it.
    #[serde(default)]
    pub end: Option<Timestamp>,
}

fn everybody() -> u32 {
    SLOTS
}

/// Slots of a layer that belong to one experiment. Experiments with different ranges of one layer never share a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRange {
    /// Name of the layer, its salt.
    pub layer: String,
    /// First slot.
    pub from: u32,
    /// First slot after the range, at most 1,000,000.
    pub to: u32,
}

impl LayerRange {
    /// Whether some unit belongs to both.
    pub fn overlaps(&self, other: &LayerRange) -> bool {
        self.layer == other.layer && self.from < other.to && other.from < self.to
    }
}

/// Units kept out of experiments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdout {
    /// Name of the holdout, its salt.
    pub name: String,
    /// Their share in parts per million.
    pub share_ppm: u32,
}

impl RoutingConfig {
    /// All units take part, nobody is let through, no schedule.
    pub fn new(salt: &str, weights_ppm: &[u32]) -> Self {
        RoutingConfig {
            salt: salt.to_owned(),
            weights_ppm: weights_ppm.to_vec(),
            exposure_ppm: SLOTS,
            layer: None,
            holdout: None,
            overrides: Vec::new(),
            let_through_ppm: 0,
            shadow: false,
            start: None,
            end: None,
        }
    }

    /// # Errors
    /// `InvalidConfig` naming what cannot be: an empty salt, shares that do not add up, a share above a million, an empty
    /// layer range, an override twice or to an arm that is not there, an end before the start.
    pub fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::config("routing", reason));
        let n_arms = Allocation::new(&self.weights_ppm)?.n_arms();
        if self.salt.is_empty() {
            return refuse("needs a salt".into());
        }
        let holdout = self.holdout.as_ref().map_or(0, |holdout| holdout.share_ppm);
        if [self.exposure_ppm, holdout, self.let_through_ppm].iter().any(|share| *share > SLOTS) {
            return refuse(format!("a share is above {SLOTS} parts per million"));
        }
        if self.layer.as_ref().is_some_and(|layer| layer.from >= layer.to || layer.to > SLOTS) {
            return refuse("the layer's range is empty or ends above 1,000,000".into());
        }
        let mut units: Vec<EntityKey> = self.overrides.iter().map(|(unit, _)| *unit).collect();
        units.sort_unstable();
        let twice = units.windows(2).any(|pair| pair[0] == pair[1]);
        if twice || self.overrides.iter().any(|(_, arm)| usize::from(*arm) >= n_arms) {
            return refuse("an override names a unit twice or an arm that is not there".into());
        }
        if self.start.zip(self.end).is_some_and(|(start, end)| end <= start) {
            return refuse("ends before it starts".into());
        }
        Ok(())
    }
}
