//! MQTT 3.1.1 and 5.0 packets: bytes to values and back, without I/O.
