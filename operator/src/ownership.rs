//! Who owns a field, as the API server keeps it in `metadata.managedFields`.
//!
//! What is made with POST or set with a merge patch is owned by the operation `Update`, what is applied by `Apply`, and
//! both under our name. A field that we leave out of a later apply goes only if no `Update` of ours still owns it, so
//! such owners are joined to the applied ones.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value};

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// The owners with all that `manager` owns in one place, its applied fields; `None` if they are so already.
pub(crate) fn joined(owners: &[ManagedFieldsEntry], manager: &str) -> Option<Vec<ManagedFieldsEntry>> {
    let is = |entry: &ManagedFieldsEntry, operation: &str| {
        let plain = entry.subresource.as_deref().is_none_or(str::is_empty);
        plain && entry.manager.as_deref() == Some(manager) && entry.operation.as_deref() == Some(operation)
    };
    let (updated, mut rest): (Vec<_>, Vec<_>) = owners.iter().cloned().partition(|entry| is(entry, UPDATE));
    let first = updated.first()?.clone();
    let mut applied = match rest.iter().position(|entry| is(entry, APPLY)) {
        Some(index) => rest.remove(index),
        None => ManagedFieldsEntry { operation: Some(APPLY.to_owned()), fields_v1: None, ..first },
    };
    let mut fields = applied.fields_v1.map_or_else(|| Value::Object(Map::new()), |FieldsV1(fields)| fields);
    for FieldsV1(more) in updated.into_iter().filter_map(|entry| entry.fields_v1) {
        unite(&mut fields, more);
    }
    applied.fields_v1 = Some(FieldsV1(fields));
    rest.push(applied);
    Some(rest)
}

/// Sets of fields are trees of names.
fn unite(target: &mut Value, source: Value) {
    if let (Value::Object(target), Value::Object(source)) = (target, source) {
        for (key, value) in source {
            unite(target.entry(key).or_insert_with(|| Value::Object(Map::new())), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, subresource: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
            api_version: Some("v1".to_owned()),
            fields_type: Some("FieldsV1".to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            time: None,
        }
    }

    #[test]
    fn what_was_made_with_post_is_owned_as_if_it_had_been_applied() {
        let ports = json!({"f:spec": {"f:ports": {"k:{\"port\":1883}": {".": {}}}}});
        let owners = [entry("us", UPDATE, "", ports.clone()), entry("them", UPDATE, "", json!({"f:x": {}}))];
        let wanted = [entry("them", UPDATE, "", json!({"f:x": {}})), entry("us", APPLY, "", ports)];
        assert_eq!(joined(&owners, "us").unwrap(), wanted);
    }

    #[test]
    fn what_was_patched_is_joined_to_what_was_applied() {
        let owners = [
            entry("us", APPLY, "", json!({"f:spec": {"f:a": {}}})),
            entry("us", UPDATE, "", json!({"f:spec": {"f:a": {}, "f:b": {}}})),
            entry("us", UPDATE, "status", json!({"f:status": {}})),
        ];
        let wanted = [
            entry("us", UPDATE, "status", json!({"f:status": {}})),
            entry("us", APPLY, "", json!({"f:spec": {"f:a": {}, "f:b": {}}})),
        ];
        assert_eq!(joined(&owners, "us").unwrap(), wanted);
    }

    #[test]
    fn nothing_is_sent_where_all_is_applied() {
        assert_eq!(joined(&[entry("us", APPLY, "", json!({})), entry("them", UPDATE, "", json!({}))], "us"), None);
        assert_eq!(joined(&[], "us"), None);
    }
}
