//! What the caller settles.

use fulmar_meta::ClusterId;

/// A node's store.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The engine's. Its mode is that of a member.
    pub engine: fulmar_store_raft::Settings,
    /// The membership's.
    pub member: fulmar_member::Settings,
    /// The courier's.
    pub courier: fulmar_courier::Settings,
    /// The desk's.
    pub desk: fulmar_courier::DeskSettings,
    /// Random, drawn at each start and kept nowhere.
    pub nonce: u64,
    /// The node's name: that of its pod.
    pub name: Box<str>,
    /// Where other nodes reach it.
    pub addresses: Vec<Box<str>>,
    /// Where it runs; empty if nobody said.
    pub zone: Box<str>,
    /// The cluster that it is to belong to, if somebody knows. Then it begins none.
    pub cluster_id: Option<ClusterId>,
    /// The cluster that it may begin, if all nodes are empty: a random name. One node of a cluster has this.
    pub begins: Option<ClusterId>,
}
