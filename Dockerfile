# perto as an image: one static binary, the certificates of public authorities,
# nothing else. Needs the network, for the Go image and modules.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /perto ./cmd/perto

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /perto /perto
COPY examples/compose /etc/perto
COPY --chown=65532:65532 examples/compose/volume /run/perto
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 CMD ["/perto", "health"]
ENTRYPOINT ["/perto"]
