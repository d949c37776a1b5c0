//! What is tuned: named parameters and the values that they may take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The values that a parameter may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ParameterRange {
    /// A number between two others, both included.
    Number {
        /// Smallest.
        low: f64,
        /// Largest.
        high: f64,
        /// Whether it is spread evenly on the logarithmic scale; both ends must be positive then.
        log: bool,
    },
    /// A whole number between two others, both included.
    Whole {
        /// Smallest.
        low: i64,
        /// Largest.
        high: i64,
        /// Whether it is spread evenly on the logarithmic scale; both ends must be positive then.
        log: bool,
    },
    /// One of these texts.
    Choice(Vec<String>),
}

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParameterValue {
    /// Of a [`ParameterRange::Whole`].
    Whole(i64),
    /// Of a [`ParameterRange::Number`].
    Number(f64),
    /// Of a [`ParameterRange::Choice`].
    Choice(String),
}

/// A value of every parameter of a space.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParameterSet(pub(super) BTreeMap<String, ParameterValue>);

impl ParameterSet {
    /// All of them, by name.
    pub fn values(&self) -> &BTreeMap<String, ParameterValue> {
        &self.0
    }

    /// A number, whole or not.
    ///
    /// # Errors
    /// `NotFound` if there is no such parameter, or it is a choice.
    pub fn number(&self, name: &str) -> Result<f64> {
        match self.0.get(name) {
            Some(ParameterValue::Number(value)) => Ok(*value),
            Some(ParameterValue::Whole(value)) => Ok(*value as f64),
            _ => Err(Error::NotFound { kind: "number among the parameters,", id: name.into() }),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// `NotFound` if there is no such parameter, or it is none.
    pub fn whole(&self, name: &str) -> Result<i64> {
        match self.0.get(name) {
            Some(ParameterValue::Whole(value)) => Ok(*value),
            _ => {
                Err(Error::NotFound { kind: "whole number among the parameters,", id: name.into() })
            }
        }
    }

    /// A choice.
    ///
    /// # Errors
    /// `NotFound` if there is no such parameter, or it is a number.
    pub fn choice(&self, name: &str) -> Result<&str> {
        match self.0.get(name) {
            Some(ParameterValue::Choice(value)) => Ok(value),
            _ => Err(Error::NotFound { kind: "choice among the parameters,", id: name.into() }),
        }
    }
}

/// Parameters by name, each with its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, ParameterRange>", into = "BTreeMap<String, ParameterRange>")]
pub struct SearchSpace(BTreeMap<String, ParameterRange>);

impl SearchSpace {
    /// # Errors
    /// `InvalidConfig` for no parameter, ends that do not rise or are not finite, a logarithmic range that is not positive, or
    /// choices that are empty or come twice.
    pub fn new<S: Into<String>>(
        parameters: impl IntoIterator<Item = (S, ParameterRange)>,
    ) -> Result<Self> {
        let parameters: Vec<(String, ParameterRange)> =
            parameters.into_iter().map(|(name, range)| (name.into(), range)).collect();
        let (n, space) = (parameters.len(), parameters.into_iter().collect::<BTreeMap<_, _>>());
        if space.is_empty() || space.len() < n {
            return Err(Error::config("search space", "needs parameters of distinct names"));
        }
        for (name, range) in &space {
            let sound = match range {
                ParameterRange::Number { low, high, log } => {
                    low.is_finite() && high.is_finite() && low < high && (!log || *low > 0.0)
                }
                ParameterRange::Whole { low, high, log } => low < high && (!log || *low > 0),
                ParameterRange::Choice(choices) => {
                    let twice = (1..choices.len()).any(|i| choices[..i].contains(&choices[i]));
                    !choices.is_empty() && !twice
                }
            };
            if !sound {
                return Err(Error::config(
                    "search space",
                    format!("the range of {name} cannot be"),
                ));
            }
        }
        Ok(SearchSpace(space))
    }

    /// The ranges by name.
    pub fn ranges(&self) -> &BTreeMap<String, ParameterRange> {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, ParameterRange>> for SearchSpace {
    type Error = Error;

    fn try_from(parameters: BTreeMap<String, ParameterRange>) -> Result<Self> {
        SearchSpace::new(parameters)
    }
}

impl From<SearchSpace> for BTreeMap<String, ParameterRange> {
    fn from(space: SearchSpace) -> Self {
        space.0
    }
}

impl ParameterRange {
    /// The value at a place of 0 to 1 along the range.
    pub(super) fn at(&self, place: f64) -> ParameterValue {
        // libm's functions have the same bits on every platform.
        let between = |low: f64, high: f64, log: bool| {
            let value = if log {
                libm::exp(libm::log(low) + place * (libm::log(high) - libm::log(low)))
            } else {
                low + place * (high - low)
            };
            value.clamp(low, high)
        };
        match self {
            ParameterRange::Number { low, high, log } => {
                ParameterValue::Number(between(*low, *high, *log))
            }
            ParameterRange::Whole { low, high, log } => {
                // Half a step on either side, so that the ends are as likely as the others.
                let value = between(*low as f64 - 0.499_999, *high as f64 + 0.499_999, *log);
                ParameterValue::Whole((value.round() as i64).clamp(*low, *high))
            }
            ParameterRange::Choice(choices) => {
                let i = (place * choices.len() as f64) as usize;
                ParameterValue::Choice(choices[i.min(choices.len() - 1)].clone())
            }
        }
    }

    /// The place of a value, the middle of its stretch for whole numbers and choices.
    pub(super) fn place(&self, value: &ParameterValue) -> f64 {
        let within = |value: f64, low: f64, high: f64, log: bool| {
            if log {
                (libm::log(value) - libm::log(low)) / (libm::log(high) - libm::log(low))
            } else {
                (value - low) / (high - low)
            }
        };
        match (self, value) {
            (ParameterRange::Number { low, high, log }, ParameterValue::Number(value)) => {
                within(*value, *low, *high, *log)
            }
            (ParameterRange::Whole { low, high, log }, ParameterValue::Whole(value)) => {
                within(*value as f64, *low as f64 - 0.499_999, *high as f64 + 0.499_999, *log)
            }
            (ParameterRange::Choice(choices), ParameterValue::Choice(value)) => {
                let i = choices.iter().position(|choice| choice == value).unwrap_or(0);
                (i as f64 + 0.5) / choices.len() as f64
            }
            _ => 0.5, // a value of another space, which the journal's heading rules out
        }
    }

    /// `steps` values over the range, fewer where there are not so many.
    pub(super) fn grid(&self, steps: usize) -> Vec<ParameterValue> {
        match self {
            ParameterRange::Choice(choices) => {
                choices.iter().cloned().map(ParameterValue::Choice).collect()
            }
            ParameterRange::Whole { low, high, .. } if high.abs_diff(*low) < steps as u64 => {
                (*low..=*high).map(ParameterValue::Whole).collect()
            }
            _ if steps == 1 => vec![self.at(0.5)],
            _ => {
                let mut values: Vec<ParameterValue> =
                    (0..steps).map(|i| self.at(i as f64 / (steps - 1) as f64)).collect();
                values.dedup();
                values
            }
        }
    }
}
