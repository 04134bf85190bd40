# A node in a container: one static binary, no shell, no root.
#
#   docker build -t brink .
#   docker run -p 8080:8080 -v brink:/data brink

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH make build && mkdir /empty

# The base has the certificates that an origin over TLS is checked with, and the user nonroot.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/bin/brink /brink
# A new volume takes the owner of the folder it covers.
COPY --from=build --chown=65532:65532 /empty /data
VOLUME /data
EXPOSE 8080
# A node listens on loopback unless told otherwise, which nobody outside the container could reach.
ENV BRINK_DATA=/data BRINK_LISTEN=:8080
# There is no curl here: the binary asks its own node.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/brink", "health"]
ENTRYPOINT ["/brink"]
CMD ["serve"]
