# The images of broker and operator for users of Docker: docker build --target broker . (or operator).
# `make images` makes them without Docker, reproducibly, and with the licences of all linked crates.
FROM rust:1.95-bookworm AS build
WORKDIR /fulmar
COPY . .
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile image \
        --target "$(uname -m)-unknown-linux-gnu" --package fulmar-broker --package fulmar-operator \
    && mkdir /programs \
    && cp target/*/image/fulmar-broker target/*/image/fulmar-operator /programs

FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /licenses/LICENSE
USER 65532:65532

FROM base AS operator
COPY --from=build /programs/fulmar-operator /fulmar-operator
ENTRYPOINT ["/fulmar-operator"]

FROM base AS broker
COPY --from=build /programs/fulmar-broker /fulmar-broker
ENTRYPOINT ["/fulmar-broker"]
