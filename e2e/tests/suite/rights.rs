//! What the operator may do, as the API server's audit log tells. It runs behind the other tests, so that it sees what
//! all of them made the operator do.

use anyhow::Result;
use fulmar_e2e::Namespace;
use fulmar_e2e::audit::{self, Request};
use fulmar_e2e::kit::OPERATOR_NAMESPACE;
use fulmar_e2e::suite::say;

use crate::fixtures::one;

const OPERATOR: &str = "system:serviceaccount:fulmar-system:fulmar-operator";
/// The network of the pods: whatever comes from there without a valid token is one of ours too.
const POD_NETWORK: &str = "198.18.";

pub(crate) async fn the_operator_has_an_account_of_its_own_and_none_of_its_requests_was_refused(
    namespace: Namespace,
) -> Result<()> {
    // Also when this test was chosen alone, the operator has done something.
    one(&namespace).await?;
    let account = "get pods --selector app.kubernetes.io/name=fulmar-operator --output jsonpath={.items[*].spec.serviceAccountName}";
    let mut kubectl = fulmar_e2e::command::command(&format!("kubectl --namespace {OPERATOR_NAMESPACE}"));
    kubectl.args(account.split(' '));
    assert_eq!(fulmar_e2e::command::run(kubectl).await?, "fulmar-operator");

    let Some(log) = namespace.kit.testbed.audit_log() else {
        say("skipped the audit log: this cluster is the user's");
        return Ok(());
    };
    let requests = audit::read(&log, namespace.kit.audit_log_start)?;
    let ours: Vec<&Request> =
        requests.iter().filter(|request| request.user() == OPERATOR || request.came_from(POD_NETWORK)).collect();
    for verb in ["get", "create", "patch"] {
        assert!(
            ours.iter().any(|request| request.verb == verb),
            "the operator never used {verb}: is this its account?"
        );
    }
    let refused: Vec<String> = ours
        .iter()
        .filter(|request| [401, 403].contains(&request.code()) && !request.is_about_an_ending_namespace())
        .map(|request| format!("{} {} {} -> {}", request.user(), request.verb, request.uri, request.code()))
        .collect();
    assert_eq!(refused, Vec::<String>::new());
    Ok(())
}
