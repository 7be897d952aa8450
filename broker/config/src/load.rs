//! From the layers (file, environment, flags) to a configuration, or to every error in them.

use crate::raw::{self, Node};
use crate::read::{Findings, Section};
use crate::rules::check_rules;
use crate::schema::{self, read_config};
use crate::{Config, ConfigError, Peer, Setting, Source};

/// A configuration and the source of each of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The values.
    pub config: Config,
    /// The same, one by one as text, in the order of the documentation.
    pub settings: Vec<Setting>,
}

impl Effective {
    /// Who set the value at `path`.
    pub fn source(&self, path: &str) -> &Source {
        let setting = self.settings.iter().find(|setting| setting.path == path);
        setting.map_or(&Source::Default, |setting| &setting.source)
    }

    /// Names the node after its machine, unless somebody named it.
    pub fn name_after_host(&mut self, host: &str) {
        if self.config.name.is_some() {
            return;
        }
        self.config.name = Some(host.to_owned());
        if let Some(setting) = self.settings.iter_mut().find(|setting| setting.path == "name") {
            *setting = Setting { value: host.to_owned(), source: Source::HostName, ..setting.clone() };
        }
    }
}

/// One value that beats the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The key, from the root: `limits.packetBytes`.
    pub path: String,
    /// Its value.
    pub value: OverrideValue,
    /// Who says so.
    pub source: Source,
}

/// How the value of an [`Override`] is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideValue {
    /// As YAML: `5`, `[a, b]`, `{port: 1883}`.
    Yaml(String),
    /// As it stands, whatever YAML would make of it.
    Text(String),
}

/// Reads a file's text alone. All that is wrong with it is reported at once, in the order of its lines.
pub fn check(text: &str) -> Result<Config, Vec<ConfigError>> {
    load(Some(text), &[]).map(|effective| effective.config)
}

/// Reads a file's text and lays `overrides` on top, weakest first.
pub fn load(file: Option<&str>, overrides: &[Override]) -> Result<Effective, Vec<ConfigError>> {
    let mut findings = Findings::default();
    let mut root = raw::parse(file.unwrap_or(""), |line| Source::File { line }, &mut findings.errors);
    for Override { path, value, source } in overrides {
        if path.split('.').any(str::is_empty) {
            let (found, wanted) = (format!("the key {path:?}"), "names with dots between them".to_owned());
            findings.errors.push(ConfigError { path: String::new(), origin: source.clone(), found, wanted });
            continue;
        }
        let node = match value {
            OverrideValue::Yaml(text) => raw::parse(text, |_| source.clone(), &mut findings.errors),
            OverrideValue::Text(text) => Node::text(text, source.clone()),
        };
        root.merge(node.nest(path));
    }
    let config = Section::read(&mut findings, String::new(), Some(root), read_config);
    check_rules(&config, &mut findings);
    let Findings { mut errors, settings } = findings;
    if errors.is_empty() {
        return Ok(Effective { config, settings });
    }
    errors.sort_by_key(|error| error.line().unwrap_or(usize::MAX));
    Err(errors)
}

/// The override that an environment variable means, if it is one of ours: `FULMAR_LIMITS__PACKET_BYTES=5` sets
/// `limits.packetBytes`. Two underscores stand between section and key; names without them belong to flags or, as
/// `FULMAR_SERVICE_HOST`, to Kubernetes, which announces Services in the same way.
pub fn environment_override(variable: &str, value: &str) -> Option<Override> {
    let name = variable.strip_prefix("FULMAR_").filter(|name| name.contains("__"))?;
    let path = name.split("__").map(camel_case).collect::<Vec<_>>().join(".");
    let source = Source::Environment(variable.to_owned());
    Some(Override { path, value: OverrideValue::Yaml(value.to_owned()), source })
}

/// The variables that [`environment_override`] knows: one for each setting of a section.
pub fn environment_names() -> Vec<String> {
    let effective = load(Some("{http: {}, admin: {}, cluster: {tls: {certFile: x, keyFile: x, caFile: x}}}"), &[])
        .expect("defaults have no errors");
    let in_sections = effective.settings.iter().filter(|it| it.path.contains('.') && !it.path.contains('['));
    in_sections.map(|setting| format!("FULMAR_{}", upper_case(&setting.path))).collect()
}

/// `limits.packetBytes` becomes `LIMITS__PACKET_BYTES`.
fn upper_case(path: &str) -> String {
    let mut name = String::new();
    for letter in path.chars() {
        match letter {
            '.' => name.push_str("__"),
            letter if letter.is_ascii_uppercase() => name.extend(['_', letter]),
            letter => name.push(letter.to_ascii_uppercase()),
        }
    }
    name
}

/// `PACKET_BYTES` becomes `packetBytes`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_lowercase();
    words.fold(first, |mut text, word| {
        let mut letters = word.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text.extend(letters.map(|letter| letter.to_ascii_lowercase()));
        text
    })
}

/// `HOST:PORT` of a peer; an IPv6 address stands in brackets.
pub fn parse_peer(text: &str) -> Option<Peer> {
    schema::parse_peer(text)
}
