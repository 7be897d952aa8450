//! A configuration as YAML: what the operator puts into a ConfigMap.

use serde_json::{Map, Value};

use crate::{AdminConfig, ClusterConfig, Config, HttpConfig};

impl Config {
    /// The file that [`crate::check`] reads as this configuration again. Only what differs from the defaults is
    /// written, so that the text stays the same when a new release adds a key.
    pub fn to_yaml(&self) -> String {
        let defaults = Config {
            http: self.http.as_ref().map(|_| HttpConfig::default()),
            admin: self.admin.as_ref().map(|_| AdminConfig::default()),
            cluster: self.cluster.as_ref().map(|_| ClusterConfig::default()),
            ..Config::default()
        };
        let json = |config| serde_json::to_value(config).expect("a configuration has text keys and plain values");
        let mut root = match differing(json(self), &json(&defaults)) {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        // These sections mean something by being there, even if all in them is as by default.
        let sections =
            [("http", self.http.is_some()), ("admin", self.admin.is_some()), ("cluster", self.cluster.is_some())];
        for (key, is_on) in sections {
            if is_on {
                root.entry(key).or_insert_with(|| Value::Object(Map::new()));
            }
        }
        serde_saphyr::to_string(&root).expect("plain values can be written as YAML")
    }
}

/// What of `value` differs from `default`. Lists and sections that the default leaves out are kept whole.
fn differing(value: Value, default: &Value) -> Option<Value> {
    match (value, default) {
        (Value::Object(fields), Value::Object(defaults)) => {
            let kept = fields.into_iter().filter_map(|(key, value)| {
                let value = differing(value, defaults.get(&key).unwrap_or(&Value::Null))?;
                Some((key, value))
            });
            let kept: Map<_, _> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        (value, default) => (value != *default).then_some(value),
    }
}
