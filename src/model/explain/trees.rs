//! What each feature adds to the answer of trees: exact Shapley values in one walk down and one walk up.
//!
//! In the game of one leaf a feature that is known lets the row through to the leaf or not (o = 1 or 0), and one that is not
//! known lets it through with the share z of the training rows that its questions on the path send that way. The leaf's
//! game is a product over features, so the Shapley value of feature j is
//!
//! ```text
//! leaf · (o_j − z_j) · ∫₀¹ Π_{k ≠ j} (t · o_k + (1 − t) · z_k) dt
//! ```
//!
//! whose integrand is a polynomial in t: a Gauss–Legendre rule of n points is exact for up to 2n features on a path.
//! At one t, let `reach` be the product of the factors on the way to a question, and `below` the sum of leaves behind it,
//! each times the factors from there on. For a question, let r be the share of training rows that go the other way than
//! the row, z the share that pass all earlier questions on the same feature of this path, q = t + (1 − t) z the factor of
//! those, and d = below(row's way) − below(other way). If the row passes all of those earlier questions (without any,
//! z = q = 1), with s = (1 − t) z r / q the sums over all leaves become
//!
//! ```text
//! reach(other way) = reach · s                reach(row's way) = reach · (1 − s)
//! below            = below(row's way) − s d   the feature adds  reach · z r / q² · d
//! ```
//!
//! and if it failed one of them, s = r and the question adds nothing. No step divides by anything that can be 0.
//!
//! Source: the game is that of path-dependent TreeSHAP (Lundberg, Erion, Lee 2018); integrating the multilinear extension
//! is Owen's (1972).

use std::cell::RefCell;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::model::explain::quadrature::gauss_legendre;
use crate::model::explain::{Explainer, check_widths};
use crate::model::tree::{Combine, Question, Split, Tree, TreeEnsemble};
use crate::schema::FeatureSchema;

/// Points of the quadrature that are worked on together.
const LANES: usize = 4;
type Lanes = [f64; LANES];

/// Exact Shapley values of a [`TreeEnsemble`] on the scale of its margin: path-dependent, which takes what is not known
/// about a row from the training rows (the covers) that reached the same question. The base is the mean margin of the
/// training rows.
///
/// Missing values go where each question sends them. Leaves are added in double precision: for models that add in
/// single precision the margin itself is off by their rounding. O(nodes × features on the longest path / 8) a row, for 100
/// trees of depth 6 some 50 µs; memory about 40 bytes a node.
#[derive(Debug, Clone)]
pub struct TreeExplainer {
    schema: FeatureSchema,
    base: f64,
    trees: Vec<Walk>,
    /// Questions of all trees that are not "at most".
    others: Vec<Split>,
    rules: Vec<Rule>,
}

/// A tree to be walked.
#[derive(Debug, Clone)]
struct Walk {
    /// Parents before children.
    steps: Vec<Step>,
    /// Position and answer.
    leaves: Vec<(u32, f64)>,
    n_nodes: usize,
    /// Which rules its paths need.
    rules: Range<usize>,
}

/// A question.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: u32,
    place: u32,
    /// Places of the children for yes and no.
    children: [u32; 2],
    threshold: f64,
    missing_left: bool,
    /// Position among the other questions, or [`NONE`].
    other: u32,
    /// The nearest question above on the same feature, as a position in `steps`, or [`NONE`].
    above: u32,
    /// Which of its children lies on the path.
    above_side: u8,
    /// Share of training rows that take each child, together 1.
    share: [f64; 2],
    /// Share of training rows that pass all questions above on the same feature; 1 without any.
    passing: f64,
}

const NONE: u32 = u32::MAX;

/// Four points of a quadrature: t, 1 − t, weight.
#[derive(Debug, Clone, Copy)]
struct Rule {
    at: Lanes,
    rest: Lanes,
    weight: Lanes,
}

/// What the walk down leaves for the walk up.
#[derive(Debug, Clone, Copy, Default)]
struct Visit {
    /// The side that the row takes.
    side: u8,
    /// Whether the row passes all questions above on the same feature.
    passes: bool,
    shift: Lanes,
    gain: Lanes,
}

#[derive(Debug, Default)]
struct Scratch {
    visits: Vec<Visit>,
    reach: Vec<Lanes>,
    below: Vec<Lanes>,
}

thread_local! {
    // Per thread, so that explaining does not allocate once a thread has explained a row.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl TreeExplainer {
    /// An explainer of these trees.
    ///
    /// # Errors
    /// `InvalidInput` naming the first question that no training row is known to have reached: models that came from
    /// elsewhere without covers cannot be explained.
    pub fn new(model: &TreeEnsemble) -> Result<Self> {
        let output = model.output();
        let scale = match output.combine {
            Combine::Sum => 1.0,
            Combine::Mean => 1.0 / model.trees().len().max(1) as f64,
        };
        let (mut others, mut rules, mut rules_of) = (Vec::new(), Vec::new(), Vec::new());
        let mut base = output.base;
        let mut trees = Vec::with_capacity(model.trees().len());
        for (number, tree) in model.trees().iter().enumerate() {
            let (mut walk, n_features) = Walk::new(number, tree, scale, &mut others)?;
            let blocks = n_features.div_ceil(2 * LANES).max(1);
            walk.rules = rules_with(blocks, &mut rules, &mut rules_of);
            base += walk.mean();
            trees.push(walk);
        }
        let schema = crate::model::Model::schema(model).clone();
        Ok(TreeExplainer { schema, base, trees, others, rules })
    }
}

/// The rules of `blocks` × 4 points, made if no tree needed them before.
fn rules_with(
    blocks: usize,
    rules: &mut Vec<Rule>,
    known: &mut Vec<(usize, Range<usize>)>,
) -> Range<usize> {
    if let Some((_, range)) = known.iter().find(|(of, _)| *of == blocks) {
        return range.clone();
    }
    let start = rules.len();
    for points in gauss_legendre(blocks * LANES).chunks_exact(LANES) {
        let at: Lanes = std::array::from_fn(|lane| points[lane].0);
        let weight = std::array::from_fn(|lane| points[lane].1);
        rules.push(Rule { at, rest: at.map(|t| 1.0 - t), weight });
    }
    known.push((blocks, start..rules.len()));
    start..rules.len()
}

impl Walk {
    /// The walk, and the most features on one of its paths.
    fn new(
        number: usize,
        tree: &Tree,
        scale: f64,
        others: &mut Vec<Split>,
    ) -> Result<(Self, usize)> {
        let nodes = tree.nodes();
        let (mut steps, mut leaves) = (Vec::<Step>::new(), Vec::new());
        // Per node: the step that asks above it, the side that leads to it, and the features on the way.
        let mut arrival = vec![(NONE, 0u8, 0usize); nodes.len()];
        let mut most = 0;
        for (place, node) in nodes.iter().enumerate() {
            let (parent, side, on_path) = arrival[place];
            let Some(split) = &node.split else {
                leaves.push((place as u32, node.value * scale));
                most = most.max(on_path);
                continue;
            };
            let children = [split.left, split.right];
            let covers = children.map(|child| nodes[child as usize].cover);
            let cover = covers[0] + covers[1];
            if cover <= 0.0 {
                let reason = format!(
                    "node {place} of tree {number} has no cover: no training row is known to have reached it"
                );
                return Err(Error::input("tree explainer", reason));
            }
            // The nearest question on the same feature, on the way up.
            let (mut above, mut above_side) = (parent, side);
            while above != NONE && steps[above as usize].feature != split.feature {
                let step = &steps[above as usize];
                (above, above_side, _) = arrival[step.place as usize];
            }
            let passing = match above {
                NONE => 1.0,
                _ => {
                    let step = &steps[above as usize];
                    step.passing * step.share[usize::from(above_side)]
                }
            };
            let (threshold, other) = match split.question {
                Question::AtMost(threshold) if split.also_missing.is_none() => (threshold, NONE),
                _ => {
                    others.push(Split::clone(split));
                    (f64::NAN, others.len() as u32 - 1)
                }
            };
            let on_path = on_path + usize::from(above == NONE);
            for (side, child) in children.into_iter().enumerate() {
                arrival[child as usize] = (steps.len() as u32, side as u8, on_path);
            }
            steps.push(Step {
                feature: split.feature,
                place: place as u32,
                children,
                threshold,
                missing_left: split.missing_left,
                other,
                above,
                above_side,
                share: covers.map(|of| of / cover),
                passing,
            });
        }
        Ok((Walk { steps, leaves, n_nodes: nodes.len(), rules: 0..0 }, most))
    }

    /// The mean answer over the training rows.
    fn mean(&self) -> f64 {
        let mut means = vec![0.0; self.n_nodes];
        self.leaves.iter().for_each(|(place, value)| means[*place as usize] = *value);
        for step in self.steps.iter().rev() {
            let of = |side: usize| step.share[side] * means[step.children[side] as usize];
            means[step.place as usize] = of(0) + of(1);
        }
        means[0]
    }

    /// Adds what the tree contributes at four points of the quadrature.
    fn add(
        &self,
        row: &[f64],
        rule: &Rule,
        others: &[Split],
        scratch: &mut Scratch,
        contributions: &mut [f64],
    ) {
        let Scratch { visits, reach, below } = scratch;
        let (visits, reach) = (&mut visits[..self.steps.len()], &mut reach[..self.n_nodes]);
        let below = &mut below[..self.n_nodes];
        reach[0] = rule.weight;
        for (i, step) in self.steps.iter().enumerate() {
            let value = row[step.feature as usize];
            let left = match step.other {
                // Without a branch, which would be mispredicted every other time.
                NONE => (value <= step.threshold) | (value.is_nan() & step.missing_left),
                other => others[other as usize].goes_left(value),
            };
            let side = usize::from(!left);
            let away = step.share[1 - side];
            let here = reach[step.place as usize];
            let mut passes = true;
            let (mut shift, mut gain) = (rule.rest.map(|rest| rest * away), [away; LANES]);
            if step.above != NONE {
                let above = &visits[step.above as usize];
                passes = above.passes & (above.side == step.above_side);
                if passes {
                    let z = step.passing;
                    for (lane, (at, rest)) in rule.at.iter().zip(rule.rest).enumerate() {
                        let per_q = 1.0 / (at + rest * z);
                        shift[lane] *= z * per_q;
                        gain[lane] *= z * per_q * per_q;
                    }
                } else {
                    (shift, gain) = ([away; LANES], [0.0; LANES]);
                }
            }
            let other_way: Lanes = std::array::from_fn(|lane| here[lane] * shift[lane]);
            reach[step.children[1 - side] as usize] = other_way;
            reach[step.children[side] as usize] =
                std::array::from_fn(|lane| here[lane] - other_way[lane]);
            let gain = std::array::from_fn(|lane| here[lane] * gain[lane]);
            visits[i] = Visit { side: side as u8, passes, shift, gain };
        }
        self.leaves.iter().for_each(|(place, value)| below[*place as usize] = [*value; LANES]);
        for (step, visit) in self.steps.iter().zip(&*visits).rev() {
            let side = usize::from(visit.side & 1);
            let own = below[step.children[side] as usize];
            let other = below[step.children[1 - side] as usize];
            let apart: Lanes = std::array::from_fn(|lane| own[lane] - other[lane]);
            below[step.place as usize] =
                std::array::from_fn(|lane| own[lane] - visit.shift[lane] * apart[lane]);
            let added: Lanes = std::array::from_fn(|lane| visit.gain[lane] * apart[lane]);
            contributions[step.feature as usize] += (added[0] + added[1]) + (added[2] + added[3]);
        }
    }
}

impl Explainer for TreeExplainer {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn base(&self) -> f64 {
        self.base
    }

    fn explain(&self, row: &[f64], contributions: &mut [f64]) -> Result<()> {
        check_widths(&self.schema, row, contributions)?;
        contributions.fill(0.0);
        SCRATCH.with_borrow_mut(|scratch| {
            let most = self.trees.iter().map(|tree| tree.n_nodes).max().unwrap_or(0);
            if scratch.reach.len() < most {
                scratch.visits.resize(most, Visit::default());
                scratch.reach.resize(most, [0.0; LANES]);
                scratch.below.resize(most, [0.0; LANES]);
            }
            for tree in &self.trees {
                for rule in &self.rules[tree.rules.clone()] {
                    tree.add(row, rule, &self.others, scratch, contributions);
                }
            }
        });
        Ok(())
    }
}
