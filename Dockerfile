# The image for a registry of yours: docker build -t REGISTRY/podfence:0.1.0 . && docker push REGISTRY/podfence:0.1.0
# scripts/image makes the same files into an archive without an engine.
FROM debian:12 AS build
COPY . /podfence
WORKDIR /podfence
RUN scripts/install && scripts/build podfence && scripts/image --root /image

FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/bin
ENTRYPOINT ["/usr/bin/podfence"]
CMD ["agent", "--config", "/etc/podfence/podfence.yaml"]
