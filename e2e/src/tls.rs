//! A TLS client that verifies a server's chain and name, and looks at the certificate it is shown.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The certificate that `host:port` shows to a client which trusts `authorities`, in PEM, and which checks the name.
pub async fn served_certificate(host: &str, port: u16, authorities: &str) -> Result<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority.context("read an authority")?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect((host, port)).await.with_context(|| format!("connect to {host}:{port}"))?;
    let name = ServerName::try_from(host.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("shake hands")?;
    let (_, connection) = stream.get_ref();
    connection.peer_certificates().and_then(|chain| chain.first().cloned()).context("find a certificate")
}

/// The first certificate of a text in PEM.
pub fn first_certificate(pem: &str) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).context("read a certificate")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::certificates::{Leaf, leaf_of};

    #[tokio::test]
    async fn the_certificate_that_is_served_is_seen_by_who_trusts_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = Leaf { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
        let hour = Duration::from_secs(3600);
        let leaf = leaf_of(&authority, &["localhost".to_owned()], hour, hour).unwrap();
        let certificate = first_certificate(&leaf.certificate).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        assert_eq!(served_certificate("localhost", port, &authority.certificate).await.unwrap(), certificate);
        let stranger = crate::certificates::chain_for("localhost").unwrap().root;
        assert!(served_certificate("localhost", port, &stranger).await.is_err());
    }
}
