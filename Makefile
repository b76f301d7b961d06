# ENV names a part of samconfig.toml. GOARCH is the processor to build for.
ENV ?= default
SAM := $(or $(wildcard .tools/venv-sam/bin/sam),sam)
FUNCTIONS := $(notdir $(wildcard functions/*))

# deploys what runs without a console: is the stack of ENV on x86_64 by samconfig.toml, or on arm64 as the template has it?
STACK_GOARCH = $(if $(shell sed -n '/^\[$(ENV)\.deploy\./,/^\[/p' samconfig.toml | grep '"Architecture=x86_64"'),amd64,arm64)
STACK = $(shell sed -n '/^\[$(ENV)\.global\./,/^\[/s/^stack_name = "\(.*\)"/\1/p' samconfig.toml)

# The race detector needs a C compiler. It allocates itself, so what counts allocations is run once more without it.
RACE := $(if $(shell command -v "$$(go env CC)"),-race)

# In CI a machine of strangers is busy with other things, too. A test that fails there is run again, at most twice, and named; more than three are not.
AGAIN := $(if $(filter true,$(CI)),--rerun-fails --rerun-fails-max-failures=3)

.PHONY: help run test proof mutants fuzz bench tools lint build events deploy outputs protect delete build-WebhookFunction build-SweepFunction build-RevokeFunction

help:
	@echo 'make run      the local program, with a simulated Terra: http://127.0.0.1:8080 (needs Go only)'
	@echo 'make test     every test that this machine can run; names what it skips, and why'
	@echo 'make proof    breaks it on purpose: every interleaving, a million histories, wrong designs, faults, kills; in one table (some ten minutes)'
	@echo 'make mutants  changes each operator of the rule, the signature and the ledgers in turn: the tests must notice (half an hour; OF=internal/terra for one folder)'
	@echo 'make fuzz     every fuzz target for FOR=1h each, two at a time'
	@echo 'make bench    speed, memory, sizes and calls beside a plain handler and the floor, in one table, and a burst (about ten minutes)'
	@echo 'make tools    installs the real parts that tests start (a DynamoDB engine, moto, the Lambda emulator) into .tools'
	@echo 'make lint     gofmt, vet, staticcheck, errcheck; sam validate, cfn-lint, checkov, cfn-guard and cdk-nag on the template'
	@echo 'make build    .build/<function>/bootstrap for this machine, or for GOARCH'
	@echo 'make .build/handover   the tool, for this machine'
	@echo 'make events   writes the example events of events/ anew'
	@echo 'make deploy   builds and deploys the stack ($(STACK)); ENV=staging or ENV=production for the others'
	@echo 'make outputs  the URL for Terra, the topics, the secrets, the tables'
	@echo 'make protect  has CloudFormation refuse to delete the stack, or to replace what it keeps'
	@echo 'make delete   deletes the stack and keeps the data'

run:
	go run ./internal/cmd/handover serve

test: tools
	$(if $(RACE),,@echo 'There is no C compiler here, so the race detector is off.')
	go tool -modfile=.tools/go.mod gotestsum --format pkgname-and-test-fails --format-hide-empty-pkg --packages ./... $(AGAIN) -- $(RACE) -timeout 40m
	$(if $(RACE),go test -count=1 -run Allocations ./internal/webhook)

proof: tools
	@.tools/proof

mutants: tools
	@go -C .tools run ./mutants $(OF)

fuzz:
	@.tools/fuzz $(or $(FOR),1h)

# All programs are measured in turn; the table has their medians. A million accounts, and an account that has had 10,000 holders: HANDOVER_BENCH_LONG=true.
# Two commits: make bench ROUNDS=6 for each, keep its .build/bench.txt, then go tool -modfile=.tools/go.mod benchstat OLD NEW
bench: tools
	@mkdir -p .build && rm -f .build/bench.txt
	@for round in $$(seq $(or $(ROUNDS),1)); do \
		go test -run '^$$' -bench . -benchtime 0.2s -timeout 60m ./internal/benchmark >>.build/bench.txt || { tail .build/bench.txt; exit 1; }; done
	@go run ./internal/benchmark/testdata/cmd/table <.build/bench.txt
	@HANDOVER_BENCH_LONG=true go test -count=1 -v -run TestBurst ./internal/benchmark

tools:
	@.tools/install

lint:
	@.tools/lint-install
	@.tools/lint

# Static, stripped, and the same file for every caller: no paths, no commit, no build id. So an unchanged function is not deployed again.
# $(call bootstrap,FUNCTION,GOARCH,FOLDER)
bootstrap = CGO_ENABLED=0 GOOS=linux GOARCH=$(2) \
	go build -tags lambda.norpc -trimpath -buildvcs=false -ldflags '-s -w -buildid= $(SETVERSION)' -o '$(3)/bootstrap' ./functions/$(1)

# The version is that of a release, if this is one. `handover version` prints it, and a function logs it when it starts.
VERSION ?= $(shell git describe --tags --exact-match 2>/dev/null)
SETVERSION = -X github.com/handover-dev/handover/internal/version.number=$(VERSION)

build: $(FUNCTIONS:%=.build/%/bootstrap)

.build/%/bootstrap: FORCE
	$(call bootstrap,$*,$(or $(GOARCH),$(shell go env GOARCH)),.build/$*)

.build/handover: FORCE
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -buildid= $(SETVERSION)' -o $@ ./internal/cmd/handover

FORCE:

# `sam build` calls these, and does not say for which processor: the template's default unless GOARCH does.
build-WebhookFunction:
	$(call bootstrap,webhook,$(or $(GOARCH),arm64),$(ARTIFACTS_DIR))

build-SweepFunction:
	$(call bootstrap,sweep,$(or $(GOARCH),arm64),$(ARTIFACTS_DIR))

build-RevokeFunction:
	$(call bootstrap,revoke,$(or $(GOARCH),arm64),$(ARTIFACTS_DIR))

events:
	go run ./internal/cmd/handover events

deploy:
	GOARCH=$(STACK_GOARCH) $(SAM) build --config-env $(ENV)
	$(SAM) deploy --config-env $(ENV)
	@$(MAKE) --no-print-directory outputs

outputs:
	@aws cloudformation describe-stacks --stack-name $(STACK) --output table \
		--query 'Stacks[0].Outputs[].{Name:OutputKey,Value:OutputValue,Meaning:Description}'

protect:
	aws cloudformation update-termination-protection --enable-termination-protection --stack-name $(STACK)
	aws cloudformation set-stack-policy --stack-name $(STACK) --stack-policy-body file://.tools/stack-policy.json

delete:
	@echo 'This deletes the stack $(STACK): URL, functions, topics, alarms, logs.'
	@echo 'It keeps the tables, the secrets and the encryption key, which go on costing money. Their names, to be noted now:'
	@$(MAKE) --no-print-directory outputs
	$(SAM) delete --config-env $(ENV)
	@echo 'Kept: tables, secrets, encryption key. A new stack does not take them up again; it begins with an empty ledger.'
