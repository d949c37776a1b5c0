//! Decision trees, forests and boosted ensembles: how they are trained, kept and scored.

mod boosting;
mod bytes;
mod cache_line;
mod config;
mod decision_tree;
mod ensemble;
mod export;
mod forest;
#[cfg(feature = "import")]
mod foreign;
mod grow;
mod importance;
mod impurity;
mod layout;
mod node;
mod objective;
mod prune;
mod single;

pub use boosting::{
    BoostedTrees, BoostingEnd, BoostingOptions, BoostingProgress, EarlyStopping, GradientBoosting,
    GradientBoostingConfig, Growth, Start,
};
pub use config::{Constraints, Direction};
pub use decision_tree::{DecisionTree, DecisionTreeConfig};
pub use ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
#[cfg(feature = "import")]
pub use foreign::{ImportOptions, MissingValue, SCIKIT_LEARN_EXPORTER, TreeRange};
pub use forest::{FeatureCount, OutOfBag, RandomForest, RandomForestConfig, RowSampling};
pub use grow::Binning;
pub use importance::TreeImportance;
pub use impurity::Impurity;
pub use node::{Band, CategoryRule, CategorySet, Question, Split, Tree, TreeNode};
pub use objective::{LogLoss, Objective, SquaredError};
