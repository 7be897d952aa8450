//! Certificates of a test: an authority of its own, and what it signs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// An authority that clients trust.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key in files.
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("make a key");
        let certificate = params.self_signed(&key).expect("sign the authority");
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// Writes a new certificate for `name` over what is in `folder`, and returns it.
    pub fn issue(&self, name: &str, folder: &Path) -> (Files, CertificateDer<'static>) {
        let key = KeyPair::generate().expect("make a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a DNS name");
        let certificate = params.signed_by(&key, &self.issuer).expect("sign a certificate");
        let files = Files { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        // Each file is whole at any time, as a mounted Secret's files are.
        for (path, text) in [(&files.key, key.serialize_pem()), (&files.certificate, certificate.pem())] {
            let new = path.with_extension("new");
            std::fs::write(&new, text).expect("write a file");
            std::fs::rename(&new, path).expect("replace a file");
        }
        (files, certificate.der().clone())
    }

    /// Writes the authority's own certificate.
    pub fn publish(&self, file: &Path) {
        std::fs::write(file, self.certificate.pem()).expect("write a file");
    }

    /// What a client trusts that trusts this authority.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("trust the authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(builder.expect("ring knows TLS").with_root_certificates(roots).with_no_client_auth())
    }
}
