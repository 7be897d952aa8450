//! The Kubernetes controller that runs MqttCluster resources.

fn main() {}
