# The verbs of this repository. CI (.ci/run) calls these and nothing else, so what passes here passes there.

# The linter is built from source and pinned; the first time takes minutes, later the Go build cache has it.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# How many inputs each fuzz target gets: a count, because a time limit makes Go 1.26 fail now and then for no reason
# (https://go.dev/issue/75804).
FUZZ ?= 5000x

# Which benchmarks run.
BENCH ?= .

# What people build on or for other systems: the program, and the packages that an app or a tool embeds.
PORTABLE = ./cmd/... ./client/... ./publish/... ./protocol/... ./channel/... ./bundle/... ./digest/... ./internal/...

.DEFAULT_GOAL := help
.PHONY: help build test race lint fuzz cross e2e corpus bench release module clean

help: ## Show the verbs
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /\1\t/' | expand -t 10

build: ## Build bin/brink: static, and the same bytes from any folder
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/brink ./cmd/brink

test: ## Run the tests that need nothing but Go
	go test ./...

race: ## Run the tests in random order under the race detector (needs a C compiler)
	go test -race -shuffle=on ./...

lint: ## Check format, house rules and go.mod
	go run $(GOLANGCI) run ./...
	go mod tidy -diff

# The tests of a package are linked once, and not once for each of its targets as `go test -fuzz` does.
fuzz: ## Give each fuzz target some thousand inputs (FUZZ=1000000x for more)
	@bin=$$(mktemp -d) && trap 'rm -rf "$$bin"' EXIT && cache=$$(go env GOCACHE)/fuzz && \
	grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		go test -c -fuzz . -o "$$bin/test" $$dir || exit 1; \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' $$dir/*_test.go); do \
			echo "$$dir $$target"; \
			(cd $$dir && "$$bin/test" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZ) \
				-test.fuzzcachedir "$$cache/$$(go list -m)/$$dir") || exit 1; \
		done; \
	done

cross: ## Build for the systems that nobody here runs, and vet what apps embed
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -o /dev/null ./cmd/brink
	@set -e; for system in darwin/arm64 windows/amd64; do \
		export GOOS=$${system%/*} GOARCH=$${system#*/} CGO_ENABLED=0; echo "$$system"; \
		go vet $(PORTABLE); \
		go build -o /dev/null ./cmd/brink; \
	done

e2e: ## Run the tests of the whole; what they need must be there, nothing is skipped
	BRINK_CI=1 BRINK_E2E=1 go test -count=1 -timeout 30m -run 'AnyDamage|Of200|Gateway|CapgoCLI|CapgoPlugin' \
		./store ./gossip ./origin/bucket ./publish/capgo
	BRINK_CI=1 BRINK_E2E=1 go test -count=1 -timeout 30m ./e2e

corpus: ## Fetch the real web apps that benches and some tests read (needs npm)
	go run ./bench/corpus/fetch

bench: ## Run the benchmarks (BENCH=Archive for some of them)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

release: ## Make the files of a release in dist (VERSION=v0.1.0, default: the tag of HEAD)
	go run ./internal/release -version '$(VERSION)' $(if $(CERTS),-certs '$(CERTS)')
	BRINK_DIST='$(CURDIR)/dist' go test -count=1 -run Dist ./internal/release

# Packages are found by the names of the folders here, so that a path such as /etc/brink/store stays. The rules of the
# linter are written from rules_test.go.
module: ## Give the module another path (NAME=example.org/you/brink)
	@test -n '$(NAME)' || { echo 'NAME is missing: make module NAME=example.org/you/brink' >&2; exit 2; }
	@old=$$(go list -m) && rooms=$$(ls -d */ | tr -d / | paste -sd '|' -) && \
	package="(^|[^A-Za-z0-9_/.-])$$old/($$rooms)" && \
	grep -rlE --include='*.go' --include='*.md' --include=.golangci.yml "$$package" . | \
		xargs sed -i.before-module -E "s#$$package#\1$(NAME)/\2#g" && \
	sed -i.before-module "s#^const module = .*#const module = \"$(NAME)\"#" rules_test.go && \
	sed -i.before-module "s#module-path: .*#module-path: $(NAME)#" .golangci.yml && \
	find . -name '*.before-module' -delete && \
	go mod edit -module '$(NAME)' && go test . -run TestRules -update && \
	echo "the module is $(NAME)"

clean: ## Remove what was built; the corpus stays
	rm -rf bin dist
