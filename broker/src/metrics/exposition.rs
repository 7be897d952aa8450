//! The text format of Prometheus (version 0.0.4): families with a help text, samples with labels.

use std::fmt::{Display, Write};

/// What a family's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many were how large: see [`Family::histogram`].
    Histogram,
}

/// Families as they are added. One that is opened again is continued if nothing came between.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
    open: String,
}

/// Takes the samples of one family.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Exposition {
    pub(crate) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        if self.open != name {
            name.clone_into(&mut self.open);
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let help = escape(help, false);
            write(&mut self.text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        Family { text: &mut self.text, name }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Counts by range, the last of which has no upper end, and the sum of all values.
    pub(crate) fn histogram<'a>(&mut self, upper_ends: impl Iterator<Item = &'a str>, counts: &[u64], sum: f64) {
        let mut total = 0;
        for (end, count) in upper_ends.chain(["+Inf"]).zip(counts) {
            total += count;
            write(self.text, format_args!("{}_bucket{{le=\"{end}\"}} {total}\n", self.name));
        }
        write(self.text, format_args!("{name}_sum {sum}\n{name}_count {total}\n", name = self.name));
    }

    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let start = if index == 0 { '{' } else { ',' };
            write(self.text, format_args!("{start}{label}=\"{}\"", escape(text, true)));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        write(self.text, format_args!("{end} {value}\n"));
    }
}

fn escape(text: &str, is_label: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if is_label { text.replace('"', "\\\"") } else { text }
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_in_smaller_ranges_too() {
        let mut exposition = Exposition::default();
        let ends = ["0.1", "1"].into_iter();
        exposition.family("wait_seconds", Kind::Histogram, "Waits.").histogram(ends, &[3, 0, 2], 4.5);
        let wanted = "# HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\nwait_seconds_bucket{le=\"0.1\"} 3\n\
                      wait_seconds_bucket{le=\"1\"} 3\nwait_seconds_bucket{le=\"+Inf\"} 5\n\
                      wait_seconds_sum 4.5\nwait_seconds_count 5\n";
        assert_eq!(exposition.into_text(), wanted);
    }

    #[test]
    fn families_are_described_once_and_labels_are_escaped() {
        let mut exposition = Exposition::default();
        exposition.family("a_total", Kind::Counter, "Counts \\ \n.").sample(&[("x", "1"), ("y", "\"\\\n")], 5);
        exposition.family("a_total", Kind::Counter, "Counts.").sample(&[("x", "2")], 6);
        exposition.family("b", Kind::Gauge, "Is.").sample(&[], 0.5);
        let wanted = "# HELP a_total Counts \\\\ \\n.\n# TYPE a_total counter\n\
                      a_total{x=\"1\",y=\"\\\"\\\\\\n\"} 5\na_total{x=\"2\"} 6\n# HELP b Is.\n# TYPE b gauge\nb 0.5\n";
        assert_eq!(exposition.into_text(), wanted);
    }
}
