package template

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBuild: every function has its code, and the target by which `sam build` makes it.
func TestBuild(t *testing.T) {
	s, err := parse(read(t, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	makefile := read(t, "Makefile")
	for _, function := range s.resources("AWS::Serverless::Function") {
		folder := strings.ToLower(strings.TrimSuffix(function.id, "Function"))
		if _, err := os.Stat(filepath.Join(top, "functions", folder, "main.go")); err != nil {
			t.Error(err)
		}
		if target := "\nbuild-" + function.id + ":\n\t$(call bootstrap," + folder + ",$(or $(GOARCH),arm64),$(ARTIFACTS_DIR))\n"; !strings.Contains(makefile, target) {
			t.Errorf("the Makefile has not the target %s", target)
		}
	}
}

// TestStackPolicy: `make protect` covers everything that is kept, and what others point to.
func TestStackPolicy(t *testing.T) {
	var policy struct {
		Statement []struct {
			Effect   string
			Resource any
		}
	}
	if err := json.Unmarshal([]byte(read(t, ".tools/stack-policy.json")), &policy); err != nil {
		t.Fatal(err)
	}
	protected := text(policy.Statement[1].Resource)
	for id := range pinned {
		if !strings.Contains(protected, `"LogicalResourceId/`+id+`"`) {
			t.Errorf("the stack policy does not protect %s", id)
		}
	}
}

// TestConfigurations: CloudFormation would accept what samconfig.toml says.
func TestConfigurations(t *testing.T) {
	s, err := parse(read(t, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := read(t, "samconfig.toml")
	for _, environment := range []string{"default", "staging", "production"} {
		for _, section := range []string{"global", "build", "deploy"} {
			if !strings.Contains(config, fmt.Sprintf("\n[%s.%s.parameters]\n", environment, section)) {
				t.Errorf("there is no %s.%s", environment, section)
			}
		}
	}
	overrides := regexp.MustCompile(`(?m)^  "(\w+)=(.*)",$`).FindAllStringSubmatch(config, -1)
	if len(overrides) == 0 {
		t.Fatal("no parameter is set")
	}
	for _, o := range overrides {
		p := s.at("Parameters/" + o[1])
		if p == nil {
			t.Errorf("there is no parameter %s", o[1])
		}
		for _, fault := range permits(p, o[2]) {
			t.Errorf("%s %s", o[1], fault)
		}
	}
}
