//! Trees together: what scores.

use std::fmt;
use std::sync::Arc;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::codec::{Budget, Reader};
use crate::error::{Error, Result};
use crate::model::tree::layout::{BLOCK, Layout};
use crate::model::tree::node::{Band, Question, Tree};
use crate::model::{Explainer, GoldenRows, Model, TreeExplainer, sigmoid};
use crate::schema::FeatureSchema;

/// Any number of decision trees and how their answers become one: a single tree, a forest, a boosted ensemble, of our own
/// making or of another library's.
///
/// A missing value (NaN) goes where each split sends it, so every row gets a score. Scoring does not allocate once a
/// thread has scored; a row of 100 trees of depth 6 takes about half a microsecond.
#[derive(Debug, Clone)]
pub struct TreeEnsemble {
    schema: FeatureSchema,
    trees: Vec<Tree>,
    output: Output,
    golden: Option<GoldenRows>,
    layout: Layout,
}

/// Rows times questions on the way of each that golden rows may take: a second's work.
const MAX_GOLDEN_STEPS: usize = 1 << 28;

/// How the leaves of a row's trees become its margin, and its margin a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Where the margin starts.
    pub base: f64,
    /// What becomes of the leaves.
    pub combine: Combine,
    /// The precision in which they are added, tree by tree.
    pub precision: Precision,
    /// From margin to score.
    pub link: Link,
}

/// What becomes of a row's leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Combine {
    /// They are added to the base.
    Sum,
    /// Their mean is the margin; the base is added to it.
    Mean,
}

/// The precision in which leaves are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// 32 bits, as XGBoost adds.
    Single,
    /// 64 bits.
    Double,
}

impl Precision {
    #[inline]
    pub(super) fn round(self, value: f64) -> f64 {
        match self {
            Precision::Single => f64::from(value as f32),
            Precision::Double => value,
        }
    }

    #[inline]
    pub(super) fn add(self, a: f64, b: f64) -> f64 {
        match self {
            Precision::Single => f64::from(a as f32 + b as f32),
            Precision::Double => a + b,
        }
    }
}

/// From margin to score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Link {
    /// The margin is the score: a share of bad already, or the value that a regression predicts.
    Identity,
    /// `1 / (1 + exp(−slope · margin))`.
    Logistic {
        /// 1, but for models whose training scaled the margin (LightGBM's `sigmoid`).
        slope: f64,
    },
    /// `exp(margin)`: regressions of counts and amounts.
    Exponential,
}

impl Link {
    /// The score of a margin.
    pub fn score(self, margin: f64) -> f64 {
        match self {
            Link::Identity => margin,
            Link::Logistic { slope } => sigmoid(slope * margin),
            Link::Exponential => libm::exp(margin),
        }
    }
}

impl Output {
    /// Leaves that are shares of bad: a single tree or a forest.
    pub const SHARES: Output = Output {
        base: 0.0,
        combine: Combine::Mean,
        precision: Precision::Double,
        link: Link::Identity,
    };
}

impl TreeEnsemble {
    /// The kind under which artifacts hold it.
    pub const KIND: &'static str = "tree-ensemble";

    /// Most trees that it may have.
    pub const MAX_TREES: usize = 32_768;

    /// An ensemble from its parts.
    ///
    /// # Errors
    /// `InvalidInput` for a feature that the schema does not have, for a base or slope that is not finite, for more than
    /// [`MAX_TREES`](Self::MAX_TREES), 2³¹ nodes in all, or 64 rules about what is missing.
    pub fn new(schema: FeatureSchema, trees: Vec<Tree>, output: Output) -> Result<Self> {
        let refuse = |reason: String| Err(Error::input("tree ensemble", reason));
        let slope = match output.link {
            Link::Logistic { slope } => slope,
            Link::Identity | Link::Exponential => 1.0,
        };
        if !output.base.is_finite() || !slope.is_finite() {
            return refuse("base and slope must be finite".into());
        }
        if trees.iter().map(|tree| tree.nodes().len()).sum::<usize>() > i32::MAX as usize {
            return refuse("has more than 2^31 nodes".into());
        }
        if trees.len() > Self::MAX_TREES {
            return refuse(format!("has {} trees, more than {}", trees.len(), Self::MAX_TREES));
        }
        for (t, tree) in trees.iter().enumerate() {
            let splits = tree.nodes().iter().filter_map(|node| node.split.as_ref());
            if let Some(split) =
                splits.into_iter().find(|s| s.feature as usize >= schema.n_features())
            {
                return refuse(format!("tree {t} asks for feature {}", split.feature));
            }
        }
        let Some(layout) = Layout::new(&trees) else {
            return refuse("has more than 64 rules about what is missing".into());
        };
        Ok(TreeEnsemble { schema, trees, output, golden: None, layout })
    }

    /// An ensemble from [`Model::to_bytes`].
    ///
    /// # Errors
    /// `Corrupt` for bytes that are not one over this schema, or whose [golden rows](GoldenRows) get other margins.
    pub fn from_bytes(schema: FeatureSchema, bytes: &[u8]) -> Result<Self> {
        let budget = Budget::new(bytes.len());
        Self::read(schema, Reader::within("tree ensemble", bytes, &budget))
    }

    pub(in crate::model) fn read(schema: FeatureSchema, reader: Reader<'_>) -> Result<Self> {
        super::bytes::decode(schema, reader)
    }

    /// Carries rows with the margins they must get; every later load from bytes checks them again.
    ///
    /// # Errors
    /// `SchemaMismatch` for rows of another width; `InvalidInput` for so many that checking them would take a second, or
    /// naming the first row whose margin differs in any bit, with both margins.
    pub fn with_golden_rows(mut self, golden: GoldenRows) -> Result<Self> {
        let n = golden.expected().len();
        let steps: usize = self.trees.iter().map(|tree| tree.depth() + 1).sum();
        if n.saturating_mul(steps) > MAX_GOLDEN_STEPS {
            return Err(Error::input("golden rows", format!("{n} are too many for these trees")));
        }
        golden.check(|rows, margins| self.margins(rows, margins))?;
        self.golden = Some(golden);
        Ok(self)
    }

    /// The rows that it carries to be checked against.
    pub fn golden_rows(&self) -> Option<&GoldenRows> {
        self.golden.as_ref()
    }

    /// The trees in the order in which they are added up.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// How leaves become a score.
    pub fn output(&self) -> Output {
        self.output
    }

    /// The margins of rows laid one after the other: before the link, one each.
    ///
    /// # Errors
    /// `SchemaMismatch` unless `rows` holds `margins.len()` rows of the schema's width.
    pub fn margins(&self, rows: &[f64], margins: &mut [f64]) -> Result<()> {
        self.schema.check_rows(rows.len(), margins.len())?;
        self.fill(rows, margins);
        Ok(())
    }

    /// The scores of a matrix of rows (n_rows × n_features), in parallel; equal bit for bit to one row at a time.
    ///
    /// # Errors
    /// `SchemaMismatch` if the matrix has another width than the schema.
    pub fn score_rows(&self, rows: ArrayView2<'_, f64>) -> Result<Vec<f64>> {
        self.schema.check_rows(rows.len(), rows.nrows())?;
        let mut scores = vec![f64::NAN; rows.nrows()];
        let rows = rows.as_standard_layout();
        self.score(rows.as_slice().expect("in standard layout"), &mut scores)?;
        Ok(scores)
    }

    /// Margins block by block, blocks in parallel where there are several.
    fn fill(&self, rows: &[f64], margins: &mut [f64]) {
        let n_features = self.schema.n_features();
        #[cfg(feature = "parallel")]
        if margins.len() > 4 * BLOCK {
            use rayon::prelude::*;
            let rows = rows.par_chunks(BLOCK * n_features);
            margins
                .par_chunks_mut(BLOCK)
                .zip(rows)
                .for_each(|(margins, rows)| self.fill_block(rows, margins));
            return;
        }
        let rows = rows.chunks(BLOCK * n_features);
        margins.chunks_mut(BLOCK).zip(rows).for_each(|(out, rows)| self.fill_block(rows, out));
    }

    #[inline]
    fn fill_block(&self, rows: &[f64], margins: &mut [f64]) {
        let start = match self.output.combine {
            Combine::Sum => self.output.base,
            Combine::Mean => 0.0,
        };
        let precision = self.output.precision;
        self.layout.sum(rows, precision.round(start), precision, margins);
        if self.output.combine == Combine::Mean {
            let n_trees = self.trees.len().max(1) as f64;
            let mean = |sum: f64| match self.output.precision {
                Precision::Double => sum / n_trees + self.output.base,
                Precision::Single => {
                    f64::from(sum as f32 / n_trees as f32 + self.output.base as f32)
                }
            };
            margins.iter_mut().for_each(|margin| *margin = mean(*margin));
        }
    }
}

impl Model for TreeEnsemble {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.margins(rows, scores)?;
        let link = self.output.link;
        scores.iter_mut().for_each(|score| *score = link.score(*score));
        Ok(())
    }

    fn kind(&self) -> &str {
        Self::KIND
    }

    fn explainer(&self) -> Result<Arc<dyn Explainer>> {
        Ok(Arc::new(TreeExplainer::new(self)?))
    }

    fn to_bytes(&self) -> Vec<u8> {
        super::bytes::encode(self)
    }

    fn edges(&self) -> Vec<(usize, f64)> {
        let nodes = self.trees.iter().flat_map(Tree::nodes);
        let splits = nodes.filter_map(|node| node.split.as_deref());
        let mut edges: Vec<(usize, f64)> = splits
            .filter_map(|split| match split.question {
                Question::AtMost(threshold) => Some((split.feature as usize, threshold)),
                Question::OneOf(_) => None,
            })
            .collect();
        edges.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        edges.dedup();
        edges
    }
}

impl PartialEq for TreeEnsemble {
    fn eq(&self, other: &Self) -> bool {
        (&self.schema, &self.trees, self.output, &self.golden)
            == (&other.schema, &other.trees, other.output, &other.golden)
    }
}

/// Tree by tree, one line a node, indented by depth: the question or the leaf's answer, and the training rows (or their
/// weight) in parentheses. What is missing is told only where it goes with "yes".
impl fmt::Display for TreeEnsemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (t, tree) in self.trees.iter().enumerate() {
            if self.trees.len() > 1 {
                writeln!(f, "tree {t}")?;
            }
            let mut stack = vec![(0, 0, "")];
            while let Some((i, depth, answer)) = stack.pop() {
                let node = &tree.nodes()[i as usize];
                write!(f, "{:width$}{answer}", "", width = 2 * depth)?;
                match &node.split {
                    None => writeln!(f, "{:.6}  ({})", node.value, node.cover)?,
                    Some(split) => {
                        write!(f, "{} ", self.schema.names()[split.feature as usize])?;
                        match &split.question {
                            Question::AtMost(threshold) => write!(f, "<= {threshold}")?,
                            Question::OneOf(set) => write!(f, "in {:?}", set.codes())?,
                        }
                        let missing = if split.missing_left { " or missing" } else { "" };
                        write!(f, "{missing}")?;
                        if let Some(Band { low, high }) = split.also_missing {
                            write!(f, " ({low} to {high} is missing)")?;
                        }
                        writeln!(f, "  ({})", node.cover)?;
                        stack.extend([
                            (split.right, depth + 1, "no:  "),
                            (split.left, depth + 1, "yes: "),
                        ]);
                    }
                }
            }
        }
        Ok(())
    }
}
