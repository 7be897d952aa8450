//! The recorded figures: a file with a line `KIND SCENARIO FIGURE` for each, and how found ones are held against it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A figure may be off by so much of what is recorded, in either direction: what became cheaper by more would, if it were
/// not recorded, let as much be lost again unseen.
const SLACK_PERCENT: f64 = 10.0;

const HEAD: &str = "\
# What a message costs: a figure per delivery, or per client for `connect`. Checked by `cargo xtask guard` with 10 % slack.
# Instructions depend on the compiler (rustc 1.95, profile `image`) and, by a little, on the processor's vector units.
# `cargo xtask guard --record` writes this file anew: a commit of its own, with the reason.
";

/// Figures by kind and scenario.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Recorded(BTreeMap<(String, String), f64>);

impl Recorded {
    pub(crate) fn put(&mut self, kind: &str, scenario: &str, figure: f64) {
        // As it will be read again.
        let rounded = (figure * 10_000.0).round() / 10_000.0;
        self.0.insert((kind.to_owned(), scenario.to_owned()), rounded);
    }

    pub(crate) fn read(file: &Path) -> Result<Recorded> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Recorded::parse(&text).with_context(|| format!("read {}", file.display()))
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        fs::write(file, self.show()).with_context(|| format!("write {}", file.display()))
    }

    /// A sentence for each figure that is not as recorded.
    pub(crate) fn compare(&self, found: &Recorded) -> Vec<String> {
        let mut differences = Vec::new();
        for (key, recorded) in &self.0 {
            let (kind, scenario) = key;
            match found.0.get(key) {
                None => differences.push(format!("{kind} of {scenario}: recorded {recorded}, but not measured")),
                Some(found) => {
                    let percent = 100.0 * (found - recorded) / recorded;
                    // What is no number is not within.
                    let is_within = percent.abs() <= SLACK_PERCENT;
                    if !is_within {
                        differences.push(format!(
                            "{kind} of {scenario}: found {found}, recorded {recorded}: {percent:+.1} %, at most \
                             {SLACK_PERCENT} % either way"
                        ));
                    }
                }
            }
        }
        let is_new = |key: &&(String, String)| !self.0.contains_key(*key);
        let new = found.0.keys().filter(is_new);
        differences.extend(new.map(|(kind, scenario)| format!("{kind} of {scenario}: measured, but not recorded")));
        differences
    }

    fn parse(text: &str) -> Result<Recorded> {
        let mut figures = Recorded::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [kind, scenario, figure] = words[..] else { bail!("found `{line}`, wanted KIND SCENARIO FIGURE") };
            let figure: f64 = figure.parse().with_context(|| format!("found `{figure}`, wanted a number"))?;
            if figures.0.insert((kind.to_owned(), scenario.to_owned()), figure).is_some() {
                bail!("found {kind} of {scenario} again, wanted it once");
            }
        }
        Ok(figures)
    }

    fn show(&self) -> String {
        let line = |((kind, scenario), figure): (&(String, String), &f64)| format!("{kind} {scenario} {figure}\n");
        HEAD.chars().chain(self.0.iter().map(line).collect::<String>().chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(figures: &[(&str, f64)]) -> Recorded {
        let mut recorded = Recorded::default();
        figures.iter().for_each(|(scenario, figure)| recorded.put("instructions", scenario, *figure));
        recorded
    }

    #[test]
    fn a_figure_holds_within_10_percent_either_way() {
        let recorded = figures(&[("p2p_q0", 1000.0)]);
        for (found, holds) in [(1000.0, true), (1100.0, true), (900.0, true), (1100.1, false), (899.9, false)] {
            assert_eq!(recorded.compare(&figures(&[("p2p_q0", found)])).is_empty(), holds, "{found}");
        }
    }

    #[test]
    fn a_difference_says_what_was_found_recorded_and_allowed() {
        let found = figures(&[("p2p_q0", 1200.0)]);
        let wanted = "instructions of p2p_q0: found 1200, recorded 1000: +20.0 %, at most 10 % either way";
        assert_eq!(figures(&[("p2p_q0", 1000.0)]).compare(&found), [wanted]);
    }

    #[test]
    fn a_figure_that_is_missing_on_either_side_is_told() {
        let (one, other) = (figures(&[("p2p_q0", 1.0)]), figures(&[("fanout", 2.0)]));
        let wanted = [
            "instructions of p2p_q0: recorded 1, but not measured",
            "instructions of fanout: measured, but not recorded",
        ];
        assert_eq!(one.compare(&other), wanted);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let recorded = figures(&[("p2p_q0", 1234.5678), ("fanout", 0.25)]);
        assert_eq!(Recorded::parse(&recorded.show()).unwrap(), recorded);
    }

    #[test]
    fn a_line_that_says_nothing_is_an_error() {
        for text in ["instructions p2p_q0", "instructions p2p_q0 many", "a b 1\na b 2"] {
            assert!(Recorded::parse(text).is_err(), "{text}");
        }
    }
}
