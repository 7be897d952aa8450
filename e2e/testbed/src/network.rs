//! The addresses of a testbed and the commands that lay out its network.
//!
//! The control plane and node 1 share the supervisor's network namespace, which has a bridge `node0`. Every other node
//! has a namespace of its own, tied to the bridge by a pair of virtual cables that can be cut. All addresses come from
//! the ranges reserved for documentation and benchmarks; no packet can leave.

use crate::process::{SYSTEM_PATH, command, run};

/// Where the API server and the cluster's DNS listen; also the address of node 1.
pub const CONTROL_ADDRESS: &str = "192.0.2.10";
/// All pods.
pub const POD_RANGE: &str = "198.18.0.0/16";
/// All Services.
pub const SERVICE_RANGE: &str = "198.19.0.0/16";
/// The Service `kubernetes`: the first address of the range.
pub const API_SERVICE_ADDRESS: &str = "198.19.0.1";

/// Lets a namespace pass on the packets of its pods. The settings are those of the network namespace of the process that
/// opens the files, so this is a script to be run in each.
const FORWARD: &str =
    "for name in ip_forward conf/all/route_localnet; do echo 1 >/proc/sys/net/ipv4/$name || exit 1; done";

/// The address of node `number`, counted from 1.
#[must_use]
pub fn node_address(number: u8) -> String {
    format!("192.0.2.{}", 9 + number)
}

/// The addresses of the pods of node `number`.
#[must_use]
pub fn pod_range(number: u8) -> String {
    format!("198.18.{number}.0/24")
}

/// What Kubernetes calls node `number`, and its network namespace where it has its own.
#[must_use]
pub fn node_name(number: u8) -> String {
    format!("node{number}")
}

/// The zone of node `number`: each has one of its own, as machines in different buildings do.
#[must_use]
pub fn zone_name(number: u8) -> String {
    format!("zone{number}")
}

/// Lays out the network around the calling process.
pub(crate) fn create(nodes: u8) -> anyhow::Result<()> {
    for arguments in control_layout().into_iter().chain((2..=nodes).flat_map(|node| node_layout(node, nodes))) {
        run_ip(&arguments)?;
    }
    run(command("sh").args(["-c", FORWARD]))?;
    for node in 2..=nodes {
        let namespace = format!("--net=/run/netns/{}", node_name(node));
        run(command("nsenter").arg(namespace).args(["sh", "-c", FORWARD]))?;
    }
    Ok(())
}

/// Arguments of `ip` that cut (`up` false) or restore the cable of a node. A link that comes back has lost its routes.
pub(crate) fn link_change(node: u8, nodes: u8, up: bool) -> Vec<String> {
    let name = node_name(node);
    if up {
        let routes = node_routes(node, nodes).map(|route| format!("-n {name} route replace {route}"));
        std::iter::once(format!("-n {name} link set eth0 up")).chain(routes).collect()
    } else {
        vec![format!("-n {name} link set eth0 down")]
    }
}

fn control_layout() -> Vec<String> {
    vec![
        "link set lo up".to_owned(),
        "link add node0 type bridge".to_owned(),
        format!("addr add {CONTROL_ADDRESS}/24 dev node0"),
        "link set node0 up".to_owned(),
        "route add default dev node0".to_owned(),
    ]
}

fn node_layout(node: u8, nodes: u8) -> Vec<String> {
    let name = node_name(node);
    let cable = format!("cable{node}");
    let mut layout = vec![
        format!("netns add {name}"),
        format!("link add {cable} type veth peer name eth0 netns {name}"),
        format!("link set {cable} master node0 up"),
        format!("route add {} via {}", pod_range(node), node_address(node)),
        format!("-n {name} link set lo up"),
        format!("-n {name} addr add {}/24 dev eth0", node_address(node)),
    ];
    layout.extend(link_change(node, nodes, true));
    layout
}

/// The routes inside a node's own namespace: everything by way of the control plane, other nodes' pods by their node.
fn node_routes(node: u8, nodes: u8) -> impl Iterator<Item = String> {
    let others = (1..=nodes).filter(move |other| *other != node);
    let pods = others.map(|other| format!("{} via {}", pod_range(other), node_address(other)));
    std::iter::once(format!("default via {CONTROL_ADDRESS}")).chain(pods)
}

fn run_ip(arguments: &str) -> anyhow::Result<()> {
    run(command("ip").args(arguments.split(' ')).env("PATH", SYSTEM_PATH)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_link_gets_every_route_back() {
        let expected = [
            "-n node2 link set eth0 up",
            "-n node2 route replace default via 192.0.2.10",
            "-n node2 route replace 198.18.1.0/24 via 192.0.2.10",
            "-n node2 route replace 198.18.3.0/24 via 192.0.2.12",
        ];
        assert_eq!(link_change(2, 3, true), expected);
        assert_eq!(link_change(2, 3, false), ["-n node2 link set eth0 down"]);
    }
}
