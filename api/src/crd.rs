//! The CustomResourceDefinitions, finished: what the derive leaves open is set here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};
use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::MqttCluster;

/// Lists that come with Kubernetes' own types (affinity, tolerations) have no bound of their own.
const FOREIGN_ITEMS_MAX: i64 = 64;

/// Every CustomResourceDefinition of Fulmar, as `crds/` holds them and the chart installs them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![mqtt_cluster()]
}

fn mqtt_cluster() -> CustomResourceDefinition {
    let mut crd = MqttCluster::crd();
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let schema = schema.expect("the derive gives every version a schema");
        bound_lists(schema);
        schema.x_kubernetes_validations = Some(vec![ValidationRule {
            rule: "size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')".to_owned(),
            message: Some(
                "the name of an MqttCluster must be a DNS label of at most 40 characters: lower-case letters, digits and '-', starting with a letter"
                    .to_owned(),
            ),
            ..ValidationRule::default()
        }]);
    }
    crd
}

/// Every list has a bound: validation rules are priced by it, and so is the size of an object.
fn bound_lists(schema: &mut JSONSchemaProps) {
    if schema.type_.as_deref() == Some("array") && schema.max_items.is_none() {
        schema.max_items = Some(FOREIGN_ITEMS_MAX);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        bound_lists(items);
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        bound_lists(property);
    }
}

/// A map of strings to strings, as labels and annotations are.
pub(crate) fn string_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": {"type": "string", "maxLength": 16384}})
}

/// An object whose content is checked by the operator, not by the API server.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_property(path: &str, schema: &JSONSchemaProps, visit: &mut impl FnMut(&str, &JSONSchemaProps)) {
        visit(path, schema);
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            each_property(&format!("{path}[]"), items, visit);
        }
        for (name, property) in schema.properties.iter().flatten() {
            each_property(&format!("{path}.{name}"), property, visit);
        }
    }

    fn root() -> JSONSchemaProps {
        let version = mqtt_cluster().spec.versions.remove(0);
        version.schema.unwrap().open_api_v3_schema.unwrap()
    }

    #[test]
    fn every_field_is_described() {
        let mut silent = Vec::new();
        each_property("", &root(), &mut |path, schema| {
            let described = schema.description.is_some() || path.is_empty() || path.ends_with("[]");
            if !described && path != ".metadata" {
                silent.push(path.to_owned());
            }
        });
        assert_eq!(silent, Vec::<String>::new());
    }

    #[test]
    fn every_list_is_bounded() {
        each_property("", &root(), &mut |path, schema| {
            let bounded = schema.type_.as_deref() != Some("array") || schema.max_items.is_some();
            assert!(bounded, "{path} has no maxItems");
        });
    }

    #[test]
    fn a_spec_with_only_listeners_gets_the_documented_defaults() {
        let spec = root().properties.unwrap().remove("spec").unwrap().properties.unwrap();
        let default = |name: &str| serde_json::to_value(&spec[name].default).unwrap();
        assert_eq!(default("replicas"), 3);
        assert_eq!(default("storage"), serde_json::json!({"size": "1Gi"}));
        assert_eq!(default("auth"), serde_json::json!({"anonymous": false}));
        assert_eq!(default("podDisruptionBudget"), serde_json::json!({"enabled": true}));
    }
}
