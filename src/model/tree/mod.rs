//! Decision trees, forests and boosted ensembles: how they are trained, kept and scored.

mod bytes;
mod ensemble;
mod importance;
mod layout;
mod node;

pub use ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
pub use importance::TreeImportance;
pub use node::{CategorySet, Question, Split, Tree, TreeNode, ZERO};
