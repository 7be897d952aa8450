//! `docs/limits.md` held against what there is: every limit of the configuration is in the table once with its default,
//! every metric there is one that brokers show, every limit that they count is there, and so are log lines and tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fulmar_config::load;

use crate::harness::Broker;

const TEXT: &str = include_str!("../../../docs/limits.md");
/// Where brokers write their log lines, and where the tests of a broker are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
const TESTS: &str = env!("CARGO_MANIFEST_DIR");

/// A limit as the table has it.
struct Row {
    setting: String,
    default: String,
    metric: &'static str,
    log: &'static str,
    tests: Vec<&'static str>,
}

#[test]
fn table_and_tests_agree() {
    let rows = settings();
    let mut faults = Vec::new();
    compare_settings(&rows, &mut faults);
    compare_metrics(&rows, &mut faults);
    let log = all_text(Path::new(SOURCES));
    for Row { setting, log: cell, .. } in &rows {
        let phrases: Vec<&str> = between(cell, '"').collect();
        if phrases.is_empty() && !is_reason(cell) {
            faults.push(format!("{setting}: wanted log lines or a reason for none, not {cell:?}"));
        }
        let unknown = phrases.iter().filter(|phrase| !log.contains(&format!("\"{phrase}\"")));
        faults.extend(unknown.map(|phrase| format!("{setting}: nobody logs {phrase:?}")));
    }
    let tests = all_text(Path::new(TESTS));
    let others = rows_under("## Without a setting").filter_map(|cells| Some((cells[0].to_owned(), *cells.last()?)));
    let others = others.map(|(what, cell)| (what, between(cell, '`').collect()));
    for (what, names) in rows.iter().map(|row| (row.setting.clone(), row.tests.clone())).chain(others) {
        if names.is_empty() {
            faults.push(format!("{what}: no test"));
        }
        let unknown = names.iter().filter(|name| !tests.contains(&format!("fn {name}(")));
        faults.extend(unknown.map(|name| format!("{what}: there is no test {name}")));
    }
    assert_eq!(faults, Vec::<String>::new());
}

/// The rows of both tables of settings.
fn settings() -> Vec<Row> {
    let rows = ["## Of a listener", "## Of the node and of each client"].into_iter().flat_map(rows_under);
    rows.map(|cells| {
        let [setting, default, _, metric, log, tests] = cells[..] else { panic!("{cells:?}: wanted 6 cells") };
        let setting = between(setting, '`').next().expect("a setting in backquotes").to_owned();
        Row { setting, default: default.to_owned(), metric, log, tests: between(tests, '`').collect() }
    })
    .collect()
}

fn compare_settings(rows: &[Row], faults: &mut Vec<String>) {
    let effective = load(None, &[]).expect("nothing is a configuration");
    let is_limit = |path: &str| path.starts_with("limits.") || path.starts_with("listeners[0].limits.");
    let limits = effective.settings.iter().filter(|setting| is_limit(&setting.path));
    let wanted: BTreeSet<(String, String)> =
        limits.map(|limit| (limit.path.replace("[0]", "[]"), limit.value.clone())).collect();
    let found: BTreeSet<(String, String)> = rows.iter().map(|row| (row.setting.clone(), row.default.clone())).collect();
    faults.extend(wanted.difference(&found).map(|limit| format!("{limit:?} is not in the table")));
    faults.extend(found.difference(&wanted).map(|row| format!("there is no {row:?}")));
    if rows.len() != found.len() {
        faults.push(format!("{} rows, wanted each of {} once", rows.len(), found.len()));
    }
}

fn compare_metrics(rows: &[Row], faults: &mut Vec<String>) {
    let (_, shown) = Broker::start(&[]).get("/metrics");
    let samples: BTreeSet<&str> =
        shown.lines().filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name).collect();
    for Row { setting, metric, .. } in rows {
        let names: Vec<&str> = between(metric, '`').collect();
        if names.is_empty() && !is_reason(metric) {
            faults.push(format!("{setting}: wanted metrics or a reason for none, not {metric:?}"));
        }
        let unknown = names.iter().filter(|name| !samples.contains(*name));
        faults.extend(unknown.map(|name| format!("{setting}: there is no metric {name}")));
    }
    for sample in samples.iter().filter(|sample| sample.starts_with("fulmar_limit_hits_total{")) {
        let limit = between(sample, '"').next().unwrap_or_default();
        let is_named = |row: &&Row| row.setting == limit || row.setting.strip_prefix("limits.") == Some(limit);
        let row = rows.iter().find(is_named);
        if !row.is_some_and(|row| row.metric.contains(sample)) {
            faults.push(format!("{sample} is not in the row of a setting of that name"));
        }
    }
}

/// The rows of the table under a heading, without its head.
fn rows_under(heading: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines =
        TEXT.lines().skip_while(move |line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let rows = lines.filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(str::trim).collect()).skip(2)
}

/// What stands between pairs of a character.
fn between(text: &str, quote: char) -> impl Iterator<Item = &str> {
    text.split(quote).skip(1).step_by(2)
}

fn is_reason(cell: &str) -> bool {
    cell.strip_prefix("none: ").is_some_and(|reason| !reason.is_empty())
}

/// All Rust files below a folder, one after the other.
fn all_text(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("the sources are there").map(|entry| entry.expect("a file").path());
    let texts = entries.map(|path| match path.extension() {
        _ if path.is_dir() => all_text(&path),
        Some(extension) if extension == "rs" => fs::read_to_string(&path).expect("sources are text"),
        _ => String::new(),
    });
    texts.collect()
}
