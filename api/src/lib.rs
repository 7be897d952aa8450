//! The Fulmar Kubernetes API: resource types, labels and names, without I/O.
