//! What a fitted transform does to a value.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::model::binning::WoeBins;

/// A fitted map of one value. What is large stands apart: a wide one-hot encoding has a map per category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Map {
    Fill(f64),
    IsMissing,
    Clip { low: f64, high: f64 },
    Scale { mean: f64, scale: f64 },
    Table(Box<Table>),
    Is(f64),
    Woe(Box<WoeBins>),
}

/// By code; anything else is missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Table {
    #[serde(deserialize_with = "codec::exact")]
    pub(super) of_code: Vec<f64>,
    pub(super) missing: f64,
}

impl Map {
    pub(super) fn apply(&self, value: f64) -> f64 {
        match self {
            Map::Fill(with) if value.is_nan() => *with,
            Map::Fill(_) => value,
            Map::IsMissing => f64::from(u8::from(value.is_nan())),
            // clamp keeps NaN.
            Map::Clip { low, high } => value.clamp(*low, *high),
            Map::Scale { mean, scale } => (value - mean) / scale,
            Map::Table(table) => {
                let Table { of_code, missing } = &**table;
                let code = (value >= 0.0 && value.fract() == 0.0).then_some(value as usize);
                code.and_then(|code| of_code.get(code)).copied().unwrap_or(*missing)
            }
            Map::Is(code) => f64::from(u8::from(value == *code)),
            Map::Woe(binning) => binning.weight_of_evidence(value),
        }
    }

    /// Bytes that stand apart.
    pub(super) fn boxed(&self) -> usize {
        match self {
            Map::Table(_) => size_of::<Table>(),
            Map::Woe(_) => size_of::<WoeBins>(),
            _ => 0,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        match self {
            Map::Fill(with) => with.is_finite(),
            Map::IsMissing => true,
            Map::Clip { low, high } => low <= high, // false for NaN, which clamp would panic at
            Map::Scale { mean, scale } => mean.is_finite() && scale.is_finite() && *scale > 0.0,
            Map::Table(table) => {
                let Table { of_code, missing } = &**table;
                missing.is_finite() && of_code.iter().all(|value| value.is_finite())
            }
            Map::Is(code) => code.is_finite(),
            Map::Woe(_) => true, // checked against its column
        }
    }
}
