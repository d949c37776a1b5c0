//! From LightGBM's text.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::{CATEGORICAL, DEFAULT_LEFT, MISSING_IS_NAN, MISSING_IS_ZERO, WHAT};
use crate::error::{Error, Result};
use crate::model::tree::ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
use crate::model::tree::foreign::{ImportOptions, TreeRange, in_tree, schema, tree_below_root};
use crate::model::tree::node::{Band, CategorySet, Question, Split, Tree, TreeNode};

fn refuse(reason: impl Into<String>) -> Error {
    Error::input(WHAT, reason)
}

fn corrupt(reason: impl Into<String>) -> Error {
    Error::corrupt(WHAT, reason)
}

/// What becomes of a margin, from the objective and its parameters.
fn link_of(objective: &str) -> Result<Link> {
    let mut words = objective.split_ascii_whitespace();
    let name = words.next().unwrap_or("");
    let words: Vec<&str> = words.collect();
    let unknown = || refuse(format!("objective {objective:?} is not known"));
    let parameter = |key: &str| match words[..] {
        [word] => {
            word.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')).ok_or_else(unknown)
        }
        _ => Err(unknown()),
    };
    match name {
        "binary" => {
            let slope = parameter("sigmoid")?;
            Ok(Link::Logistic { slope: one("sigmoid", slope)? })
        }
        "cross_entropy" if words.is_empty() => Ok(Link::Logistic { slope: 1.0 }),
        "quantile" if parameter("alpha").is_ok() => Ok(Link::Identity),
        "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" | "lambdarank"
        | "rank_xendcg"
            if words.is_empty() =>
        {
            Ok(Link::Identity)
        }
        "poisson" | "gamma" | "tweedie" if words.is_empty() => Ok(Link::Exponential),
        "multiclass" | "multiclassova" => Err(refuse(SEVERAL)),
        _ => Err(unknown()),
    }
}

const SEVERAL: &str = "it gives several margins a row, where a score is one";

impl TreeEnsemble {
    /// A model that LightGBM saved (`save_model`, `model_to_string`; formats v3 and v4): boosted trees, DART, forests, with
    /// one margin a row. Margins are equal bit for bit to `Booster.predict(raw_score=True)`, for infinite values too; those of
    /// a forest are divided by the number of trees as its scores are. Scores agree to the last digits.
    ///
    /// A categorical feature comes as its code. If all were trained from a data frame's categories, the schema names them
    /// in the order of their codes. Early stopping leaves no trace: `save_model` writes the trees up to the best iteration.
    ///
    /// # Errors
    /// `Corrupt` for anything else; `InvalidInput` for an objective, a field or a kind of node that is not known or gives
    /// more than one margin, and for linear leaves; `InvalidConfig` for options that the file answers itself, or without
    /// [`ImportOptions::link`] if it has no objective.
    pub fn from_lightgbm(bytes: &[u8], options: &ImportOptions) -> Result<Self> {
        if options.missing.is_some() || options.trees == Some(TreeRange::BestIteration) {
            let reason =
                "LightGBM's files say themselves what is missing, and have no best iteration";
            return Err(Error::config("import options", reason));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| corrupt(e.to_string()))?;
        let (trees, rest) = text
            .split_once("\nend of trees")
            .ok_or_else(|| corrupt("it has no end of trees; it may have been cut"))?;
        let mut blocks = trees.split("\nTree=");
        let header = Fields::new(blocks.next().unwrap_or(""))?;
        header.known(&[
            "tree",
            "version",
            "num_class",
            "num_tree_per_iteration",
            "label_index",
            "max_feature_idx",
            "objective",
            "average_output",
            "feature_names",
            "monotone_constraints",
            "feature_infos",
            "tree_sizes",
        ])?;
        header.text("tree")?;
        let version = header.text("version")?;
        if version != "v3" && version != "v4" {
            return Err(refuse(format!("version {version} is not known")));
        }
        if header.one::<u32>("num_class")? != 1 || header.one::<u32>("num_tree_per_iteration")? != 1
        {
            return Err(refuse(SEVERAL));
        }
        let link = match (options.link, header.0.get("objective")) {
            (Some(link), _) => link,
            (None, Some(objective)) => link_of(objective)?,
            (None, None) => {
                let reason = "the file has no objective: say the link";
                return Err(Error::config("import options", reason));
            }
        };
        let n_features = header.one::<u32>("max_feature_idx")? as usize + 1;
        let names = header.text("feature_names")?;
        let names: Vec<String> = names.split(' ').map(String::from).collect();
        let categories = category_names(header.text("feature_infos")?, rest)?;
        let schema = schema(WHAT, names, n_features, categories)?;
        let trees = blocks.enumerate().map(|(t, block)| {
            // The number of the tree stands behind "Tree=".
            let block = block.split_once('\n').map_or("", |(_, fields)| fields);
            Fields::new(block).and_then(|fields| tree(&fields)).map_err(|error| in_tree(t, error))
        });
        let trees = trees.collect::<Result<Vec<Tree>>>()?;
        if let Some(sizes) = header.0.get("tree_sizes") {
            let n_sizes = sizes.split_ascii_whitespace().count();
            if n_sizes != trees.len() {
                return Err(corrupt(format!("{n_sizes} sizes of {} trees", trees.len())));
            }
        }
        let forest = header.0.contains_key("average_output");
        let output = Output {
            base: 0.0,
            combine: if forest { Combine::Mean } else { Combine::Sum },
            precision: Precision::Double,
            link,
        };
        TreeEnsemble::new(schema, trees, output)
    }
}

/// The names of the categories that codes stand for, by feature. The file has them for the categorical columns of a data
/// frame in their order, without saying which these are: they are the features whose infos list codes, unless their
/// number differs, as it does if others were declared categorical too.
fn category_names(infos: &str, rest: &str) -> Result<BTreeMap<usize, Vec<String>>> {
    let line = rest.lines().find_map(|line| line.strip_prefix("pandas_categorical:"));
    let lists: Option<Vec<Vec<serde_json::Value>>> =
        serde_json::from_str(line.unwrap_or("null"))
            .map_err(|e| corrupt(format!("pandas_categorical: {e}")))?;
    let lists = lists.unwrap_or_default();
    let infos = infos.split_ascii_whitespace().enumerate();
    let listed = infos.filter(|(_, info)| !info.starts_with('[') && *info != "none");
    let features: Vec<usize> = listed.map(|(feature, _)| feature).collect();
    if features.len() != lists.len() {
        return Ok(BTreeMap::new());
    }
    let names = lists.into_iter().map(|names| {
        names.into_iter().map(|name| match name {
            serde_json::Value::String(name) => name,
            other => other.to_string(),
        })
    });
    Ok(features.into_iter().zip(names.map(Iterator::collect)).collect())
}

/// A block's lines, `name=value` or a name alone.
struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn new(block: &'a str) -> Result<Self> {
        let mut fields = BTreeMap::new();
        for line in block.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            if fields.insert(name, value).is_some() {
                return Err(corrupt(format!("{name} stands there twice")));
            }
        }
        Ok(Fields(fields))
    }

    /// # Errors
    /// For a field that is not among these: what it says might change the output.
    fn known(&self, names: &[&str]) -> Result<()> {
        match self.0.keys().find(|name| !names.contains(name)) {
            Some(name) => Err(refuse(format!("field {name} is not known"))),
            None => Ok(()),
        }
    }

    fn text(&self, name: &str) -> Result<&'a str> {
        self.0.get(name).copied().ok_or_else(|| corrupt(format!("it has no {name}")))
    }

    fn one<T: FromStr>(&self, name: &str) -> Result<T> {
        one(name, self.text(name)?)
    }

    /// As many numbers as there should be.
    fn list<T: FromStr>(&self, name: &str, length: usize) -> Result<Vec<T>> {
        let numbers = self.text(name)?.split_ascii_whitespace().map(|number| one(name, number));
        let numbers = numbers.collect::<Result<Vec<T>>>()?;
        if numbers.len() != length {
            let reason = format!("{} numbers for {length} in {name}", numbers.len());
            return Err(corrupt(reason));
        }
        Ok(numbers)
    }

    /// The numbers, or zeros where there are none.
    fn statistics(&self, name: &str, length: usize) -> Result<Vec<f64>> {
        if self.0.contains_key(name) { self.list(name, length) } else { Ok(vec![0.0; length]) }
    }
}

fn one<T: FromStr>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| corrupt(format!("{text:?} for {name}")))
}

fn tree(fields: &Fields<'_>) -> Result<Tree> {
    if fields.0.get("is_linear").is_some_and(|linear| *linear != "0") {
        return Err(refuse("its leaves are linear models"));
    }
    fields.known(&[
        "num_leaves",
        "num_cat",
        "split_feature",
        "split_gain",
        "threshold",
        "decision_type",
        "left_child",
        "right_child",
        "leaf_value",
        "leaf_weight",
        "leaf_count",
        "internal_value",
        "internal_weight",
        "internal_count",
        "cat_boundaries",
        "cat_threshold",
        "is_linear",
        "shrinkage",
    ])?;
    let n_leaves: usize = fields.one("num_leaves")?;
    // Whatever the number claims, the list has been read already.
    let values: Vec<f64> = fields.list("leaf_value", n_leaves)?;
    if n_leaves < 2 {
        let value = *values.first().ok_or_else(|| corrupt("it has no leaf"))?;
        let count = fields.statistics("leaf_count", 1)?[0];
        return tree_below_root(WHAT, 1, |_| Ok(TreeNode::leaf(value, count)));
    }
    let n = n_leaves - 1;
    let features: Vec<u32> = fields.list("split_feature", n)?;
    let thresholds: Vec<f64> = fields.list("threshold", n)?;
    let decisions: Vec<u8> = fields.list("decision_type", n)?;
    let (left, right) = (fields.list("left_child", n)?, fields.list("right_child", n)?);
    let gains = fields.statistics("split_gain", n)?;
    let (inner_values, inner_counts) =
        (fields.statistics("internal_value", n)?, fields.statistics("internal_count", n)?);
    let counts = fields.statistics("leaf_count", n_leaves)?;
    let n_sets: usize = fields.one("num_cat")?;
    let sets = if n_sets == 0 { Vec::new() } else { sets(fields, n_sets)? };
    // Leaves stand behind the inner nodes; LightGBM counts them down from -1.
    let child = |child: i64| {
        let place = if child < 0 { n as i64 + !child } else { child };
        u32::try_from(place).map_err(|_| corrupt(format!("child {child}")))
    };
    tree_below_root(WHAT, n + n_leaves, |i| {
        if i >= n {
            return Ok(TreeNode::leaf(values[i - n], counts[i - n]));
        }
        let (left, right) = (child(left[i])?, child(right[i])?);
        let (feature, threshold, decision) = (features[i], thresholds[i], decisions[i]);
        let missing = decision & (MISSING_IS_ZERO | MISSING_IS_NAN);
        let all = CATEGORICAL | DEFAULT_LEFT | MISSING_IS_ZERO | MISSING_IS_NAN;
        if decision & !all != 0 || missing == (MISSING_IS_ZERO | MISSING_IS_NAN) {
            return Err(refuse(format!("node {i} has decision type {decision}")));
        }
        let split = if decision & CATEGORICAL != 0 {
            let set = sets.get(threshold as usize).filter(|_| threshold.fract() == 0.0);
            let set = set.ok_or_else(|| corrupt(format!("node {i} has no categories")))?;
            let question = Question::OneOf(set.clone());
            Split { feature, question, missing_left: false, also_missing: None, left, right }
        } else {
            let default_left = decision & DEFAULT_LEFT != 0;
            let question = Question::AtMost(past_zero(threshold));
            Split {
                feature,
                question,
                missing_left: if missing == 0 { 0.0 <= threshold } else { default_left },
                also_missing: (missing == MISSING_IS_ZERO).then_some(Band::ZERO),
                left,
                right,
            }
        };
        let (value, cover, gain) = (inner_values[i], inner_counts[i], gains[i]);
        Ok(TreeNode { split: Some(Box::new(split)), value, cover, gain })
    })
}

/// The threshold that divides values as this one divides them after those near zero have become 0.
fn past_zero(threshold: f64) -> f64 {
    let Band { low, high } = Band::ZERO;
    if (0.0..high).contains(&threshold) {
        high
    } else if (low..0.0).contains(&threshold) {
        low.next_down()
    } else {
        threshold
    }
}

/// The category sets of a tree: bit `b` of word `w` is category `32 w + b`.
fn sets(fields: &Fields<'_>, n_sets: usize) -> Result<Vec<CategorySet>> {
    let ends: Vec<usize> = fields.list("cat_boundaries", n_sets.saturating_add(1))?;
    let words: Vec<u32> = fields.list("cat_threshold", ends[n_sets])?;
    let set = |bounds: &[usize]| {
        let words = words.get(bounds[0]..bounds[1]).ok_or_else(|| corrupt("cat_boundaries"))?;
        let codes = words.iter().zip(0_u32..).flat_map(|(word, w)| {
            (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 32 * w + bit)
        });
        // LightGBM reads a value as a code of 31 bits.
        if words.len() > 1 << 26 {
            return Err(corrupt("a set has too many categories"));
        }
        Ok(CategorySet::new(codes))
    };
    if !ends.is_sorted() || ends[0] != 0 {
        return Err(corrupt("cat_boundaries are not in order"));
    }
    ends.windows(2).map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_divide_as_they_do_once_what_is_near_zero_is_zero() {
        let Band { high, .. } = Band::ZERO;
        let flush = |x: f64| if Band::ZERO.contains(x) { 0.0 } else { x };
        let edges = [0.0, -0.0, 1e-40, high, high.next_up(), high.next_down(), 1e-30, 1.0, 5e-324];
        let edges: Vec<f64> = edges.iter().flat_map(|x| [*x, -x]).collect();
        for &threshold in edges.iter().chain(&[f64::INFINITY, f64::NEG_INFINITY]) {
            for &x in edges.iter().chain(&[f64::INFINITY, f64::NEG_INFINITY]) {
                let expected = flush(x) <= threshold;
                assert_eq!(x <= past_zero(threshold), expected, "{x:e} at {threshold:e}");
            }
        }
    }

    #[test]
    fn parameters_of_objectives_that_are_not_known_are_refused() {
        assert_eq!(link_of("binary sigmoid:0.5").unwrap(), Link::Logistic { slope: 0.5 });
        assert_eq!(link_of("regression").unwrap(), Link::Identity);
        for objective in [
            "regression sqrt",
            "binary",
            "binary sigmoid:1 focal:2",
            "binary sigmoid:x",
            "cross_entropy_lambda",
            "tweedie x",
            "",
        ] {
            assert!(link_of(objective).is_err(), "{objective}");
        }
    }
}
