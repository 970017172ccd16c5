//! Sets of field paths: what a manager of an object owns.
//!
//! Entry points: [`FieldSet`] and its algebra, [`PathElement`]; `json` holds the wire form (`FieldsV1`).
//! A set is a tree: a path may be a member, lead to members, or both. Source: structured-merge-diff's
//! `fieldpath`.

mod json;
mod path_element;

use std::collections::BTreeMap;
use std::fmt;

pub use json::FieldsError;
pub use path_element::PathElement;
pub(crate) use path_element::compare;

/// A path from the root of an object.
pub type Path = Vec<PathElement>;

/// A set of paths. The root itself is never a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// No node is empty: each is a member or leads to one.
    nodes: BTreeMap<PathElement, Node>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// A set of these paths of field names.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Path = path.iter().map(|name| PathElement::field(name)).collect();
            set.insert(&path);
        }
        set
    }

    /// Whether there is no path.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a path; the empty one is ignored.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.nodes.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Adds what is below an element, and the element itself if `member`. Nothing is added for nothing.
    pub(crate) fn graft(&mut self, element: PathElement, member: bool, below: Self) {
        if !member && below.is_empty() {
            return;
        }
        let node = self.nodes.entry(element).or_default();
        node.member |= member;
        node.below.absorb(below);
    }

    /// Whether the path is a member.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.nodes.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.nodes.get(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    /// Whether the element alone is a member.
    pub(crate) fn has_element(&self, element: &PathElement) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// The members below an element, `None` if there are none.
    pub(crate) fn below(&self, element: &PathElement) -> Option<&Self> {
        self.nodes.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// Every element of the first level with what is below it, and whether it is a member.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&PathElement, bool, &Self)> {
        self.nodes.iter().map(|(element, node)| (element, node.member, &node.below))
    }

    /// Paths of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.absorb(other.clone());
        all
    }

    /// Adds the paths of the other set.
    pub(crate) fn absorb(&mut self, other: Self) {
        if self.nodes.is_empty() {
            *self = other;
            return;
        }
        for (element, node) in other.nodes {
            self.graft(element, node.member, node.below);
        }
    }

    /// Paths of both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.filter(|element, node| {
            let theirs = other.nodes.get(element)?;
            let below = node.below.intersection(&theirs.below);
            Some(Node { member: node.member && theirs.member, below })
        })
    }

    /// Paths of this set that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// Removes the paths of the other set.
    pub fn subtract(&mut self, other: &Self) {
        self.shrink(other, |node, theirs| {
            node.member &= !theirs.member;
            node.below.subtract(&theirs.below);
        });
    }

    /// Paths of this set that are neither in the other nor below one of its members.
    #[must_use]
    pub fn recursive_difference(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract_recursively(other);
        rest
    }

    /// Removes the paths of the other set and all below its members.
    pub fn subtract_recursively(&mut self, other: &Self) {
        self.shrink(other, |node, theirs| {
            if theirs.member {
                *node = Node::default();
            } else {
                node.below.subtract_recursively(&theirs.below);
            }
        });
    }

    /// Takes from each node that the other set has, too.
    fn shrink(&mut self, other: &Self, take: impl Fn(&mut Node, &Node)) {
        if other.is_empty() {
            return;
        }
        self.nodes.retain(|element, node| {
            if let Some(theirs) = other.nodes.get(element) {
                take(node, theirs);
            }
            !node.is_empty()
        });
    }

    /// Paths that no other path of the set goes on from.
    #[must_use]
    pub fn leaves(&self) -> Self {
        self.filter(|_, node| {
            let member = node.member && node.below.is_empty();
            Some(Node { member, below: node.below.leaves() })
        })
    }

    /// The same tree with each node of the first level as `keep` wants it.
    pub(crate) fn rebuild(&self, mut keep: impl FnMut(&PathElement, bool, &Self) -> (bool, Self)) -> Self {
        let mut rebuilt = Self::default();
        for (element, member, below) in self.nodes() {
            let (member, below) = keep(element, member, below);
            rebuilt.graft(element.clone(), member, below);
        }
        rebuilt
    }

    fn filter(&self, mut keep: impl FnMut(&PathElement, &Node) -> Option<Node>) -> Self {
        let kept = |(element, node): (&PathElement, &Node)| {
            let node = keep(element, node).filter(|node| !node.is_empty())?;
            Some((element.clone(), node))
        };
        Self { nodes: self.nodes.iter().filter_map(kept).collect() }
    }

    /// Every path, in the order upstream lists them: on each level first the members, then what is below.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect(&mut Path::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Path, paths: &mut Vec<Path>) {
        for (element, _, _) in self.nodes().filter(|(_, member, _)| *member) {
            paths.push(prefix.iter().chain([element]).cloned().collect());
        }
        for (element, _, below) in self.nodes() {
            prefix.push(element.clone());
            below.collect(prefix, paths);
            prefix.pop();
        }
    }
}

/// A path as conflicts show it: `.spec.containers[name="web"].image`.
pub struct Shown<'a>(pub &'a [PathElement]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(f, "{element}"))
    }
}

#[cfg(test)]
mod tests;
