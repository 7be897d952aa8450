//! What `fulmar-broker check FILE` prints: every error, or every value with its source.

use std::fmt::Write;

use fulmar_config::{ConfigError, Effective, Setting, Source};

/// The errors, one line each, and how many they are.
pub(crate) fn report_errors(file: Option<&str>, errors: &[ConfigError]) -> String {
    let mut text = String::new();
    for error in errors {
        let file = file.filter(|_| error.line().is_some()).map(|file| format!("{file}: ")).unwrap_or_default();
        line(&mut text, format_args!("{file}{error}"));
    }
    let what = if errors.len() == 1 { "error" } else { "errors" };
    line(&mut text, format_args!("{} {what} in the configuration", errors.len()));
    text
}

/// What may be wrong, one line each.
pub(crate) fn report_warnings(warnings: &[String]) -> String {
    let mut text = String::new();
    for warning in warnings {
        line(&mut text, format_args!("warning: {warning}"));
    }
    text
}

/// The effective configuration, one value a line, with its source behind it.
pub(crate) fn report_effective(effective: &Effective) -> String {
    let width = |text: fn(&Setting) -> usize| effective.settings.iter().map(text).max().unwrap_or(0);
    let path_width = width(|setting| setting.path.len() + 1);
    let value_width = width(|setting| setting.value.len()).min(40);
    let mut text = String::new();
    for Setting { path, value, source } in &effective.settings {
        let mark = if matches!(source, Source::Default | Source::HostName) { "" } else { "* " };
        let path = format!("{path}:");
        line(&mut text, format_args!("{path:path_width$} {value:value_width$}  # {mark}{source}"));
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes all that is written");
}

#[cfg(test)]
mod tests {
    use fulmar_config::load;

    use super::*;

    #[test]
    fn errors_are_listed_with_file_and_line() {
        let errors = load(Some("threads: x\nfoo: 1\n"), &[]).unwrap_err();
        let report = report_errors(Some("broker.yaml"), &errors);
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines[0], "broker.yaml: line 1: threads: found x, wanted a whole number from 0 to 1024");
        assert!(lines[1].starts_with("broker.yaml: line 2: foo: found an unknown key"), "{report}");
        assert_eq!(lines[2..], ["2 errors in the configuration"]);
    }

    #[test]
    fn values_are_listed_with_their_source() {
        let report = report_effective(&load(Some("\nthreads: 3\n"), &[]).unwrap());
        let squeezed: Vec<String> =
            report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(squeezed.contains(&"threads: 3 # * line 2".to_owned()), "{report}");
        assert!(squeezed.contains(&"limits.inflight: 1024 # default".to_owned()), "{report}");
    }
}
