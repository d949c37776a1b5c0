//! Scorecards: points per bin, the sum of which is the score.

mod explain;
mod export;
mod lost_points;
mod scaling;
mod stability;
mod trainer;

pub use explain::ScorecardExplainer;
pub use lost_points::{LostPoints, ReasonBaseline};
pub use scaling::Scaling;
pub use stability::{CharacteristicStability, ScorecardStability};
pub use trainer::{ScorecardConfig, ScorecardFit, ScorecardTrainer};

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{self, Reader};
use crate::error::{Error, Result};
use crate::model::binning::{Orientation, WoeBins};
use crate::model::{Explainer, Model};
use crate::schema::FeatureSchema;

/// A scorecard: each characteristic is a feature whose bins have whole points, and the sum of points is the score.
///
/// The points are the single source: the probability that [`score`](Model::score) gives is that of the sum of points by the
/// [`Scaling`], so that a table on paper, an SQL query, a row and a batch cannot disagree. Missing values have a bin like any
/// other, so every row has a score. Scoring a row is O(characteristics × log bins), without allocation.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorecard {
    schema: FeatureSchema,
    scaling: Scaling,
    base_points: i64,
    characteristics: Vec<Characteristic>,
}

/// A feature of a [`Scorecard`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Characteristic {
    /// Position of the feature in the schema.
    column: u32,
    binning: WoeBins,
    /// Change in the log-odds of bad per unit of weight of evidence.
    coefficient: f64,
    /// Of each bin.
    #[serde(deserialize_with = "codec::exact")]
    points: Vec<i64>,
}

/// Where the points of the intercept go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BasePoints {
    /// They stay apart.
    #[default]
    Apart,
    /// The characteristics share them equally; what rounding leaves stays apart.
    Spread,
    /// The worst bin of every characteristic has 0 points, and the rest stays apart.
    WorstIsZero,
}

impl Characteristic {
    /// The bins.
    pub fn binning(&self) -> &WoeBins {
        &self.binning
    }

    /// Change in the log-odds of bad per unit of weight of evidence.
    pub fn coefficient(&self) -> f64 {
        self.coefficient
    }

    /// Points of each bin, in the order of [`WoeBins::bins`].
    pub fn points(&self) -> &[i64] {
        &self.points
    }

    fn points_of(&self, row: &[f64]) -> i64 {
        self.points[self.binning.index(row[self.column as usize])]
    }
}

impl Scorecard {
    /// The kind under which artifacts hold it.
    pub const KIND: &'static str = "scorecard";

    /// Most points, up or down, that anything in a scorecard may have.
    const MAX_POINTS: f64 = 1e9;

    /// A scorecard from a logistic regression on weights of evidence: the intercept and a coefficient per binning, both of
    /// the log-odds of bad. Points are rounded to whole ones, half away from zero.
    ///
    /// # Errors
    /// Those of [`Scaling::check`]; `InvalidInput` for a binning of a feature that is not in the schema or comes twice, a
    /// coefficient or intercept that is not finite, or points beyond a billion.
    pub fn new(
        schema: FeatureSchema,
        intercept: f64,
        characteristics: Vec<(WoeBins, f64)>,
        scaling: Scaling,
        base_points: BasePoints,
    ) -> Result<Self> {
        scaling.check()?;
        let (factor, n) = (scaling.factor(), characteristics.len() as f64);
        let base = scaling.offset() - factor * intercept;
        let share = if base_points == BasePoints::Spread && n > 0.0 { base / n } else { 0.0 };
        let whole = |points: f64| {
            if points.abs() <= Self::MAX_POINTS {
                return Ok(points.round() as i64);
            }
            Err(Error::input("scorecard", format!("{points} points are beyond a billion")))
        };
        let mut apart = base - share * n;
        let mut card = Vec::with_capacity(characteristics.len());
        for (binning, coefficient) in characteristics {
            let column = schema.position(binning.feature()).ok_or_else(|| {
                Error::input("scorecard", format!("{} is not in the schema", binning.feature()))
            })?;
            let exact = |weight: f64| share - factor * coefficient * weight;
            let bins = binning.bins().iter().map(|bin| exact(bin.weight_of_evidence));
            let worst = match base_points {
                BasePoints::WorstIsZero => bins.clone().fold(f64::INFINITY, f64::min),
                _ => 0.0,
            };
            apart += worst;
            let points = bins.map(|points| whole(points - worst)).collect::<Result<_>>()?;
            let column = column as u32;
            card.push(Characteristic { column, binning, coefficient, points });
        }
        let base_points = whole(apart)?;
        Scorecard { schema, scaling, base_points, characteristics: card }.check()
    }

    fn check(self) -> Result<Self> {
        self.scaling.check()?;
        let refuse = |reason: String| Err(Error::input("scorecard", reason));
        let sound = |points: i64| points.unsigned_abs() <= Self::MAX_POINTS as u64;
        if !sound(self.base_points) {
            return refuse("base points are beyond a billion".into());
        }
        let mut seen = vec![false; self.schema.n_features()];
        for characteristic in &self.characteristics {
            let Characteristic { column, binning, coefficient, points } = characteristic;
            let column = *column as usize;
            let (Some(name), Some(seen)) = (self.schema.names().get(column), seen.get_mut(column))
            else {
                return refuse(format!("has no column {column}"));
            };
            binning.check(name, &self.schema.kinds()[column])?;
            if std::mem::replace(seen, true) {
                return refuse(format!("has {name} twice"));
            }
            let complete = points.len() == binning.bins().len();
            if !complete || !points.iter().all(|points| sound(*points)) || !coefficient.is_finite()
            {
                return refuse(format!("the points of {name} are unsound"));
            }
        }
        Ok(self)
    }

    /// Points of the base, which every row has.
    pub fn base_points(&self) -> i64 {
        self.base_points
    }

    /// The characteristics.
    pub fn characteristics(&self) -> &[Characteristic] {
        &self.characteristics
    }

    /// How points and log-odds belong together.
    pub fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    /// The score of a row: its points in sum.
    ///
    /// # Errors
    /// `SchemaMismatch` if the row has another width than the schema.
    pub fn points(&self, row: &[f64]) -> Result<i64> {
        self.schema.check_rows(row.len(), 1)?;
        Ok(self.sum_of(row))
    }

    fn sum_of(&self, row: &[f64]) -> i64 {
        let points = self.characteristics.iter().map(|of| of.points_of(row));
        self.base_points + points.sum::<i64>()
    }

    /// The probability of bad at a score.
    pub fn probability(&self, points: i64) -> f64 {
        self.scaling.probability(points as f64)
    }

    /// Lowest and highest score that there can be.
    pub fn range(&self) -> (i64, i64) {
        self.characteristics.iter().fold((self.base_points, self.base_points), |(low, high), of| {
            let least = of.points.iter().min().expect("a binning has a bin");
            let most = of.points.iter().max().expect("a binning has a bin");
            (low + least, high + most)
        })
    }

    /// The table from score to probability of bad: every `step`-th score from the lowest to the highest.
    ///
    /// # Errors
    /// `InvalidConfig` for a step below 1, or one that makes more than 100,000 lines.
    pub fn probability_table(&self, step: i64) -> Result<Vec<(i64, f64)>> {
        let (low, high) = self.range();
        if step < 1 || (high - low) / step > 100_000 {
            return Err(Error::config("score table", format!("a step of {step} cannot be")));
        }
        let scores = (0..=(high - low) / step).map(|i| low + i * step);
        Ok(scores.map(|score| (score, self.probability(score))).collect())
    }

    pub(super) fn read(schema: FeatureSchema, mut reader: Reader<'_>) -> Result<Self> {
        let scaling = Scaling {
            points_to_double: reader.f64()?,
            multiple: reader.f64()?,
            base_odds: reader.f64()?,
            base_score: reader.f64()?,
        };
        let base_points = reader.i64()?;
        let n = reader.u32()? as usize;
        if n > schema.n_features() {
            return Err(Error::corrupt("scorecard", format!("{n} characteristics are too many")));
        }
        let characteristics = reader.list(n, 4, |reader| reader.record("characteristic"))?;
        reader.finish()?;
        Scorecard { schema, scaling, base_points, characteristics }
            .check()
            .map_err(|error| Error::corrupt("scorecard", error.to_string()))
    }
}

impl Model for Scorecard {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.schema.check_rows(rows.len(), scores.len())?;
        let rows = rows.chunks_exact(self.schema.n_features());
        scores.iter_mut().zip(rows).for_each(|(score, row)| {
            *score = self.scaling.probability(self.sum_of(row) as f64);
        });
        Ok(())
    }

    fn kind(&self) -> &str {
        Self::KIND
    }

    /// Against the most points that each characteristic can give; [`ScorecardExplainer`] has the choice.
    fn explainer(&self) -> Result<Arc<dyn Explainer>> {
        Ok(Arc::new(ScorecardExplainer::new(self.clone(), ReasonBaseline::Maximum)))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let Scaling { points_to_double, multiple, base_odds, base_score } = self.scaling;
        let numbers = [points_to_double, multiple, base_odds, base_score];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(self.base_points.to_le_bytes());
        bytes.extend((self.characteristics.len() as u32).to_le_bytes());
        for characteristic in &self.characteristics {
            codec::write_block(&mut bytes, &codec::encode(characteristic));
        }
        bytes
    }

    fn edges(&self) -> Vec<(usize, f64)> {
        let of = |of: &Characteristic| {
            let edges = of.binning.edges().unwrap_or(&[]).to_vec();
            let column = of.column as usize;
            edges.into_iter().map(move |edge| (column, edge))
        };
        self.characteristics.iter().flat_map(of).collect()
    }
}

/// A line per bin: its points, weight of evidence, share of bad and rows.
impl fmt::Display for Scorecard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.range();
        writeln!(f, "base {} points; scores from {low} to {high}", self.base_points)?;
        for of in &self.characteristics {
            let kind = &self.schema.kinds()[of.column as usize];
            let weigh = match of.binning.orientation() {
                Orientation::BadOverGood => "bad over good",
                Orientation::GoodOverBad => "good over bad",
            };
            writeln!(
                f,
                "{}  IV {:.4}, {}, WoE {weigh}, coefficient {:.4}",
                of.binning.feature(),
                of.binning.information_value(),
                of.binning.trend(),
                of.coefficient
            )?;
            for (bin, (facts, points)) in of.binning.bins().iter().zip(&of.points).enumerate() {
                let rate = facts.bad_rate().map_or("   -  ".into(), |rate| format!("{rate:.4}"));
                writeln!(
                    f,
                    "  {points:>5}  WoE {:>7.4}  bad {rate}  rows {:>7}  {}",
                    facts.weight_of_evidence,
                    facts.bad + facts.good,
                    of.binning.label(bin, kind)
                )?;
            }
        }
        Ok(())
    }
}
