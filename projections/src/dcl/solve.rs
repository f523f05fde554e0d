//! Which records are the same thing: a pure function of the touched records, the links that rules
//! make, and what people said. Whatever the order of the inputs, the answer is the same.
//!
//! 1. What people merged is merged, oldest first; a merge that would bring two records together which
//!    someone took apart later does not hold.
//! 2. Rules come strongest first. The links of one rule join the clusters made so far, unless
//!    - people took two of the records apart: then the cluster of the one that appeared later stays out;
//!    - two records of one feed would come together: a source's own keys say that they differ, so none
//!      of the links that would bring it about holds.

use std::collections::{BTreeMap, BTreeSet};

/// A record: its order of appearance (also its name here) and its feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) first: i64,
    pub(super) feed: i32,
}

/// Records are named by their index in `nodes`.
#[derive(Debug, Default)]
pub(super) struct Problem {
    /// By `first`.
    pub(super) nodes: Vec<Node>,
    /// For each rule, strongest first: groups of records that it links.
    pub(super) rules: Vec<Vec<Vec<u32>>>,
    /// What people said last about each pair, oldest first.
    pub(super) said: Vec<Said>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) merged: bool,
}

struct Union(Vec<u32>);

impl Union {
    fn new(count: usize) -> Self {
        Self((0..count as u32).collect())
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.0[node as usize] != node {
            let parent = self.0[node as usize];
            self.0[node as usize] = self.0[parent as usize];
            node = parent;
        }
        node
    }

    /// The earlier of the two roots stays.
    fn join(&mut self, left: u32, right: u32) {
        let (left, right) = (self.root(left), self.root(right));
        self.0[left.max(right) as usize] = left.min(right);
    }
}

/// The cluster of each node, named by its earliest record.
pub(super) fn solve(problem: &Problem) -> Vec<u32> {
    let count = problem.nodes.len();
    let mut clusters = Union::new(count);
    let apart: Vec<(usize, Said)> =
        problem.said.iter().copied().enumerate().filter(|(_, said)| !said.merged).collect();
    for (order, said) in problem.said.iter().enumerate().filter(|(_, said)| said.merged) {
        let mut tried = Union(clusters.0.clone());
        if !apart.is_empty() {
            tried.join(said.left, said.right);
        }
        let refused = apart.iter().any(|&(later, pair)| {
            later > order
                && tried.root(pair.left) == tried.root(pair.right)
                && clusters.root(pair.left) != clusters.root(pair.right)
        });
        if !refused {
            clusters.join(said.left, said.right);
        }
    }
    for groups in &problem.rules {
        let mut tried = Union(clusters.0.clone());
        for group in groups {
            for pair in group.windows(2) {
                tried.join(pair[0], pair[1]);
            }
        }
        let mut kept_out: BTreeSet<u32> = BTreeSet::new();
        for (_, pair) in &apart {
            let (left, right) = (clusters.root(pair.left), clusters.root(pair.right));
            if left != right && tried.root(left) == tried.root(right) {
                kept_out.insert(left.max(right));
            }
        }
        if !kept_out.is_empty() {
            tried = Union(clusters.0.clone());
            for group in groups {
                let inside: Vec<u32> =
                    group.iter().copied().filter(|&node| !kept_out.contains(&clusters.root(node))).collect();
                for pair in inside.windows(2) {
                    tried.join(pair[0], pair[1]);
                }
            }
        }
        let refused = crowded(&problem.nodes, groups, &mut clusters, &mut tried);
        for group in groups {
            let inside: Vec<u32> = group
                .iter()
                .copied()
                .filter(|&node| {
                    !kept_out.contains(&clusters.root(node)) && !refused.contains(&tried.root(node))
                })
                .collect();
            for pair in inside.windows(2) {
                clusters.join(pair[0], pair[1]);
            }
        }
    }
    (0..count as u32).map(|node| clusters.root(node)).collect()
}

/// Roots of those of the tried clusters that would bring two records of one feed together.
fn crowded(nodes: &[Node], groups: &[Vec<u32>], clusters: &mut Union, tried: &mut Union) -> BTreeSet<u32> {
    let linked: BTreeSet<u32> = groups.iter().flatten().map(|&node| tried.root(node)).collect();
    // (tried cluster, feed) to the first cluster that brought it.
    let mut brought: BTreeMap<(u32, i32), u32> = BTreeMap::new();
    let mut refused = BTreeSet::new();
    for (node, record) in nodes.iter().enumerate() {
        let root = tried.root(node as u32);
        if !linked.contains(&root) {
            continue;
        }
        let own = clusters.root(node as u32);
        if *brought.entry((root, record.feed)).or_insert(own) != own {
            refused.insert(root);
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes by feed, rules as groups, decisions as (left, right, merged).
    fn clusters(feeds: &[i32], rules: &[&[&[u32]]], said: &[(u32, u32, bool)]) -> Vec<u32> {
        let problem = Problem {
            nodes: feeds
                .iter()
                .enumerate()
                .map(|(index, &feed)| Node { first: index as i64, feed })
                .collect(),
            rules: rules.iter().map(|groups| groups.iter().map(|group| group.to_vec()).collect()).collect(),
            said: said.iter().map(|&(left, right, merged)| Said { left, right, merged }).collect(),
        };
        solve(&problem)
    }

    #[test]
    fn rules_link_records_of_different_feeds() {
        assert_eq!(clusters(&[1, 2, 3, 1], &[&[&[0, 1]], &[&[1, 2]]], &[]), [0, 0, 0, 3]);
    }

    #[test]
    fn two_records_of_one_feed_never_come_together_by_rules() {
        // 0 and 2 are of feed 1; 1 would connect them through two rules: the weaker one gives way.
        assert_eq!(clusters(&[1, 2, 1], &[&[&[0, 1]], &[&[1, 2]]], &[]), [0, 0, 2]);
        // Within one rule nothing says which link is right: none holds.
        assert_eq!(clusters(&[1, 2, 1], &[&[&[0, 1], &[1, 2]]], &[]), [0, 1, 2]);
        // A person may say so.
        assert_eq!(clusters(&[1, 2, 1], &[&[&[0, 1]]], &[(0, 2, true)]), [0, 0, 0]);
    }

    #[test]
    fn what_people_took_apart_stays_apart() {
        assert_eq!(clusters(&[1, 2, 3], &[&[&[0, 1, 2]]], &[(0, 1, false)]), [0, 1, 0]);
        assert_eq!(clusters(&[1, 2, 3], &[&[&[0, 1, 2]]], &[(1, 2, false)]), [0, 0, 2]);
        assert_eq!(clusters(&[1, 2, 3], &[], &[(0, 1, true), (1, 2, true), (0, 2, false)]), [0, 0, 2]);
        assert_eq!(clusters(&[1, 2, 3], &[], &[(0, 2, false), (0, 1, true), (1, 2, true)]), [0, 0, 0]);
    }
}
