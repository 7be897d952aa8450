//! Dependencies point one way, and the pure crates stay pure: nothing that decides may reach a socket or a runtime.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, NodeDep, PackageId};
use std::collections::{BTreeMap, BTreeSet};

/// What any of our crates may be built from: these stand alone, and know nothing of what they are used for.
const BY_ANY: &[&str] = &["fulmar-bytes", "fulmar-random"];

/// What our crates may be built from of our crates beside those. One that is not listed is built from nothing else.
const ALLOWED: &[(&str, &[&str])] = &[
    ("fulmar-auth", &["fulmar-codec"]),
    ("fulmar-session", &["fulmar-codec"]),
    ("fulmar-router", &["fulmar-codec"]),
    ("fulmar-cluster", &["fulmar-codec"]),
    ("fulmar-store", &["fulmar-codec"]),
    ("fulmar-courier", &["fulmar-codec", "fulmar-store"]),
    ("fulmar-meta", &[]),
    ("fulmar-member", &["fulmar-meta"]),
    (
        "fulmar-store-raft",
        &["fulmar-codec", "fulmar-log", "fulmar-meta", "fulmar-raft", "fulmar-router", "fulmar-store"],
    ),
    (
        "fulmar-store-node",
        &[
            "fulmar-codec",
            "fulmar-courier",
            "fulmar-log",
            "fulmar-member",
            "fulmar-meta",
            "fulmar-raft",
            "fulmar-router",
            "fulmar-store",
            "fulmar-store-raft",
        ],
    ),
    (
        "fulmar-worker",
        &[
            "fulmar-auth",
            "fulmar-codec",
            "fulmar-session",
            "fulmar-router",
            "fulmar-cluster",
            "fulmar-meta",
            "fulmar-store",
        ],
    ),
    (
        "fulmar-broker",
        &[
            "fulmar-auth",
            "fulmar-codec",
            "fulmar-session",
            "fulmar-router",
            "fulmar-cluster",
            "fulmar-worker",
            "fulmar-config",
            "fulmar-log",
            "fulmar-raft",
            "fulmar-store",
            "fulmar-meta",
            "fulmar-store-node",
            "fulmar-store-raft",
            "fulmar-courier",
            "fulmar-member",
        ],
    ),
    (
        "fulmar-fuzz-targets",
        &[
            "fulmar-auth",
            "fulmar-codec",
            "fulmar-session",
            "fulmar-router",
            "fulmar-cluster",
            "fulmar-courier",
            "fulmar-log",
            "fulmar-member",
            "fulmar-raft",
            "fulmar-store-node",
            "fulmar-store-raft",
            "fulmar-meta",
            "fulmar-store",
            "fulmar-worker",
            "fulmar-config",
        ],
    ),
    (
        "fulmar-guard",
        &[
            "fulmar-auth",
            "fulmar-codec",
            "fulmar-session",
            "fulmar-router",
            "fulmar-cluster",
            "fulmar-meta",
            "fulmar-store",
            "fulmar-worker",
        ],
    ),
    (
        "fulmar-sim",
        &[
            "fulmar-auth",
            "fulmar-cluster",
            "fulmar-codec",
            "fulmar-courier",
            "fulmar-harness",
            "fulmar-log",
            "fulmar-member",
            "fulmar-meta",
            "fulmar-raft",
            "fulmar-router",
            "fulmar-session",
            "fulmar-store",
            "fulmar-store-node",
            "fulmar-store-raft",
            "fulmar-worker",
        ],
    ),
    ("fulmar-soak", &["fulmar-auth", "fulmar-codec"]),
    ("fulmar-operator", &["fulmar-api", "fulmar-auth", "fulmar-codec", "fulmar-config"]),
    ("fulmar-e2e", &["fulmar-testbed", "fulmar-api", "fulmar-codec"]),
    ("xtask", &["fulmar-api", "fulmar-testbed"]),
];

/// Crates that decide and do no I/O.
const PURE: &[&str] = &[
    "fulmar-bytes",
    "fulmar-random",
    "fulmar-auth",
    "fulmar-codec",
    "fulmar-session",
    "fulmar-router",
    "fulmar-cluster",
    "fulmar-meta",
    "fulmar-member",
    "fulmar-store",
    "fulmar-meta",
    "fulmar-raft",
    "fulmar-store-raft",
    "fulmar-courier",
    "fulmar-worker",
    "fulmar-sim",
];

/// What does I/O, keeps time or runs futures.
const IMPURE: &[&str] = &["tokio", "mio", "openraft", "socket2", "rustls", "axum", "getrandom", "kube"];

/// Every package of the workspace with the names of all that it is built from. Tests may use what they like.
fn built_from(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let resolve = metadata.resolve.as_ref().expect("the workspace is resolved");
    let builds = |dep: &&NodeDep| dep.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development);
    let direct: BTreeMap<&PackageId, Vec<&PackageId>> = resolve
        .nodes
        .iter()
        .map(|node| (&node.id, node.deps.iter().filter(builds).map(|dep| &dep.pkg).collect()))
        .collect();
    let reached_from = |start: &PackageId| {
        let mut reached = BTreeSet::new();
        let mut next = direct[start].clone();
        while let Some(id) = next.pop() {
            if reached.insert(id) {
                next.extend(&direct[id]);
            }
        }
        reached.into_iter().map(|id| metadata[id].name.to_string()).collect()
    };
    metadata.workspace_packages().iter().map(|it| (it.name.to_string(), reached_from(&it.id))).collect()
}

fn metadata() -> Metadata {
    MetadataCommand::new().exec().expect("cargo describes this workspace")
}

#[test]
fn our_crates_depend_on_each_other_in_one_direction() {
    let all = built_from(&metadata());
    for (package, names) in &all {
        let allowed = ALLOWED.iter().find(|(name, _)| name == package).map_or(&[][..], |(_, allowed)| *allowed);
        let allowed = if BY_ANY.contains(&package.as_str()) { vec![] } else { [BY_ANY, allowed].concat() };
        let ours = names.iter().filter(|name| all.contains_key(*name));
        let found: Vec<_> = ours.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{package} is built from {found:?}, at most {allowed:?} are allowed");
    }
}

#[test]
fn what_decides_is_built_from_nothing_that_acts() {
    let all = built_from(&metadata());
    for package in PURE {
        let found: Vec<_> = all[*package].iter().filter(|name| IMPURE.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{package} is built from {found:?}");
    }
}

#[test]
fn no_program_is_built_from_what_only_tests_use() {
    let of_tests = ["openraft", "fulmar-recorder", "fulmar-log-suite"];
    for (package, names) in built_from(&metadata()) {
        let found: Vec<_> = of_tests.into_iter().filter(|name| names.contains(*name)).collect();
        assert_eq!(found, [""; 0], "{package}");
    }
}

#[test]
fn nothing_that_is_built_by_itself_makes_deliberate_mistakes() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("the workspace is resolved");
    let makes = |node: &&cargo_metadata::Node| node.features.iter().any(|feature| *feature == "sabotage");
    let found: Vec<_> = resolve.nodes.iter().filter(makes).map(|node| metadata[&node.id].name.to_string()).collect();
    assert_eq!(found, [""; 0]);
    let knows = metadata.workspace_packages().iter().filter(|it| it.features.contains_key("sabotage")).count();
    assert!(knows > 0, "the feature has another name now");
}

#[test]
fn the_broker_knows_nothing_of_kubernetes() {
    let all = built_from(&metadata());
    let kubernetes = ["kube", "k8s-openapi", "fulmar-api"];
    let found: Vec<_> = kubernetes.into_iter().filter(|name| all["fulmar-broker"].contains(*name)).collect();
    assert_eq!(found, [""; 0]);
}
