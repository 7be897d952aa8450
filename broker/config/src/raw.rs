//! YAML text as a tree of raw values that remember where they stand, and the merging of such trees.
//!
//! No value is interpreted here: whether `5` is a port or a name is known only to the reader of the key. Anchors,
//! aliases and tags have no place in a configuration and are refused, so the tree is never larger than the text.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::{ConfigError, Source};

/// A raw value and where it was given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) source: Source,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `null`, `~` or nothing: the same as an absent key.
    Null,
    /// A text, `plain` if it was written without quotes and so may mean a number.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands; a section's node begins at its first key.
    pub(crate) source: Source,
    pub(crate) node: Node,
}

impl Node {
    /// A text that is taken as it is, whatever YAML would make of it.
    pub(crate) fn text(text: &str, source: Source) -> Node {
        Node { value: Value::Scalar { text: text.to_owned(), plain: true }, source }
    }

    /// `path` as sections within sections around this node: `limits.packetBytes` makes two.
    pub(crate) fn nest(self, path: &str) -> Node {
        path.rsplit('.').fold(self, |node, key| {
            let source = node.source.clone();
            let entry = Entry { key: key.to_owned(), source: source.clone(), node };
            Node { value: Value::Map(vec![entry]), source }
        })
    }

    /// Lays `over` on top: sections are merged key by key, everything else is replaced.
    pub(crate) fn merge(&mut self, over: Node) {
        match (&mut self.value, over.value) {
            (Value::Map(entries), Value::Map(stronger)) => {
                for entry in stronger {
                    match entries.iter_mut().find(|known| known.key == entry.key) {
                        Some(known) => known.node.merge(entry.node),
                        None => entries.push(entry),
                    }
                }
            }
            (_, value) => *self = Node { value, source: over.source },
        }
    }

    /// What a person wrote, shortened to fit an error message.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar { text, plain: true } => shorten(text),
            Value::Scalar { text, plain: false } => format!("{:?}", shorten(text)),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(entries) => format!("a section of {} keys", entries.len()),
        }
    }
}

fn shorten(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads one YAML document. An empty one is an empty section. What is wrong goes to `errors`; the tree holds the rest.
pub(crate) fn parse(text: &str, source_of: impl Fn(usize) -> Source, errors: &mut Vec<ConfigError>) -> Node {
    let mut builder = Builder { source_of, errors, open: Vec::new(), root: None };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.handle(event, span),
            Err(error) => {
                let line = error.marker().line();
                builder.refuse(line, error.info(), "well-formed YAML");
                break;
            }
        }
    }
    let first_line = (builder.source_of)(1);
    builder.root.unwrap_or(Node { value: Value::Null, source: first_line })
}

/// A collection whose end has not been met.
enum Open {
    List(Vec<Node>, Source),
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Source)>,
        source: Source,
    },
    /// A collection in the place of a key: skipped.
    Skipped,
}

struct Builder<'a, F> {
    source_of: F,
    errors: &'a mut Vec<ConfigError>,
    open: Vec<Open>,
    root: Option<Node>,
}

impl<F: Fn(usize) -> Source> Builder<'_, F> {
    fn handle(&mut self, event: Event<'_>, span: Span) {
        let line = span.start.line();
        let source = (self.source_of)(line);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(line, anchor, tag.is_some());
                self.handle_scalar(text.into_owned(), style == ScalarStyle::Plain, source);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_extras(line, anchor, tag.is_some());
                self.open_collection(line, Open::List(Vec::new(), source));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_extras(line, anchor, tag.is_some());
                self.open_collection(line, Open::Map { entries: Vec::new(), key: None, source });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(items, source)) => self.place(Node { value: Value::List(items), source }),
                Some(Open::Map { entries, source, .. }) => self.place(Node { value: Value::Map(entries), source }),
                Some(Open::Skipped) | None => {}
            },
            Event::Alias(_) => {
                self.refuse(line, "an alias".to_owned(), "the value itself");
                self.handle_scalar(String::new(), true, source);
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                self.refuse(line, "a second document".to_owned(), "one document");
            }
            _ => {}
        }
    }

    fn handle_scalar(&mut self, text: String, plain: bool, source: Source) {
        if let Some(Open::Map { key: key @ None, .. }) = self.open.last_mut() {
            *key = Some((text, source));
            return;
        }
        let value = match text.as_str() {
            "" | "~" | "null" if plain => Value::Null,
            _ => Value::Scalar { text, plain },
        };
        self.place(Node { value, source });
    }

    fn open_collection(&mut self, line: usize, collection: Open) {
        if let Some(Open::Map { key: key @ None, source, .. }) = self.open.last_mut() {
            *key = Some((String::new(), source.clone()));
            self.open.push(Open::Skipped);
            // What follows is the collection's content; its end makes the skipped key's value be awaited.
            self.refuse(line, "a list or section as a key".to_owned(), "a name as a key");
            return;
        }
        self.open.push(collection);
    }

    fn place(&mut self, node: Node) {
        match self.open.last_mut() {
            None if self.root.is_none() => self.root = Some(node),
            None | Some(Open::Skipped) => {}
            Some(Open::List(items, _)) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                let Some((key, source)) = key.take() else { return };
                if entries.iter().any(|entry| entry.key == key) {
                    let found = "the same key a second time".to_owned();
                    self.errors.push(ConfigError { path: key, origin: source, found, wanted: "it once".to_owned() });
                } else {
                    entries.push(Entry { key, source, node });
                }
            }
        }
    }

    fn refuse_extras(&mut self, line: usize, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.refuse(line, "an anchor".to_owned(), "a plain value");
        }
        if tagged {
            self.refuse(line, "a tag".to_owned(), "a plain value");
        }
    }

    fn refuse(&mut self, line: usize, found: String, wanted: &str) {
        let origin = (self.source_of)(line);
        self.errors.push(ConfigError { path: String::new(), origin, found, wanted: wanted.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Node, Vec<ConfigError>) {
        let mut errors = Vec::new();
        let node = parse(text, |line| Source::File { line }, &mut errors);
        (node, errors)
    }

    fn scalar(text: &str, plain: bool, line: usize) -> Node {
        Node { value: Value::Scalar { text: text.to_owned(), plain }, source: Source::File { line } }
    }

    #[test]
    fn every_value_remembers_its_line() {
        let (node, errors) = read("a: 1\nb:\n  - '2'\n");
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        assert_eq!(entries[0].node, scalar("1", true, 1));
        assert_eq!(entries[1].source, Source::File { line: 2 });
        assert_eq!(entries[1].node.value, Value::List(vec![scalar("2", false, 3)]));
        assert_eq!(errors, []);
    }

    #[test]
    fn nothing_and_null_are_the_same() {
        for text in ["", "# only a comment\n", "null", "~"] {
            assert_eq!((read(text).0.value, read(text).1), (Value::Null, vec![]), "{text:?}");
        }
        assert_eq!(read("'null'").0, scalar("null", false, 1));
    }

    #[test]
    fn sections_merge_and_other_values_are_replaced() {
        let (mut node, _) = read("a: {b: 1, c: [1, 2]}");
        node.merge(read("a: {c: [3]}").0);
        assert_eq!(node, read("a: {b: 1, c: [3]}").0);
        node.merge(read("a: 4").0);
        assert_eq!(node, read("a: 4").0);
    }

    #[test]
    fn what_has_no_place_in_a_configuration_is_refused_with_its_line() {
        let cases = [
            ("a: &x 1", "line 1: configuration: found an anchor, wanted a plain value"),
            ("a: !!int 1", "line 1: configuration: found a tag, wanted a plain value"),
            ("a: 1\n---\nb: 2", "line 2: configuration: found a second document, wanted one document"),
            ("a: 1\na: 2", "line 2: a: found the same key a second time, wanted it once"),
            ("[1]: 2\nb: 1", "line 1: configuration: found a list or section as a key, wanted a name as a key"),
        ];
        for (text, message) in cases {
            let errors = read(text).1;
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [message], "{text:?}");
        }
        assert_eq!(read("a: &x 1\nb: *x").1.len(), 2);
        assert_eq!(read("a: [1").1.len(), 1);
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        assert_eq!(read(&"[".repeat(1_000_000)).1.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn whatever_text_arrives_is_answered(text in "[-a{}\\[\\]:,\"'&*!|>#~ \n\t0-9]{0,64}") {
            read(&text);
        }
    }
}
