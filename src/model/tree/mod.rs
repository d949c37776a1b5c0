//! Decision trees, forests and boosted ensembles: how they are trained, kept and scored.

mod binning;
mod boosting;
mod bytes;
mod config;
mod ensemble;
mod export;
mod forest;
#[cfg(feature = "import")]
mod foreign;
mod grower;
mod histogram;
mod importance;
mod layout;
mod node;
mod objective;
mod partition;
mod prune;
mod single;
mod split;

pub use binning::Binning;
pub use boosting::{
    BoostedTrees, BoostingEnd, BoostingOptions, BoostingProgress, EarlyStopping, GradientBoosting,
    GradientBoostingConfig, Growth, Start,
};
pub use config::{ClassWeights, Constraints, Direction};
pub use ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
#[cfg(feature = "import")]
pub use foreign::{ImportOptions, MissingValue, SCIKIT_LEARN_EXPORTER, TreeRange};
pub use forest::{
    DecisionTree, DecisionTreeConfig, FeatureCount, Impurity, OutOfBag, RandomForest,
    RandomForestConfig, RowSampling,
};
pub use importance::TreeImportance;
pub use node::{Band, CategoryRule, CategorySet, Question, Split, Tree, TreeNode};
pub use objective::{LogLoss, Objective, SquaredError};
