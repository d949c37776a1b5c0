//! Cost-complexity pruning.

use crate::model::tree::node::{Tree, TreeNode};

/// The smallest subtree that minimises impurity + `alpha` × leaves: splits are undone from the bottom up where what is
/// below them gains less than `alpha` for every leaf it adds (Breiman et al. 1984). `alpha` is in the unit of the nodes'
/// gains. O(nodes).
pub(super) fn prune(tree: Tree, alpha: f64) -> Tree {
    if alpha <= 0.0 {
        return tree;
    }
    let nodes = tree.nodes();
    // What the subtree below each node gains and how many leaves it has, if pruned at its best.
    let mut gains = vec![0.0; nodes.len()];
    let mut leaves = vec![1_usize; nodes.len()];
    // Children stand behind their parents, so walking backwards meets them first.
    for (i, node) in nodes.iter().enumerate().rev() {
        let Some(split) = &node.split else { continue };
        let (left, right) = (split.left as usize, split.right as usize);
        let gain = node.gain + gains[left] + gains[right];
        let n = leaves[left] + leaves[right];
        if gain > alpha * (n - 1) as f64 {
            (gains[i], leaves[i]) = (gain, n);
        }
    }
    let mut kept: Vec<TreeNode> = Vec::new();
    // Positions in the old tree, and where the parent in the new one points to them.
    let mut stack = vec![(0, None)];
    while let Some((i, parent)) = stack.pop() {
        let at = kept.len() as u32;
        if let Some((parent, is_left)) = parent {
            let parent: &mut TreeNode = &mut kept[parent];
            let split = parent.split.as_mut().expect("only splits have children");
            *if is_left { &mut split.left } else { &mut split.right } = at;
        }
        let node = &nodes[i as usize];
        if leaves[i as usize] == 1 {
            kept.push(TreeNode::leaf(node.value, node.cover));
            continue;
        }
        kept.push(node.clone());
        let split = node.split.as_ref().expect("more than one leaf, so it is split");
        stack.push((split.right, Some((at as usize, false))));
        stack.push((split.left, Some((at as usize, true))));
    }
    Tree::new(kept).expect("parents are pushed before their children")
}
