# NATS (../peers/nats). JetStream is obligatory for MQTT in it: file storage for sessions and QoS 1 and 2.
PORT=24104
SKIP="shared" # Not in its MQTT.
VERSION() { "$PEERS_TARGET/nats-server" --version; }
run() {
  cat > "$DIR/n.conf" <<X
server_name: bench
listen: 127.0.0.1:24184
jetstream { store_dir: "$DIR/js", max_mem: 2G, max_file: 20G }
mqtt { listen: "127.0.0.1:$PORT", max_ack_pending: 10000 }
X
  exec "$PEERS_TARGET/nats-server" -c "$DIR/n.conf" -l "$DIR/n.log"
}
