//! Certificates as values: issuing from the cluster's own authority, and deciding when one must be replaced.
//!
//! Knows X.509; where keys are stored and read is `keys.rs`. Time comes from outside.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates of brokers last one year and are renewed after two thirds of it.
const LEAF_DAYS: u64 = 365;
/// The authority outlasts every leaf that it signs: it is replaced after two thirds of this.
const AUTHORITY_DAYS: u64 = 3650;
/// Certificates begin a little earlier than now, for clients whose clock is behind.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate with its private key, both in PEM, as a Secret holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyMaterial {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What a leaf is valid for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) names: BTreeSet<String>,
    pub(crate) addresses: BTreeSet<IpAddr>,
}

/// The common name of a cluster's authority.
pub(crate) fn authority_name(cluster: &str, namespace: &str) -> String {
    format!("Fulmar {namespace}/{cluster}")
}

/// A new authority for one cluster.
pub(crate) fn issue_authority(cluster: &str, namespace: &str, now: Timestamp) -> Result<KeyMaterial> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&authority_name(cluster, namespace));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, AUTHORITY_DAYS)?;
    let key = KeyPair::generate().context("make a key for the authority")?;
    let certificate = params.self_signed(&key).context("sign the certificate of the authority")?;
    Ok(KeyMaterial { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A new leaf, good for servers and for clients: a broker is both on links.
pub(crate) fn issue_leaf(authority: &KeyMaterial, subject: &Subject, now: Timestamp) -> Result<KeyMaterial> {
    let authority_key = KeyPair::from_pem(&authority.key).context("read the key of the authority")?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, authority_key)
        .context("read the certificate of the authority")?;
    let mut params = CertificateParams::default();
    let common_name = subject.names.iter().find(|name| name.len() <= 64).map_or("fulmar-broker", String::as_str);
    params.distinguished_name = named(common_name);
    for name in &subject.names {
        let name = name.as_str().try_into().with_context(|| format!("{name} is not a DNS name"))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.subject_alt_names.extend(subject.addresses.iter().copied().map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, LEAF_DAYS)?;
    let key = KeyPair::generate().context("make a key for the certificate")?;
    let certificate = params.signed_by(&key, &issuer).context("sign the certificate")?;
    Ok(KeyMaterial { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn named(common_name: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, DnValue::Utf8String(common_name.to_owned()));
    name
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, days: u64) -> Result<()> {
    let now = u64::try_from(now.as_second()).context("the clock is before 1970")?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = epoch + Duration::from_secs(now);
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + DAY * u32::try_from(days).context("a certificate that lasts too long")?;
    Ok(())
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) subject: Subject,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Certificate {
    /// Two thirds of its life are over.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let life = self.not_after.duration_since(self.not_before);
        now.duration_since(self.not_before) >= SignedDuration::from_secs(life.as_secs() / 3 * 2)
    }

    /// It is no longer valid.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }
}

/// Reads a certificate with its key and makes sure that they belong together.
pub(crate) fn read_material(material: &KeyMaterial) -> Result<Certificate> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(material.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .context("tls.crt is not a certificate in PEM")?;
    let Some(leaf) = chain.first().cloned() else { bail!("tls.crt has no certificate") };
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes()).context("tls.key is not a private key in PEM")?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).context("tls.key is not a key that TLS can use")?;
    let pair = rustls::sign::CertifiedKey::new(chain, key);
    pair.keys_match().context("tls.key does not belong to the first certificate in tls.crt")?;
    read_certificate(&leaf)
}

/// Reads the first certificate of a text in PEM.
pub(crate) fn read_pem(certificate: &str) -> Result<Certificate> {
    read_certificate(&CertificateDer::from_pem_slice(certificate.as_bytes()).context("not a certificate in PEM")?)
}

/// Makes sure that the first certificate of a text in PEM is of the authority with this common name.
pub(crate) fn check_authority(certificate: &str, wanted: &str) -> Result<Certificate> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).context("found no certificate in PEM")?;
    let (_, parsed) = X509Certificate::from_der(&der).context("found no X.509 certificate")?;
    let found = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if found != wanted {
        bail!("found a certificate of {found:?}, wanted that of {wanted:?}");
    }
    read_certificate(&der)
}

/// Makes sure that these are certificates that TLS can check others against, in PEM.
pub(crate) fn check_authorities(bundle: &str) -> Result<()> {
    let authorities: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .collect::<Result<_, _>>()
        .context("ca.crt holds what is not PEM")?;
    if authorities.is_empty() {
        bail!("ca.crt has no certificate");
    }
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities.into_iter().enumerate() {
        roots.add(authority).with_context(|| format!("ca.crt: certificate {} cannot be used", index + 1))?;
    }
    Ok(())
}

/// Whether `leaf` was signed by `authority`, both in PEM.
pub(crate) fn is_signed_by(leaf: &str, authority: &str) -> bool {
    let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    let (Some(leaf), Some(authority)) = (read(leaf), read(authority)) else { return false };
    match (X509Certificate::from_der(&leaf), X509Certificate::from_der(&authority)) {
        (Ok((_, leaf)), Ok((_, authority))) => leaf.verify_signature(Some(authority.public_key())).is_ok(),
        _ => false,
    }
}

fn read_certificate(der: &CertificateDer<'_>) -> Result<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).context("tls.crt is not an X.509 certificate")?;
    let at = |second: i64| Timestamp::from_second(second).context("tls.crt has a date out of range");
    let mut subject = Subject::default();
    let alternatives = certificate.subject_alternative_name().context("tls.crt has two lists of names")?;
    for name in alternatives.iter().flat_map(|alternatives| &alternatives.value.general_names) {
        match name {
            GeneralName::DNSName(name) => {
                subject.names.insert((*name).to_owned());
            }
            GeneralName::IPAddress(octets) => {
                let address = <[u8; 4]>::try_from(*octets)
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from));
                subject.addresses.insert(address.context("tls.crt has an address of neither 4 nor 16 bytes")?);
            }
            _ => {}
        }
    }
    Ok(Certificate {
        subject,
        not_before: at(certificate.validity().not_before.timestamp())?,
        not_after: at(certificate.validity().not_after.timestamp())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T06:00:00Z".parse().unwrap()
    }

    fn subject() -> Subject {
        Subject {
            names: ["demo-nodes.shop.svc".to_owned(), "*.demo-nodes.shop.svc".to_owned()].into(),
            addresses: ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()].into(),
        }
    }

    fn days(days: i64) -> SignedDuration {
        SignedDuration::from_hours(days * 24)
    }

    #[test]
    fn a_leaf_says_what_it_was_issued_for() {
        let authority = issue_authority("demo", "shop", now()).unwrap();
        let leaf = issue_leaf(&authority, &subject(), now()).unwrap();
        let found = read_material(&leaf).unwrap();
        assert_eq!(found.subject, subject());
        assert_eq!(found.not_after, now() + days(365));
        assert!(is_signed_by(&leaf.certificate, &authority.certificate));
    }

    #[test]
    fn a_leaf_of_another_authority_is_told_apart() {
        let authority = issue_authority("demo", "shop", now()).unwrap();
        let other = issue_authority("demo", "shop", now()).unwrap();
        let leaf = issue_leaf(&other, &subject(), now()).unwrap();
        assert!(!is_signed_by(&leaf.certificate, &authority.certificate));
    }

    #[test]
    fn a_leaf_is_due_after_two_thirds_of_its_life() {
        let authority = issue_authority("demo", "shop", now()).unwrap();
        let leaf = read_material(&issue_leaf(&authority, &subject(), now()).unwrap()).unwrap();
        assert!(!leaf.is_due(now() + days(243)));
        assert!(leaf.is_due(now() + days(244)));
        assert!(!leaf.is_over(now() + days(364)));
        assert!(leaf.is_over(now() + days(365)));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let authority = issue_authority("demo", "shop", now()).unwrap();
        let leaf = issue_leaf(&authority, &subject(), now()).unwrap();
        let mixed = KeyMaterial { key: authority.key.clone(), ..leaf };
        let error = read_material(&mixed).unwrap_err();
        assert_eq!(error.to_string(), "tls.key does not belong to the first certificate in tls.crt");
    }

    #[test]
    fn authorities_of_clients_are_certificates_in_pem() {
        let authority = issue_authority("demo", "shop", now()).unwrap().certificate;
        check_authorities(&authority).unwrap();
        check_authorities(&format!("{authority}{authority}")).unwrap();
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (bundle, wanted) in [
            ("nothing".to_owned(), "ca.crt has no certificate"),
            (format!("{authority}{garbage}"), "ca.crt: certificate 2 cannot be used"),
        ] {
            assert_eq!(check_authorities(&bundle).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn garbage_is_refused_by_name() {
        let authority = issue_authority("demo", "shop", now()).unwrap();
        let no_certificate = KeyMaterial { certificate: "nothing".to_owned(), ..authority.clone() };
        assert_eq!(read_material(&no_certificate).unwrap_err().to_string(), "tls.crt has no certificate");
        let no_key = KeyMaterial { key: String::new(), ..authority };
        assert_eq!(read_material(&no_key).unwrap_err().to_string(), "tls.key is not a private key in PEM");
    }
}
