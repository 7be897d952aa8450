# rumqttd 0.20 (../peers). The 3.1.1 listener; limits raised from the defaults where they would stop a scenario.
PORT=24105
VERSION() { "$PEERS_TARGET/release/rumqttd" --version; }
run() {
  cat > "$DIR/r.toml" <<X
id = 0
[router]
id = 0
max_connections = 20000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = "v4-1"
listen = "127.0.0.1:$PORT"
next_connection_delay_ms = 0
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 262144
max_inflight_count = 100
dynamic_filters = true
X
  exec "$PEERS_TARGET/release/rumqttd" "$DIR/r.toml"
}
