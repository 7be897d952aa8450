//! The state of one MQTT client as a pure machine: events and times in, packets and actions out.
