# Shortcuts. The one test command is ./scripts/test; `make help` lists the targets.

TOOL = go tool -modfile=tools.mod
FUZZTIME ?= 30s

.PHONY: help build test lint vuln race fuzz soak bench compose compose-image compose-down

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-14s %s\n", $$1, $$2 }'

build: ## the binary, into build/
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o build/perto ./cmd/perto

test: ## everything that must pass
	./scripts/test

lint: ## the linters of .golangci.yml
	$(TOOL) golangci-lint run ./...

vuln: ## known vulnerabilities in what the binary calls
	$(TOOL) govulncheck ./...

race: ## the Go tests with the race detector, without containers
	go test -race -timeout 20m ./...

fuzz: ## each fuzz target for FUZZTIME
	./scripts/fuzz $(FUZZTIME)

soak: ## the long runs: fuzzing, and the race detector again and again
	./scripts/fuzz 10m
	go test -race -count=10 -timeout 6h ./replicas ./edge/... ./dnsserver/... ./node

bench: ## the benchmarks in Go; those beside peers are in bench/
	go test -run '^$$' -bench . -benchmem ./...

# The multi-region world in containers, with a binary built here: no image is
# pulled. COMPOSE names another compose command, such as docker-compose.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo "docker compose" || echo docker-compose)

compose: compose-image ## the lab in containers (docs/compose.md)
	PERTO_DOCKERFILE=Dockerfile.prebuilt $(COMPOSE) up

compose-image: build ## the image of these containers
	cp "$$(ls /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem 2>/dev/null | head -1)" build/ca-certificates.crt
	PERTO_DOCKERFILE=Dockerfile.prebuilt $(COMPOSE) build keys

compose-down: ## end them, and remove their data
	$(COMPOSE) down --volumes
