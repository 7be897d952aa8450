//! An API server in memory for tests: it keeps objects, knows the rules that the operator relies on, and notes every
//! request.
//!
//! It knows names, UIDs, versions, owners of fields by operation, labels, immutable ConfigMaps and the answers 404, 409
//! and 422. It does not know schemas, defaults or controllers; what depends on those is tested on a real Kubernetes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use kube::Client;
use serde_json::{Value, json};

/// Kind in plural and name.
type Key = (String, String);
/// Does something just before a request is answered, or answers it itself.
type Hook = Box<dyn FnMut(&str, &Key, &mut Objects) -> Option<(u16, Value)> + Send>;

/// The objects of one namespace.
#[derive(Default)]
pub(crate) struct Objects {
    by_key: BTreeMap<Key, Value>,
    version: u64,
}

impl Objects {
    /// The object of this kind, in plural, and name.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.by_key.get(&(kind.to_owned(), name.to_owned()))
    }

    /// Puts an object there as somebody else would: it gets a UID and a version of its own.
    pub(crate) fn put(&mut self, kind: &str, mut object: Value) -> Value {
        self.version += 1;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = self.version.to_string().into();
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("uid-{}", self.version).into();
        }
        self.by_key.insert((kind.to_owned(), name), object.clone());
        object
    }

    pub(crate) fn remove(&mut self, kind: &str, name: &str) {
        self.by_key.remove(&(kind.to_owned(), name.to_owned()));
    }

    /// Names of all objects of a kind.
    pub(crate) fn names(&self, kind: &str) -> Vec<String> {
        self.by_key.keys().filter(|(found, _)| found == kind).map(|(_, name)| name.clone()).collect()
    }
}

#[derive(Default)]
struct Inner {
    objects: Objects,
    requests: Vec<String>,
    hook: Option<Hook>,
}

/// The API server; clones share it.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<Inner>>);

impl FakeApi {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(Router::new().fallback(answer).with_state(self.clone()), "shop")
    }

    /// Looks at the objects or changes them.
    pub(crate) fn objects<T>(&self, work: impl FnOnce(&mut Objects) -> T) -> T {
        work(&mut self.0.lock().unwrap().objects)
    }

    /// An object that must be there.
    pub(crate) fn object(&self, kind: &str, name: &str) -> Value {
        let found = self.objects(|objects| objects.get(kind, name).cloned());
        found.unwrap_or_else(|| panic!("{kind}/{name} is not there"))
    }

    /// Calls `hook` before each request, with its verb.
    pub(crate) fn before_each(
        &self,
        hook: impl FnMut(&str, &Key, &mut Objects) -> Option<(u16, Value)> + Send + 'static,
    ) {
        self.0.lock().unwrap().hook = Some(Box::new(hook));
    }

    /// The requests since the last call, as `VERB KIND/NAME`.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }
}

/// An answer of the API server that says what is wrong.
pub(crate) fn refusal(code: u16, reason: &str, fields: &[&str]) -> (u16, Value) {
    let causes: Vec<_> = fields.iter().map(|field| json!({"reason": reason, "field": field})).collect();
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": format!("refused: {reason}"), "details": {"causes": causes},
    });
    (code, status)
}

async fn answer(State(api): State<FakeApi>, method: Method, uri: Uri, body: Bytes) -> Response {
    // /api/v1/namespaces/NAMESPACE/KIND/NAME/SUBRESOURCE or /apis/GROUP/VERSION/namespaces/NAMESPACE/..., or all of it
    // without a namespace.
    let path: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    let namespaces = path.iter().position(|part| *part == "namespaces");
    let first = namespaces.map_or(if path[0] == "api" { 2 } else { 3 }, |namespaces| namespaces + 2);
    let part = |number: usize| path.get(first + number).map(|part| (*part).to_owned());
    let (kind, name, subresource) = (part(0).unwrap(), part(1), part(2));
    let query: BTreeMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/")))
        .collect();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (code, value) = api.0.lock().unwrap().answer(&method, &kind, name, subresource.as_deref(), &query, &body);
    (StatusCode::from_u16(code).unwrap(), Json(value)).into_response()
}

impl Inner {
    fn answer(
        &mut self,
        method: &Method,
        kind: &str,
        name: Option<String>,
        subresource: Option<&str>,
        query: &BTreeMap<String, String>,
        body: &Value,
    ) -> (u16, Value) {
        let is_apply = query.contains_key("force") || body["apiVersion"].is_string();
        let verb = match (method.as_str(), &name) {
            ("GET", None) => "LIST",
            ("PATCH", _) if is_apply => "APPLY",
            (verb, _) => verb,
        };
        let name = name.or_else(|| body["metadata"]["name"].as_str().map(str::to_owned)).unwrap_or_default();
        let suffix = subresource.map(|subresource| format!("/{subresource}")).unwrap_or_default();
        self.requests.push(format!("{verb} {kind}/{name}{suffix}"));
        let key = (kind.to_owned(), name);
        if let Some(mut hook) = self.hook.take() {
            let answered = hook(verb, &key, &mut self.objects);
            self.hook = Some(hook);
            if let Some(answered) = answered {
                return answered;
            }
        }
        let manager = query.get("fieldManager").cloned().unwrap_or_else(|| "unknown".to_owned());
        let found = self.objects.by_key.get(&key).cloned();
        match (verb, found) {
            ("LIST", _) => (200, self.list(kind, query.get("labelSelector").map(String::as_str).unwrap_or_default())),
            ("GET", Some(found)) => (200, found),
            ("POST", Some(found)) if subresource == Some("eviction") => {
                if !agrees(&body["deleteOptions"], &found) {
                    return refusal(409, "Conflict", &[]);
                }
                self.objects.by_key.remove(&key);
                (201, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            ("POST", Some(_)) => refusal(409, "AlreadyExists", &[]),
            ("POST", None) if subresource.is_some() => refusal(404, "NotFound", &[]),
            ("POST", None) => (201, self.store(&key, body.clone(), &manager, "Update")),
            ("APPLY", None) if body["metadata"]["uid"].is_string() => refusal(409, "Conflict", &[]),
            ("APPLY", None) => (201, self.store(&key, body.clone(), &manager, "Apply")),
            ("GET" | "PATCH" | "PUT" | "DELETE", None) => refusal(404, "NotFound", &[]),
            ("APPLY" | "PATCH" | "PUT" | "DELETE", Some(found)) if !agrees(body, &found) => {
                refusal(409, "Conflict", &[])
            }
            ("DELETE", Some(found)) => {
                self.objects.by_key.remove(&key);
                (200, found)
            }
            ("APPLY" | "PATCH", Some(mut found)) => {
                if found["immutable"] == true && body["data"].is_object() && body["data"] != found["data"] {
                    return refusal(422, "Invalid", &["data"]);
                }
                match subresource {
                    Some("status") => found["status"].clone_from(&body["status"]),
                    _ => merge(&mut found, body),
                }
                let operation = if is_apply { "Apply" } else { "Update" };
                (200, self.store(&key, found, &manager, operation))
            }
            ("PUT", Some(_)) => (200, self.store(&key, body.clone(), &manager, "Update")),
            (verb, _) => panic!("{verb} is not known"),
        }
    }

    fn store(&mut self, key: &Key, mut object: Value, manager: &str, operation: &str) -> Value {
        let entry = json!({"manager": manager, "operation": operation, "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {format!("f:{}", operation.to_lowercase()): {}}});
        let fields = &mut object["metadata"]["managedFields"];
        if !fields.is_array() {
            *fields = json!([]);
        }
        let fields = fields.as_array_mut().unwrap();
        let is_known = |known: &Value| known["manager"] == manager && known["operation"] == operation;
        // A patch of the owners themselves leaves no owner of its own.
        let is_patch = operation == "Update" && !fields.is_empty();
        if !is_patch && !fields.iter().any(is_known) {
            fields.push(entry);
        }
        self.objects.put(&key.0, object)
    }

    fn list(&self, kind: &str, selector: &str) -> Value {
        let has = |object: &Value, pair: &str| match pair.split_once('=') {
            Some((key, value)) => object["metadata"]["labels"][key] == value,
            None => pair.is_empty() || !object["metadata"]["labels"][pair].is_null(),
        };
        let all = self.objects.by_key.iter().filter(|((found, _), _)| found == kind).map(|(_, object)| object);
        let items: Vec<_> = all.filter(|object| selector.split(',').all(|pair| has(object, pair))).collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
    }
}

/// Whether the UID and version that a request names, if any, are those of the object.
fn agrees(body: &Value, found: &Value) -> bool {
    let named = if body["preconditions"].is_object() { &body["preconditions"] } else { &body["metadata"] };
    ["uid", "resourceVersion"].iter().all(|key| named[key].is_null() || named[key] == found["metadata"][key])
}

fn merge(target: &mut Value, source: &Value) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) => {
            for (key, value) in source {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, source) => target.clone_from(source),
    }
}
