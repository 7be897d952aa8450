//! PEM files as rustls configurations. Says which file is at fault; leaves the checking of chains to rustls.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use fulmar_config::{ClientCertificate, ClusterTls, ListenerTls};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What a node proves itself with towards its peers, as the side that is dialled and as the side that dials.
#[derive(Clone, Debug)]
pub(crate) struct ClusterCertificates {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// The server's side of TLS towards clients.
pub(crate) fn listener_certificate(tls: &ListenerTls) -> anyhow::Result<Arc<ServerConfig>> {
    let ListenerTls { cert_file, key_file, client_certificate, client_ca_file, client_identity: _ } = tls;
    let (chain, key) = (read_chain(cert_file)?, read_key(key_file)?);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let (builder, asks) = match (client_certificate, client_ca_file) {
        (ClientCertificate::None, _) => (builder.with_no_client_auth(), false),
        (ClientCertificate::Optional | ClientCertificate::Required, None) => {
            bail!("no file with CA certificates for those of clients is configured, wanted clientCaFile")
        }
        (certificate, Some(ca_file)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(read_roots(ca_file)?), provider());
            let verifier = match certificate {
                ClientCertificate::Required => verifier.build()?,
                _ => verifier.allow_unauthenticated().build()?,
            };
            (builder.with_client_cert_verifier(verifier), true)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .with_context(|| format!("use {} with {}", cert_file.display(), key_file.display()))?;
    if asks {
        // A session that is resumed is not verified again, so a certificate would be good beyond its end.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// Both sides of mutual TLS between nodes.
pub(crate) fn cluster_certificates(tls: &ClusterTls) -> anyhow::Result<ClusterCertificates> {
    let ClusterTls { cert_file, key_file, ca_file } = tls;
    let (chain, key) = (read_chain(cert_file)?, read_key(key_file)?);
    let pair = || format!("use {} with {}", cert_file.display(), key_file.display());
    let roots = Arc::new(read_roots(ca_file)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build()?;
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())
        .with_context(pair)?;
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .with_context(pair)?;
    Ok(ClusterCertificates { server: Arc::new(server), client: Arc::new(client) })
}

/// Named explicitly: with two providers among the dependencies, rustls would not know which to take.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read_roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in read_chain(file)? {
        roots.add(authority).with_context(|| format!("trust {}", file.display()))?;
    }
    Ok(roots)
}

fn read_chain(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.with_context(|| format!("read certificates from {}", file.display()))?;
    ensure!(!chain.is_empty(), "{} holds no certificate, wanted one or more in PEM", file.display());
    Ok(chain)
}

fn read_key(file: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    PrivateKeyDer::from_pem_slice(&text).with_context(|| format!("read a private key in PEM from {}", file.display()))
}
