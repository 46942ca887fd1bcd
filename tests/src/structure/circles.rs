//! Finds the circles of a graph: its strongly connected components of more than one node (Tarjan 1972).

use std::collections::{BTreeMap, BTreeSet};

/// The circles, each with its members in order.
pub fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let mut search = Search {
        edges,
        indices: BTreeMap::new(),
        lows: BTreeMap::new(),
        open: Vec::new(),
        circles: Vec::new(),
    };
    for node in edges.keys() {
        if !search.indices.contains_key(node.as_str()) {
            search.visit(node);
        }
    }
    search.circles.sort();
    search.circles
}

struct Search<'a> {
    edges: &'a BTreeMap<String, BTreeSet<String>>,
    /// The place of each node in the order in which nodes were reached.
    indices: BTreeMap<&'a str, usize>,
    /// For each node, the place of the earliest open node that can be reached from it.
    lows: BTreeMap<&'a str, usize>,
    open: Vec<&'a str>,
    circles: Vec<Vec<String>>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, node: &'a str) {
        let index = self.indices.len();
        self.indices.insert(node, index);
        self.lows.insert(node, index);
        self.open.push(node);
        for next in self.edges.get(node).into_iter().flatten() {
            if !self.indices.contains_key(next.as_str()) {
                self.visit(next);
                let low = self.lows[node].min(self.lows[next.as_str()]);
                self.lows.insert(node, low);
            } else if self.open.contains(&next.as_str()) {
                let low = self.lows[node].min(self.indices[next.as_str()]);
                self.lows.insert(node, low);
            }
        }
        if self.lows[node] == index {
            let start = self.open.iter().position(|open| *open == node).unwrap_or(0);
            let mut members: Vec<String> =
                self.open.split_off(start).into_iter().map(str::to_owned).collect();
            if members.len() > 1 {
                members.sort();
                self.circles.push(members);
            }
        }
    }
}
