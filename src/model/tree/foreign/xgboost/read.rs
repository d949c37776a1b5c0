//! From XGBoost's files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, IgnoredAny, Visitor};

use super::{MAX_CATEGORY, WHAT};
use crate::error::{Error, Result};
use crate::model::tree::ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
use crate::model::tree::foreign::logf::logf;
use crate::model::tree::foreign::ubjson::{self, UbjsonError};
use crate::model::tree::foreign::{
    ImportOptions, MissingValue, TreeRange, in_tree, schema, tree_below_root,
};
use crate::model::tree::node::{Band, CategoryRule, CategorySet, Question, Split, Tree, TreeNode};
use crate::model::tree::single::{last_below, rounding_to};

/// What tells whether the rest is worth reading.
#[derive(Deserialize)]
struct Head {
    learner: HeadLearner,
}

#[derive(Deserialize)]
struct HeadLearner {
    gradient_booster: Name,
    learner_model_param: HeadParam,
    objective: Name,
}

#[derive(Deserialize)]
struct HeadParam {
    num_class: String,
    #[serde(default)]
    num_target: Option<String>,
}

/// The other fields of an objective shape its training only: its name says what becomes of a margin.
#[derive(Deserialize)]
struct Name {
    name: String,
}

// In everything else a field that is not known is refused: what it says might change the output. Older versions lack the
// fields that have a default.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    learner: Learner,
    #[serde(rename = "version")]
    _version: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Learner {
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    feature_names: Vec<String>,
    #[serde(default, rename = "feature_types")]
    _feature_types: IgnoredAny,
    gradient_booster: Booster,
    learner_model_param: ModelParam,
    #[serde(rename = "objective")]
    _objective: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelParam {
    base_score: String,
    #[serde(default, rename = "boost_from_average")]
    _boost_from_average: IgnoredAny,
    #[serde(rename = "num_class")]
    _num_class: IgnoredAny,
    num_feature: String,
    #[serde(default, rename = "num_target")]
    _num_target: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Booster {
    #[serde(rename = "name")]
    _name: IgnoredAny,
    /// Of gbtree.
    #[serde(default)]
    model: Option<Model>,
    /// Of DART, with the next.
    #[serde(default)]
    gbtree: Option<Dropped>,
    #[serde(default)]
    weight_drop: Option<Vec<f32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dropped {
    #[serde(default, rename = "name")]
    _name: IgnoredAny,
    model: Model,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    gbtree_model_param: ForestParam,
    tree_info: Vec<i64>,
    trees: Vec<Grown>,
    #[serde(default)]
    iteration_indptr: Option<Vec<u64>>,
    /// Since 3.1.
    #[serde(default)]
    cats: CategoryNames,
}

/// The categories of a data frame that codes stand for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CategoryNames {
    /// Empty, or one for each feature.
    enc: Vec<Encoder>,
    #[serde(rename = "feature_segments")]
    _feature_segments: IgnoredAny,
    #[serde(rename = "sorted_idx")]
    _sorted_idx: IgnoredAny,
}

/// A feature's categories by code; none if it is not categorical.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoder {
    /// Of strings: where each begins and the last ends.
    #[serde(default)]
    offsets: Option<Vec<usize>>,
    /// Of numbers.
    #[serde(default, rename = "type")]
    _kind: IgnoredAny,
    /// The bytes of strings, or numbers.
    values: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForestParam {
    num_trees: String,
    #[serde(default)]
    num_parallel_tree: Option<String>,
    #[serde(default)]
    size_leaf_vector: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grown {
    #[serde(rename = "base_weights")]
    _base_weights: IgnoredAny,
    #[serde(default)]
    categories: Vec<i64>,
    #[serde(default)]
    categories_nodes: Vec<u64>,
    #[serde(default)]
    categories_segments: Vec<u64>,
    #[serde(default)]
    categories_sizes: Vec<u64>,
    default_left: Vec<Flag>,
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    /// Before 1.2.
    #[serde(default, rename = "leaf_child_counts")]
    _leaf_child_counts: IgnoredAny,
    left_children: Vec<i64>,
    #[serde(default)]
    loss_changes: Vec<f32>,
    #[serde(default, rename = "parents")]
    _parents: IgnoredAny,
    right_children: Vec<i64>,
    /// `None` and NaN at questions for categories, before 2.0.
    split_conditions: Vec<Option<f32>>,
    split_indices: Vec<u32>,
    #[serde(default)]
    split_type: Vec<u8>,
    #[serde(default)]
    sum_hessian: Vec<f32>,
    tree_param: TreeParam,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeParam {
    #[serde(default, rename = "num_deleted")]
    _num_deleted: IgnoredAny,
    #[serde(default, rename = "num_feature")]
    _num_feature: IgnoredAny,
    #[serde(default, rename = "num_nodes")]
    _num_nodes: IgnoredAny,
    #[serde(default, rename = "num_roots")]
    _num_roots: IgnoredAny,
    #[serde(default)]
    size_leaf_vector: Option<String>,
}

/// Yes or no, as 0 and 1 since 1.6.
#[derive(Clone, Copy)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: de::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        struct FlagVisitor;

        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0, 1, true or false")
            }

            fn visit_bool<E: de::Error>(self, flag: bool) -> std::result::Result<Flag, E> {
                Ok(Flag(flag))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> std::result::Result<Flag, E> {
                match number {
                    0 | 1 => Ok(Flag(number == 1)),
                    _ => Err(E::custom(format!("{number} for 0 or 1"))),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> std::result::Result<Flag, E> {
                self.visit_u64(u64::try_from(number).unwrap_or(u64::MAX))
            }
        }

        deserializer.deserialize_any(FlagVisitor)
    }
}

/// What an objective makes of `base_score`, and of a margin.
#[derive(Clone, Copy)]
enum Base {
    Identity,
    Logit,
    Logarithm,
}

const LOGISTIC: Link = Link::Logistic { slope: 1.0 };

fn objective(name: &str) -> Result<(Base, Link)> {
    Ok(match name {
        "binary:logistic" | "reg:logistic" => (Base::Logit, LOGISTIC),
        "binary:logitraw"
        | "reg:squarederror"
        | "reg:linear"
        | "reg:squaredlogerror"
        | "reg:pseudohubererror"
        | "reg:absoluteerror"
        | "reg:quantileerror"
        | "rank:pairwise"
        | "rank:ndcg"
        | "rank:map" => (Base::Identity, Link::Identity),
        "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" | "survival:aft" => {
            (Base::Logarithm, Link::Exponential)
        }
        "multi:softmax" | "multi:softprob" => return Err(refuse(SEVERAL)),
        "binary:hinge" => return Err(refuse("objective binary:hinge has no score but 0 and 1")),
        _ => return Err(refuse(format!("objective {name} is not known"))),
    })
}

const SEVERAL: &str = "it gives several margins a row, where a score is one";

fn refuse(reason: impl Into<String>) -> Error {
    Error::input(WHAT, reason)
}

fn corrupt(reason: impl Into<String>) -> Error {
    Error::corrupt(WHAT, reason)
}

impl TreeEnsemble {
    /// A model that XGBoost saved (`save_model`, `save_raw`), as JSON or UBJSON: gbtree and DART, with one margin a row.
    /// Files of 1.1 to 3.2 were checked.
    ///
    /// Margins are equal bit for bit to `Booster.predict(output_margin=True)` since 1.3, for values in double precision and
    /// infinite ones too. (In-place prediction, which the scikit-learn wrapper uses, rounds otherwise for DART.) Scores agree
    /// to about 1e-7: XGBoost takes its logistic function in single precision.
    ///
    /// A categorical feature comes as its code; if it was trained from a data frame, the schema names its categories in the
    /// order of their codes (in files since 3.1). `cover` of a node is its sum of second derivatives, and inner nodes have
    /// value 0, as the file has them without the learning rate.
    ///
    /// # Errors
    /// `Corrupt` for anything else; `InvalidInput` for an objective, a booster or a field that is not known or gives more
    /// than one margin; `InvalidConfig` if `options` leaves open what the file does: `missing` always, `trees` if it has a
    /// best iteration that is not the last.
    pub fn from_xgboost(bytes: &[u8], options: &ImportOptions) -> Result<Self> {
        let head: HeadLearner = parse::<Head>(bytes)?.learner;
        let booster = head.gradient_booster.name;
        if booster != "gbtree" && booster != "dart" {
            return Err(refuse(format!("booster {booster} is not made of trees")));
        }
        let (base, link) = objective(&head.objective.name)?;
        let HeadParam { num_class, num_target } = head.learner_model_param;
        if number::<u32>("num_class", &num_class)? > 1 || num_target.is_some_and(|n| n != "1") {
            return Err(refuse(SEVERAL));
        }
        let Document { learner, .. } = parse(bytes)?;
        let also_missing = also_missing(options)?;
        let param = learner.learner_model_param;
        let (model, weights) = match (learner.gradient_booster, booster == "dart") {
            (Booster { model: Some(model), gbtree: None, weight_drop: None, .. }, false) => {
                (model, None)
            }
            (Booster { model: None, gbtree: Some(dropped), weight_drop: Some(drop), .. }, true) => {
                (dropped.model, Some(drop))
            }
            _ => return Err(corrupt(format!("it is no {booster}"))),
        };
        let leaf_vectors = model.trees.iter().map(|tree| &tree.tree_param.size_leaf_vector);
        if model.tree_info.iter().any(|group| *group != 0)
            || leaf_vectors.chain([&model.gbtree_model_param.size_leaf_vector]).any(is_vector)
        {
            return Err(refuse(SEVERAL));
        }
        let n_trees = model.trees.len();
        // Its margins would start at a number that depends on how it was left untrained.
        if n_trees == 0 {
            return Err(refuse("it was never trained: it has no trees"));
        }
        if model.tree_info.len() != n_trees
            || number::<usize>("num_trees", &model.gbtree_model_param.num_trees)? != n_trees
            || weights.as_ref().is_some_and(|weights| weights.len() != n_trees)
        {
            return Err(corrupt("the number of trees is said differently"));
        }
        let n_kept = n_kept(&model, &learner.attributes, options)?;
        let n_features = number("num_feature", &param.num_feature)?;
        let categories = category_names(&model.cats);
        let schema = schema(WHAT, learner.feature_names, n_features, categories)?;
        let trees = model.trees[..n_kept].iter().enumerate().map(|(t, tree)| {
            let weight = weights.as_ref().map(|weights| weights[t]);
            grown(tree, weight, also_missing).map_err(|error| in_tree(t, error))
        });
        let output = Output {
            base: margin_of(&param.base_score, base)?,
            combine: Combine::Sum,
            precision: Precision::Single,
            link: options.link.unwrap_or(link),
        };
        TreeEnsemble::new(schema, trees.collect::<Result<_>>()?, output)
    }
}

/// The names of the categories that codes stand for, by feature. Those that are not whole are left out: XGBoost 3.2 saves
/// too few bytes of names that are not ASCII. The codes are all that trees ask for.
fn category_names(cats: &CategoryNames) -> BTreeMap<usize, Vec<String>> {
    let names = |encoder: &Encoder| -> Option<Vec<String>> {
        let Some(offsets) = &encoder.offsets else {
            return Some(encoder.values.iter().map(f64::to_string).collect());
        };
        // They are written as signed.
        let bytes: Vec<u8> = encoder.values.iter().map(|byte| *byte as i64 as u8).collect();
        let name = |ends: &[usize]| {
            let bytes = bytes.get(ends[0]..ends[1])?;
            std::str::from_utf8(bytes).ok().map(String::from)
        };
        offsets.windows(2).map(name).collect()
    };
    let categorical = cats.enc.iter().enumerate().filter(|(_, e)| !e.values.is_empty());
    categorical.filter_map(|(feature, encoder)| Some((feature, names(encoder)?))).collect()
}

fn is_vector(size: &Option<String>) -> bool {
    size.as_ref().is_some_and(|size| size != "0" && size != "1")
}

/// Files end as they begin in neither form, so the byte behind the first brace tells which it is.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes {
        [b'{', b'i' | b'U' | b'I' | b'l' | b'L' | b'$' | b'#', ..] => ubjson::from_slice(bytes)
            .map_err(|error| match error {
                UbjsonError::Malformed(reason) => corrupt(reason),
                UbjsonError::Unexpected(reason) => refuse(reason),
            }),
        [b'{', ..] => {
            serde_json::from_slice(&nan_as_null(bytes)).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => refuse(error.to_string()),
                _ => corrupt(error.to_string()),
            })
        }
        _ => Err(corrupt(
            "it is neither JSON nor UBJSON; a file of the older binary format can be loaded and saved anew by XGBoost",
        )),
    }
}

/// JSON has no NaN, and XGBoost writes it.
fn nan_as_null(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Cow::Borrowed(bytes);
    let (mut in_string, mut escaped) = (false, false);
    let mut copied = 0;
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' if !escaped => in_string = !in_string,
            // The last letter of one must not begin the next: NaNaN is one and a remainder.
            b'N' if !in_string && i >= copied && bytes[i..].starts_with(b"NaN") => {
                if copied == 0 {
                    out = Cow::Owned(Vec::with_capacity(bytes.len() + bytes.len() / 8));
                }
                out.to_mut().extend_from_slice(&bytes[copied..i]);
                out.to_mut().extend_from_slice(b"null");
                copied = i + 3;
            }
            _ => {}
        }
        escaped = in_string && *byte == b'\\' && !escaped;
    }
    if copied > 0 {
        out.to_mut().extend_from_slice(&bytes[copied..]);
    }
    out
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| corrupt(format!("{text:?} for {name}")))
}

fn also_missing(options: &ImportOptions) -> Result<Option<Band>> {
    match options.missing {
        None => Err(Error::config(
            "import options",
            "XGBoost's files do not say which value was `missing` in training; say it",
        )),
        Some(MissingValue::Nan) => Ok(None),
        Some(MissingValue::Value(value)) if value.is_nan() => Ok(None),
        Some(MissingValue::Value(value)) => Ok(Some(rounding_to(value as f32))),
    }
}

/// How many trees count.
fn n_kept(
    model: &Model,
    attributes: &BTreeMap<String, String>,
    options: &ImportOptions,
) -> Result<usize> {
    let n_trees = model.trees.len();
    let Some(best) = attributes.get("best_iteration") else {
        return match options.trees {
            Some(TreeRange::BestIteration) => {
                Err(Error::config("import options", "the file has no best iteration"))
            }
            Some(TreeRange::All) | None => Ok(n_trees),
        };
    };
    let end = number::<usize>("best_iteration", best)?.checked_add(1);
    let end = end.and_then(|end| match &model.iteration_indptr {
        Some(starts) => usize::try_from(*starts.get(end)?).ok(),
        None => {
            let parallel = model.gbtree_model_param.num_parallel_tree.as_deref();
            end.checked_mul(parallel.unwrap_or("1").parse().ok()?)
        }
    });
    let end = end.filter(|end| *end <= n_trees);
    let end = end.ok_or_else(|| corrupt(format!("best iteration {best} is past the end")))?;
    match options.trees {
        Some(TreeRange::BestIteration) => Ok(end),
        Some(TreeRange::All) => Ok(n_trees),
        // Until 1.7 there was one without early stopping too: the last.
        None if end == n_trees => Ok(n_trees),
        None => {
            let reason = format!("the file has best iteration {best}: say which trees count");
            Err(Error::config("import options", reason))
        }
    }
}

/// Where margins start.
fn margin_of(base_score: &str, base: Base) -> Result<f64> {
    // Since 3.1 a list with one element.
    let text = base_score.trim_start_matches('[').trim_end_matches(']');
    if text.contains(',') {
        return Err(refuse(SEVERAL));
    }
    let score: f32 = number("base_score", text)?;
    let logarithm = |number: f32| {
        let sound = number > 0.0 && number.is_normal();
        sound.then(|| logf(number)).ok_or_else(|| corrupt(format!("{text:?} for base_score")))
    };
    Ok(f64::from(match base {
        Base::Identity => score,
        Base::Logit => -logarithm(1.0 / score - 1.0)?,
        Base::Logarithm => logarithm(score)?,
    }))
}

fn grown(tree: &Grown, weight: Option<f32>, also_missing: Option<Band>) -> Result<Tree> {
    let n = tree.left_children.len();
    let optional = [tree.loss_changes.len(), tree.sum_hessian.len(), tree.split_type.len()];
    let lengths =
        [tree.right_children.len(), tree.split_conditions.len(), tree.split_indices.len()];
    if lengths.iter().chain([&tree.default_left.len()]).any(|length| *length != n)
        || optional.iter().any(|length| *length != n && *length != 0)
    {
        return Err(corrupt("its lists differ in length"));
    }
    let sets = category_sets(tree)?;
    let known = |list: &[f32], i: usize| list.get(i).map_or(0.0, |number| f64::from(*number));
    tree_below_root(WHAT, n, |i| {
        let (left, right) = (tree.left_children[i], tree.right_children[i]);
        let condition = tree.split_conditions[i].unwrap_or(f32::NAN);
        let cover = known(&tree.sum_hessian, i);
        if left == -1 {
            let value = weight.map_or(condition, |weight| condition * weight);
            return Ok(TreeNode::leaf(f64::from(value), cover));
        }
        let child = |child: i64| {
            u32::try_from(child).map_err(|_| corrupt(format!("node {i} has child {child}")))
        };
        let (left, right, default_left) = (child(left)?, child(right)?, tree.default_left[i].0);
        let feature = tree.split_indices[i];
        let split = match tree.split_type.get(i).copied().unwrap_or(0) {
            0 => {
                // Nothing is less than negative infinity, and no threshold says so.
                let question = if condition == f32::NEG_INFINITY {
                    Question::OneOf(CategorySet::new([]))
                } else if condition.is_nan() {
                    return Err(corrupt(format!("node {i} has no number for a condition")));
                } else {
                    Question::AtMost(last_below(condition))
                };
                Split { feature, question, missing_left: default_left, also_missing, left, right }
            }
            1 => {
                let set = sets.get(&(i as u64));
                let set = set.ok_or_else(|| corrupt(format!("node {i} has no categories")))?;
                let set = CategorySet::new(set.iter().copied()).with_rule(CategoryRule::CutSingle);
                let question = Question::OneOf(set);
                let (left, right) = (right, left);
                Split { feature, question, missing_left: !default_left, also_missing, left, right }
            }
            other => return Err(refuse(format!("node {i} has a split of type {other}"))),
        };
        let gain = known(&tree.loss_changes, i);
        Ok(TreeNode { split: Some(Box::new(split)), value: 0.0, cover, gain })
    })
}

/// The set of each node that asks for one.
fn category_sets(tree: &Grown) -> Result<BTreeMap<u64, Vec<u32>>> {
    let n = tree.categories_nodes.len();
    if tree.categories_segments.len() != n || tree.categories_sizes.len() != n {
        return Err(corrupt("its lists of categories differ in length"));
    }
    let mut sets = BTreeMap::new();
    let mut n_codes = 0_usize;
    for (i, node) in tree.categories_nodes.iter().enumerate() {
        let range = usize::try_from(tree.categories_segments[i]).ok().and_then(|start| {
            Some(start..start.checked_add(usize::try_from(tree.categories_sizes[i]).ok()?)?)
        });
        let codes = range.and_then(|range| tree.categories.get(range));
        let codes = codes.ok_or_else(|| corrupt("its categories end too early"))?;
        // Sets that overlap would let a short file take much memory.
        n_codes += codes.len();
        let codes = codes.iter().map(|code| {
            let code = u32::try_from(*code).ok().filter(|code| *code < MAX_CATEGORY);
            code.ok_or_else(|| corrupt("a category that cannot be"))
        });
        if n_codes > tree.categories.len()
            || sets.insert(*node, codes.collect::<Result<_>>()?).is_some()
        {
            return Err(corrupt("its categories belong to more than one node"));
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_becomes_null_but_in_strings() {
        let read = |text: &str| String::from_utf8(nan_as_null(text.as_bytes()).into()).unwrap();
        assert_eq!(read("[NaN,1,NaN]"), "[null,1,null]");
        let text = r#"{"NaN": "a\"NaN", "b\\": NaN}"#;
        assert_eq!(read(text), r#"{"NaN": "a\"NaN", "b\\": null}"#);
        assert!(matches!(nan_as_null(b"[1]"), Cow::Borrowed(_)));
    }
}
