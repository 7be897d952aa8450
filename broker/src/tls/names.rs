//! The names in a client's certificate. Its chain has been verified; which name counts is decided by `fulmar-auth`.

use anyhow::Context;
use fulmar_auth::identity::CertificateNames;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Every name that may become a user name. One that cannot be read is an error: left out, it would let another one pass
/// for the only one.
pub(super) fn certificate_names(der: &[u8]) -> anyhow::Result<CertificateNames> {
    let (_, certificate) = X509Certificate::from_der(der).context("read the client's certificate")?;
    let mut names = CertificateNames::default();
    for name in certificate.subject().iter_common_name() {
        let name = name.as_str().context("read the common name in the client's certificate")?;
        names.common_names.push(name.to_owned());
    }
    let alternatives = certificate.subject_alternative_name().context("read the names in the client's certificate")?;
    for name in alternatives.iter().flat_map(|alternatives| &alternatives.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.dns_names.push((*name).to_owned()),
            GeneralName::URI(name) => names.uris.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => names.emails.push((*name).to_owned()),
            _ => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_read_by_their_kind() {
        let der = self_signed(|params| {
            params.distinguished_name.push(DnType::CommonName, "meter-1");
            params.distinguished_name.push(DnType::OrganizationName, "Lights");
            params.subject_alt_names = vec![
                SanType::DnsName("a.example.org".try_into().unwrap()),
                SanType::DnsName("b.example.org".try_into().unwrap()),
                SanType::URI("spiffe://example.org/meter-1".try_into().unwrap()),
                SanType::Rfc822Name("meter-1@example.org".try_into().unwrap()),
                SanType::IpAddress([192, 0, 2, 1].into()),
            ];
        });
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wanted = CertificateNames {
            common_names: owned(&["meter-1"]),
            dns_names: owned(&["a.example.org", "b.example.org"]),
            uris: owned(&["spiffe://example.org/meter-1"]),
            emails: owned(&["meter-1@example.org"]),
        };
        assert_eq!(certificate_names(&der).unwrap(), wanted);
        assert_eq!(certificate_names(&self_signed(|_| {})).unwrap(), CertificateNames::default());
    }

    #[test]
    fn a_name_that_cannot_be_read_is_an_error_and_not_left_out() {
        let der = self_signed(|params| {
            let name = rcgen::string::BmpString::try_from("meter-1").unwrap();
            params.distinguished_name.push(DnType::CommonName, DnValue::BmpString(name));
        });
        let error = certificate_names(&der).unwrap_err().to_string();
        assert_eq!(error, "read the common name in the client's certificate");
        assert!(certificate_names(b"no certificate").is_err());
    }
}
