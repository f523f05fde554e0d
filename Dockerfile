# The release binary with what it loads: libduckdb, the ONNX runtime, the embedding model.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-pip \
 && rm -rf /var/lib/apt/lists/*
COPY --from=node:22-bookworm /usr/local/bin/node /usr/local/bin/node
COPY --from=node:22-bookworm /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /source
COPY . .
ENV AOS_CACHE_DIR=/cache
RUN make build && cp --dereference target/release/autonomos /cache/autonomos

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home autonomos \
 && install --directory --owner autonomos /data /shared /keys
# The binary looks for libraries in `../lib`.
COPY --from=build /cache/autonomos /opt/autonomos/bin/autonomos
COPY --from=build /cache/duckdb-1.5.6/libduckdb.so /opt/autonomos/lib/libduckdb.so
COPY --from=build /cache/onnxruntime-1.30.0 /opt/autonomos/onnxruntime-1.30.0
COPY --from=build /cache/minilm-int8-1.0.0 /opt/autonomos/minilm-int8-1.0.0
USER autonomos
ENV PATH=/opt/autonomos/bin:$PATH
EXPOSE 8080
ENTRYPOINT ["autonomos"]
CMD ["serve"]
