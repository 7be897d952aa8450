//! Labels and annotations that the operator writes and selects by.

/// The API group of every Fulmar resource, and the prefix of its labels and annotations.
pub const GROUP: &str = "mqtt.fulmar.dev";
/// Names the `MqttCluster` that an object belongs to; the StatefulSet selects pods by it, so it never changes.
pub const CLUSTER: &str = "mqtt.fulmar.dev/cluster";
/// Names the listener that a Service or a certificate belongs to.
pub const LISTENER: &str = "mqtt.fulmar.dev/listener";
/// The standard label for the application.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// The standard label for one installation of the application.
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
/// The standard label for the part that an object plays.
pub const APP_COMPONENT: &str = "app.kubernetes.io/component";
/// The standard label for the tool that manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`], and the field manager of every server-side apply.
pub const MANAGER: &str = "fulmar-operator";
/// The value of [`APP_NAME`] on everything that belongs to a broker cluster.
pub const APP: &str = "fulmar-broker";

/// On the StatefulSet: the version fixed when the cluster was created without one.
pub const PINNED_VERSION: &str = "mqtt.fulmar.dev/pinned-version";
/// On the StatefulSet of a cluster that is stopped: the number of pods to wake, whose volumes belong together.
pub const STOPPED_REPLICAS: &str = "mqtt.fulmar.dev/stopped-replicas";
/// On a pod: the zone of the node that it runs on, which the operator copies there for the broker to read.
pub const ZONE: &str = "mqtt.fulmar.dev/zone";
/// On an `MqttCluster`: the name of a pod that goes without being drained; what only it keeps is given up.
pub const ABANDON: &str = "mqtt.fulmar.dev/abandon";
