//! The way from a root to the node of a filter.

use super::arena::{EXACT, NodeId, WILD};

/// Which of a node's two interests a filter stands for.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum End {
    /// The filter ends with the node's level.
    Here,
    /// The filter goes on with `#`.
    Below,
}

/// Where a filter is kept.
pub(super) struct Path<'a> {
    pub(super) root: NodeId,
    pub(super) end: End,
    /// What is left to walk, or nothing when the node is reached.
    rest: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// A filter without wildcards is one step below its own root, whatever its number of levels: a topic finds it with a
    /// single lookup.
    pub(super) fn new(filter: &'a str) -> Self {
        if !filter.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Self { root: EXACT, end: End::Here, rest: Some(filter) };
        }
        match filter.strip_suffix('#') {
            Some("") => Self { root: WILD, end: End::Below, rest: None },
            Some(levels) if levels.ends_with('/') => {
                Self { root: WILD, end: End::Below, rest: Some(&levels[..levels.len() - 1]) }
            }
            _ => Self { root: WILD, end: End::Here, rest: Some(filter) },
        }
    }
}

impl<'a> Iterator for Path<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        if self.root == EXACT {
            return Some(rest);
        }
        let (level, rest) = split_level(rest);
        self.rest = rest;
        Some(level)
    }
}

/// The first level, and what follows its separator. Levels are short: a loop over the bytes is quicker than a search
/// made for long texts.
#[inline]
pub(super) fn split_level(levels: &str) -> (&str, Option<&str>) {
    match levels.bytes().position(|byte| byte == b'/') {
        Some(at) => (&levels[..at], Some(&levels[at + 1..])),
        None => (levels, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(filter: &str) -> (NodeId, Vec<&str>, End) {
        let path = Path::new(filter);
        (path.root, path.collect(), path_end(filter))
    }

    fn path_end(filter: &str) -> End {
        Path::new(filter).end
    }

    #[test]
    fn filters_are_walked_level_by_level_and_plain_ones_at_once() {
        assert_eq!(walk("a/b/c"), (EXACT, vec!["a/b/c"], End::Here));
        assert_eq!(walk("/"), (EXACT, vec!["/"], End::Here));
        assert_eq!(walk("a/+/c"), (WILD, vec!["a", "+", "c"], End::Here));
        assert_eq!(walk("+"), (WILD, vec!["+"], End::Here));
        assert_eq!(walk("#"), (WILD, vec![], End::Below));
        assert_eq!(walk("/#"), (WILD, vec![""], End::Below));
        assert_eq!(walk("a//+/#"), (WILD, vec!["a", "", "+"], End::Below));
        assert_eq!(walk("+/"), (WILD, vec!["+", ""], End::Here));
    }
}
