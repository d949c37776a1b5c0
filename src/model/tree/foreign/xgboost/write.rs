//! To XGBoost's JSON.

use serde::Serialize;
use serde_json::{Value, json};

use super::{MAX_CATEGORY, WHAT};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::model::tree::ensemble::{Combine, Link, Precision, TreeEnsemble};
use crate::model::tree::node::{Question, Split, Tree, TreeNode};
use crate::model::tree::single::{floor, rounding_to, rounds_below};

#[derive(Default, Serialize)]
struct Written {
    base_weights: Vec<f32>,
    categories: Vec<u32>,
    categories_nodes: Vec<usize>,
    categories_segments: Vec<usize>,
    categories_sizes: Vec<usize>,
    default_left: Vec<u8>,
    id: usize,
    left_children: Vec<i32>,
    loss_changes: Vec<f32>,
    parents: Vec<i32>,
    right_children: Vec<i32>,
    split_conditions: Vec<f32>,
    split_indices: Vec<u32>,
    split_type: Vec<u8>,
    sum_hessian: Vec<f32>,
    tree_param: Value,
}

fn refuse(reason: impl Into<String>) -> Error {
    Error::input(WHAT, reason)
}

impl TreeEnsemble {
    /// The model as JSON that XGBoost 3 loads (`Booster(model_file=…)`); its margins there are equal bit for bit.
    ///
    /// XGBoost reads values in single precision, so a value that single precision does not hold may be rounded over a
    /// threshold there, unless the model came from XGBoost; and a category that is no whole number is read by its rule. A
    /// base that an objective cannot start at becomes a tree of its own. If a number counts as missing besides NaN, it
    /// must be given there as `missing`.
    ///
    /// # Errors
    /// `InvalidInput` with the reason if XGBoost has no counterpart: for leaves that are averaged or added in double
    /// precision ([`to_lightgbm`](Self::to_lightgbm) takes these), a slope other than 1, infinite thresholds, more than
    /// one rule about what is missing.
    pub fn to_xgboost(&self) -> Result<Vec<u8>> {
        let output = self.output();
        if output.combine == Combine::Mean || output.precision == Precision::Double {
            return Err(refuse("XGBoost adds leaves in single precision, this model does not"));
        }
        // A score whose margin is 0, where margins can start without rounding.
        let (objective, parameter, zero) = match output.link {
            Link::Identity => ("reg:squarederror", "reg_loss_param", 0.0),
            Link::Logistic { slope: 1.0 } => ("binary:logistic", "reg_loss_param", 0.5),
            Link::Exponential => ("count:poisson", "poisson_regression_param", 1.0),
            Link::Logistic { slope } => {
                return Err(refuse(format!("XGBoost's logistic has no slope of {slope}")));
            }
        };
        let parameters = match output.link {
            Link::Exponential => json!({"max_delta_step": "0.7"}),
            _ => json!({"scale_pos_weight": "1"}),
        };
        self.check_missing()?;
        let base = output.base as f32;
        let (base_score, base_tree) = match output.link {
            Link::Identity => (base, None),
            _ if base == 0.0 => (zero, None),
            _ => (zero, Some(Tree::new(vec![TreeNode::leaf(f64::from(base), 1.0)])?)),
        };
        let names = self.schema().names();
        let mut types = vec!["float"; names.len()];
        let all = base_tree.iter().chain(self.trees());
        let trees = all.enumerate().map(|(t, tree)| {
            written(tree, t, &mut types)
                .map_err(|reason| refuse(format!("tree {t} of the file: {reason}")))
        });
        let trees: Vec<Written> = trees.collect::<Result<_>>()?;
        let n_trees = trees.len();
        let mut document = json!({
            "learner": {
                "attributes": {},
                "feature_names": names,
                "feature_types": types,
                "gradient_booster": {
                    "model": {
                        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                        "gbtree_model_param": {
                            "num_parallel_tree": "1",
                            "num_trees": n_trees.to_string(),
                        },
                        "iteration_indptr": (0..=n_trees).collect::<Vec<_>>(),
                        "tree_info": vec![0; n_trees],
                        "trees": trees,
                    },
                    "name": "gbtree",
                },
                "learner_model_param": {
                    "base_score": format!("[{base_score:E}]"),
                    "boost_from_average": "1",
                    "num_class": "0",
                    "num_feature": names.len().to_string(),
                    "num_target": "1",
                },
                "objective": {"name": objective},
            },
            "version": [3, 2, 0],
        });
        document["learner"]["objective"][parameter] = parameters;
        serde_json::to_vec(&document).map_err(|e| refuse(e.to_string()))
    }

    /// # Errors
    /// If numbers that count as missing differ between splits, or are not those that round to one single.
    fn check_missing(&self) -> Result<()> {
        let splits = self.trees().iter().flat_map(Tree::nodes).filter_map(|n| n.split.as_ref());
        let mut bands = splits.map(|split| split.also_missing);
        let Some(first) = bands.next() else { return Ok(()) };
        if bands.any(|band| band != first) {
            return Err(refuse("XGBoost has one rule about what is missing for all splits"));
        }
        match first {
            Some(band) if rounding_to(band.low as f32) != band => {
                let reason =
                    format!("XGBoost cannot take {} to {} for missing", band.low, band.high);
                Err(refuse(reason))
            }
            _ => Ok(()),
        }
    }
}

fn written(
    tree: &Tree,
    id: usize,
    types: &mut [&'static str],
) -> std::result::Result<Written, String> {
    let n = tree.nodes().len();
    let mut out = Written { id, ..Written::default() };
    out.parents = vec![i32::MAX; n];
    for (i, node) in tree.nodes().iter().enumerate() {
        // JSON has no infinities.
        let single = |number: f64| (number as f32).clamp(f32::MIN, f32::MAX);
        out.base_weights.push(single(node.value));
        out.loss_changes.push(single(node.gain));
        out.sum_hessian.push(single(node.cover));
        let Some(split) = &node.split else {
            out.left_children.push(-1);
            out.right_children.push(-1);
            if (node.value as f32).is_infinite() {
                return Err(format!("a leaf of {} is too large for XGBoost", node.value));
            }
            out.split_conditions.push(node.value as f32);
            out.split_indices.push(0);
            out.split_type.push(0);
            out.default_left.push(0);
            continue;
        };
        for child in [split.left, split.right] {
            out.parents[child as usize] = i as i32;
        }
        let Split { feature, missing_left, left, right, .. } = **split;
        let (left, right, default_left) = match &split.question {
            Question::AtMost(threshold) => {
                if threshold.is_infinite() {
                    return Err("XGBoost has no infinite thresholds".into());
                }
                let next = || floor(*threshold).next_up();
                let condition = rounds_below(*threshold).unwrap_or_else(next);
                if condition.is_infinite() {
                    return Err("XGBoost has no thresholds at the end of single precision".into());
                }
                out.split_conditions.push(condition);
                out.split_type.push(0);
                (left, right, missing_left)
            }
            Question::OneOf(set) => {
                let codes = set.codes();
                if codes.is_empty() || codes.iter().any(|code| *code >= MAX_CATEGORY) {
                    return Err("XGBoost has no such set of categories".into());
                }
                out.categories_nodes.push(i);
                out.categories_segments.push(out.categories.len());
                out.categories_sizes.push(codes.len());
                out.categories.extend(codes);
                out.split_conditions.push(0.0);
                out.split_type.push(1);
                types[feature as usize] = "c";
                (right, left, !missing_left)
            }
        };
        out.left_children.push(left as i32);
        out.right_children.push(right as i32);
        out.split_indices.push(feature);
        out.default_left.push(u8::from(default_left));
    }
    out.tree_param = json!({
        "num_deleted": "0",
        "num_feature": types.len().to_string(),
        "num_nodes": n.to_string(),
        "size_leaf_vector": "1",
    });
    Ok(out)
}
