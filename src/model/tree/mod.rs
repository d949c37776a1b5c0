//! Decision trees, forests and boosted ensembles: how they are trained, kept and scored.

mod bytes;
mod ensemble;
#[cfg(feature = "import")]
mod foreign;
mod golden;
mod importance;
mod layout;
mod node;
mod single;

pub use ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
#[cfg(feature = "import")]
pub use foreign::{ImportOptions, MissingValue, SCIKIT_LEARN_EXPORTER, TreeRange};
pub use golden::GoldenRows;
pub use importance::TreeImportance;
pub use node::{Band, Categories, CategoryRule, Question, Split, Tree, TreeNode};
