//! A client of the brokers' admin port: it shows a leaf of the cluster's own authority and believes only who shows one.
//!
//! The leaf is made for each reconciliation that needs it and lives in memory only, so there is no Secret to protect or
//! to renew. What is asked and what it means is decided in `drain.rs`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use axum::body::{Body, to_bytes};
use fulmar_api::names;
use hyper::Request;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::certificates::{Subject, issue_leaf};
use crate::drain::{DrainReport, Purpose};
use crate::rotation::Authority;

/// A broker that takes longer counts as silent.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read: the rows of a cluster of 99 nodes and 64 shards are a tenth of it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What a refusal says of itself in a status.
const REFUSAL_CHARACTERS_MAX: usize = 200;

/// A broker to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name of its pod.
    pub(crate) pod: String,
    pub(crate) address: IpAddr,
}

/// See the [module](self).
pub(crate) struct AdminClient {
    connector: TlsConnector,
    port: u16,
    /// What follows a pod's name in the names of its certificate.
    domain: String,
}

/// A node, as a broker tells of it.
#[derive(Debug, Deserialize)]
struct Member {
    name: String,
    state: String,
}

/// What is used of the answer about the cluster.
#[derive(Debug, Deserialize)]
struct Cluster {
    members: Vec<Member>,
}

impl AdminClient {
    /// With a leaf of this authority.
    pub(crate) fn new(authority: &Authority, cluster: &str, namespace: &str, now: Timestamp) -> Result<Self> {
        let leaf = issue_leaf(&authority.current, &Subject::default(), now)?;
        let certificates = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let mut roots = RootCertStore::empty();
        for trusted in certificates(&authority.bundle()).context("read the authority")? {
            roots.add(trusted).context("trust the authority")?;
        }
        let chain = certificates(&leaf.certificate).context("read a new certificate")?;
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).context("read a new key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("choose versions of TLS")?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .context("use a new certificate")?;
        let domain = format!("{}.{namespace}.svc", names::nodes_service(cluster));
        let port = u16::try_from(names::ADMIN_PORT).expect("7801 is a port");
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), port, domain })
    }

    /// How far a broker's drain has come.
    pub(crate) async fn drain(&self, target: &Target) -> Result<DrainReport> {
        self.ask(target, "GET", "/v1/drain", String::new()).await
    }

    /// Begins one.
    pub(crate) async fn begin_drain(&self, target: &Target, purpose: Purpose) -> Result<DrainReport> {
        self.ask(target, "POST", "/v1/drain", json!({"purpose": purpose}).to_string()).await
    }

    /// Ends it: the node stays.
    pub(crate) async fn cancel_drain(&self, target: &Target) -> Result<DrainReport> {
        self.ask(target, "DELETE", "/v1/drain", String::new()).await
    }

    /// Names of the nodes that belong to the cluster and are not gone for good.
    pub(crate) async fn members(&self, target: &Target) -> Result<Vec<String>> {
        let Cluster { members } = self.ask(target, "GET", "/v1/cluster", String::new()).await?;
        Ok(members.into_iter().filter(|member| member.state != "gone").map(|member| member.name).collect())
    }

    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        target: &Target,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<T> {
        let asking = Box::pin(self.exchange(target, method, path, body));
        let answer = timeout(TIMEOUT, asking).await;
        let answer = answer.with_context(|| format!("no answer in {} s", TIMEOUT.as_secs()))??;
        serde_json::from_slice(&answer).with_context(|| format!("read the answer to {method} {path}"))
    }

    async fn exchange(&self, target: &Target, method: &str, path: &str, body: String) -> Result<Vec<u8>> {
        let Target { pod, address } = target;
        let address = SocketAddr::new(*address, self.port);
        let host = format!("{pod}.{}", self.domain);
        let socket = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        let name = ServerName::try_from(host.clone()).with_context(|| format!("{host} is no DNS name"))?;
        let stream = self.connector.connect(name, socket).await.context("shake hands")?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.context("begin HTTP")?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &host)
            .header(CONNECTION, "close")
            .header(CONTENT_LENGTH, body.len())
            .body(body)
            .context("make a request")?;
        let exchange = async {
            let response = sender.send_request(request).await.context("ask")?;
            let status = response.status();
            let bytes = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await.context("read the answer")?;
            anyhow::Ok((status, bytes))
        };
        // The connection is driven beside the question and ends with it.
        let driven = async {
            match connection.await {
                Ok(()) => std::future::pending().await,
                Err(error) => anyhow::Error::new(error).context("talk HTTP"),
            }
        };
        let (status, bytes) = tokio::select! {
            biased;
            done = exchange => done?,
            failed = driven => return Err(failed),
        };
        if !status.is_success() {
            let text = String::from_utf8_lossy(&bytes);
            let said: String = text.trim().chars().take(REFUSAL_CHARACTERS_MAX).collect();
            ensure!(!said.is_empty(), "found status {status}, wanted 200");
            bail!("{said} (status {})", status.as_u16());
        }
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use axum::Router;
    use axum::extract::State;
    use axum::http::{Method, StatusCode, Uri};
    use hyper::server::conn::http1;
    use hyper_util::service::TowerToHyperService;
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::certificates::issue_authority;

    type Said = (u16, &'static str);

    /// A broker that answers with what is set, and notes what it is asked.
    #[derive(Clone, Default)]
    pub(crate) struct Broker {
        answer: Arc<Mutex<Said>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Broker {
        pub(crate) fn say(&self, status: u16, text: &'static str) {
            *self.answer.lock().unwrap() = (status, text);
        }

        pub(crate) fn take_asked(&self) -> Vec<String> {
            std::mem::take(&mut self.asked.lock().unwrap())
        }
    }

    /// A client of brokers on this port.
    pub(crate) fn client_of(authority: &Authority, port: u16) -> AdminClient {
        AdminClient { port, ..AdminClient::new(authority, "demo", "shop", Timestamp::now()).unwrap() }
    }

    fn demo(number: u8) -> Target {
        Target { pod: format!("demo-{number}"), address: Ipv4Addr::LOCALHOST.into() }
    }

    async fn answer(
        State(broker): State<Broker>,
        method: Method,
        uri: Uri,
        body: String,
    ) -> (StatusCode, &'static str) {
        broker.asked.lock().unwrap().push(format!("{method} {uri} {body}").trim().to_owned());
        let (status, text) = *broker.answer.lock().unwrap();
        (StatusCode::from_u16(status).unwrap(), text)
    }

    /// Serves with mutual TLS on a free port of every address of this machine, with a leaf of one authority and trusting another.
    pub(crate) async fn serve(broker: &Broker, authority: &Authority, trusted: &Authority) -> u16 {
        let names = ["*.demo-nodes.shop.svc".to_owned()];
        let subject = Subject { names: names.into(), ..Subject::default() };
        let leaf = issue_leaf(&authority.current, &subject, Timestamp::now()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.bundle().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = TowerToHyperService::new(Router::new().fallback(answer).with_state(broker.clone()));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, routes) = (acceptor.clone(), routes.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), routes).await;
                });
            }
        });
        port
    }

    pub(crate) fn authority() -> Authority {
        Authority::new(issue_authority("demo", "shop", Timestamp::now()).unwrap())
    }

    #[tokio::test]
    async fn a_broker_is_asked_and_told_as_its_page_says() {
        let (broker, authority) = (Broker::default(), authority());
        let client = client_of(&authority, serve(&broker, &authority, &authority).await);
        let target = demo(4);
        let say = |status, text| broker.say(status, text);

        say(200, r#"{"state": "draining", "purpose": "leave", "leaders": 1, "replicas": 2, "clients": 3}"#);
        let report = DrainReport {
            state: crate::drain::DrainState::Draining,
            purpose: Some(Purpose::Leave),
            leaders: 1,
            replicas: 2,
            clients: 3,
        };
        assert_eq!(client.drain(&target).await.unwrap(), report);
        assert_eq!(client.begin_drain(&target, Purpose::Leave).await.unwrap(), report);
        assert_eq!(client.cancel_drain(&target).await.unwrap(), report);
        let asked = ["GET /v1/drain", r#"POST /v1/drain {"purpose":"leave"}"#, "DELETE /v1/drain"];
        assert_eq!(broker.take_asked(), asked);

        // The broker's own page shows what it answers.
        let page = include_str!("../../docs/admin.md");
        let (_, after) = page.split_once("```json\n").unwrap();
        say(200, after.split_once("```").unwrap().0);
        assert_eq!(client.members(&target).await.unwrap(), ["demo-0", "demo-1", "demo-2"]);

        say(503, "this node keeps nothing\n");
        let refused = client.drain(&target).await.unwrap_err().to_string();
        assert_eq!(refused, "this node keeps nothing (status 503)");
        say(200, "{}");
        let odd = format!("{:#}", client.drain(&target).await.unwrap_err());
        assert!(odd.starts_with("read the answer to GET /v1/drain: missing field"), "{odd}");
    }

    #[tokio::test]
    async fn neither_side_talks_to_a_stranger() {
        let (broker, own, other) = (Broker::default(), authority(), authority());
        for (authority, trusted) in [(&other, &own), (&own, &other)] {
            let client = client_of(&own, serve(&broker, authority, trusted).await);
            assert!(client.drain(&demo(4)).await.is_err());
        }
        let port = serve(&broker, &own, &own).await;
        let elsewhere = AdminClient { port, ..AdminClient::new(&own, "other", "shop", Timestamp::now()).unwrap() };
        assert!(elsewhere.drain(&demo(4)).await.is_err(), "its certificate is for pods of another cluster");
        assert_eq!(broker.take_asked(), Vec::<String>::new());
    }
}
