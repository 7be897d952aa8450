//! The access file: what rules mean, that no subscription gets around them, and what is refused.

use fulmar_auth::{AccessFile, AccessLimits, FileError};
use fulmar_codec::filter_matches;
use proptest::prelude::*;

fn parse(text: &str) -> AccessFile {
    AccessFile::parse(text, AccessLimits::default()).expect("the file is right")
}

fn errors(text: &str) -> Vec<String> {
    let errors = AccessFile::parse(text, AccessLimits::default()).expect_err("the file is refused");
    errors.iter().map(FileError::to_string).collect()
}

const METERS: &str = r##"
rules:
- deny: all
  clientIds: [meter-17]
  filters: ["#"]
- allow: publish
  filters: ["meters/${clientid}/#", "will/${username}"]
- deny: subscribe
  filters: [meters/secret/#]
- allow: subscribe
  users: [dashboard, 007]
  filters: ["meters/#", $SYS/uptime]
- allow: all
  users: [admin]
  clientIds: [console-1, console-0]
  filters: ["#"]
"##;

#[test]
fn the_first_rule_that_speaks_decides_about_a_publish() {
    let list = parse(METERS).list;
    for (client_id, username, topic, expected) in [
        ("meter-1", None, "meters/meter-1/power", true),
        ("meter-1", None, "meters/meter-1", true),
        ("meter-1", None, "meters/meter-2/power", false),
        ("meter-1", None, "will/meter-1", false),
        ("meter-1", Some("alice"), "will/alice", true),
        ("meter-17", Some("alice"), "meters/meter-17/power", false),
        ("dashboard", Some("dashboard"), "meters/secret/a", false),
        ("console-0", Some("admin"), "anything", true),
        ("console-1", Some("admin"), "anything", true),
        ("console-1", Some("admin"), "$SYS/uptime", false),
        ("console-2", Some("admin"), "anything", false),
        ("console-1", None, "anything", false),
    ] {
        assert_eq!(list.rights(client_id, username).may_publish(topic), expected, "{client_id} {username:?} {topic}");
    }
}

#[test]
fn a_subscription_needs_all_of_its_topics_allowed_and_none_denied() {
    let list = parse(METERS).list;
    for (client_id, username, filter, expected) in [
        ("d", Some("dashboard"), "meters/1/#", true),
        ("d", Some("dashboard"), "meters/1/+", true),
        ("d", Some("007"), "meters/1/power", true),
        ("d", Some("7"), "meters/1/power", false),
        ("d", None, "meters/1/power", false),
        // These would bring what `meters/secret/#` denies, in part or in whole.
        ("d", Some("dashboard"), "meters/#", false),
        ("d", Some("dashboard"), "meters/+/power", false),
        ("d", Some("dashboard"), "meters/secret", false),
        ("d", Some("dashboard"), "+/secret/power", false),
        // And these more than `meters/#` allows.
        ("d", Some("dashboard"), "#", false),
        ("d", Some("dashboard"), "+/1/power", false),
        ("d", Some("dashboard"), "$SYS/uptime", true),
        ("d", Some("dashboard"), "$SYS/#", false),
        ("d", Some("dashboard"), "$share/group/meters/1/#", true),
        ("d", Some("dashboard"), "$share/group/meters/secret/#", false),
        ("d", Some("dashboard"), "$share/meters/1/#", false),
        ("d", Some("dashboard"), "$share/group", false),
        ("d", Some("dashboard"), "meters/1/#/x", false),
        ("d", Some("dashboard"), "", false),
        // The deny of `meters/secret/#` stands before what the administrator may.
        ("console-1", Some("admin"), "#", false),
        ("console-1", Some("admin"), "other/#", true),
        ("meter-17", Some("dashboard"), "meters/1/#", false),
    ] {
        assert_eq!(
            list.rights(client_id, username).may_subscribe(filter),
            expected,
            "{client_id} {username:?} {filter}"
        );
    }
}

#[test]
fn an_empty_file_allows_nothing_and_the_default_can_allow_the_rest() {
    for text in ["", "# nothing\n", "rules: []", "default: deny"] {
        let list = parse(text).list;
        let rights = list.rights("c", Some("u"));
        assert!(!rights.may_publish("a") && !rights.may_subscribe("a") && !rights.may_receive("a"), "{text:?}");
    }
    let list = parse("default: allow\nrules:\n- deny: subscribe\n  filters: [a/b]\n").list;
    let rights = list.rights("c", None);
    assert!(rights.may_publish("a/b") && rights.may_subscribe("a/c") && rights.may_subscribe("$SYS/#"));
    assert!(!rights.may_subscribe("a/+") && !rights.may_subscribe("a/b") && !rights.may_receive("a/b"));
}

#[test]
fn a_rule_without_names_where_names_were_begun_is_no_rule_for_everyone() {
    for names in ["users:", "users: []", "users: ~", "clientIds:", "clientIds: [~]", "users: ['']", "users: admin"] {
        let text = format!("rules:\n- allow: all\n  {names}\n  filters: ['#']\n");
        assert_eq!(errors(&text).len(), 1, "{names}");
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once_with_its_line() {
    let text = r##"default: maybe
rules:
- allow: write
  filters: ["a/#/b", "x${clientid}", a]
- deny: all
  allow: all
  filters: [a]
- filters: [a]
- allow: all
- allow: all
  user: [bob]
  filters: [a]
- allow: all
- 5
bans:
- {clientId: a, user: b}
- {}
- {address: 10.0.0.1/8}
- {address: "::ffff:10.0.0.1"}
- {address: 10.0.0.0/33}
- {address: example.org}
- {user: mallory, untilUnixSeconds: tomorrow}
- {user: eve}
- {user: eve, untilUnixSeconds: 5}
extra: 1
"##;
    assert_eq!(
        errors(text),
        [
            r#"line 1 default: found "maybe", wanted allow or deny"#,
            r#"line 3 rules[0].allow: found "write", wanted publish or subscribe or all"#,
            r#"line 4 rules[0].filters[0]: found "a/#/b", wanted a topic filter: topic filter has `#` in level 2 of 3, it must be the whole last level"#,
            r#"line 4 rules[0].filters[1]: found "x${clientid}", wanted ${clientid} or ${username} as a whole level"#,
            "line 5 rules[1]: found both allow and deny, wanted one of the two",
            "line 8 rules[2]: found neither allow nor deny, wanted one of the two",
            "line 9 rules[3]: found no filters, wanted filters: a list; # is all topics",
            r#"line 11 rules[4]: found the key "user", wanted only allow, deny, users, clientIds, filters"#,
            "line 13 rules[5]: found no filters, wanted filters: a list; # is all topics",
            r#"line 14 rules[6]: found "5", wanted a section"#,
            "line 16 bans[0]: found 2 of clientId, user and address, wanted one of them",
            "line 17 bans[1]: found 0 of clientId, user and address, wanted one of them",
            r#"line 18 bans[2].address: found "10.0.0.1/8", wanted 10.0.0.0/8, or one address"#,
            r#"line 19 bans[3].address: found "::ffff:10.0.0.1", wanted the IPv4 address 10.0.0.1"#,
            r#"line 20 bans[4].address: found "10.0.0.0/33", wanted a length of at most 32"#,
            r#"line 21 bans[5].address: found "example.org", wanted an IP address or a network as 203.0.113.0/24"#,
            r#"line 22 bans[6].untilUnixSeconds: found "tomorrow", wanted seconds since 1970, as 1800000000"#,
            r#"line 24 bans[8].user: found "eve" a second time, wanted it once"#,
            r#"line 25: found the key "extra", wanted only default, rules, bans"#,
        ]
    );
}

#[test]
fn what_is_no_plain_yaml_is_refused() {
    for (text, error) in [
        ("rules: &a []", "line 1: found an anchor, wanted a plain value"),
        ("rules: &a []\nbans: *a", "line 1: found an anchor, wanted a plain value"),
        ("rules: !!seq []", "line 1: found a tag, wanted a plain value"),
        ("default: deny\n---\ndefault: allow", "line 2: found a second document, wanted one document"),
        ("default: deny\ndefault: allow", "line 2: found the key \"default\" a second time, wanted it once"),
        ("? [a]\n: b", "line 1: found a list or section as a key, wanted a name as a key"),
        ("rules: [[[[[[[[[]]]]]]]]]", "line 1: found more than 8 values within each other, wanted fewer"),
        ("- a", "line 1: found a list of 1, wanted a section"),
    ] {
        assert_eq!(errors(text), [error], "{text:?}");
    }
    let keys: String = (0..65).map(|i| format!("k{i}: 1\n")).collect();
    assert_eq!(errors(&keys), ["line 65: found more than 64 keys in a section, wanted fewer"]);
}

#[test]
fn the_limits_are_reached_and_not_passed() {
    let limits = AccessLimits { text_bytes_max: 200, rules_max: 2, bans_max: 2 };
    let rules = |count| format!("rules:\n{}", "- {allow: all, filters: [a]}\n".repeat(count));
    let bans = |count| format!("bans:\n{}", (0..count).map(|i| format!("- user: u{i}\n")).collect::<String>());
    let found = |text: &str| match AccessFile::parse(text, limits) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(FileError::to_string).collect(),
    };
    assert_eq!(found(&rules(2)), [""; 0]);
    assert_eq!(found(&rules(3)), ["line 2 rules: found a list of 3, wanted a list of 0 to 2"]);
    assert_eq!(found(&bans(2)), [""; 0]);
    assert_eq!(found(&bans(3)), ["line 2 bans: found a list of 3, wanted a list of 0 to 2"]);
    assert_eq!(found(&format!("#{}", "x".repeat(200))), ["line 1: found 201 bytes, wanted at most 200"]);
    assert_eq!(found(&format!("#{}", "x".repeat(199))), [""; 0]);
}

/// One rule as the model keeps it.
#[derive(Clone, Debug)]
struct Rule {
    allow: bool,
    action: &'static str,
    users: Option<Vec<&'static str>>,
    client_ids: Option<Vec<&'static str>>,
    filters: Vec<String>,
}

impl Rule {
    fn yaml(&self) -> String {
        let Rule { allow, action, users, client_ids, filters } = self;
        let effect = if *allow { "allow" } else { "deny" };
        let names = |key: &str, names: &Option<Vec<&str>>| {
            names.as_ref().map_or(String::new(), |it| format!("  {key}: {it:?}\n"))
        };
        format!(
            "- {effect}: {action}\n{}{}  filters: {filters:?}\n",
            names("users", users),
            names("clientIds", client_ids)
        )
    }

    /// Whether the rule speaks of this client doing this to this one topic.
    fn speaks(&self, action: &str, client_id: &str, username: Option<&str>, topic: &str) -> bool {
        (self.action == "all" || self.action == action)
            && self.users.as_ref().is_none_or(|users| username.is_some_and(|name| users.contains(&name)))
            && self.client_ids.as_ref().is_none_or(|ids| ids.contains(&client_id))
            && self.filters.iter().any(|filter| matches(filter, client_id, username, topic))
    }
}

/// A rule's filter against one topic. A value that is not one level of a topic stands for nothing.
fn matches(filter: &str, client_id: &str, username: Option<&str>, topic: &str) -> bool {
    let mut levels = Vec::new();
    for level in filter.split('/') {
        let value = match level {
            "${clientid}" => Some(client_id),
            "${username}" => match username {
                Some(name) => Some(name),
                None => return false,
            },
            _ => None,
        };
        let hostile = |value: &str| value.is_empty() || value.contains(['/', '+', '#', '\0']);
        if value.is_some_and(|value| hostile(value) || levels.is_empty() && value.starts_with('$')) {
            return false;
        }
        levels.push(value.unwrap_or(level));
    }
    filter_matches(&levels.join("/"), topic)
}

const NAMES: &[&str] = &["a", "b", "+", "#", "a/b", "", "$s", "a/#", "$s/a"];

fn any_filter(variables: bool) -> impl Strategy<Value = String> {
    let mut alphabet = vec!["a", "b", "$s", "", "+"];
    if variables {
        alphabet.extend(["${clientid}", "${username}"]);
    }
    (prop::collection::vec(prop::sample::select(alphabet), 1..4), any::<bool>()).prop_filter_map(
        "empty",
        |(levels, open)| {
            let mut filter = levels.join("/");
            if open {
                filter += "/#";
            }
            Some(filter).filter(|filter| !filter.is_empty())
        },
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let names =
        || prop::option::weighted(0.3, prop::collection::vec(prop::sample::select(vec!["a", "b", "+", "a/b"]), 1..3));
    let action = prop::sample::select(vec!["publish", "subscribe", "all"]);
    (any::<bool>(), action, names(), names(), prop::collection::vec(any_filter(true), 1..3))
        .prop_map(|(allow, action, users, client_ids, filters)| Rule { allow, action, users, client_ids, filters })
}

/// Every topic of up to 4 levels; `z` stands for all that no filter names.
fn topics() -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for depth in 0..4 {
        let slash = if depth == 0 { "" } else { "/" };
        last = last
            .iter()
            .flat_map(|text| ["a", "b", "$s", "", "z"].map(|level| format!("{text}{slash}{level}")))
            .collect();
        all.extend(last.iter().cloned());
    }
    all.retain(|topic| !topic.is_empty());
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Topics are judged as the model does, and who may subscribe gets nothing that the topic check would refuse.
    #[test]
    fn no_subscription_gets_around_the_rules(
        rules in prop::collection::vec(any_rule(), 0..6),
        default_allows: bool,
        client_id in prop::sample::select(NAMES),
        username in prop::option::of(prop::sample::select(NAMES)),
        asked in prop::collection::vec(any_filter(false), 1..8),
    ) {
        let default = if default_allows { "allow" } else { "deny" };
        let text = format!("default: {default}\nrules:\n{}", rules.iter().map(Rule::yaml).collect::<String>());
        let text = if rules.is_empty() { format!("default: {default}") } else { text };
        let list = parse(&text).list;
        let rights = list.rights(client_id, username);
        let judge = |action: &str, topic: &str| {
            let first = rules.iter().find(|rule| rule.speaks(action, client_id, username, topic));
            first.map_or(default_allows, |rule| rule.allow)
        };
        let topics = topics();
        for topic in &topics {
            prop_assert_eq!(rights.may_publish(topic), judge("publish", topic), "publish {}", topic);
            prop_assert_eq!(rights.may_receive(topic), judge("subscribe", topic), "receive {}", topic);
        }
        for filter in asked.iter().map(String::as_str).chain(["#", "+", "a", "a/#", "$s/#"]) {
            let mut meant = topics.iter().filter(|topic| filter_matches(filter, topic));
            let allowed = rights.may_subscribe(filter);
            if allowed {
                prop_assert!(meant.clone().all(|topic| judge("subscribe", topic)), "{} is allowed", filter);
            }
            // Without wildcards it is one topic, and the answer is exact.
            if !filter.contains(['+', '#']) {
                prop_assert_eq!(allowed, judge("subscribe", filter), "{}", filter);
            }
            // Where no rule allows a topic, nothing is allowed: the check is not merely strict.
            if !allowed && default_allows && rules.iter().all(|rule| rule.allow) {
                prop_assert!(meant.next().is_none(), "{} is denied where nothing is", filter);
            }
            prop_assert_eq!(rights.may_subscribe(&format!("$share/group/{filter}")), allowed, "{}", filter);
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text: String, rule: String) {
        let limits = AccessLimits::default();
        let _ = AccessFile::parse(&text, limits);
        let _ = AccessFile::parse(&format!("rules:\n- {rule}\n"), limits);
        let _ = AccessFile::parse(&format!("rules:\n- allow: all\n  filters: [{rule:?}]\n"), limits);
        let _ = AccessFile::parse(&format!("bans:\n- address: {rule:?}\n"), limits);
    }
}
