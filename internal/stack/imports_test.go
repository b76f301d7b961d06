package stack_test

import (
	"go/build"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/handover-dev/handover/"

// imports are what the packages of the module import, tests aside, by their paths inside of the module.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		name := entry.Name()
		if file != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules") {
			return fs.SkipDir
		}
		for _, system := range []string{"linux", "darwin", "windows"} {
			context := build.Default
			context.GOOS = system
			pkg, err := context.ImportDir(file, 0)
			if err != nil { // no Go files here
				continue
			}
			relative, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			relative = filepath.ToSlash(relative)
			all[relative] = slices.Compact(slices.Sorted(slices.Values(append(all[relative], pkg.Imports...))))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"functions/webhook", "internal/ownership", "internal/terra", "internal/local", "internal/cmd/handover"} {
		if len(all[must]) == 0 {
			t.Fatalf("no imports of %s found", must)
		}
	}
	return all
}

// closure are all packages, not of the module, that a package needs through others of the module, each with the way to it.
func closure(all map[string][]string, from string) map[string]string {
	outside, seen := map[string]string{}, map[string]bool{}
	var follow func(pkg, way string)
	follow = func(pkg, way string) {
		if seen[pkg] {
			return
		}
		seen[pkg] = true
		for _, imported := range all[pkg] {
			if inside, ok := strings.CutPrefix(imported, module); ok {
				follow(inside, way+" → "+inside)
			} else {
				outside[imported] = way + " → " + imported
			}
		}
	}
	follow(from, from)
	return outside
}

// standard reports whether a package is of the standard library.
func standard(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return !strings.Contains(first, ".") && !strings.HasPrefix(pkg+"/", module)
}

func TestRuleImportsTheStandardLibraryOnly(t *testing.T) {
	all := imports(t)
	for _, imported := range all["internal/ownership"] {
		if !standard(imported) || imported == "net" || strings.HasPrefix(imported, "net/") || strings.HasPrefix(imported, "encoding/json") {
			t.Errorf("internal/ownership imports %s", imported)
		}
	}
}

func TestTerraImportsNoSDK(t *testing.T) {
	all := imports(t)
	outside := closure(all, "internal/terra")
	for _, imported := range slices.Sorted(maps.Keys(outside)) {
		if !standard(imported) && imported != "github.com/go-json-experiment/json/jsontext" {
			t.Errorf("internal/terra: %s", outside[imported])
		}
	}
}

// Imports point inward: who may import a package of the module.
func TestImportsPointInward(t *testing.T) {
	all := imports(t)
	allowed := map[string][]string{ // by package; a name that ends with / stands for all below it
		"internal/stack":    {"functions/", "internal/local", "internal/cmd/"},
		"internal/local":    {"internal/cmd/", "internal/local/"},
		"internal/local/":   {"internal/cmd/", "internal/local", "internal/local/", "internal/trial"},
		"internal/cmd/":     {},
		"functions/":        {},
		"internal/webhook":  {"internal/stack", "internal/local"},
		"internal/sweep":    {"internal/stack", "internal/local", "internal/deployed", "internal/cmd/"},
		"internal/deployed": {"internal/cmd/", "internal/doctor"},
		"internal/doctor":   {"internal/cmd/"},
		"internal/settings": {"functions/", "internal/stack", "internal/local", "internal/webhook", "internal/cmd/", "internal/doctor"},
	}
	is := func(pkg, pattern string) bool {
		return pkg == pattern || strings.HasSuffix(pattern, "/") && strings.HasPrefix(pkg, pattern)
	}
	for importer, imported := range all {
		for _, i := range imported {
			inside, ok := strings.CutPrefix(i, module)
			if !ok {
				continue
			}
			if path.Base(importer) != "ledgertest" && path.Base(inside) == "ledgertest" || inside == "internal/realparts" || inside == "internal/telemetry/telemetrytest" {
				t.Errorf("%s imports %s, which is for tests", importer, inside)
			}
			for pattern, importers := range allowed {
				if is(inside, pattern) && !slices.ContainsFunc(importers, func(p string) bool { return is(importer, p) }) {
					t.Errorf("%s imports %s", importer, inside)
				}
			}
		}
	}
}

// The SDK stays in the packages that speak to AWS.
func TestWhoImportsTheSDK(t *testing.T) {
	var got []string
	for pkg, imported := range imports(t) {
		if slices.ContainsFunc(imported, func(i string) bool { return strings.HasPrefix(i, "github.com/aws/aws-sdk-go-v2/service/") }) {
			got = append(got, pkg)
		}
	}
	slices.Sort(got)
	want := []string{"internal/announce", "internal/cmd/handover", "internal/deployed", "internal/doctor", "internal/ledger", "internal/local", "internal/settings", "internal/stack", "internal/subscribers/go"}
	for _, pkg := range got {
		if !slices.Contains(want, pkg) {
			t.Errorf("%s imports the SDK; so far only %v do", pkg, want)
		}
	}
}

// What only the operator's tool needs of AWS is in no function.
func TestFunctionsSpeakToFewServices(t *testing.T) {
	all := imports(t)
	for _, function := range []string{"functions/webhook", "functions/sweep", "functions/revoke"} {
		for imported, way := range closure(all, function) {
			service, ok := strings.CutPrefix(imported, "github.com/aws/aws-sdk-go-v2/service/")
			service, _, _ = strings.Cut(service, "/")
			if ok && !slices.Contains([]string{"dynamodb", "secretsmanager", "sns"}, service) {
				t.Errorf("%s: %s", imported, way)
			}
		}
	}
}
