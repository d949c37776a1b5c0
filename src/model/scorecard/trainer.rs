//! From data to a scorecard: bins, weights of evidence, logistic regression, points.

use std::sync::Arc;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::binning::{Binner, BinningConfig, Orientation, WoeBins};
use crate::model::scorecard::{BasePoints, Scaling, Scorecard};
use crate::model::{
    Fitted, LogisticFit, LogisticRegression, LogisticRegressionConfig, Sign, Signs, Trainer,
};
use crate::schema::FeatureSchema;
use crate::seed::Seed;

/// Parameters of a [`ScorecardTrainer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScorecardConfig {
    /// How features are binned.
    pub binning: BinningConfig,
    /// Least information value of a feature that is used.
    pub min_information_value: f64,
    /// Ridge penalty of the regression on weights of evidence; see [`LogisticRegressionConfig::l2`].
    pub l2: f64,
    /// Whether each coefficient must have the sign of its weights of evidence, so that points follow bad rates. A feature
    /// whose coefficient becomes 0 leaves the card.
    pub signs: bool,
    /// How log-odds become points.
    pub scaling: Scaling,
    /// Where the points of the intercept go.
    pub base_points: BasePoints,
}

/// Features of at least 0.02, a ridge penalty of 1, signs kept, and the defaults of the parts.
impl Default for ScorecardConfig {
    fn default() -> Self {
        ScorecardConfig {
            binning: BinningConfig::default(),
            min_information_value: 0.02,
            l2: 1.0,
            signs: true,
            scaling: Scaling::default(),
            base_points: BasePoints::default(),
        }
    }
}

/// Trains a [`Scorecard`]. Deterministic; the seed plays no part.
///
/// # Errors
/// `OneClass`; `Training` if no feature has the information value asked for, or those of the logistic regression.
#[derive(Debug, Clone)]
pub struct ScorecardTrainer {
    config: ScorecardConfig,
    binner: Binner,
    regression: LogisticRegression,
}

/// A scorecard with what it was made of.
#[derive(Debug, Clone)]
pub struct ScorecardFit {
    /// The scorecard.
    pub scorecard: Scorecard,
    /// The bins of every feature in schema order, those that are not in the card among them.
    pub binnings: Vec<WoeBins>,
    /// The regression on the weights of evidence of the features with enough information value.
    pub regression: LogisticFit,
}

impl ScorecardTrainer {
    /// # Errors
    /// `InvalidConfig`, those of [`Binner::new`] and [`LogisticRegression::new`] among it.
    pub fn new(config: ScorecardConfig) -> Result<Self> {
        config.scaling.check()?;
        let least = config.min_information_value;
        if !(least >= 0.0 && least.is_finite()) {
            let reason = "min_information_value must be finite and not negative";
            return Err(Error::config("scorecard", reason));
        }
        let sign = match config.binning.orientation {
            Orientation::BadOverGood => Sign::Positive,
            Orientation::GoodOverBad => Sign::Negative,
        };
        let signs = if config.signs { Signs::All(sign) } else { Signs::Free };
        let regression = LogisticRegressionConfig { l2: config.l2, signs, ..Default::default() };
        Ok(ScorecardTrainer {
            binner: Binner::new(config.binning.clone())?,
            regression: LogisticRegression::new(regression)?,
            config,
        })
    }

    /// Bins every feature and makes a scorecard.
    ///
    /// # Errors
    /// See the type.
    pub fn fit_scorecard(&self, data: &Dataset) -> Result<ScorecardFit> {
        self.fit_binned(data, self.binner.fit_all(data)?)
    }

    /// Makes a scorecard of bins that an analyst has looked over: one binning per feature, in any order; a feature without
    /// one stays out.
    ///
    /// # Errors
    /// See the type; `InvalidInput` for a binning of a feature that the data set does not have.
    pub fn fit_binned(&self, data: &Dataset, binnings: Vec<WoeBins>) -> Result<ScorecardFit> {
        let least = self.config.min_information_value;
        let used: Vec<&WoeBins> =
            binnings.iter().filter(|binning| binning.information_value() >= least).collect();
        if used.is_empty() {
            let reason = format!("no feature has an information value of at least {least}");
            return Err(Error::Training { trainer: "scorecard", reason });
        }
        let evidence = weights_of_evidence(data, &used)?;
        let regression = self.regression.fit_logistic(&evidence)?;
        let model = &regression.model;
        // From standardised weights of evidence back to their own unit.
        let slopes: Vec<f64> =
            model.coefficients().iter().zip(model.scales()).map(|(c, scale)| c / scale).collect();
        let shift: f64 = slopes.iter().zip(model.means()).map(|(slope, mean)| slope * mean).sum();
        let characteristics = used.iter().zip(&slopes).filter(|(_, slope)| **slope != 0.0);
        let scorecard = Scorecard::new(
            data.schema().clone(),
            model.intercept() - shift,
            characteristics.map(|(binning, slope)| ((*binning).clone(), *slope)).collect(),
            self.config.scaling,
            self.config.base_points,
        )?;
        Ok(ScorecardFit { scorecard, binnings, regression })
    }
}

/// The data set with the weights of evidence of binned features in their place.
fn weights_of_evidence(data: &Dataset, binnings: &[&WoeBins]) -> Result<Dataset> {
    let columns = binnings.iter().map(|binning| {
        let name = binning.feature();
        let missing = || Error::input("binning", format!("the data set has no feature {name}"));
        data.schema().position(name).ok_or_else(missing)
    });
    let columns = columns.collect::<Result<Vec<usize>>>()?;
    let value =
        |(row, i): (usize, usize)| binnings[i].weight_of_evidence(data.row(row)[columns[i]]);
    let features = Array2::from_shape_fn((data.n_rows(), binnings.len()), value);
    let schema = FeatureSchema::new(binnings.iter().map(|binning| binning.feature()))?;
    let evidence = Dataset::new(schema, features, data.labels().to_vec())?;
    match data.weights() {
        Some(weights) => evidence.with_weights(weights.to_vec()),
        None => Ok(evidence),
    }
}

impl Trainer for ScorecardTrainer {
    fn name(&self) -> &'static str {
        "scorecard"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let ScorecardConfig { binning, min_information_value, l2, signs, scaling, base_points } =
            &self.config;
        vec![
            ("binning".into(), format!("{binning:?}")),
            ("min_information_value".into(), min_information_value.to_string()),
            ("l2".into(), l2.to_string()),
            ("signs".into(), signs.to_string()),
            ("scaling".into(), format!("{scaling:?}")),
            ("base_points".into(), format!("{base_points:?}")),
        ]
    }

    fn fit(&self, data: &Dataset, _seed: Seed) -> Result<Fitted> {
        let fit = self.fit_scorecard(data)?;
        let convergence = Some(fit.regression.convergence);
        Ok(Fitted { model: Arc::new(fit.scorecard), convergence })
    }
}
