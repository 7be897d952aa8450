//! A real Kubernetes in network namespaces, for the demo and the end-to-end tests.
