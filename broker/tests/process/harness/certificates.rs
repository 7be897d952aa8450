//! Certificates of a test: an authority of its own, and what it signs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::WantsClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

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

/// A certificate and its key.
pub struct Leaf {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        // Authorities have names of their own, as outside of tests.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("make a key");
        let certificate = params.self_signed(&key).expect("sign the authority");
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// Writes a new certificate for `name` over what is in `folder`, and returns it.
    pub fn issue(&self, name: &str, folder: &Path) -> (Files, CertificateDer<'static>) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a DNS name");
        let Leaf { certificate, key } = self.sign(&params);
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

    /// A certificate that is in no file.
    pub fn sign(&self, params: &CertificateParams) -> Leaf {
        let key = KeyPair::generate().expect("make a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("sign a certificate");
        Leaf { certificate, key }
    }

    /// What a client trusts that trusts this authority.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::new(self.trusting().with_no_client_auth())
    }

    /// The same for a client that shows a certificate.
    pub fn client_config_with(&self, Leaf { certificate, key }: &Leaf) -> Arc<ClientConfig> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key of our own");
        let config = self.trusting().with_client_auth_cert(vec![certificate.der().clone()], key);
        Arc::new(config.expect("use the certificate"))
    }

    fn trusting(&self) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("trust the authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        builder.expect("ring knows TLS").with_root_certificates(roots)
    }
}
