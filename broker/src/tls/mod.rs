//! TLS on the control side: certificates that are read again when they change, and handshakes up to CONNECT.

mod accept;
mod certificates;
mod handshakes;
mod names;
mod reload;

pub(crate) use accept::TlsListener;
pub(crate) use certificates::{ClusterCertificates, cluster_certificates, listener_certificate};
pub(crate) use handshakes::Handshakes;
pub(crate) use reload::{Reload, Reloaded};
