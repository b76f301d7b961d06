package template

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/settings"
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
		if method := at(function.whole, "Metadata/BuildMethod"); method != "makefile" { // SAM's own links libc, and stamps version control into the file
			t.Errorf("%s is built by %v", function.id, method)
		}
		if _, err := os.Stat(filepath.Join(top, "functions", folder, "main.go")); err != nil {
			t.Error(err)
		}
		if target := "\nbuild-" + function.id + ":\n\t$(call bootstrap," + folder + ",$(or $(GOARCH),arm64),$(ARTIFACTS_DIR))\n"; !strings.Contains(makefile, target) {
			t.Errorf("the Makefile has not the target %s", target)
		}
	}
}

// TestBuildIsTheSame: whoever builds a function, and wherever, gets the same file, static and stripped; a changed Go file in any folder changes it.
func TestBuildIsTheSame(t *testing.T) {
	here, err := filepath.Abs(top)
	if err != nil {
		t.Fatal(err)
	}
	packages := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}
{{end}}{{end}}{{end}}`, "./functions/webhook")
	packages.Dir = here
	output, err := packages.Output()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	files := []string{filepath.Join(here, "go.mod"), filepath.Join(here, "go.sum"), filepath.Join(here, "Makefile")}
	for _, file := range append(files, strings.Fields(string(output))...) {
		relative, err := filepath.Rel(here, file)
		if err != nil {
			t.Fatal(err)
		}
		text := read(t, relative)
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(elsewhere, relative)), 0o755), os.WriteFile(filepath.Join(elsewhere, relative), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	build := func(folder string) []byte {
		artifacts := t.TempDir()
		command := exec.Command(realparts.Make(t), "build-WebhookFunction", "GOARCH="+runtime.GOARCH, "ARTIFACTS_DIR="+artifacts)
		command.Dir = folder
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		binary, err := os.ReadFile(filepath.Join(artifacts, "bootstrap"))
		if err != nil {
			t.Fatal(err)
		}
		return binary
	}
	first := build(here)
	if !bytes.Equal(first, build(elsewhere)) {
		t.Error("two folders give two files")
	}
	if bytes.Contains(first, []byte(here)) {
		t.Error("the file names the folder that it was built in")
	}
	file, err := elf.NewFile(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	if libraries, err := file.ImportedLibraries(); err == nil && len(libraries) > 0 {
		t.Errorf("it needs %q", libraries)
	}
	for _, section := range []string{".interp", ".dynamic", ".symtab", ".debug_info", ".zdebug_info", ".note.go.buildid"} {
		if file.Section(section) != nil {
			t.Errorf("it has %s: it is not static, not stripped, or says who built it", section)
		}
	}

	changed := filepath.Join(elsewhere, "internal", "ownership", "changed.go")
	if err := os.WriteFile(changed, []byte("package ownership\n\nfunc init() { println(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, build(elsewhere)) {
		t.Error("a changed file changes nothing")
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
	// SAM's cache looks at one folder only; Go's notices every changed file.
	if n := strings.Count(config, "\nbuild_in_source = true\ncached = false\n"); n != 3 || strings.Contains(config, "cached = true") {
		t.Errorf("%d of 3 environments are built anew every time", n)
	}
	override := regexp.MustCompile(`(?m)^  "(\w+)=(.*)",$`)
	// A parameter that is left out keeps the value that the stack has, whatever the template's default. So what people are told to set for a time stands in each
	// environment, where it can be set back; and the processor, which the build must agree with.
	for _, part := range strings.Split(config, ".deploy.parameters]\n")[1:] {
		part, _, _ = strings.Cut(part, "\n[")
		var set []string
		for _, o := range override.FindAllStringSubmatch(part, -1) {
			set = append(set, o[1])
		}
		for _, name := range []string{"Architecture", "Deployment", "ReplayWindow", "Revoke", "RevokeDryRun"} {
			if !slices.Contains(set, name) {
				t.Errorf("an environment does not set %s: %q", name, set)
			}
		}
	}
	overrides := override.FindAllStringSubmatch(config, -1)
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

// TestLocalEnvironment: what `sam local` tells the functions instead (.sam-local.json) they take, and it makes the example events good on any date.
func TestLocalEnvironment(t *testing.T) {
	var local struct{ Parameters map[string]string }
	if err := json.Unmarshal([]byte(read(t, ".sam-local.json")), &local); err != nil {
		t.Fatal(err)
	}
	s := original(t)[0]
	var told []string
	for _, name := range []string{"webhook", "sweep"} {
		told = append(told, keys(at(s.of(name).properties, "Environment/Variables"))...)
	}
	for name := range local.Parameters {
		if !slices.Contains(told, name) {
			t.Errorf("SAM passes on no %s, since the template has no such variable", name)
		}
	}
	// Of other resources SAM knows the logical ids only, which are no names on AWS: people must put those in.
	for name, value := range object(at(s.of("webhook").properties, "Environment/Variables")) {
		if len(references(value)) > 0 && !strings.Contains(read(t, ".github/OPERATIONS.md"), "`"+name+"`") {
			t.Errorf("nobody is told to put in %s", name)
		}
	}
	got, err := settings.FromEnvironment(func(name string) string {
		if value, set := local.Parameters[name]; set {
			return value
		}
		return strings.ReplaceAll(s.where(at(s.of("sweep").properties, "Environment/Variables/"+name)), " ", "-")
	})
	if err != nil {
		t.Error(err)
	}
	if years := got.ReplayWindow.Hours() / 24 / 365; years < 50 {
		t.Errorf("signatures are good for %.0f years", years)
	}
	if got.WebhookURL != "" {
		t.Errorf("a sweep on this machine would knock at %s", got.WebhookURL)
	}
}
