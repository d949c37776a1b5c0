//! Tree models of scikit-learn, by way of the JSON that our exporter writes: what scikit-learn keeps itself (pickle, skops)
//! names Python classes and runs code.
//!
//! What scikit-learn does (checked with 1.9.1), and what it is here:
//! - Trees, forests and gradient boosting read values in single precision and compare with thresholds in double: that is
//!   `x ≤` the last double that rounds to at most the threshold. Histogram boosting compares in double precision.
//! - A category that its training did not know goes where a missing one goes. The exporter lists the codes of the other side,
//!   so here those go left if what is missing goes right; otherwise children change places.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{in_tree, schema, tree_below_root};
use crate::error::{Error, Result};
use crate::model::golden::GoldenJson;
use crate::model::tree::ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
use crate::model::tree::node::{CategoryRule, CategorySet, Question, Split, Tree, TreeNode};
use crate::model::tree::single::last_at_most;

const WHAT: &str = "scikit-learn model";
const FORMAT: &str = "riskcycle trees 1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    #[serde(rename = "origin")]
    _origin: String,
    n_features: usize,
    feature_names: Vec<String>,
    /// By feature, where codes stand for strings.
    category_names: BTreeMap<usize, Vec<String>>,
    base: f64,
    combine: Combine,
    link: Link,
    /// Whether values are read in single precision.
    single: bool,
    trees: Vec<Written>,
    golden: Option<GoldenJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    feature: Vec<u32>,
    /// `None` is infinite.
    threshold: Vec<Option<f64>>,
    missing_left: Vec<bool>,
    /// -1 in a leaf.
    left: Vec<i64>,
    right: Vec<i64>,
    value: Vec<f64>,
    cover: Vec<f64>,
    gain: Vec<f64>,
    /// By node: the known categories that go the other way than what is missing.
    categories: BTreeMap<usize, Vec<u32>>,
}

impl TreeEnsemble {
    /// A model of scikit-learn that our [exporter](crate::model::SCIKIT_LEARN_EXPORTER) wrote: a decision tree, a forest,
    /// gradient boosting or histogram gradient boosting, with two classes or a regression. Golden rows in the file are
    /// checked and kept.
    ///
    /// Margins are equal bit for bit to scikit-learn's: `decision_function` of a boosted classifier, `predict_proba` of a
    /// tree or forest (added up by one job), otherwise `predict` before its link. A missing value goes where scikit-learn's
    /// trees send it, for gradient boosting, whose interface refuses it, to the right.
    ///
    /// # Errors
    /// `Corrupt` for anything else; `InvalidInput` for golden rows that get other margins.
    pub fn from_scikit_learn(bytes: &[u8]) -> Result<Self> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
        if document.format != FORMAT {
            return Err(corrupt(format!("format {:?} is not known", document.format)));
        }
        let names = (document.feature_names, document.category_names);
        let schema = schema(WHAT, names.0, document.n_features, names.1)?;
        let trees =
            document.trees.iter().enumerate().map(|(t, written)| {
                tree(written, document.single).map_err(|error| in_tree(t, error))
            });
        let Document { base, combine, link, .. } = document;
        let output = Output { base, combine, precision: Precision::Double, link };
        let ensemble = TreeEnsemble::new(schema, trees.collect::<Result<_>>()?, output)?;
        match &document.golden {
            None => Ok(ensemble),
            Some(golden) => ensemble.with_golden_rows(golden.rows()?),
        }
    }
}

fn corrupt(reason: impl Into<String>) -> Error {
    Error::corrupt(WHAT, reason)
}

fn tree(written: &Written, single: bool) -> Result<Tree> {
    let n = written.left.len();
    let lengths = [
        written.feature.len(),
        written.threshold.len(),
        written.missing_left.len(),
        written.right.len(),
        written.value.len(),
        written.cover.len(),
        written.gain.len(),
    ];
    if lengths.iter().any(|length| *length != n) {
        return Err(corrupt("its lists differ in length"));
    }
    tree_below_root(WHAT, n, |i| {
        let (value, cover, gain) = (written.value[i], written.cover[i], written.gain[i]);
        if written.left[i] == -1 {
            return Ok(TreeNode::leaf(value, cover));
        }
        let child = |child: i64| {
            u32::try_from(child).map_err(|_| corrupt(format!("node {i} has child {child}")))
        };
        let (left, right) = (child(written.left[i])?, child(written.right[i])?);
        let (feature, missing_left) = (written.feature[i], written.missing_left[i]);
        let split = match written.categories.get(&i) {
            None => {
                let threshold = written.threshold[i].unwrap_or(f64::INFINITY);
                let threshold = if single { last_at_most(threshold) } else { threshold };
                let question = Question::AtMost(threshold);
                Split { feature, question, missing_left, also_missing: None, left, right }
            }
            Some(codes) => {
                let set = CategorySet::new(codes.iter().copied()).with_rule(CategoryRule::Whole);
                let question = Question::OneOf(set);
                let (left, right) = if missing_left { (right, left) } else { (left, right) };
                Split { feature, question, missing_left: false, also_missing: None, left, right }
            }
        };
        Ok(TreeNode { split: Some(Box::new(split)), value, cover, gain })
    })
}
