//! When the cluster's own authority is replaced by a new one: pure, with the time from outside.
//!
//! After two thirds of the old one's life a new authority is made and put into the bundle that brokers and clients
//! trust. For 30 days it signs nothing: Kubernetes renews a mounted Secret within minutes and brokers read it again, so
//! every broker trusts it long before, and people who copied the bundle have the time to do it again. Then it signs,
//! which renews every leaf; the old one stays in the bundle until it ends, so leaves of either are good on both sides
//! of a link all the while. All of it is in one Secret, so every step is one write.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::certificates::{KeyMaterial, check_authority, read_material, read_pem};

/// How long a new authority is trusted before it signs.
const OVERLAP: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Keys in the Secret besides `tls.crt` and `tls.key`, those of the authority that signs.
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const LAST_CERTIFICATE: &str = "last.crt";

/// The authority of a cluster, with the one that comes or the one that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Signs leaves.
    pub(crate) current: KeyMaterial,
    /// Is trusted and will sign.
    next: Option<KeyMaterial>,
    /// Is trusted and signed before.
    last: Option<String>,
}

impl Authority {
    /// The first one of a cluster.
    pub(crate) fn new(current: KeyMaterial) -> Self {
        Self { current, next: None, last: None }
    }

    /// One that takes the place of a lost one, whose certificate stays trusted until it ends.
    pub(crate) fn in_place_of(lost: Option<String>, current: KeyMaterial) -> Self {
        Self { last: lost, ..Self::new(current) }
    }

    /// Makes sure that all of it is usable and of the authority with this common name.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        let Self { current, next, last } = self;
        let next = next.as_ref().map(|next| (NEXT_CERTIFICATE, next));
        for (place, material) in [("tls.crt", current)].into_iter().chain(next) {
            check_authority(&material.certificate, name).context(place)?;
            read_material(material).with_context(|| format!("found no usable pair of {place} and its key"))?;
        }
        if let Some(last) = last {
            check_authority(last, name).context(LAST_CERTIFICATE)?;
        }
        Ok(())
    }

    /// Reads what [`Authority::data`] wrote.
    pub(crate) fn from_data(text: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let pair = |certificate, key| Some(KeyMaterial { certificate: text(certificate)?, key: text(key)? });
        Some(Self {
            current: pair("tls.crt", "tls.key")?,
            next: pair(NEXT_CERTIFICATE, NEXT_KEY),
            last: text(LAST_CERTIFICATE),
        })
    }

    /// What the Secret holds.
    pub(crate) fn data(&self) -> BTreeMap<&'static str, &str> {
        let Self { current, next, last } = self;
        let mut data = BTreeMap::from([("tls.crt", current.certificate.as_str()), ("tls.key", current.key.as_str())]);
        if let Some(next) = next {
            data.extend([(NEXT_CERTIFICATE, next.certificate.as_str()), (NEXT_KEY, next.key.as_str())]);
        }
        data.extend(last.as_ref().map(|last| (LAST_CERTIFICATE, last.as_str())));
        data
    }

    /// Every certificate to trust, in PEM, the one that signs first.
    pub(crate) fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|next| next.certificate.as_str());
        let all = [Some(self.current.certificate.as_str()), next, self.last.as_deref()];
        all.into_iter().flatten().map(|certificate| format!("{}\n", certificate.trim_end())).collect()
    }

    /// What it must become now; `None` if it may stay. `issue` makes a new authority.
    pub(crate) fn rotated(&self, now: Timestamp, issue: impl FnOnce() -> Result<KeyMaterial>) -> Result<Option<Self>> {
        let current = read_material(&self.current)?;
        if let Some(next) = &self.next {
            // Its own beginning tells when it was made. One whose days are already counted is of no use.
            let made = read_material(next)?.not_before;
            let signs = now.duration_since(made) >= OVERLAP || current.is_over(now);
            let last = Some(self.current.certificate.clone());
            return Ok(signs.then(|| Self { current: next.clone(), next: None, last }));
        }
        if current.is_due(now) {
            return Ok(Some(Self { next: Some(issue()?), ..self.clone() }));
        }
        let is_over = |last: &String| read_pem(last).is_ok_and(|last| last.is_over(now));
        Ok(self.last.as_ref().is_some_and(is_over).then(|| Self { last: None, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{Subject, is_signed_by, issue_authority, issue_leaf};

    fn day(day: i64) -> Timestamp {
        let start: Timestamp = "2026-11-22T06:00:00Z".parse().unwrap();
        start + SignedDuration::from_hours(day * 24)
    }

    fn made(at: i64) -> KeyMaterial {
        issue_authority("demo", "shop", day(at)).unwrap()
    }

    fn on(authority: &Authority, at: i64) -> Option<Authority> {
        authority.rotated(day(at), || Ok(made(at))).unwrap()
    }

    /// Ten years are 3650 days; two thirds of them, and of the five minutes before, end during day 2433.
    #[test]
    fn a_new_authority_is_trusted_for_30_days_before_it_signs_and_the_old_one_until_it_ends() {
        let first = Authority::new(made(0));
        assert_eq!(on(&first, 2433), None);
        let both = on(&first, 2434).unwrap();
        let next = both.next.clone().unwrap();
        assert_eq!(both.current, first.current, "the old one still signs");
        assert_eq!(both.bundle(), format!("{}{}", first.current.certificate, next.certificate));
        assert_eq!(on(&both, 2463), None);
        let switched = on(&both, 2464).unwrap();
        assert_eq!(switched.current, next);
        assert_eq!(switched.bundle(), format!("{}{}", next.certificate, first.current.certificate));
        assert_eq!(on(&switched, 3649), None);
        let alone = on(&switched, 3650).unwrap();
        assert_eq!(alone, Authority::new(next));
        assert_eq!(on(&alone, 3651), None);
    }

    /// Whichever step a broker has heard of, its bundle holds what signed the leaves of the others.
    #[test]
    fn brokers_one_step_apart_trust_each_other() {
        let first = Authority::new(made(0));
        let both = on(&first, 2434).unwrap();
        let switched = on(&both, 2464).unwrap();
        let steps = [(first, 2433), (both, 2434), (switched, 2464)];
        for pair in steps.windows(2) {
            for (signer, truster) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let leaf = issue_leaf(&signer.0.current, &Subject::default(), day(signer.1)).unwrap();
                let trusted = truster.0.bundle();
                let trusted = trusted.split_inclusive("-----END CERTIFICATE-----\n");
                assert!(trusted.into_iter().any(|authority| is_signed_by(&leaf.certificate, authority)));
            }
        }
    }

    #[test]
    fn an_operator_that_was_away_for_years_goes_on_at_once() {
        let both = on(&Authority::new(made(0)), 2434).unwrap();
        let switched = on(&both, 4000).unwrap();
        assert_eq!(Some(&switched.current), both.next.as_ref());
        assert_eq!(on(&switched, 4000).unwrap().last, None);
        let late = on(&Authority::new(made(0)), 4000).unwrap();
        assert!(on(&late, 4000).unwrap().next.is_none(), "what is over has nobody to wait for");
    }

    #[test]
    fn what_is_written_is_read_again() {
        for authority in [
            Authority::new(made(0)),
            Authority { next: Some(made(1)), ..Authority::new(made(0)) },
            Authority { last: Some(made(1).certificate), ..Authority::new(made(0)) },
        ] {
            let data: BTreeMap<&str, String> =
                authority.data().into_iter().map(|(key, text)| (key, text.to_owned())).collect();
            assert_eq!(Authority::from_data(|key| data.get(key).cloned()), Some(authority.clone()));
        }
    }
}
