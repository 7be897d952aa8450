//! A real Kubernetes in network namespaces, for the demo and the end-to-end tests.
//!
//! A *testbed* is one Kubernetes cluster of one to three nodes that lives in namespaces of its own: process, mount and
//! network. The first process of its process namespace ([`supervisor`]) starts everything else, so that ending that one
//! process ends all of it; its mounts and networks end with it. Nothing on the host is changed but one folder and one
//! cgroup, both named for the testbed, and [`down`](lifecycle::down) removes those. Several testbeds run side by side.
//!
//! Tests start from [`Testbed`]: where its kubeconfig and its audit log are, and what can be done to its nodes. The
//! binary `testbed` brings testbeds up and down and runs commands in them. What to deploy is left to others.

pub mod archive;
mod cgroup;
pub mod clients;
mod control_plane;
pub mod exec;
mod go_module;
pub mod lifecycle;
pub mod monitoring;
mod namespaces;
pub mod network;
mod node;
pub mod packages;
mod pki;
mod process;
pub mod run;
pub mod supervisor;
mod testbed;
pub mod tools;

pub use run::RunName;
pub use testbed::{Link, Testbed};
