//! `docs/conformance.md` held against the tests: every statement is in the table, every one that concerns a server has
//! a test, every test is in the table once, and it says rightly which tests resume a session.

use std::collections::{BTreeMap, BTreeSet};

use crate::Statement;
use crate::ids::{self, Section};

const TEXT: &str = include_str!("../../../docs/conformance.md");

/// Behind a test that resumes a session, which it does on the node that has it.
const RESUMES: char = '¹';

/// The headings of the tables, and the version whose tests they name; no version: of both.
const STATEMENTS: [(&str, &str, &[Section]); 2] = [("## MQTT 5.0", "v5", ids::V5), ("## MQTT 3.1.1", "v3", ids::V3)];
const OTHERS: [&str; 3] = ["## What the standards recommend", "## What CONNACK announces", "## Corners"];

/// What the table says of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    resumes: bool,
}

/// The table, read.
#[derive(Debug)]
pub struct Table {
    /// By version and name. Tests of no statement are named once for all versions that have them.
    tests: BTreeMap<(&'static str, String), Named>,
    /// What is wrong with the table itself.
    faults: Vec<String>,
}

impl Table {
    pub fn read() -> Table {
        let mut table = Table { tests: BTreeMap::new(), faults: Vec::new() };
        for (heading, version, sections) in STATEMENTS {
            table.read_statements(heading, version, sections);
        }
        for heading in OTHERS {
            for row in rows(heading) {
                let Some(cell) = row.last() else { continue };
                for (name, named) in names(cell) {
                    table.add("any", &name, named);
                }
            }
        }
        table
    }

    /// Whether the table says that the test resumes a session.
    pub fn resumes(&self, version: &'static str, name: &str) -> bool {
        let of = |version| self.tests.get(&(version, name.to_owned())).is_some_and(|named| named.resumes);
        of(version) || of("any")
    }

    /// Everything in which table and tests do not agree.
    pub fn disagreements(&self, tests: &[(&'static str, Vec<Statement>)]) -> Vec<String> {
        let mut faults = self.faults.clone();
        let mut exist = BTreeSet::new();
        for (version, statements) in tests {
            for Statement { name, .. } in statements {
                let version = if number(name).is_some() { *version } else { "any" };
                let is_new = exist.insert((version, (*name).to_owned()));
                if !is_new && version != "any" {
                    faults.push(format!("{version}::{name} is there twice"));
                }
            }
        }
        let in_table: BTreeSet<_> = self.tests.keys().cloned().collect();
        let missing =
            exist.difference(&in_table).map(|(version, name)| format!("{version}::{name} is not in the table"));
        let unknown = in_table.difference(&exist).map(|(version, name)| format!("there is no test {version}::{name}"));
        faults.extend(missing.chain(unknown));
        faults
    }

    fn read_statements(&mut self, heading: &str, version: &'static str, sections: &[Section]) {
        let all = sections.iter().flat_map(|(section, numbers)| numbers.clone().map(move |n| format!("{section}-{n}")));
        let (wanted, found): (Vec<String>, Vec<Vec<&str>>) = (all.collect(), rows(heading).collect());
        let ids: Vec<&str> = found.iter().map(|row| row[0]).collect();
        if ids != wanted {
            let missing: Vec<_> = wanted.iter().filter(|id| !ids.contains(&id.as_str())).collect();
            let unknown: Vec<_> = ids.iter().filter(|id| !wanted.iter().any(|wanted| wanted == *id)).collect();
            self.faults
                .push(format!("{heading}: not each id once and in order; missing {missing:?}, unknown {unknown:?}"));
        }
        for row in &found {
            let [id, concerns, _, cell] = row[..] else {
                self.faults.push(format!("{heading}: {row:?} has {} cells, wanted 4", row.len()));
                continue;
            };
            let tests: Vec<_> = names(cell).collect();
            let reason = cell.strip_prefix("none: ").is_some_and(|reason| !reason.is_empty());
            match (concerns, tests.is_empty(), reason) {
                ("server" | "both" | "client", false, false) | ("server" | "both" | "client", true, true) => {}
                _ => self
                    .faults
                    .push(format!("{heading}: {id}, {concerns}: wanted tests or a reason for none, not {cell:?}")),
            }
            for (name, named) in tests {
                if number(&name).as_deref() != Some(id) {
                    self.faults.push(format!("{heading}: {name} is no test of {id}"));
                }
                self.add(version, &name, named);
            }
        }
    }

    fn add(&mut self, version: &'static str, name: &str, named: Named) {
        if self.tests.insert((version, name.to_owned()), named).is_some() {
            self.faults.push(format!("{version}::{name} is in the table twice"));
        }
    }
}

/// The statement that a test's name begins with: `mqtt_3_1_2_7_…` is 3.1.2-7.
fn number(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix("mqtt_")?.split('_');
    let mut next = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    Some(format!("{}.{}.{}-{}", next()?, next()?, next()?, next()?))
}

/// The rows of the table under a heading, without its head.
fn rows(heading: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines =
        TEXT.lines().skip_while(move |line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let rows = lines.filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(str::trim).collect::<Vec<_>>()).skip(2)
}

/// The tests that a cell names, in backquotes.
fn names(cell: &str) -> impl Iterator<Item = (String, Named)> {
    let mut parts = cell.split('`');
    let mut names = Vec::new();
    parts.next();
    while let (Some(name), Some(after)) = (parts.next(), parts.next()) {
        names.push((name.to_owned(), Named { resumes: after.starts_with(RESUMES) }));
    }
    names.into_iter()
}
