# Fulmar as one of three nodes; all clients are on this one, and only this one is measured.
. "$HERE/brokers.d/ours.sh"
PEERS=127.0.0.1:24140,127.0.0.1:24141,127.0.0.1:24142
run() { fulmar --listen "mqtt://127.0.0.1:$PORT" --threads "$NCPU" --cluster-listen 127.0.0.1:24140 --peers "$PEERS"; }
# The other two nodes; $1 is the number of the one to become.
COMPANIONS=2
companion() {
  exec "$FULMAR" --listen "mqtt://127.0.0.1:$((24142 + $1))" --allow-anonymous --threads "$NCPU" \
    --cluster-listen "127.0.0.1:$((24140 + $1))" --peers "$PEERS"
}
