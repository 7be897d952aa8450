//! The chart as helm renders it: what the operator may do, how its pod is secured, what stays when it is removed.
//!
//! No Kubernetes is needed; helm is part of the testbed's binary.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fulmar_testbed::tools::Tools;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn helm(arguments: &[&str]) -> Output {
    let tools = Tools::find_or_build(&mut |progress| println!("{progress}")).unwrap();
    Command::new(tools.kubernetes).arg("helm").args(arguments).current_dir(root()).output().unwrap()
}

/// The objects that helm renders, with these values set.
fn rendered(values: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["template", "fulmar", "charts/fulmar", "--namespace", "fulmar-system"];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    let output = helm(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn texts(list: &Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The rules of the operator itself, not those for people.
fn operator_rules(objects: &[Value], kind: &str) -> Value {
    let roles = of_kind(objects, kind);
    let role = roles.iter().find(|role| role["metadata"]["name"] == "fulmar-operator").unwrap();
    role["rules"].clone()
}

#[test]
fn helm_lint_has_nothing_to_say() {
    let output = helm(&["lint", "charts/fulmar", "--strict"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn no_rule_has_a_wildcard_or_reaches_beyond_what_the_operator_makes() {
    let objects = rendered(&[]);
    for role in of_kind(&objects, "ClusterRole") {
        for rule in role["rules"].as_array().unwrap() {
            for part in ["apiGroups", "resources", "verbs"] {
                assert!(!texts(&rule[part]).contains("*"), "{}: {rule}", role["metadata"]["name"]);
            }
        }
    }
    let rules = operator_rules(&objects, "ClusterRole");
    let resources: BTreeSet<&str> =
        rules.as_array().unwrap().iter().flat_map(|rule| texts(&rule["resources"])).collect();
    let wanted = [
        "configmaps",
        "events",
        "mqttclusters",
        "mqttclusters/finalizers",
        "mqttclusters/status",
        // For the zone of each pod's machine, larger volumes, and pods that the StatefulSet's controller is stuck with.
        "nodes",
        "persistentvolumeclaims",
        "poddisruptionbudgets",
        "pods",
        "pods/eviction",
        "secrets",
        "serviceaccounts",
        "services",
        "statefulsets",
    ];
    assert_eq!(resources, wanted.into());
}

#[test]
fn watched_namespaces_get_roles_and_nothing_is_allowed_elsewhere() {
    let objects = rendered(&["watchNamespaces={shop,plant}"]);
    let namespaces: Vec<_> = of_kind(&objects, "Role").iter().map(|role| &role["metadata"]["namespace"]).collect();
    assert_eq!(namespaces, ["shop", "plant"]);
    assert_eq!(of_kind(&objects, "RoleBinding").len(), 2);
    assert_eq!(of_kind(&objects, "ClusterRoleBinding").len(), 0);
    // Machines are in no namespace, so zones are not told there.
    let mut wanted = operator_rules(&rendered(&[]), "ClusterRole");
    wanted.as_array_mut().unwrap().retain(|rule| !texts(&rule["resources"]).contains("nodes"));
    assert_eq!(operator_rules(&objects, "Role"), wanted);
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let watched = container["env"].as_array().unwrap().iter().find(|env| env["name"] == "FULMAR_WATCH_NAMESPACES");
    assert_eq!(watched.unwrap()["value"], "shop,plant");
}

#[test]
fn definitions_stay_when_the_chart_is_removed() {
    let objects = rendered(&[]);
    let definitions = of_kind(&objects, "CustomResourceDefinition");
    assert!(!definitions.is_empty());
    for definition in definitions {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    assert_eq!(of_kind(&rendered(&["crds.install=false"]), "CustomResourceDefinition").len(), 0);
}

#[test]
fn the_operator_runs_alone_and_fits_the_level_restricted() {
    let objects = rendered(&[]);
    let deployment = of_kind(&objects, "Deployment")[0];
    assert_eq!(
        (&deployment["spec"]["replicas"], &deployment["spec"]["strategy"]["type"]),
        (&1.into(), &"Recreate".into())
    );
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(texts(&security["capabilities"]["drop"]), ["ALL"].into());
}

#[test]
fn people_who_may_edit_a_namespace_may_scale_its_clusters() {
    let objects = rendered(&[]);
    let roles = of_kind(&objects, "ClusterRole");
    let role = roles.iter().find(|role| role["metadata"]["name"] == "fulmar-operator-edit").unwrap();
    assert_eq!(role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"], "true");
    let rules = role["rules"].as_array().unwrap();
    let scale = rules.iter().find(|rule| texts(&rule["resources"]).contains("mqttclusters/scale")).unwrap();
    assert_eq!(texts(&scale["verbs"]), ["patch", "update"].into());
}

#[test]
fn values_that_cannot_work_are_refused_before_anything_is_installed() {
    for (value, place) in [
        ("image.broker=fulmar.dev/fulmar-broker", "/image/broker"),
        ("resyncSeconds=0", "/resyncSeconds"),
        ("log.format=xml", "/log/format"),
        ("watchNamespaces={Shop}", "/watchNamespaces/0"),
        ("replicas=2", "replicas"),
        (r"podLabels.app\.kubernetes\.io/name=mine", "/podLabels/app.kubernetes.io~1name"),
    ] {
        let output = helm(&["template", "fulmar", "charts/fulmar", "--set", value]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(place), "{value}: {said}");
    }
}

#[test]
fn images_come_from_the_values_or_from_the_version_of_the_chart() {
    let image = |objects: &[Value]| {
        of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(image(&rendered(&[])), "fulmar.dev/fulmar-operator:v0.1.0");
    let digest = format!("example.org/operator@sha256:{}", "a".repeat(64));
    for wanted in ["example.org:5000/operator:v9", &digest] {
        assert_eq!(image(&rendered(&[&format!("image.operator={wanted}")])), wanted);
    }
}

#[test]
fn names_that_look_like_numbers_stay_names() {
    let mut arguments = vec!["template", "1e3", "charts/fulmar", "--namespace", "0123"];
    for name in ["serviceAccount.name=12", "imagePullSecrets[0]=1", "watchNamespaces[0]=42", "priorityClassName=7"] {
        arguments.extend(["--set-string", name]);
    }
    let output = helm(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let deployment = of_kind(&objects, "Deployment")[0];
    let pod = &deployment["spec"]["template"]["spec"];
    let found = [
        &deployment["metadata"]["namespace"],
        &deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"],
        &pod["serviceAccountName"],
        &pod["imagePullSecrets"][0]["name"],
        &pod["priorityClassName"],
        &of_kind(&objects, "Role")[0]["metadata"]["namespace"],
        &of_kind(&objects, "ServiceAccount")[0]["metadata"]["name"],
    ];
    assert_eq!(found.map(|value| value.as_str()), ["0123", "1e3", "12", "1", "7", "42", "12"].map(Some));
}
