# syntax=docker/dockerfile:1
# One binary with the few files it needs, and nothing else: no shell, no package manager.
# Dependencies are a layer of their own, which stays as long as Cargo.lock and the manifests do.

FROM rust:1.95-slim-bookworm AS tools
# A C compiler, for SQLite, the TLS library and the allocator; certificates for the image.
RUN apt-get update && apt-get install -y --no-install-recommends build-essential ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN cargo install --locked cargo-chef@0.1.78
WORKDIR /src

FROM tools AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM tools AS build
COPY --from=plan /src/recipe.json recipe.json
RUN cargo chef cook --release --locked --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --bin trainspotter
# The binary, glibc's files that it names, certificates, and the rules for `rules: [/alerts]`.
RUN mkdir -p /image/state /image/etc/ssl/certs /image/tmp \
    && cp target/release/trainspotter /image/trainspotter \
    && ldd target/release/trainspotter | grep -o '/[^ )]*' | xargs -I {} cp --dereference --parents {} /image \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
    && cp -r alerts /image/alerts \
    && chmod 1777 /image/tmp

FROM scratch
COPY --from=build /image /
COPY --from=build --chown=10001:10001 /image/state /state
USER 10001:10001
WORKDIR /state
# ECS gives a volume at this path the owner that the image gave it.
VOLUME /state
# The root file system may be read-only; SQLite's temporary files go where the state goes.
ENV SQLITE_TMPDIR=/state SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["/trainspotter", "healthcheck"]
ENTRYPOINT ["/trainspotter"]
CMD ["run", "--config", "env:TRAINSPOTTER_CONFIG"]
