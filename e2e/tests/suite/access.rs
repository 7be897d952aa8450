//! Who may connect.

use std::time::Duration;

use anyhow::Result;
use fulmar_api::ConditionKind;
use fulmar_e2e::Namespace;
use fulmar_e2e::mqtt::{Client, Version};
use fulmar_e2e::raw::Raw;

use crate::fixtures::serves;

const LIMIT: Duration = Duration::from_secs(90);
/// CONNECT of MQTT 5.0 with a clean start, a keep alive of 60 s and the client id `a`.
const CONNECT_V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a";

pub(crate) async fn nobody_may_connect_until_the_user_says_who(namespace: Namespace) -> Result<()> {
    let cluster = namespace.apply_cluster("manifests/examples/minimal.yaml", "minimal").await?;
    cluster.ready().await?;
    let degraded = cluster.condition(ConditionKind::Degraded, "True", Some("NoAuthentication"), LIMIT).await?;
    let advice = "set auth.anonymous to true";
    assert!(degraded.message.contains(advice), "found {:?}, wanted it to say {advice:?}", degraded.message);
    let ready = cluster.condition_now(ConditionKind::Ready).await?;
    assert_eq!(ready.status, "True", "the brokers do what they were asked for");

    cluster.reachable("mqtt", 1883).await?;
    let host = cluster.host("mqtt");
    let refused = Client::connect(&host, 1883, "a").await.unwrap_err();
    assert!(format!("{refused:#}").contains("NotAuthorized"), "{refused:#}");
    let refused = Client::connect_as(Version::V4, &host, 1883, "a").await.unwrap_err();
    assert!(format!("{refused:#}").contains("NotAuthorized"), "{refused:#}");
    let mut raw = Raw::connect(&host, 1883).await?;
    raw.send(CONNECT_V5).await;
    let answer = raw.read_to_end().await?;
    assert_eq!((answer[0], answer[3]), (0x20, 0x87), "CONNACK with not authorized; found {answer:02x?}");

    let open = r#"patch mqttcluster minimal --type merge --patch {"spec":{"auth":{"anonymous":true}}}"#;
    namespace.kubectl(open).await?;
    cluster.condition(ConditionKind::Degraded, "False", None, LIMIT).await?;
    cluster.ready().await?;
    serves(&cluster).await
}
