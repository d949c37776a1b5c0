//! Decision trees, forests and boosted ensembles: how they are trained, kept and scored.

mod bytes;
mod ensemble;
mod importance;
mod layout;
mod node;
mod single;

pub use ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
pub use importance::TreeImportance;
pub use node::{Band, Categories, CategoryRule, Question, Split, Tree, TreeNode};
