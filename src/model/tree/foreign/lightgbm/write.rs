//! To LightGBM's text.

use std::fmt::{Display, Write};

use super::{CATEGORICAL, DEFAULT_LEFT, MISSING_IS_NAN, MISSING_IS_ZERO, WHAT};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::model::tree::ensemble::{Combine, Link, Precision, TreeEnsemble};
use crate::model::tree::node::{Band, Question, Split, Tree, TreeNode};

/// Codes below it can be written: a set takes a bit for each code up to its largest.
const MAX_CODE: u32 = 1 << 24;

fn refuse(reason: impl Into<String>) -> Error {
    Error::input(WHAT, reason)
}

impl TreeEnsemble {
    /// The model as text that LightGBM 4 loads (`Booster(model_file=…)`); its margins there are equal bit for bit.
    ///
    /// LightGBM takes what is within 1e-35 of 0 for 0, so a threshold in between divides those numbers here but not there.
    /// A base becomes a tree of its own. Characters of feature names that LightGBM does not take are not changed: it
    /// refuses them itself.
    ///
    /// # Errors
    /// `InvalidInput` with the reason if LightGBM has no counterpart: for leaves that are added in single precision
    /// ([`to_xgboost`](Self::to_xgboost) takes these), a forest with a base, numbers other than those near 0 that count as
    /// missing, a question for categories whose missing values go left, names with white space.
    pub fn to_lightgbm(&self) -> Result<String> {
        let output = self.output();
        let forest = output.combine == Combine::Mean;
        if output.precision == Precision::Single {
            return Err(refuse("LightGBM adds leaves in double precision, this model does not"));
        }
        if forest && output.base != 0.0 {
            return Err(refuse("a forest of LightGBM has no base"));
        }
        let names = self.schema().names();
        if let Some(name) = names.iter().find(|name| name.contains(char::is_whitespace)) {
            return Err(refuse(format!("LightGBM has no names with white space: {name:?}")));
        }
        let base = (output.base != 0.0).then(|| Tree::new(vec![TreeNode::leaf(output.base, 1.0)]));
        let base = base.transpose()?;
        let trees = base.iter().chain(self.trees()).enumerate().map(|(t, tree)| {
            written(t, tree).map_err(|reason| refuse(format!("tree {t} of the file: {reason}")))
        });
        let trees = trees.collect::<Result<Vec<String>>>()?;
        let objective = match output.link {
            Link::Identity => "regression".into(),
            Link::Logistic { slope } => format!("binary sigmoid:{slope}"),
            Link::Exponential => "poisson".into(),
        };
        let lines = [
            "tree".into(),
            "version=v4".into(),
            "num_class=1".into(),
            "num_tree_per_iteration=1".into(),
            "label_index=0".into(),
            format!("max_feature_idx={}", names.len() - 1),
            format!("objective={objective}"),
            if forest { "average_output".into() } else { String::new() },
            format!("feature_names={}", names.join(" ")),
            format!("feature_infos={}", list(names.iter().map(|_| "[-inf:inf]"))),
            format!("tree_sizes={}", list(trees.iter().map(String::len))),
        ];
        let header: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        Ok(format!(
            "{}\n\n{}end of trees\n\nparameters:\nend of parameters\n",
            header.join("\n"),
            trees.concat()
        ))
    }
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

/// Short, and equal to the number when it is read again.
fn numbers(numbers: impl Iterator<Item = f64>) -> String {
    list(numbers.map(|number| format!("{number:e}")))
}

fn written(t: usize, tree: &Tree) -> std::result::Result<String, String> {
    let nodes = tree.nodes();
    // Inner nodes and leaves are counted apart.
    let mut places = Vec::with_capacity(nodes.len());
    let (mut n_inner, mut n_leaves) = (0_i64, 0_i64);
    for node in nodes {
        let count = if node.split.is_some() { &mut n_inner } else { &mut n_leaves };
        places.push(if node.split.is_some() { *count } else { !*count });
        *count += 1;
    }
    let leaves = || nodes.iter().filter(|node| node.split.is_none());
    let inner = || nodes.iter().filter(|node| node.split.is_some());
    let splits = || nodes.iter().filter_map(|node| node.split.as_ref());
    let (mut thresholds, mut decisions) = (Vec::new(), Vec::new());
    let (mut bounds, mut words) = (vec![0], Vec::new());
    for split in splits() {
        let (threshold, decision) = question(split, &mut bounds, &mut words)?;
        thresholds.push(threshold);
        decisions.push(decision);
    }
    let mut text = format!("Tree={t}\nnum_leaves={n_leaves}\nnum_cat={}\n", bounds.len() - 1);
    let mut line = |name: &str, items: String| {
        writeln!(text, "{name}={items}").expect("writing to a string does not fail");
    };
    if n_inner > 0 {
        line("split_feature", list(splits().map(|split| split.feature)));
        line("split_gain", numbers(inner().map(|node| node.gain)));
        line("threshold", numbers(thresholds.iter().copied()));
        line("decision_type", list(decisions.iter()));
        line("left_child", list(splits().map(|split| places[split.left as usize])));
        line("right_child", list(splits().map(|split| places[split.right as usize])));
    }
    line("leaf_value", numbers(leaves().map(|leaf| leaf.value)));
    if n_inner > 0 {
        line("leaf_weight", numbers(leaves().map(|leaf| leaf.cover)));
        line("leaf_count", list(leaves().map(count)));
        line("internal_value", numbers(inner().map(|node| node.value)));
        line("internal_weight", numbers(inner().map(|node| node.cover)));
        line("internal_count", list(inner().map(count)));
    }
    if bounds.len() > 1 {
        line("cat_boundaries", list(bounds.iter()));
        line("cat_threshold", list(words.iter()));
    }
    line("is_linear", "0".into());
    line("shrinkage", "1".into());
    text.push_str("\n\n");
    Ok(text)
}

/// LightGBM counts rows in whole numbers of 32 bits.
fn count(node: &TreeNode) -> i32 {
    node.cover.round() as i32
}

/// Threshold (or position of the category set) and decision type.
fn question(
    split: &Split,
    bounds: &mut Vec<usize>,
    words: &mut Vec<u32>,
) -> std::result::Result<(f64, u8), String> {
    let default_left = if split.missing_left { DEFAULT_LEFT } else { 0 };
    let missing = match split.also_missing {
        None => MISSING_IS_NAN,
        Some(Band::ZERO) => MISSING_IS_ZERO,
        Some(band) => {
            return Err(format!("LightGBM cannot take {} to {} for missing", band.low, band.high));
        }
    };
    match &split.question {
        Question::AtMost(threshold) => Ok((*threshold, missing | default_left)),
        Question::OneOf(set) => {
            if split.missing_left || split.also_missing.is_some() {
                return Err("LightGBM sends missing categories right".into());
            }
            let codes = set.codes();
            if codes.last().is_some_and(|code| *code >= MAX_CODE) {
                return Err(format!("category {} is too large", codes[codes.len() - 1]));
            }
            let position = bounds.len() - 1;
            let start = words.len();
            words.resize(start + codes.last().map_or(1, |code| *code as usize / 32 + 1), 0);
            for code in codes {
                words[start + *code as usize / 32] |= 1 << (code % 32);
            }
            bounds.push(words.len());
            Ok((position as f64, missing | CATEGORICAL))
        }
    }
}
