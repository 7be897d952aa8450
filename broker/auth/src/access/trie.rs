//! The filters of rules that speak of everyone as a trie by level: finds the first rule of which a filter covers another,
//! or overlaps it, without looking at the rules that speak of something else.
//!
//! What a filter means is said in [`super::pattern`], filter by filter; here the answers are the same. What a rule does
//! and whom it means is left to others: here it is a number.
//!
//! A node is one beginning of filters, so a walk comes to it once at most, whatever the wildcards, and it does not go
//! where all rules come after the one it has found. It is one call deeper for each level, and [`Pattern::parse`] allows no
//! more than 128 of them. Nodes lie in one vector, so that dropping them goes no deeper at all. A node takes about 60
//! bytes and its text.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Client;
use super::pattern::{Level, Pattern, can_be_level};

/// No rule: it comes after all others. Also no node.
pub(super) const NONE: u32 = u32::MAX;

/// Where filters begin.
const ROOT: u32 = 0;
/// Where filters begin whose first level begins with `$`. No wildcard and no variable stands for such a level
/// (MQTT 5.0, 4.7.2), and so there are none among the children.
const SPECIAL_ROOT: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct Trie {
    /// The two roots and what is below them; empty as long as there are no filters.
    nodes: Vec<Node>,
    /// What nodes have as their text.
    texts: String,
    /// Leads from a node and a text to the child.
    children: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Debug)]
struct Node {
    parent: u32,
    /// Where its text is, if it is one.
    text: (u32, u32),
    /// The first rule that ends here or below.
    first: u32,
    /// The first rule with the filter that ends here.
    end: u32,
    /// The first rule with the filter that goes on with `#`.
    rest: u32,
    /// The children for `+` and for variables.
    one: u32,
    client_id: u32,
    username: u32,
    /// The children that are texts as a list, in the order of their first rules.
    first_text: u32,
    last_text: u32,
    /// What follows this node in the list of its parent.
    next_text: u32,
}

impl Trie {
    /// Adds a filter of a rule. Rules come in their order.
    pub(super) fn insert(&mut self, pattern: Pattern, rule: u32) {
        if self.nodes.is_empty() {
            self.nodes = vec![Node::new(NONE); 2];
        }
        let levels = pattern.into_levels();
        let is_special = matches!(&levels[0], Level::Text(text) if text.starts_with('$'));
        let mut at = if is_special { SPECIAL_ROOT } else { ROOT };
        self.node(at).first = self.node(at).first.min(rule);
        for level in levels {
            let node = self.node(at);
            at = match level {
                Level::Rest => {
                    node.rest = node.rest.min(rule);
                    return;
                }
                Level::One => self.child_for(at, |parent| &mut parent.one, rule),
                Level::ClientId => self.child_for(at, |parent| &mut parent.client_id, rule),
                Level::Username => self.child_for(at, |parent| &mut parent.username, rule),
                Level::Text(text) => self.child_for_text(at, &text, rule),
            };
        }
        self.node(at).end = self.node(at).end.min(rule);
    }

    /// The first rule of which a filter covers this one or this topic name, if it comes before `limit`; else `limit`.
    pub(super) fn first_covering(&self, filter: &str, client: Client<'_>, limit: u32) -> u32 {
        self.first(Relation::Covers, filter, client, limit)
    }

    /// The first rule of which a filter overlaps this one, if it comes before `limit`; else `limit`.
    pub(super) fn first_overlapping(&self, filter: &str, client: Client<'_>, limit: u32) -> u32 {
        self.first(Relation::Overlaps, filter, client, limit)
    }

    fn first(&self, relation: Relation, filter: &str, client: Client<'_>, limit: u32) -> u32 {
        let root = if filter.starts_with('$') { SPECIAL_ROOT } else { ROOT };
        let mut walk = Walk { trie: self, relation, client, first: limit };
        walk.descend(root, Some(filter));
        walk.first
    }

    fn child_for(&mut self, parent: u32, link: impl Fn(&mut Node) -> &mut u32, rule: u32) -> u32 {
        let child = *link(self.node(parent));
        if child != NONE {
            return child;
        }
        let child = self.add(Node { parent, ..Node::new(rule) });
        *link(self.node(parent)) = child;
        child
    }

    fn child_for_text(&mut self, parent: u32, text: &str, rule: u32) -> u32 {
        let child = self.find(parent, text);
        if child != NONE {
            return child;
        }
        let position = |at: usize| u32::try_from(at).expect("an access file is shorter than 4 GiB");
        let begin = position(self.texts.len());
        self.texts.push_str(text);
        let child = self.add(Node { parent, text: (begin, position(self.texts.len())), ..Node::new(rule) });
        let Trie { nodes, texts, children, hasher } = self;
        let hash_of = |node: &Node| hasher.hash_one((node.parent, node.text(texts)));
        children.insert_unique(hash_of(&nodes[child as usize]), child, |other| hash_of(&nodes[*other as usize]));

        let last = std::mem::replace(&mut self.node(parent).last_text, child);
        let link = if last == NONE { &mut self.node(parent).first_text } else { &mut self.node(last).next_text };
        *link = child;
        child
    }

    fn add(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("an access file has less than 4 billion levels")
    }

    /// The child of a node that is this text, or [`NONE`].
    fn find(&self, parent: u32, text: &str) -> u32 {
        let is_it = |child: &u32| {
            let node = &self.nodes[*child as usize];
            node.parent == parent && node.text(&self.texts) == text
        };
        self.children.find(self.hasher.hash_one((parent, text)), is_it).copied().unwrap_or(NONE)
    }

    fn node(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }
}

impl Node {
    fn new(first: u32) -> Node {
        Node {
            parent: NONE,
            text: (0, 0),
            first,
            end: NONE,
            rest: NONE,
            one: NONE,
            client_id: NONE,
            username: NONE,
            first_text: NONE,
            last_text: NONE,
            next_text: NONE,
        }
    }

    fn text<'a>(&self, texts: &'a str) -> &'a str {
        let (begin, end) = self.text;
        &texts[begin as usize..end as usize]
    }
}

/// What is asked of a rule's filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Covers,
    Overlaps,
}

struct Walk<'a> {
    trie: &'a Trie,
    relation: Relation,
    client: Client<'a>,
    /// The first rule found so far.
    first: u32,
}

impl<'a> Walk<'a> {
    /// Goes on at this node with what is left of the filter asked about. `None`: nothing is.
    fn descend(&mut self, mut at: u32, mut left: Option<&str>) {
        while let Some(node) = self.node(at) {
            // `#` matches the level above it too, where the filter has just ended (MQTT 5.0, 4.7.1.2).
            self.first = self.first.min(node.rest);
            let Some(filter) = left else {
                self.first = self.first.min(node.end);
                return;
            };
            let (level, below) = split_level(filter);
            match (level, self.relation) {
                ("#", Relation::Covers) => return,
                ("#", Relation::Overlaps) => {
                    self.first = self.first.min(node.end);
                    // It stands for all the levels below too.
                    return self.descend_everywhere(at, node, left);
                }
                ("+", Relation::Overlaps) => return self.descend_everywhere(at, node, below),
                _ => {}
            }
            if node.client_id != NONE && self.client.client_id == level {
                self.descend_variable(at, node.client_id, Some(level), below);
            }
            if node.username != NONE && self.client.username == Some(level) {
                self.descend_variable(at, node.username, Some(level), below);
            }
            if node.one != NONE {
                self.descend(node.one, below);
            }
            at = if node.first_text == NONE { NONE } else { self.trie.find(at, level) };
            left = below;
        }
    }

    /// Goes on with every child that a topic can pass by.
    fn descend_everywhere(&mut self, at: u32, node: &Node, left: Option<&str>) {
        let mut text = node.first_text;
        while let Some(child) = self.node(text) {
            self.descend(text, left);
            text = child.next_text;
        }
        self.descend(node.one, left);
        self.descend_variable(at, node.client_id, Some(self.client.client_id), left);
        self.descend_variable(at, node.username, self.client.username, left);
    }

    fn descend_variable(&mut self, at: u32, child: u32, value: Option<&str>, left: Option<&str>) {
        if child != NONE && value.is_some_and(|value| can_be_level(value, at == ROOT)) {
            self.descend(child, left);
        }
    }

    /// A node, unless all rules there come after the one that has been found.
    fn node(&self, at: u32) -> Option<&'a Node> {
        self.trie.nodes.get(at as usize).filter(|node| node.first < self.first)
    }
}

fn split_level(filter: &str) -> (&str, Option<&str>) {
    // Levels are short: a plain loop is quicker than a search for a character.
    match filter.bytes().position(|byte| byte == b'/') {
        Some(at) => (&filter[..at], Some(&filter[at + 1..])),
        None => (filter, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tests::any_filter;
    use proptest::prelude::*;

    const NOBODY: Client<'_> = Client { client_id: "", username: None };
    /// Some of them could be more than one level, or the wrong first one.
    const VALUES: [&str; 9] = ["a", "b", "", "$b", "+", "#", "a/b", "a/#", "a\0"];

    fn trie_of<'a>(filters: impl IntoIterator<Item = &'a str>) -> Trie {
        let mut trie = Trie::default();
        for (rule, filter) in (0..).zip(filters) {
            trie.insert(Pattern::parse(filter).unwrap(), rule);
        }
        trie
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn the_first_rule_is_the_one_that_is_found_by_looking_at_each(
            filters in prop::collection::vec(
                any_filter(&["a", "b", "", "$b", "+", "${clientid}", "${username}"]), 0..16),
            asked in prop::collection::vec(any_filter(&["a", "b", "", "$b", "+", "x"]), 1..16),
            client_id in prop::sample::select(&VALUES[..]),
            username in prop::option::of(prop::sample::select(&VALUES[..])),
            limit in prop::sample::select(vec![0, 3, 8, NONE]),
        ) {
            let client = Client { client_id, username };
            let patterns: Vec<Pattern> = filters.iter().map(|filter| Pattern::parse(filter).unwrap()).collect();
            let first = |is_it: &dyn Fn(&Pattern) -> bool| {
                let rules = (0..limit).zip(&patterns);
                rules.into_iter().find(|(_, pattern)| is_it(pattern)).map_or(limit, |(rule, _)| rule)
            };
            let trie = trie_of(filters.iter().map(String::as_str));
            for filter in &asked {
                let covering = first(&|pattern| pattern.covers(filter, client));
                let overlapping = first(&|pattern| pattern.overlaps(filter, client));
                prop_assert_eq!(trie.first_covering(filter, client, limit), covering, "covers {}", filter);
                prop_assert_eq!(trie.first_overlapping(filter, client, limit), overlapping, "overlaps {}", filter);
            }
        }
    }

    #[test]
    fn where_there_are_no_filters_nothing_is_found() {
        for filter in ["a", "#", "+/a", "$b/#"] {
            assert_eq!(Trie::default().first_covering(filter, NOBODY, NONE), NONE);
            assert_eq!(Trie::default().first_overlapping(filter, NOBODY, 7), 7);
        }
    }

    #[test]
    fn a_beginning_that_filters_share_is_kept_once() {
        let trie = trie_of(["a/+/c", "a/+/d", "a/+/c", "a/+/#", "a", "$b/a"]);
        // a, a/+, a/+/c, a/+/d; $b, $b/a.
        assert_eq!((trie.nodes.len(), trie.texts.as_str()), (2 + 4 + 2, "acd$ba"));
    }

    #[test]
    fn the_deepest_rules_need_little_stack_however_deep_the_filter_is() {
        let deep = |level: &str, count| vec![level; count].join("/");
        let rules = [deep("+", 128), deep("a", 128), deep("${clientid}", 127) + "/b", deep("a", 127) + "/#"];
        let asked = move || {
            let trie = trie_of(rules.iter().map(String::as_str));
            let client = Client { client_id: "a", username: None };
            let limits = [0, 1, 2, 3].map(|rule| rule + 1);
            let ask = |filter: String| {
                let first = |limit| {
                    (trie.first_covering(&filter, client, limit), trie.first_overlapping(&filter, client, limit))
                };
                limits.map(first)
            };
            (ask(deep("a", 128)), ask(deep("a", 30_000)), ask(deep("+", 127) + "/b"), ask("#".to_owned()))
        };
        let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(asked).unwrap();
        let (as_deep, deeper, wild, all) = thread.join().unwrap();
        assert_eq!(as_deep, [(0, 0); 4]);
        assert_eq!(deeper, [(1, 1), (2, 2), (3, 3), (3, 3)]);
        assert_eq!(wild, [(0, 0); 4]);
        assert_eq!(all, [(1, 0), (2, 0), (3, 0), (4, 0)]);
    }
}
