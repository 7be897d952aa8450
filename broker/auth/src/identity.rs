//! Who a client is: what it says in CONNECT, what its certificate says, and the rules that tie them together.
//!
//! The strings of a certificate come parsed and from a chain that has been verified; reading X.509 is not done here.

/// Which name in a client's certificate becomes its user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name of the subject.
    CommonName,
    /// The DNS name in the subject's alternative names.
    DnsName,
    /// The URI there, as SPIFFE has it.
    Uri,
    /// The email address there.
    Email,
}

/// The names in a client's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// Common names of the subject.
    pub common_names: Vec<String>,
    /// DNS names among the alternative names.
    pub dns_names: Vec<String>,
    /// URIs there.
    pub uris: Vec<String>,
    /// Email addresses there.
    pub emails: Vec<String>,
}

/// What ties a user name to a client id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsernameRule {
    /// Nothing does.
    #[default]
    Free,
    /// They must be the same, so that nobody takes over the session of another user.
    IsClientId,
}

/// How a listener's clients are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityRules {
    /// Take the user name from the certificate, of clients that show one.
    pub certificate: Option<CertificateName>,
    /// What ties it to the client id.
    pub username: UsernameRule,
}

/// Who a client claims to be.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The client id; empty if the server is to assign one.
    pub client_id: &'a str,
    /// The user name in CONNECT.
    pub username: Option<&'a str>,
    /// What its certificate says, if it showed one that we trust.
    pub certificate: Option<&'a CertificateNames>,
}

/// The user name of a client, and whether somebody vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// The certificate says so: no password is needed.
    Certified(&'a str),
    /// The client says so: it has to prove it.
    Claimed(&'a str),
    /// It says nothing.
    Anonymous,
}

/// Why a claim does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A certificate must say one name, or it is not clear which is meant.
    #[error("certificate has {found} names of the kind {kind:?}, 1 is wanted")]
    NotOneName {
        /// The kind that is looked at.
        kind: CertificateName,
        /// How many there are.
        found: usize,
    },
    /// A name that no user has: too long, empty, or with characters that are not to be seen.
    #[error("certificate has a name of {bytes} bytes, {controls} control characters in it, wanted 1 to {max} and none")]
    BadName {
        /// Its length.
        bytes: usize,
        /// How many control characters are in it.
        controls: usize,
        /// The limit.
        max: usize,
    },
    /// CONNECT says another user name than the certificate.
    #[error("user name in CONNECT is {claimed:?}, the certificate says {certified:?}")]
    OtherThanCertified {
        /// What CONNECT says.
        claimed: String,
        /// What the certificate says.
        certified: String,
    },
    /// The rule [`UsernameRule::IsClientId`] is broken.
    #[error("client id is {client_id:?}, the user name {username:?} is wanted")]
    NotTheClientId {
        /// The client id.
        client_id: String,
        /// The user name, empty if there is none.
        username: String,
    },
}

const NAME_BYTES_MAX: usize = 1024;

impl IdentityRules {
    /// The user name of a client.
    pub fn identify<'a>(self, claim: Claim<'a>) -> Result<Name<'a>, IdentityError> {
        let Claim { client_id, username, certificate } = claim;
        let name = match (self.certificate, certificate) {
            (Some(kind), Some(names)) => {
                let certified = names.one(kind)?;
                if let Some(claimed) = username.filter(|claimed| *claimed != certified) {
                    let (claimed, certified) = (claimed.to_owned(), certified.to_owned());
                    return Err(IdentityError::OtherThanCertified { claimed, certified });
                }
                Name::Certified(certified)
            }
            _ => username.map_or(Name::Anonymous, Name::Claimed),
        };
        let (Name::Certified(username) | Name::Claimed(username)) = name else {
            // An id that we assign is nobody's user name either.
            return match self.username {
                UsernameRule::Free => Ok(name),
                UsernameRule::IsClientId => Err(not_the_client_id(client_id, "")),
            };
        };
        match self.username {
            UsernameRule::IsClientId if username != client_id || client_id.is_empty() => {
                Err(not_the_client_id(client_id, username))
            }
            UsernameRule::IsClientId | UsernameRule::Free => Ok(name),
        }
    }
}

fn not_the_client_id(client_id: &str, username: &str) -> IdentityError {
    IdentityError::NotTheClientId { client_id: client_id.to_owned(), username: username.to_owned() }
}

impl CertificateNames {
    fn one(&self, kind: CertificateName) -> Result<&str, IdentityError> {
        let names = match kind {
            CertificateName::CommonName => &self.common_names,
            CertificateName::DnsName => &self.dns_names,
            CertificateName::Uri => &self.uris,
            CertificateName::Email => &self.emails,
        };
        let [name] = names.as_slice() else {
            return Err(IdentityError::NotOneName { kind, found: names.len() });
        };
        // `alice\0.example.org` has fooled those who compare up to the zero.
        let (bytes, controls) = (name.len(), name.chars().filter(|character| character.is_control()).count());
        if !(1..=NAME_BYTES_MAX).contains(&bytes) || controls > 0 {
            return Err(IdentityError::BadName { bytes, controls, max: NAME_BYTES_MAX });
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(common_names: &[&str], dns_names: &[&str], uris: &[&str], emails: &[&str]) -> CertificateNames {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        CertificateNames {
            common_names: owned(common_names),
            dns_names: owned(dns_names),
            uris: owned(uris),
            emails: owned(emails),
        }
    }

    fn rules(certificate: Option<CertificateName>, username: UsernameRule) -> IdentityRules {
        IdentityRules { certificate, username }
    }

    #[test]
    fn each_kind_of_name_in_a_certificate_can_be_the_user_name() {
        let certificate = names(&["m1"], &["m1.example.org"], &["spiffe://example.org/m1"], &["m1@example.org"]);
        let claim = Claim { client_id: "m1", username: None, certificate: Some(&certificate) };
        for (kind, name) in [
            (CertificateName::CommonName, "m1"),
            (CertificateName::DnsName, "m1.example.org"),
            (CertificateName::Uri, "spiffe://example.org/m1"),
            (CertificateName::Email, "m1@example.org"),
        ] {
            let identified = rules(Some(kind), UsernameRule::Free).identify(claim);
            assert_eq!(identified, Ok(Name::Certified(name)), "{kind:?}");
        }
    }

    #[test]
    fn a_certificate_vouches_only_where_the_listener_says_so() {
        let certificate = names(&["m1"], &[], &[], &[]);
        let claim = Claim { client_id: "m1", username: Some("alice"), certificate: Some(&certificate) };
        assert_eq!(rules(None, UsernameRule::Free).identify(claim), Ok(Name::Claimed("alice")));
        let claim = Claim { certificate: None, ..claim };
        let by_name = rules(Some(CertificateName::CommonName), UsernameRule::Free);
        assert_eq!(by_name.identify(claim), Ok(Name::Claimed("alice")));
        assert_eq!(by_name.identify(Claim { username: None, ..claim }), Ok(Name::Anonymous));
    }

    #[test]
    fn a_certificate_without_exactly_one_good_name_is_nobody() {
        let kind = CertificateName::CommonName;
        for (common_names, error) in [
            (&[][..], IdentityError::NotOneName { kind, found: 0 }),
            (&["m1", "m2"][..], IdentityError::NotOneName { kind, found: 2 }),
            (&[""][..], IdentityError::BadName { bytes: 0, controls: 0, max: 1024 }),
            (&["admin\0.example.org"][..], IdentityError::BadName { bytes: 18, controls: 1, max: 1024 }),
            (&[&*"x".repeat(1025)][..], IdentityError::BadName { bytes: 1025, controls: 0, max: 1024 }),
        ] {
            let certificate = names(common_names, &["m1"], &["m1"], &["m1"]);
            let claim = Claim { client_id: "m1", username: Some("m1"), certificate: Some(&certificate) };
            assert_eq!(rules(Some(kind), UsernameRule::Free).identify(claim), Err(error), "{common_names:?}");
        }
    }

    #[test]
    fn connect_cannot_say_another_name_than_the_certificate() {
        let certificate = names(&["m1"], &[], &[], &[]);
        let by_name = rules(Some(CertificateName::CommonName), UsernameRule::Free);
        let claim = |username| Claim { client_id: "c", username, certificate: Some(&certificate) };
        assert_eq!(by_name.identify(claim(Some("m1"))), Ok(Name::Certified("m1")));
        assert_eq!(by_name.identify(claim(None)), Ok(Name::Certified("m1")));
        let error = by_name.identify(claim(Some("admin"))).expect_err("it is refused");
        assert_eq!(error.to_string(), r#"user name in CONNECT is "admin", the certificate says "m1""#);
    }

    #[test]
    fn the_user_name_can_be_bound_to_the_client_id() {
        let bound = rules(Some(CertificateName::CommonName), UsernameRule::IsClientId);
        let certificate = names(&["m1"], &[], &[], &[]);
        let claim = |client_id, username, certificate| bound.identify(Claim { client_id, username, certificate });
        assert_eq!(claim("m1", Some("m1"), None), Ok(Name::Claimed("m1")));
        assert_eq!(claim("m1", None, Some(&certificate)), Ok(Name::Certified("m1")));
        for (client_id, username, certificate) in [
            ("m2", Some("m1"), None),
            ("M1", Some("m1"), None),
            ("m1", None, None),
            ("", None, None),
            ("", Some(""), None),
            ("", Some("m1"), None),
            ("m2", None, Some(&certificate)),
        ] {
            let refused = claim(client_id, username, certificate);
            assert!(matches!(refused, Err(IdentityError::NotTheClientId { .. })), "{client_id} {username:?}");
        }
    }
}
