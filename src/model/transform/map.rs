//! What a fitted transform does to a value.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::model::binning::WoeBins;

/// A fitted map of one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Map {
    Fill(f64),
    IsMissing,
    Clip {
        low: f64,
        high: f64,
    },
    Scale {
        mean: f64,
        scale: f64,
    },
    /// By code; anything else is missing.
    Table {
        #[serde(deserialize_with = "codec::modest")]
        of_code: Vec<f64>,
        missing: f64,
    },
    Is(f64),
    Woe(WoeBins),
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
            Map::Table { of_code, missing } => {
                let code = (value >= 0.0 && value.fract() == 0.0).then_some(value as usize);
                code.and_then(|code| of_code.get(code)).copied().unwrap_or(*missing)
            }
            Map::Is(code) => f64::from(u8::from(value == *code)),
            Map::Woe(binning) => binning.weight_of_evidence(value),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        match self {
            Map::Fill(with) => with.is_finite(),
            Map::IsMissing => true,
            Map::Clip { low, high } => low <= high, // false for NaN, which clamp would panic at
            Map::Scale { mean, scale } => mean.is_finite() && scale.is_finite() && *scale > 0.0,
            Map::Table { of_code, missing } => {
                missing.is_finite() && of_code.iter().all(|value| value.is_finite())
            }
            Map::Is(code) => code.is_finite(),
            Map::Woe(_) => true, // checked against its column
        }
    }
}
