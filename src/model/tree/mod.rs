//! Decision trees, forests and boosted ensembles: how they are trained, kept and scored.

mod binning;
mod boosting;
mod bytes;
mod config;
mod ensemble;
mod export;
mod forest;
mod grower;
mod histogram;
mod importance;
mod layout;
mod node;
mod objective;
mod partition;
mod prune;
mod split;

pub use binning::Binning;
pub use boosting::{
    BoostedTrees, BoostingEnd, BoostingOptions, BoostingProgress, EarlyStopping, GradientBoosting,
    GradientBoostingConfig, Growth, Start,
};
pub use config::{ClassWeights, Constraints, Direction};
pub use ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
pub use forest::{
    DecisionTree, DecisionTreeConfig, FeatureCount, Impurity, OutOfBag, RandomForest,
    RandomForestConfig, RowSampling,
};
pub use importance::TreeImportance;
pub use node::{CategorySet, Question, Split, Tree, TreeNode, ZERO};
pub use objective::{LogLoss, Objective, SquaredError};
