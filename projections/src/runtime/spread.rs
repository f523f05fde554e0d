//! How the cells of a projector spread over the nodes that can keep it: who asks for which cell, and
//! who gives one up. Every node decides by itself, from the same look at the leases; two that decide
//! at once are set right by the lease, which one of them gets.
//!
//! - A node asks for a free cell while it has fewer than an even share, or no other node has fewer.
//! - A cell that stays free is asked for by everybody: who should have taken it cannot.
//! - A node that has at least two more than another one gives up what is above its share, once it has
//!   seen that twice with no cell free. One more than another is even enough: nothing would be gained,
//!   and the cell would wander for ever.
//!
//! So the counts of two nodes end up at most one apart, and then nothing moves.

use std::collections::{BTreeMap, BTreeSet};

/// Looks for which a free cell is left to those who have fewer.
const LEFT_TO_OTHERS: u32 = 3;
/// Looks in a row at uneven counts before a cell is given up.
const UNEVEN: u32 = 2;

/// What one look shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    /// Who holds each cell.
    pub(crate) holders: Vec<Option<String>>,
    /// Who can keep cells.
    pub(crate) able: BTreeSet<String>,
}

/// What a node should do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Free cells to ask for, until so many are got.
    pub(crate) ask: Vec<u16>,
    /// How many cells to give up.
    pub(crate) give: usize,
}

/// What one node remembers of the looks before.
#[derive(Debug)]
pub(crate) struct Spread {
    me: String,
    /// For how many looks each cell was free.
    free: BTreeMap<u16, u32>,
    uneven: u32,
}

impl Spread {
    pub(crate) fn new(me: &str) -> Self {
        Self { me: me.to_owned(), free: BTreeMap::new(), uneven: 0 }
    }

    /// Decides after a look; `mine` are the cells this node has, or is about to let go.
    pub(crate) fn decide(&mut self, look: &Look, mine: &BTreeSet<u16>) -> Wish {
        let cells = 0..look.holders.len() as u16;
        let is_free = |cell: &u16| look.holders[usize::from(*cell)].is_none() && !mine.contains(cell);
        let free: Vec<u16> = cells.filter(is_free).collect();
        self.free =
            free.iter().map(|cell| (*cell, self.free.get(cell).map_or(1, |looks| looks + 1))).collect();

        let others = look.able.iter().filter(|node| **node != self.me);
        let count = |node: &String| look.holders.iter().flatten().filter(|holder| *holder == node).count();
        let Some(least) = others.map(count).min() else {
            self.uneven = 0;
            return Wish { ask: free, give: 0 };
        };
        let is_able = look.able.contains(&self.me);
        let nodes = look.able.len() + usize::from(!is_able);
        let (share, rest) = (look.holders.len() / nodes, look.holders.len() % nodes);
        let mut has = mine.len();
        let mut ask = Vec::new();
        for cell in &free {
            let is_left = self.free[cell] > LEFT_TO_OTHERS;
            if is_left || (is_able && (has < share || has <= least)) {
                ask.push(*cell);
                has += 1;
            }
        }
        let is_uneven = free.is_empty() && mine.len() >= least + 2;
        self.uneven = if is_uneven { self.uneven + 1 } else { 0 };
        let mut give = 0;
        if self.uneven >= UNEVEN {
            self.uneven = 0;
            // One at least: where shares do not come out even, several may have one more.
            give = mine.len().saturating_sub(share + usize::from(rest > 0)).max(1);
        }
        Wish { ask, give }
    }
}

#[cfg(test)]
mod tests {
    use super::{LEFT_TO_OTHERS, Look, Spread, Wish};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Nodes that decide in turn, each from what the one before left.
    struct World {
        nodes: Vec<(Spread, bool)>,
        holders: Vec<Option<String>>,
        moves: usize,
    }

    fn name(node: usize) -> String {
        format!("n{node}")
    }

    impl World {
        fn new(cells: usize, nodes: usize) -> Self {
            let nodes = (0..nodes).map(|node| (Spread::new(&name(node)), true)).collect();
            Self { nodes, holders: vec![None; cells], moves: 0 }
        }

        fn kill(&mut self, node: usize) {
            self.nodes[node].1 = false;
            for holder in &mut self.holders {
                if holder.as_ref() == Some(&name(node)) {
                    *holder = None;
                }
            }
        }

        fn revive(&mut self, node: usize) {
            self.nodes[node] = (Spread::new(&name(node)), true);
        }

        /// A look of every node that runs. `at_once`: all see what was there before the first acts.
        fn round(&mut self, at_once: bool) {
            let before = self.holders.clone();
            let able: BTreeSet<String> =
                (0..self.nodes.len()).filter(|n| self.nodes[*n].1).map(name).collect();
            for node in 0..self.nodes.len() {
                if !self.nodes[node].1 {
                    continue;
                }
                let seen = if at_once { &before } else { &self.holders };
                let look = Look { holders: seen.clone(), able: able.clone() };
                let mine = self.mine(node);
                let wish = self.nodes[node].0.decide(&look, &mine);
                for cell in wish.ask {
                    let holder = &mut self.holders[usize::from(cell)];
                    if holder.is_none() {
                        *holder = Some(name(node));
                        self.moves += 1;
                    }
                }
                for cell in mine.iter().take(wish.give) {
                    self.holders[usize::from(*cell)] = None;
                    self.moves += 1;
                }
            }
        }

        fn mine(&self, node: usize) -> BTreeSet<u16> {
            let mine = |cell: &usize| self.holders[*cell].as_ref() == Some(&name(node));
            (0..self.holders.len()).filter(mine).map(|cell| cell as u16).collect()
        }

        fn counts(&self) -> Vec<usize> {
            let running = (0..self.nodes.len()).filter(|node| self.nodes[*node].1);
            running.map(|node| self.mine(node).len()).collect()
        }

        /// Rounds until the counts are even; then nothing may move any more.
        fn settle(&mut self, at_once: bool) {
            let is_even = |world: &Self| {
                let counts = world.counts();
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                world.holders.iter().all(Option::is_some) && most - least <= 1
            };
            for _ in 0..60 {
                if is_even(self) {
                    break;
                }
                self.round(at_once);
            }
            assert!(is_even(self), "{:?}", self.counts());
            let moves = self.moves;
            for _ in 0..20 {
                self.round(at_once);
            }
            assert_eq!(self.moves, moves, "even counts stay as they are");
        }
    }

    proptest! {
        #[test]
        fn counts_end_up_even_and_stay(
            cells in 1_usize..40,
            nodes in 1_usize..7,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..6),
            at_once: bool,
        ) {
            let mut world = World::new(cells, nodes);
            world.settle(at_once);
            for (node, dies) in changes {
                let node = node.index(nodes);
                let running = world.nodes.iter().filter(|(_, runs)| *runs).count();
                match (dies, world.nodes[node].1) {
                    (true, true) if running > 1 => world.kill(node),
                    (false, false) => world.revive(node),
                    _ => continue,
                }
                world.settle(at_once);
            }
        }
    }

    #[test]
    fn a_cell_is_asked_for_at_once_where_it_belongs_and_by_all_when_it_stays_free() {
        let look = |holders: &[&str], able: &[&str]| Look {
            holders: holders.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned())).collect(),
            able: able.iter().map(|name| (*name).to_owned()).collect(),
        };
        let has = |cells: &[u16]| cells.iter().copied().collect::<BTreeSet<u16>>();
        // Its fair share is taken without a thought for others.
        let free = look(&["", "", "", ""], &["a", "b"]);
        assert_eq!(Spread::new("a").decide(&free, &has(&[])), Wish { ask: vec![0, 1], give: 0 });
        // The other one died, and is not counted any more.
        let left = look(&["a", "a", "", ""], &["a"]);
        assert_eq!(Spread::new("a").decide(&left, &has(&[0, 1])), Wish { ask: vec![2, 3], give: 0 });
        // It is counted, and takes nothing: they are left to it for a while.
        let (mut spread, left) = (Spread::new("a"), look(&["a", "a", "", ""], &["a", "b"]));
        for _ in 0..LEFT_TO_OTHERS {
            assert_eq!(spread.decide(&left, &has(&[0, 1])), Wish::default());
        }
        assert_eq!(spread.decide(&left, &has(&[0, 1])), Wish { ask: vec![2, 3], give: 0 });
        // Who failed waits too, though it has none.
        let mut spread = Spread::new("c");
        for _ in 0..LEFT_TO_OTHERS {
            assert_eq!(spread.decide(&left, &has(&[])), Wish::default());
        }
        assert_eq!(spread.decide(&left, &has(&[])), Wish { ask: vec![2, 3], give: 0 });
        // One more than another is even enough; two are given up once it was seen twice.
        let mut spread = Spread::new("a");
        let uneven = look(&["a", "a", "a", "a", "b"], &["a", "b"]);
        assert_eq!(spread.decide(&uneven, &has(&[0, 1, 2, 3])).give, 0);
        assert_eq!(spread.decide(&uneven, &has(&[0, 1, 2, 3])).give, 1);
        assert_eq!(spread.decide(&uneven, &has(&[0, 1, 2, 3])).give, 0);
    }
}
