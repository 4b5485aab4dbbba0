# syntax=docker/dockerfile:1

# Debian 12 on both sides, so that the program finds the C library that it was linked with.
FROM rust:1.95-slim-bookworm AS build
# aws-lc-sys compiles C. The static busybox becomes the final image's health check.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev busybox-static \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
# The caches speed up the next build and are no part of the image; Cargo.lock decides what is built.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin baton \
    && install -D --strip target/release/baton /out/usr/local/bin/baton \
    && install -d /out/etc/baton /out/var/lib/baton

# No shell, no package manager: the C library, certificates, time zones, and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr/local/bin/baton /usr/local/bin/baton
COPY config/containers.yaml /etc/baton/baton.yaml
# Under this name busybox is wget and nothing else.
COPY --from=build /bin/busybox /usr/local/bin/wget
COPY --from=build --chown=nonroot:nonroot /out/var/lib/baton /var/lib/baton
USER nonroot
WORKDIR /var/lib/baton
VOLUME /var/lib/baton
# Traffic, and the admin interface with /healthz, /readyz and /metrics.
EXPOSE 8080 9900
# Whether the process lives; whether it can take traffic is what /readyz answers.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:9900/healthz"]
# SIGTERM, the default, drains.
ENTRYPOINT ["/usr/local/bin/baton"]
CMD ["run", "--config", "/etc/baton/baton.yaml"]
