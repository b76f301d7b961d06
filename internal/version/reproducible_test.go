package version_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handover-dev/handover/internal/realparts"
)

// copySource copies what programs are made of to another folder, as whoever downloads the project has it.
func copySource(t *testing.T, to string) {
	t.Helper()
	root := realparts.Root(t)
	for _, top := range []string{"Makefile", "go.mod", "go.sum", "functions", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if name := entry.Name(); entry.IsDir() && (name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".")) {
				return fs.SkipDir
			}
			relative, err := filepath.Rel(root, path)
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			target := filepath.Join(to, relative)
			if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
				return err
			}
			return os.WriteFile(target, content, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestReproducible builds each function and the tool twice, in two folders, as the Makefile does: the same bytes come out, whoever builds where. And the
// version is in all of them.
func TestReproducible(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("make is not installed")
	}
	programs := []string{"webhook/bootstrap", "sweep/bootstrap", "revoke/bootstrap", "handover"}
	built := map[string][]byte{}
	for _, folder := range []string{"one", "a longer name"} {
		at := filepath.Join(t.TempDir(), folder)
		copySource(t, at)
		for _, program := range programs {
			build := exec.Command("make", "--no-print-directory", ".build/"+program, "VERSION=v9.8.7")
			build.Dir = at
			if output, err := build.CombinedOutput(); err != nil {
				t.Fatalf("building %s: %v\n%s", program, err, output)
			}
			content, err := os.ReadFile(filepath.Join(at, ".build", program))
			if err != nil {
				t.Fatal(err)
			}
			if before, again := built[program]; again && !bytes.Equal(before, content) {
				t.Errorf("%s: %d bytes and %d bytes, which differ", program, len(before), len(content))
			}
			built[program] = content
			if !bytes.Contains(content, []byte("v9.8.7")) {
				t.Errorf("%s does not contain its version", program)
			}
			if bytes.Contains(content, []byte(at)) {
				t.Errorf("%s contains the folder that it was built in", program)
			}
		}
		told, err := exec.Command(filepath.Join(at, ".build", "handover"), "version").Output()
		if err != nil || !strings.HasPrefix(string(told), "handover v9.8.7 go") {
			t.Errorf("handover version: %q, %v", told, err)
		}
	}
}
