//! An MQTT 3.1.1 and 5.0 broker that runs alone or as a member of a cluster.

fn main() {}
