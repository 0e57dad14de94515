# syntax=docker/dockerfile:1
# One binary on a small Debian, which brings glibc and the certificates.

FROM rust:1.95-slim-bookworm AS build
# A C compiler, for SQLite, the TLS library and the allocator.
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches stay on the builder; the binary has to be taken out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin trainspotter && cp target/release/trainspotter /trainspotter

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && mkdir /state && chown 10001:10001 /state
COPY --from=build /trainspotter /trainspotter
# The rules that come with it, for `rules: [/alerts]`.
COPY alerts /alerts
USER 10001:10001
WORKDIR /state
# ECS gives a volume at this path the owner that the image gave it.
VOLUME /state
# The root file system may be read-only; SQLite's temporary files go where the state goes.
ENV SQLITE_TMPDIR=/state
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["/trainspotter", "healthcheck"]
ENTRYPOINT ["/trainspotter"]
CMD ["run", "--config", "env:TRAINSPOTTER_CONFIG"]
