//! The rules as they stand in the access file.

use super::pattern::Pattern;
use super::{Action, Effect, NamedRule};
use crate::document::{Node, Section, choice_of, list_of, shorten, text_of};
use crate::error::Findings;

const ACTIONS: &[(&str, Option<Action>)] =
    &[("publish", Some(Action::Publish)), ("subscribe", Some(Action::Subscribe)), ("all", None)];

/// Names in one rule. More users than this have more in common than their names.
const NAMES_MAX: usize = 10_000;
const FILTERS_MAX: usize = 1_000;

/// `default: allow` or `deny`; not given: deny.
pub(crate) fn read_default(section: &mut Section, findings: &mut Findings) -> Effect {
    let choices = [("allow", Effect::Allow), ("deny", Effect::Deny)];
    let chosen =
        section.take("default").and_then(|node| choice_of(node, &section.path_of("default"), &choices, findings));
    chosen.unwrap_or_default()
}

/// One item of `rules`. `None` if something is wrong with it.
pub(crate) fn read_rule(node: Node, path: &str, findings: &mut Findings) -> Option<NamedRule> {
    Section::read(node, path, findings, |section, findings| {
        let decision = read_decision(section, findings);
        let users = read_names(section, "users", findings);
        let client_ids = read_names(section, "clientIds", findings);
        let filters = read_filters(section, findings);
        let (effect, action) = decision?;
        Some(NamedRule { effect, action, users, client_ids, filters: filters? })
    })
    .flatten()
}

/// `allow: ACTION` or `deny: ACTION`.
fn read_decision(section: &mut Section, findings: &mut Findings) -> Option<(Effect, Option<Action>)> {
    let (effect, key, node) = match (section.take("allow"), section.take("deny")) {
        (Some(node), None) => (Effect::Allow, "allow", node),
        (None, Some(node)) => (Effect::Deny, "deny", node),
        (given, _) => {
            let found = if given.is_some() { "both allow and deny" } else { "neither allow nor deny" };
            findings.refuse(section.line, section.path(), found, "one of the two");
            return None;
        }
    };
    let action = choice_of(node, &section.path_of(key), ACTIONS, findings)?;
    Some((effect, action))
}

/// `None` if the key is not there: the rule speaks of all.
fn read_names(section: &mut Section, key: &'static str, findings: &mut Findings) -> Option<Vec<Box<str>>> {
    let node = section.take(key)?;
    let items = list_of(node, &section.path_of(key), 1..=NAMES_MAX, findings)?;
    Some(items.into_iter().filter_map(|(node, path)| Some(text_of(node, &path, findings)?.0.into())).collect())
}

fn read_filters(section: &mut Section, findings: &mut Findings) -> Option<Vec<Pattern>> {
    let Some(node) = section.take("filters") else {
        findings.refuse(section.line, section.path(), "no filters", "filters: a list; # is all topics");
        return None;
    };
    let items = list_of(node, &section.path_of("filters"), 1..=FILTERS_MAX, findings)?;
    let read = |(node, path): (Node, String)| {
        let (text, line) = text_of(node, &path, findings)?;
        match Pattern::parse(&text) {
            Ok(pattern) => Some(pattern),
            Err(wanted) => {
                findings.refuse(line, &path, shorten(&text), wanted);
                None
            }
        }
    };
    Some(items.into_iter().filter_map(read).collect())
}
