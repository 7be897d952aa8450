//! Certificates as a user would bring them: a root, an intermediate, and a leaf that comes with its chain.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// What goes into a Secret, and what clients trust.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The leaf followed by the intermediate, in PEM: `tls.crt`.
    pub certificates: String,
    /// The key of the leaf, in PEM: `tls.key`.
    pub key: String,
    /// The root, in PEM, which is not in the chain.
    pub root: String,
}

/// Makes a chain of three for one DNS name.
pub fn chain_for(name: &str) -> Result<Chain> {
    let root_key = KeyPair::generate()?;
    let root = authority("Test root").self_signed(&root_key)?;
    let root_issuer = Issuer::from_ca_cert_pem(&root.pem(), root_key)?;

    let intermediate_key = KeyPair::generate()?;
    let intermediate = authority("Test intermediate").signed_by(&intermediate_key, &root_issuer)?;
    let issuer = Issuer::from_ca_cert_pem(&intermediate.pem(), intermediate_key)?;

    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new([name.to_owned()])?.signed_by(&key, &issuer)?;
    Ok(Chain { certificates: leaf.pem() + &intermediate.pem(), key: key.serialize_pem(), root: root.pem() })
}

/// A certificate with its key, both in PEM: an authority or a leaf.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate: `tls.crt`.
    pub certificate: String,
    /// Its key: `tls.key`.
    pub key: String,
}

/// An authority that signs leaves itself.
pub fn authority_of(name: &str) -> Result<Leaf> {
    let key = KeyPair::generate()?;
    Ok(Leaf { certificate: authority(name).self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// A leaf of this authority, for these DNS names, that began `age` ago and ends after `left`.
pub fn leaf_of(authority: &Leaf, names: &[String], age: Duration, left: Duration) -> Result<Leaf> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut params = CertificateParams::new(names)?;
    params.not_before = now - age;
    params.not_after = now + left;
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    Ok(Leaf { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_the_leaf_first_and_leaves_the_root_out() {
        let chain = chain_for("broker.example").unwrap();
        assert_eq!(chain.certificates.matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(chain.root.matches("BEGIN CERTIFICATE").count(), 1);
        assert!(!chain.certificates.contains(&chain.root));
    }
}
