//! What a request's values may be, and how they are brought into the order of the schema.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schema::{FeatureKind, FeatureSchema};

/// What values a slot takes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputPolicy {
    /// Of every feature that has no rule of its own.
    pub default: InputRule,
    /// By name.
    pub features: BTreeMap<String, InputRule>,
}

/// What values a feature may have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputRule {
    /// What becomes of a missing value (NaN).
    pub missing: MissingPolicy,
    /// What becomes of an infinite value.
    pub infinite: ValuePolicy,
    /// Least and greatest value; `None` for any finite one. Of a boolean or categorical feature its kind tells.
    pub range: Option<(f64, f64)>,
    /// What becomes of a finite value outside the range, or of a code that its kind does not have.
    pub out_of_range: ValuePolicy,
}

/// What becomes of a missing value.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum MissingPolicy {
    /// It goes to the model.
    #[default]
    Allow,
    /// The request is an error.
    Reject,
    /// This value goes to the model instead.
    Default(f64),
}

/// What becomes of a value that should not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ValuePolicy {
    /// The request is an error.
    Reject,
    /// It goes to the model, and the prediction says so.
    #[default]
    Flag,
    /// The nearest end of the range goes to the model (without one, of the finite numbers; of a code, a missing value), and
    /// the prediction says so.
    Clamp,
}

/// Everything goes to the model; infinite and impossible values are flagged.
impl Default for InputRule {
    fn default() -> Self {
        InputRule {
            missing: MissingPolicy::Allow,
            infinite: ValuePolicy::Flag,
            range: None,
            out_of_range: ValuePolicy::Flag,
        }
    }
}

/// What was noticed about a request's values: counts of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InputFlags {
    /// Missing.
    pub missing: u32,
    /// Missing, and given their default.
    pub defaulted: u32,
    /// Infinite.
    pub infinite: u32,
    /// Out of range, or no code of their kind.
    pub out_of_range: u32,
}

/// The rules of a schema, checked.
#[derive(Debug)]
pub(super) struct InputCheck {
    schema: FeatureSchema,
    rules: Vec<InputRule>,
    /// What needs no closer look: values from the first to the second.
    plain: Vec<(f64, f64)>,
}

impl InputCheck {
    pub(super) fn new(schema: FeatureSchema, policy: &InputPolicy) -> Result<Self> {
        let refuse = |name: &str, reason: &str| {
            Err(Error::config("input policy", format!("{name}: {reason}")))
        };
        if let Some(name) = policy.features.keys().find(|name| schema.position(name).is_none()) {
            return refuse(name, "the schema has no such feature");
        }
        let (mut rules, mut plain) = (Vec::new(), Vec::new());
        for (name, kind) in schema.names().iter().zip(schema.kinds()) {
            let rule = *policy.features.get(name).unwrap_or(&policy.default);
            if rule
                .range
                .is_some_and(|(low, high)| !(low <= high && low.is_finite() && high.is_finite()))
            {
                return refuse(name, "a range goes from one finite number to another");
            }
            if rule.range.is_some()
                && *kind != FeatureKind::Numeric
                && policy.features.contains_key(name)
            {
                return refuse(name, "its kind tells which values it may have");
            }
            if matches!(rule.missing, MissingPolicy::Default(value) if value.is_nan() || !kind.holds(value))
            {
                return refuse(name, "the default is none of its values");
            }
            plain.push(match kind {
                FeatureKind::Numeric => rule.range.unwrap_or((f64::MIN, f64::MAX)),
                _ => (0.0, -1.0), // every code is looked at
            });
            rules.push(rule);
        }
        Ok(InputCheck { schema, rules, plain })
    }

    pub(super) fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Checks a row of the schema's width: the row itself, or what policies made of it in `changed`.
    ///
    /// # Errors
    /// `InvalidInput` naming the first feature whose policy rejects its value.
    #[inline]
    pub(super) fn check<'a>(
        &self,
        row: &'a [f64],
        changed: &'a mut Vec<f64>,
    ) -> Result<(&'a [f64], InputFlags)> {
        let plain = |(value, (low, high)): (&f64, &(f64, f64))| low <= value && value <= high;
        if row.iter().zip(&self.plain).all(plain) {
            return Ok((row, InputFlags::default()));
        }
        changed.clear();
        changed.extend_from_slice(row);
        let flags = self.apply(changed)?;
        Ok((changed, flags))
    }

    fn apply(&self, row: &mut [f64]) -> Result<InputFlags> {
        let mut flags = InputFlags::default();
        for (i, value) in row.iter_mut().enumerate() {
            let (rule, kind) = (&self.rules[i], &self.schema.kinds()[i]);
            let reject = |what: &str| {
                Err(Error::input("request", format!("{} is {what}", self.schema.names()[i])))
            };
            if value.is_nan() {
                flags.missing += 1;
                match rule.missing {
                    MissingPolicy::Allow => {}
                    MissingPolicy::Reject => return reject("missing"),
                    MissingPolicy::Default(default) => {
                        flags.defaulted += 1;
                        *value = default;
                    }
                }
                continue;
            }
            let (low, high) = rule.range.unwrap_or((f64::MIN, f64::MAX));
            let numeric = *kind == FeatureKind::Numeric;
            let (count, policy) = match value.is_infinite() {
                true => (&mut flags.infinite, rule.infinite),
                false if numeric && low <= *value && *value <= high => continue,
                false if !numeric && kind.holds(*value) => continue,
                false => (&mut flags.out_of_range, rule.out_of_range),
            };
            *count += 1;
            match policy {
                ValuePolicy::Reject => {
                    return reject(&format!("{value}, which its policy rejects"));
                }
                ValuePolicy::Flag => {}
                ValuePolicy::Clamp if numeric => *value = value.clamp(low, high),
                ValuePolicy::Clamp => *value = f64::NAN,
            }
        }
        Ok(flags)
    }
}

/// From the order in which a caller has its values to the order of a schema; bound once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputLayout {
    /// For every feature its place among the caller's values; `None` if the caller has the schema's order.
    take: Option<Box<[u32]>>,
}

impl InputLayout {
    pub(super) const SCHEMA_ORDER: InputLayout = InputLayout { take: None };

    /// # Errors
    /// `SchemaMismatch` naming the first feature that the caller lacks, has besides, or has as another kind.
    pub(super) fn new(schema: &FeatureSchema, caller: &FeatureSchema) -> Result<Self> {
        let places = schema.names().iter().map(|name| caller.position(name).map(|at| at as u32));
        let take: Option<Box<[u32]>> = places.collect();
        match take {
            // Only the order may differ, so rearranged it must be the schema.
            Some(take) if caller.n_features() == schema.n_features() => {
                let columns: Vec<usize> = take.iter().map(|&at| at as usize).collect();
                schema.check(&caller.select(&columns)?)?;
                let rising = columns.iter().enumerate().all(|(i, &at)| i == at);
                Ok(InputLayout { take: (!rising).then_some(take) })
            }
            _ => {
                let stranger = |name: &&String| schema.position(name).is_none();
                let lacks = schema.names().iter().find(|name| caller.position(name).is_none());
                let reason = match (lacks, caller.names().iter().find(stranger)) {
                    (Some(lacks), Some(extra)) => {
                        format!("{lacks} is missing and {extra} not expected")
                    }
                    (Some(lacks), None) => format!("{lacks} is missing"),
                    (None, extra) => {
                        format!("{} is not expected", extra.map_or("a column", String::as_str))
                    }
                };
                Err(Error::SchemaMismatch { reason })
            }
        }
    }

    /// A caller's values in the schema's order; the width is the caller's to check.
    #[inline]
    pub(super) fn arrange<'a>(&self, values: &'a [f64], arranged: &'a mut Vec<f64>) -> &'a [f64] {
        match &self.take {
            None => values,
            Some(take) => {
                arranged.clear();
                arranged.extend(take.iter().map(|&at| values[at as usize]));
                arranged
            }
        }
    }
}
