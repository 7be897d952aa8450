//! Who may connect, and who may do what.

use std::time::Duration;

use anyhow::Result;
use fulmar_api::ConditionKind;
use fulmar_e2e::Namespace;
use fulmar_e2e::certificates::{authority_of, leaf_of};
use fulmar_e2e::mosquitto::Target;
use fulmar_e2e::mqtt::{Client, Message, QoS, Version};
use fulmar_e2e::raw::Raw;
use fulmar_e2e::wait::ask_until;
use serde_json::json;
use tokio::sync::Mutex;

use crate::fixtures::{Folder, own_authority, serves};

const LIMIT: Duration = Duration::from_secs(90);
/// The kubelet looks once a minute, and a little later, for changed Secrets; the broker then for changed files.
const SERVED_LIMIT: Duration = Duration::from_secs(180);
const DAY: Duration = Duration::from_secs(24 * 3600);
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

/// Made by `fulmar-broker passwd`; the passwords are `password of NAME`.
const ALICE: &str =
    "alice:$argon2id$v=19$m=7168,t=5,p=1$ixpjUcDMPlbR1G2VBjuyag$xS5Pr3Fkusx3GVkhocBYuRzKNEHdKjuhIro+7TuO27g";
const BOB: &str =
    "bob:$argon2id$v=19$m=7168,t=5,p=1$yWKRyk7qgDOcVhxF/pnU3A$IH09Yius22WKj1flnuQ/dWsyTU8k0HIKemN8Esy+YTU";
const MALLORY: &str =
    "mallory:$argon2id$v=19$m=7168,t=5,p=1$C5VVFBpheXxmJXtHku4Fbw$z15fZoGvRLRE3Nxo0Ca+sO4okQ3jW4CRj2GWWeSQ4vc";

/// CONNECT of MQTT 5.0 with a clean start, a keep alive of 300 s and the user's name as client id.
fn connect_as(user: &str, password: &str) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x05\xc2\x01\x2c\x00".to_vec();
    for text in [user, user, password] {
        body.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
        body.extend(text.as_bytes());
    }
    let length = u8::try_from(body.len()).expect("less than 128 bytes");
    [vec![0x10, length], body].concat()
}

async fn put_secret(namespace: &Namespace, name: &str, key: &str, text: &str) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: text}});
    namespace.apply_text(&secret.to_string()).await.map(drop)
}

/// Where a user may publish and subscribe besides the user's own topics.
async fn put_rules(namespace: &Namespace, alice_too: &str) -> Result<()> {
    let rules = format!(
        "rules:\n- {{allow: all, filters: [\"${{username}}/#\"]}}\n- {{allow: publish, users: [alice], filters: [\"{alice_too}\"]}}\n"
    );
    put_secret(namespace, "rules", "access.yaml", &rules).await
}

pub(crate) async fn users_and_rules_from_secrets_decide_and_change_without_a_restart(
    namespace: Namespace,
) -> Result<()> {
    let all = [ALICE, BOB, MALLORY].join("\n");
    put_secret(&namespace, "staff", "users", &all).await?;
    put_rules(&namespace, "public/#").await?;
    namespace
        .apply_text(
            "apiVersion: mqtt.fulmar.dev/v1alpha1\nkind: MqttCluster\nmetadata: {name: users}\n\
             spec:\n  replicas: 2\n  listeners: [{name: mqtt, protocol: mqtt, port: 1883}]\n  \
             auth: {usersSecretName: staff, aclSecretName: rules}\n",
        )
        .await?;
    let cluster = namespace.cluster("users");
    cluster.ready().await?;
    let degraded = cluster.condition_now(ConditionKind::Degraded).await?;
    assert_eq!((degraded.status.as_str(), degraded.reason.as_str()), ("False", "AsExpected"));
    cluster.reachable("mqtt", 1883).await?;
    let host = cluster.host("mqtt");

    for version in [Version::V4, Version::V5] {
        for (user, password) in [("alice", "password of bob"), ("nobody", "password of alice")] {
            let refused = Client::log_in(version, &host, 1883, user, password).await.unwrap_err();
            assert!(format!("{refused:#}").contains("BadUserNamePassword"), "{version:?} {user}: {refused:#}");
        }
        let refused = Client::connect_as(version, &host, 1883, "alice").await.unwrap_err();
        assert!(format!("{refused:#}").contains("NotAuthorized"), "{version:?}: {refused:#}");
    }
    let mut alice = Client::log_in(Version::V5, &host, 1883, "alice", "password of alice").await?;
    let mut bob = Client::log_in(Version::V4, &host, 1883, "bob", "password of bob").await?;
    // rumqttc does not read a DISCONNECT without properties, as MQTT 5.0 allows it (3.14.2.2.1).
    let mut mallory = Raw::connect(&host, 1883).await?;
    mallory.send(&connect_as("mallory", "password of mallory")).await;
    let head = mallory.read(2).await?;
    let connack = mallory.read(head[1].into()).await?;
    assert_eq!((head[0], connack[1]), (0x20, 0), "CONNACK with success");
    alice.subscribe("alice/#", QoS::AtLeastOnce).await?;
    bob.subscribe("bob/#", QoS::AtLeastOnce).await?;
    alice.publish("alice/a", QoS::AtLeastOnce, false, "own").await?;
    assert_eq!(alice.receive().await?, Message::new("alice/a", "own", QoS::AtLeastOnce));
    alice.publish("public/a", QoS::AtLeastOnce, false, "by a rule").await?;
    let refused = alice.publish("bob/a", QoS::AtLeastOnce, false, "forged").await.unwrap_err();
    assert!(format!("{refused:#}").contains("NotAuthorized"), "{refused:#}");
    let refused = alice.subscribe("bob/#", QoS::AtLeastOnce).await.unwrap_err();
    assert!(format!("{refused:#}").contains("NotAuthorized"), "{refused:#}");

    // One user goes, and another gets one right for the other.
    let before = cluster.identities().await?;
    put_secret(&namespace, "staff", "users", &[ALICE, BOB].join("\n")).await?;
    put_rules(&namespace, "bob/#").await?;
    // Each attempt is answered, and none ends the connection.
    let alice = Mutex::new(alice);
    let publish = || async { alice.lock().await.publish("bob/a", QoS::AtLeastOnce, false, "real").await.map(Some) };
    ask_until("the new rules", SERVED_LIMIT, publish).await?;
    let mut alice = alice.into_inner();
    assert_eq!(bob.receive().await?, Message::new("bob/a", "real", QoS::AtLeastOnce));
    // Her pod may see the change a minute after the other one.
    let mallory = Mutex::new(mallory);
    let ended = || async { mallory.lock().await.read_to_end().await.map(Some) };
    let ended = ask_until("the end of who is no user any more", SERVED_LIMIT, ended).await?;
    assert_eq!((ended[0], ended[2]), (0xe0, 0x87), "DISCONNECT with not authorized; found {ended:02x?}");
    let refused = alice.publish("public/a", QoS::AtLeastOnce, false, "no longer").await.unwrap_err();
    assert!(format!("{refused:#}").contains("NotAuthorized"), "{refused:#}");

    // What nobody can read is told, and changes nothing.
    put_secret(&namespace, "staff", "users", "alice password of alice").await?;
    let told = cluster.condition(ConditionKind::ConfigApplied, "False", Some("InvalidUsers"), LIMIT).await?;
    let wanted = "spec.auth.usersSecretName: Secret staff: users: line 1: found no colon, wanted NAME:HASH";
    assert_eq!(told.message, wanted);
    put_secret(&namespace, "staff", "users", ALICE).await?;
    cluster.condition(ConditionKind::ConfigApplied, "True", None, LIMIT).await?;
    cluster.ready().await?;
    alice.publish("alice/a", QoS::AtLeastOnce, false, "still here").await?;
    assert_eq!(alice.receive().await?, Message::new("alice/a", "still here", QoS::AtLeastOnce));
    assert_eq!(cluster.identities().await?, before, "no pod was restarted");
    Ok(())
}

pub(crate) async fn a_client_certificate_is_required_and_names_the_client(namespace: Namespace) -> Result<()> {
    let (authority, other) = (authority_of("Meters")?, authority_of("Others")?);
    put_secret(&namespace, "devices", "ca.crt", &authority.certificate).await?;
    put_secret(&namespace, "rules", "access.yaml", "rules: [{allow: all, filters: [\"meters/${username}/#\"]}]")
        .await?;
    namespace
        .apply_text(
            "apiVersion: mqtt.fulmar.dev/v1alpha1\nkind: MqttCluster\nmetadata: {name: meters}\n\
             spec:\n  replicas: 1\n  auth: {aclSecretName: rules}\n  listeners:\n  \
             - name: mqtts\n    protocol: mqtts\n    port: 8883\n    \
               tls: {selfSigned: {}, clientAuth: required, clientCaSecretName: devices, clientIdentity: dns}\n",
        )
        .await?;
    let cluster = namespace.cluster("meters");
    cluster.ready().await?;
    let degraded = cluster.condition_now(ConditionKind::Degraded).await?;
    assert_eq!((degraded.status.as_str(), degraded.reason.as_str()), ("False", "AsExpected"));
    cluster.reachable("mqtts", 8883).await?;

    let files = Folder::create(namespace.name())?;
    let ca = files.write("own.pem", &own_authority(&cluster).await?)?;
    let mut certificates = Vec::new();
    for (file, name, signer) in [("1", "meter-1", &authority), ("2", "meter-2", &authority), ("3", "meter-1", &other)] {
        let leaf = leaf_of(signer, &[name.to_owned()], DAY, DAY)?;
        let certificate = files.write(&format!("{file}.crt"), &leaf.certificate)?;
        certificates.push((certificate, files.write(&format!("{file}.key"), &leaf.key)?));
    }
    let host = cluster.host("mqtts");
    let nobody = Target { host: &host, port: 8883, authority: &ca, certificate: None };
    let [first, second, foreign] = [0, 1, 2].map(|number: usize| {
        let (certificate, key) = &certificates[number];
        Target { certificate: Some((certificate, key)), ..nobody }
    });
    for refused in [nobody, foreign] {
        let complaint = refused.publish_refused("meters/meter-1/power").await?;
        assert!(complaint.contains("connection was lost") || complaint.contains("TLS error"), "{complaint}");
    }
    let mut subscription = first.subscribe("meters/meter-1/#").await?;
    let denied = second.publish_denied("meters/meter-1/power").await?;
    assert!(denied.contains("Not authorized"), "{denied}");
    first.publish("meters/meter-1/power", "230").await?;
    subscription.receive("230").await
}
