//! The certificates and keys of one cluster: one CA, a leaf for every part that proves who it is.
//!
//! Files are `pki/NAME.crt` and `pki/NAME.key`, and `NAME.kubeconfig` for the parts that call the API server.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::network::{API_SERVICE_ADDRESS, CONTROL_ADDRESS, node_address, node_name};
use crate::run::Run;

/// The user of the volume provisioner, and so the owner of volumes: the user of our pods.
pub(crate) const VOLUME_OWNER: u32 = 65532;

/// One certificate: the user and group that it stands for, and the names that it answers to.
struct Leaf {
    file: String,
    user: String,
    group: Option<&'static str>,
    names: Vec<String>,
}

impl Leaf {
    fn client(file: &str, user: &str, group: Option<&'static str>) -> Self {
        Self { file: file.to_owned(), user: user.to_owned(), group, names: Vec::new() }
    }
}

fn leaves(nodes: u8) -> Vec<Leaf> {
    let api_names =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let api_names = api_names.into_iter().chain(["127.0.0.1", CONTROL_ADDRESS, API_SERVICE_ADDRESS]);
    let mut leaves = vec![
        Leaf { names: api_names.map(str::to_owned).collect(), ..Leaf::client("apiserver", "kube-apiserver", None) },
        Leaf::client("admin", "admin", Some("system:masters")),
        Leaf::client("controller-manager", "system:kube-controller-manager", None),
        Leaf::client("scheduler", "system:kube-scheduler", None),
        Leaf::client("proxy", "system:kube-proxy", None),
        Leaf::client("front-proxy", "front-proxy", None),
    ];
    for node in 1..=nodes {
        let name = node_name(node);
        let user = format!("system:node:{name}");
        let names = vec![name.clone(), node_address(node)];
        leaves.push(Leaf { names, ..Leaf::client(&name, &user, Some("system:nodes")) });
    }
    leaves
}

/// Makes all of it for a cluster of `nodes` nodes.
pub(crate) fn create(run: &Run, nodes: u8) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "testbed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    write_pair(run, "ca", &params.self_signed(&key)?.pem(), &key)?;
    let issuer = Issuer::new(params, key);

    for leaf in leaves(nodes) {
        let Leaf { file, user, group, names } = leaf;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        write_pair(run, &file, &params.signed_by(&key, &issuer)?.pem(), &key)?;
        write_kubeconfig(run, &file)?;
    }

    let service_accounts = KeyPair::generate()?;
    write_pair(run, "service-accounts", &service_accounts.public_key_pem(), &service_accounts)?;

    // The controller manager does not run as root (see control_plane.rs) and signs with these.
    for name in ["ca", "service-accounts", "controller-manager"] {
        let path = key_path(run, name);
        chown(&path, Some(VOLUME_OWNER), None).with_context(|| format!("give {} away", path.display()))?;
    }
    Ok(())
}

/// The certificate of a part; for `service-accounts` the public key.
pub(crate) fn certificate_path(run: &Run, name: &str) -> PathBuf {
    run.pki().join(format!("{name}.crt"))
}

/// The private key of a part.
pub(crate) fn key_path(run: &Run, name: &str) -> PathBuf {
    run.pki().join(format!("{name}.key"))
}

/// How a part calls the API server.
pub(crate) fn kubeconfig_path(run: &Run, name: &str) -> PathBuf {
    run.root().join(format!("{name}.kubeconfig"))
}

fn write_pair(run: &Run, name: &str, certificate: &str, key: &KeyPair) -> anyhow::Result<()> {
    let path = certificate_path(run, name);
    fs::write(&path, certificate).with_context(|| format!("write {}", path.display()))?;
    let path = key_path(run, name);
    fs::write(&path, key.serialize_pem()).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

fn write_kubeconfig(run: &Run, name: &str) -> anyhow::Result<()> {
    let (ca, certificate, key) = (certificate_path(run, "ca"), certificate_path(run, name), key_path(run, name));
    let (ca, certificate, key) = (ca.display(), certificate.display(), key.display());
    let run_name = run.name();
    let text = format!(
        r#"apiVersion: v1
kind: Config
clusters: [{{name: {run_name}, cluster: {{server: "https://{CONTROL_ADDRESS}:6443", certificate-authority: "{ca}"}}}}]
users: [{{name: {name}, user: {{client-certificate: "{certificate}", client-key: "{key}"}}}}]
contexts: [{{name: {run_name}, context: {{cluster: {run_name}, user: {name}}}}}]
current-context: {run_name}
"#
    );
    let path = kubeconfig_path(run, name);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
