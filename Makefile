# Shortcuts. The one test command is ./scripts/test.

.PHONY: build test compose compose-image compose-down

build: # the binary, into build/
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o build/perto ./cmd/perto

test:
	./scripts/test

# The multi-region world in containers, with a binary built here: no image is
# pulled. COMPOSE names another compose command, such as docker-compose.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo "docker compose" || echo docker-compose)

compose: compose-image
	PERTO_DOCKERFILE=Dockerfile.prebuilt $(COMPOSE) up

compose-image: build
	cp "$$(ls /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem 2>/dev/null | head -1)" build/ca-certificates.crt
	PERTO_DOCKERFILE=Dockerfile.prebuilt $(COMPOSE) build keys

compose-down:
	$(COMPOSE) down --volumes
