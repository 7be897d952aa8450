//! Which variables are meant for the broker. A slip of the finger must not pass in silence; what Kubernetes announces
//! of a Service called `fulmar` must not stop the broker.

use fulmar_config::{ConfigError, Override, Source, environment_names, environment_override, nearest};

use super::flags;

const PREFIX: &str = "FULMAR_";

/// What the variables bring.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) overrides: Vec<Override>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

/// Sorts the variables whose names begin with `FULMAR_`. Those of flags are clap's.
pub(super) fn read(environment: impl IntoIterator<Item = (String, String)>) -> Variables {
    let mut variables = Variables::default();
    let mut names: Vec<String> = flags::variables().map(str::to_owned).collect();
    names.extend(environment_names());
    let mut services = Vec::new();
    let mut given: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    given.sort();
    for (name, value) in given {
        if flags::variables().any(|known| known == name) {
            continue;
        }
        if is_of_a_service(&name, &value) {
            services.push(name);
        } else if let Some(setting) = environment_override(&name, &value) {
            variables.overrides.push(setting);
        } else {
            let known: Vec<&str> = names.iter().map(|known| &known[PREFIX.len()..]).collect();
            match nearest(&name[PREFIX.len()..], &known) {
                Some(near) => variables.errors.push(ConfigError {
                    path: String::new(),
                    origin: Source::Environment(name),
                    found: "no setting of that name".to_owned(),
                    wanted: format!("{PREFIX}{near}, or another name"),
                }),
                None => variables.warnings.push(format!("{name}: no setting has a name like this, it is ignored")),
            }
        }
    }
    if !services.is_empty() {
        let text = format!("{}: announced by Kubernetes for a Service, they are no settings", services.join(", "));
        variables.warnings.push(text);
    }
    variables
}

/// Whether Kubernetes announces a Service by this variable: `{NAME}_SERVICE_HOST`, `{NAME}_SERVICE_PORT` with or
/// without `_{PORT}`, `{NAME}_PORT` and `{NAME}_PORT_{NUMBER}_{TCP|UDP|SCTP}` with or without `_PROTO`, `_PORT` or
/// `_ADDR`. The Service may be called `fulmar`, and then its variables begin with `FULMAR_` alone.
fn is_of_a_service(name: &str, value: &str) -> bool {
    // No setting has such a value, while `FULMAR_HTTP__PORT` is one.
    if name.ends_with("_PORT") && value.contains("://") {
        return true;
    }
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    let Some((_, port)) = name.split_once("_PORT_") else { return false };
    let mut words = port.split('_');
    let has_number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
    let has_protocol = matches!(words.next(), Some("TCP" | "UDP" | "SCTP"));
    has_number && has_protocol && matches!(words.next(), None | Some("PROTO" | "PORT" | "ADDR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Variables {
        read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn what_kubernetes_announces_is_no_setting_and_no_error() {
        let variables = of(&[
            ("FULMAR_PORT", "tcp://10.0.0.1:1883"),
            ("FULMAR_SERVICE_HOST", "10.0.0.1"),
            ("FULMAR_SERVICE_PORT", "1883"),
            ("FULMAR_SERVICE_PORT_MQTT", "1883"),
            ("FULMAR_PORT_1883_TCP", "tcp://10.0.0.1:1883"),
            ("FULMAR_PORT_1883_TCP_PROTO", "tcp"),
            ("FULMAR_HTTP_PORT", "tcp://10.0.0.2:8080"),
            ("FULMAR_MQTT_PORT_1883_TCP_ADDR", "10.0.0.1"),
            ("FULMAR_MQTT_SERVICE_HOST", "10.0.0.1"),
            ("OTHER_SERVICE_HOST", "10.0.0.3"),
        ]);
        assert_eq!((variables.overrides, variables.errors), (vec![], vec![]));
        let [warning] = &variables.warnings[..] else { panic!("{:?}", variables.warnings) };
        assert!(warning.starts_with("FULMAR_HTTP_PORT, FULMAR_MQTT_PORT_1883_TCP_ADDR,"), "{warning}");
        assert!(!warning.contains("OTHER"), "{warning}");
    }

    #[test]
    fn a_slip_of_the_finger_is_an_error_that_names_the_variable_meant() {
        let slips = [
            ("FULMAR_HTTP_PORT", "FULMAR_HTTP__PORT"),
            ("FULMAR_LIMITS_INFLIGHT", "FULMAR_LIMITS__INFLIGHT"),
            ("FULMAR_LIMITS_PACKET_BYTES", "FULMAR_LIMITS__PACKET_BYTES"),
            ("FULMAR_LISTENS", "FULMAR_LISTEN"),
            ("FULMAR_LOG_LEVEL", "FULMAR_LOG__LEVEL"),
        ];
        for (slip, meant) in slips {
            let errors = of(&[(slip, "5")]).errors;
            let wanted =
                format!("{slip}: configuration: found no setting of that name, wanted {meant}, or another name");
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [wanted]);
        }
    }

    #[test]
    fn settings_are_taken_and_strangers_are_named() {
        let variables = of(&[("FULMAR_HTTP__PORT", "9"), ("FULMAR_THREADS", "2"), ("FULMAR_FROBNICATE", "5")]);
        assert_eq!(variables.overrides.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["http.port"]);
        assert_eq!(variables.warnings, ["FULMAR_FROBNICATE: no setting has a name like this, it is ignored"]);
        assert_eq!(variables.errors, []);
    }
}
