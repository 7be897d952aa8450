# Fulmar over TLS, with a certificate of its own (ECDSA, P-256).
. "$HERE/brokers.d/ours.sh"
LOAD="${LOAD:-} --tls"
prepare() {
  mkdir -p "$RUN/users"
  [ -n "${FULMAR_CONFIG:-}" ] || "$HERE/users.sh" "$RUN/users" bench bench
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=bench \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$RUN/users/tls.key" -out "$RUN/users/tls.crt" 2> /dev/null
}
run() {
  fulmar --listen "mqtts://127.0.0.1:$PORT" --tls-cert "$RUN/users/tls.crt" --tls-key "$RUN/users/tls.key" --threads "$NCPU"
}
